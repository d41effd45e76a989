//! That no sum overflows, from the weights themselves.

use core::fmt;

use super::CODE_LIMIT;
use super::blocks::{Blocks, LANES};
use super::read::IntegerFile;

/// A sum that could leave 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overflow {
    /// The tensor whose product it is.
    pub tensor: &'static str,
    /// The row (`encoder.input`, `decoder.dictionary` against a sample) or column of the product's output.
    pub output: usize,
    /// What the sum's magnitude could reach.
    pub bound: i64,
    /// What it may reach.
    pub limit: i64,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tensor,
            output,
            bound,
            limit,
        } = self;
        write!(
            f,
            "tensor {tensor}: sum {output} could reach {bound}, more than {limit}: use fewer levels (a larger input scale)"
        )
    }
}

impl core::error::Error for Overflow {}

/// See [`IntegerFile::prove`].
pub(super) fn prove(file: &IntegerFile<'_>) -> Result<(), Overflow> {
    let whole = i64::from(i32::MAX);
    let levels = file.spec.level_range();
    if let Some(encoder) = &file.encoder {
        rows(&encoder.input, levels, "encoder.input", whole)?;
        // A code never falls below 0, so that one sign of the weights counts at a time. Drives, biases and rescaled sums of at most
        // 2^31 · 2^31 / 2^33 stay below 3 · 2^29 in all.
        columns(
            &encoder.recurrent,
            |_| CODE_LIMIT,
            "encoder.recurrent",
            whole,
        )?;
    }
    rows(
        &file.decoder.dictionary,
        levels,
        "decoder.dictionary",
        whole,
    )?;
    let contribution = |k: usize| {
        let multiplier = file.decoder.multiplier.get(k).copied().unwrap_or(0);
        (CODE_LIMIT * multiplier + (1 << 14)) >> 15
    };
    columns(
        &file.decoder.dictionary,
        contribution,
        "decoder.dictionary",
        whole,
    )?;
    // A change of a component is as large as a component, and of either sign; what is kept is the sum for a whole code.
    columns(&file.refiner.gram, |_| CODE_LIMIT, "refiner.gram", whole)?;
    Ok(())
}

/// `Σ_j w_kj x_j` for every row k and all `x` between two levels of which the first is not above 0 and the second not below.
fn rows(
    matrix: &Blocks<'_, i8>,
    (least, most): (i16, i16),
    tensor: &'static str,
    limit: i64,
) -> Result<(), Overflow> {
    for output in 0..matrix.rows() {
        let weights = (0..matrix.count()).flat_map(|block| {
            let rows = matrix.block(block).as_chunks::<LANES>().0;
            rows.get(output).into_iter().flatten()
        });
        let (mut up, mut down) = (0_i64, 0_i64);
        for &weight in weights {
            let ends = [least, most].map(|level| i64::from(level) * i64::from(weight));
            up += ends[0].max(ends[1]);
            down -= ends[0].min(ends[1]);
        }
        check(up.max(down), limit, tensor, output)?;
    }
    Ok(())
}

/// `Σ_k w_kj z_k` for every column j and all `z` between 0 and `most(k)`; partial sums in any order included.
fn columns<T: Copy + Into<i64>>(
    matrix: &Blocks<'_, T>,
    most: impl Fn(usize) -> i32,
    tensor: &'static str,
    limit: i64,
) -> Result<(), Overflow> {
    for block in 0..matrix.count() {
        let (mut up, mut down) = ([0_i64; LANES], [0_i64; LANES]);
        for (k, row) in matrix
            .block(block)
            .as_chunks::<LANES>()
            .0
            .iter()
            .enumerate()
        {
            let most = i64::from(most(k));
            for ((weight, up), down) in row.iter().zip(&mut up).zip(&mut down) {
                let term = (*weight).into() * most;
                *up += term.max(0);
                *down -= term.min(0);
            }
        }
        for (lane, (up, down)) in up.into_iter().zip(down).enumerate() {
            check(up.max(down), limit, tensor, block * LANES + lane)?;
        }
    }
    Ok(())
}

fn check(bound: i64, limit: i64, tensor: &'static str, output: usize) -> Result<(), Overflow> {
    if bound <= limit {
        Ok(())
    } else {
        Err(Overflow {
            tensor,
            output,
            bound,
            limit,
        })
    }
}
