//! What this family brings to a run.

use std::path::Path;

use candle_core::{Device, Result};

use super::config::{Denoise, DenoiseConfig};
use super::learner::DenoiseLearner;
use crate::data::{DataError, DataFacts};
use crate::run::{Column, Family, Unit};

const fn decibels(figure: &'static str, heading: &'static str) -> Column {
    Column {
        figure,
        heading,
        unit: Unit::Decibels,
    }
}

const ACTIVE: Column = Column {
    figure: "active",
    heading: "active",
    unit: Unit::Number(1),
};

const GAINS: [Column; 3] = [
    decibels("gain_lowest", "noisiest"),
    decibels("gain_middle", "middle"),
    decibels("gain_highest", "cleanest"),
];

impl Family for Denoise {
    const OBJECTIVE: &'static str = "remaining_noise";
    const TRAIN_COLUMNS: &'static [Column] = &[
        Column {
            figure: "error",
            heading: "error",
            unit: Unit::Number(4),
        },
        ACTIVE,
    ];
    const VALIDATION_COLUMNS: &'static [Column] = &[
        GAINS[0],
        GAINS[1],
        GAINS[2],
        decibels("remaining_noise", "left"),
        ACTIVE,
    ];
    const CLEAN_COLUMNS: &'static [Column] = &[
        decibels("gain", "gain"),
        GAINS[0],
        GAINS[1],
        GAINS[2],
        ACTIVE,
    ];
    const NOISY_COLUMNS: &'static [Column] = &[decibels("gain", "gain"), ACTIVE];
    const LEGEND: &'static str = "error: of the noise's power, weighted by its level; \
                                  noisiest, middle, cleanest: dB gained at these levels of noise; \
                                  left: minus their mean; active: atoms of a window";

    type Backend = Device;
    type Learner<'a> = DenoiseLearner;

    fn learner(
        config: &DenoiseConfig,
        facts: &DataFacts,
        device: &Device,
    ) -> Result<DenoiseLearner> {
        DenoiseLearner::new(config, facts, device)
    }

    fn place(
        config: &mut DenoiseConfig,
        data: Option<&Path>,
    ) -> std::result::Result<(), DataError> {
        config.family.noise.place(data)
    }
}
