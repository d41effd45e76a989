//! Names of the tensors of dense layers, as the reader and the writer take them: weights,
//! multipliers, biases.

use crate::widths::EncoderWidths;

/// Of the trunk.
pub(super) const TRUNK: [[&str; 3]; EncoderWidths::MOST] = [
    [
        "encoder.trunk.0",
        "encoder.trunk.0.multiplier",
        "encoder.trunk.0.bias",
    ],
    [
        "encoder.trunk.1",
        "encoder.trunk.1.multiplier",
        "encoder.trunk.1.bias",
    ],
    [
        "encoder.trunk.2",
        "encoder.trunk.2.multiplier",
        "encoder.trunk.2.bias",
    ],
    [
        "encoder.trunk.3",
        "encoder.trunk.3.multiplier",
        "encoder.trunk.3.bias",
    ],
];

/// Of the head that gives the shift.
pub(super) const SHIFT: [&str; 3] = [
    "encoder.shift",
    "encoder.shift.multiplier",
    "encoder.shift.bias",
];

/// Of the head that decides.
pub(super) const SCALE: [&str; 3] = [
    "encoder.scale",
    "encoder.scale.multiplier",
    "encoder.scale.bias",
];
