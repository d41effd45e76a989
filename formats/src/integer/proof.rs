//! That no sum overflows, from the weights themselves.

use core::fmt;

use super::blocks::{Blocks, LANES, Packed, WeightBlocks};
use super::contrast::IntegerContrast;
use super::limits::{CODE_LIMIT, DRIVE_LIMIT};
#[cfg(feature = "variational")]
use super::lista::IntegerEncoder;
use super::read::IntegerFile;
#[cfg(feature = "variational")]
use super::read::{IntegerLayer, IntegerVariationalBody};
use super::rescale::Rescales;
use super::spec::IntegerSpec;
use crate::spec::CodeSign;
#[cfg(feature = "variational")]
use crate::widths::EncoderWidths;

/// A number that could leave its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overflow {
    /// The tensor whose product it is, or whose rescaling.
    pub tensor: &'static str,
    /// The row (`encoder.input`, `decoder.dictionary` against a sample) or column of the product's
    /// output.
    pub output: usize,
    /// What its magnitude could reach.
    pub bound: i64,
    /// What it may reach.
    pub limit: i64,
    /// Whether fewer levels of the input would help.
    pub by_input: bool,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tensor,
            output,
            bound,
            limit,
            by_input,
        } = self;
        let remedy = if *by_input {
            "use fewer levels (a larger input scale)"
        } else {
            "no ranges help these weights, export with activations f32"
        };
        write!(
            f,
            "tensor {tensor}: output {output} could reach {bound}, more than {limit}: {remedy}"
        )
    }
}

impl core::error::Error for Overflow {}

/// The levels of a sample that products take.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    range: (i16, i16),
    /// A bound of the levels' Euclidean norm, if the contrast sets one.
    norm: Option<u64>,
}

impl Levels {
    /// Those between dense layers.
    #[cfg(feature = "variational")]
    pub(super) const HIDDEN: Self = Self {
        range: (0, i16::MAX),
        norm: None,
    };

    pub(super) fn of(spec: &IntegerSpec) -> Self {
        let norm = match spec.contrast {
            // 4096 to a deviation that is rounded down, to 16 of its units or more, which makes
            // 17/16 of it at most, with some rounding: √(d·(4096·√(17² + 1)/16 + ½)²).
            IntegerContrast::Standardize { .. } => {
                let square = (spec.input_dim() as u64).saturating_mul(4361 * 4361);
                Some(square.isqrt().saturating_add(1))
            }
            _ => None,
        };
        Self {
            range: spec.level_range(),
            norm,
        }
    }

    /// The largest magnitude of `Σ w x`, partial sums included.
    pub(super) fn reach(self, weights: impl Iterator<Item = i16>) -> i64 {
        let (mut up, mut down, mut squares) = (0_i64, 0_i64, 0_u64);
        for weight in weights {
            // The first is not above 0 and the second not below.
            let (least, most) = self.range;
            let ends = [least, most].map(|level| i64::from(level) * i64::from(weight));
            up += ends[0].max(ends[1]);
            down -= ends[0].min(ends[1]);
            squares += u64::from(weight.unsigned_abs()).pow(2);
        }
        let bound = up.max(down);
        match self.norm {
            None => bound,
            // Cauchy's and Schwarz's.
            Some(norm) => {
                let product = squares.isqrt().saturating_add(1).saturating_mul(norm);
                bound.min(i64::try_from(product).unwrap_or(i64::MAX))
            }
        }
    }
}

impl IntegerFile<'_> {
    /// Proves from the stored weights and the ranges of levels that no 32-bit sum can overflow, and
    /// that no drive and no correlation has to be cut, whatever the sample, the code and the number
    /// of iterations. The writer does the same and writes no file that fails.
    ///
    /// Cost: one pass over the weights, with 64-bit sums.
    ///
    /// # Errors
    ///
    /// The first tensor for which it does not hold.
    pub fn prove(&self) -> Result<(), Overflow> {
        prove(self)
    }
}

/// See [`IntegerFile::prove`].
fn prove(file: &IntegerFile<'_>) -> Result<(), Overflow> {
    let levels = Levels::of(&file.spec);
    let limit = i32::from(file.spec.activations.code_limit());
    let codes = file.refiner.codes;
    // A drive or a correlation is cut to ±2²⁹, and so is what is added to it: none may ever have to
    // be.
    let by_input = !matches!(file.spec.contrast, IntegerContrast::Standardize { .. });
    #[cfg(feature = "variational")]
    let lista = variational(file, levels, by_input)?.or(file.encoder.as_ref());
    #[cfg(not(feature = "variational"))]
    let lista = file.encoder.as_ref();
    if let Some(encoder) = lista {
        let names = ["encoder.input", "encoder.input.multiplier"];
        weight_rows(
            &encoder.input,
            levels,
            &encoder.input_rescale,
            names,
            by_input,
        )?;
        // Drives, biases and rescaled sums of at most
        // 2^31 · 2^31 / 2^33 stay below 3 · 2^29 in all.
        columns(&encoder.recurrent, codes, |_| limit, "encoder.recurrent")?;
    }
    let names = ["decoder.dictionary", "refiner.correlation.multiplier"];
    let correlation = &file.refiner.correlation;
    weight_rows(
        &file.decoder.dictionary,
        levels,
        correlation,
        names,
        by_input,
    )?;
    let contribution = |k: usize| {
        let multiplier = file.decoder.multiplier.get(k).copied().unwrap_or(0);
        (limit * multiplier + (1 << 14)) >> 15
    };
    match &file.decoder.dictionary {
        WeightBlocks::I8(matrix) => columns(matrix, codes, contribution, "decoder.dictionary")?,
        WeightBlocks::I4(matrix) => columns(matrix, codes, contribution, "decoder.dictionary")?,
    }
    // Changes of components are added one by one, and their sums wrap. What is kept is the sum for
    // a whole code.
    columns(&file.refiner.gram, codes, |_| CODE_LIMIT, "refiner.gram")
}

fn weight_rows(
    matrix: &WeightBlocks<'_>,
    levels: Levels,
    by: &Rescales<'_>,
    names: [&'static str; 2],
    by_input: bool,
) -> Result<(), Overflow> {
    match matrix {
        WeightBlocks::I8(matrix) => rows(matrix, levels, by, names, by_input),
        WeightBlocks::I4(matrix) => rows(matrix, levels, by, names, by_input),
    }
}

/// Sums of dense layers, of which each but the first takes levels of 0 to 32767. Returns the LISTA
/// body, whose sums are those of LISTA with signed codes.
#[cfg(feature = "variational")]
fn variational<'f, 'a>(
    file: &'f IntegerFile<'a>,
    levels: Levels,
    by_input: bool,
) -> Result<Option<&'f IntegerEncoder<'a>>, Overflow> {
    const TRUNK: [[&str; 2]; EncoderWidths::MOST] = [
        ["encoder.trunk.0", "encoder.trunk.0.multiplier"],
        ["encoder.trunk.1", "encoder.trunk.1.multiplier"],
        ["encoder.trunk.2", "encoder.trunk.2.multiplier"],
        ["encoder.trunk.3", "encoder.trunk.3.multiplier"],
    ];
    let Some(encoder) = &file.variational else {
        return Ok(None);
    };
    let layer = |layer: &IntegerLayer<'_>, levels, names, by_input| {
        weight_rows(&layer.weights, levels, &layer.rescale, names, by_input)
    };
    let lista = match &encoder.body {
        IntegerVariationalBody::Dense { trunk, shift, .. } => {
            let (mut levels, mut by_input) = (levels, by_input);
            for (part, names) in trunk.iter().flatten().zip(TRUNK) {
                layer(part, levels, names, by_input)?;
                (levels, by_input) = (Levels::HIDDEN, false);
            }
            let names = ["encoder.shift", "encoder.shift.multiplier"];
            layer(shift, Levels::HIDDEN, names, false)?;
            None
        }
        IntegerVariationalBody::Lista { encoder, .. } => Some(encoder),
    };
    if let Some(scale) = &encoder.scale {
        let names = ["encoder.scale", "encoder.scale.multiplier"];
        layer(scale, Levels::HIDDEN, names, false)?;
    }
    Ok(lista)
}

/// Sums of rows with a sample in 32 bits, and what they are rescaled to within the limit of drives.
fn rows<T: Packed>(
    matrix: &Blocks<'_, T>,
    levels: Levels,
    by: &Rescales<'_>,
    [tensor, rescaled]: [&'static str; 2],
    by_input: bool,
) -> Result<(), Overflow> {
    for (output, &multiplier) in (0..matrix.rows()).zip(by.multipliers) {
        let reach = levels.reach(matrix.row(output).flatten());
        check(reach, i64::from(i32::MAX), tensor, output, by_input)?;
        // Below 2⁶² before the shift.
        let drive = (reach * i64::from(multiplier)) >> by.shift;
        check(drive, i64::from(DRIVE_LIMIT), rescaled, output, by_input)?;
    }
    Ok(())
}

/// `Σ_k w_kj z_k` for every column j and all `z` between 0 and `most(k)`, or, signed, `±most(k)`;
/// partial sums in any order included.
fn columns<T: Packed>(
    matrix: &Blocks<'_, T>,
    codes: CodeSign,
    most: impl Fn(usize) -> i32,
    tensor: &'static str,
) -> Result<(), Overflow> {
    for block in 0..matrix.count() {
        let (mut up, mut down) = ([0_i64; LANES], [0_i64; LANES]);
        for (k, row) in T::eights(matrix.block(block)).iter().enumerate() {
            let most = i64::from(most(k));
            for ((weight, up), down) in T::levels(row).into_iter().zip(&mut up).zip(&mut down) {
                let term = i64::from(weight) * most;
                *up += term.max(0);
                *down -= term.min(0);
            }
        }
        for (lane, (up, down)) in up.into_iter().zip(down).enumerate() {
            let limit = i64::from(i32::MAX);
            check(
                reach(codes, up, down),
                limit,
                tensor,
                block * LANES + lane,
                false,
            )?;
        }
    }
    Ok(())
}

/// The largest magnitude of a sum whose positive terms make `up` and whose negative ones `down`,
/// for a code of ones. Of a code that is not negative only one sign of the weights counts at a
/// time.
pub(super) const fn reach(codes: CodeSign, up: i64, down: i64) -> i64 {
    match codes {
        CodeSign::Signed => up + down,
        CodeSign::NonNegative if up > down => up,
        CodeSign::NonNegative => down,
    }
}

fn check(
    bound: i64,
    limit: i64,
    tensor: &'static str,
    output: usize,
    by_input: bool,
) -> Result<(), Overflow> {
    if bound <= limit {
        Ok(())
    } else {
        Err(Overflow {
            tensor,
            output,
            bound,
            limit,
            by_input,
        })
    }
}
