//! Samples of a variational model's posterior, and the best of them.
//!
//! A sample is a function of seed, input, number and component alone, so that none is kept: each is
//! decoded while it is drawn, and the best one is drawn again.

use core::{iter, slice};

use sparsecode_formats::{
    CodeSign, Layer, MatrixRef, ModelFile, Posterior, PosteriorThreshold, Variational,
    VariationalBody, Weights,
};

use super::code::{CodeBuffer, take_dense};
use super::decoder;
use super::noise::{self, Noise, Unit};
use super::variational_encoder::{affine, features, infer};
use super::workspace::Scratch;
use crate::chacha::Words;
use crate::error::SampleError;
use crate::quality::mean_squared_error;

/// Which samples are drawn.
///
/// Sample `j` of input `i` is the same wherever and whenever it is drawn, on a device and on a
/// host, alone or among others: its random numbers are those of the ChaCha8 stream `i` under the
/// key `seed` from word `j·2¹⁶` on, a word for each component.
///
/// ```
/// use sparsecode_runtime::Samples;
///
/// // 8 samples of the hundredth window, and then 8 more of them.
/// let samples = Samples { input: 99, ..Samples::new(7, 8) };
/// let more = Samples { first: 8, ..samples };
/// assert_eq!((samples.first, more.count), (0, 8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Samples {
    /// The key of all random numbers.
    pub seed: u64,
    /// The number of the input: of a window in a stream, of a patch in a picture. Inputs with the
    /// same number have the same noise.
    pub input: u64,
    /// The first sample's number.
    pub first: u32,
    /// J, how many samples are drawn: at least 1. Numbers behind 2³² − 1 begin again at 0.
    pub count: u32,
}

impl Samples {
    /// The first `count` samples of input 0.
    #[must_use]
    pub const fn new(seed: u64, count: u32) -> Self {
        Self {
            seed,
            input: 0,
            first: 0,
            count,
        }
    }
}

/// The best of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BestOf {
    /// Its number.
    pub sample: u32,
    /// Its mean square error, `(1/d)·‖x − A z‖²`, in the unit of the preprocessed input.
    pub error: f32,
}

/// Draws samples of the code of `input` and writes the best one. All slices have the dimensions of
/// the model. A failed call leaves `code` as it was.
pub(crate) fn best_of<C: CodeBuffer>(
    file: &ModelFile<'_>,
    samples: &Samples,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) -> Result<BestOf, SampleError> {
    let encoder = file.variational.as_ref().ok_or(SampleError::Posterior)?;
    let posterior = encoder.posterior.as_ref().ok_or(SampleError::Posterior)?;
    let Samples {
        seed,
        input: number,
        first,
        count,
    } = *samples;
    if count == 0 {
        return Err(SampleError::Count);
    }
    let iterations = file.spec.lista_iterations.unwrap_or(0);
    prepare(encoder, posterior, iterations, input, code, scratch);
    let Scratch {
        drive: shift,
        point: spread,
        residual: answer,
        hidden,
    } = scratch;
    let noise = Noise::new(posterior);
    let mut best = BestOf {
        sample: first,
        error: f32::NAN,
    };
    for offset in 0..count {
        let sample = first.wrapping_add(offset);
        let mut entries = Entries {
            noise,
            words: Words::new(seed, number, sample),
            units: shift
                .iter()
                .zip(spread.iter())
                .zip(code.values())
                .enumerate(),
        };
        decoder::decode(&file.decoder, &mut entries, hidden, answer);
        let error = mean_squared_error(answer, input);
        // The first one stays where no error is a number.
        if offset == 0 || error < best.error {
            best = BestOf { sample, error };
        }
    }
    let mut words = Words::new(seed, number, best.sample);
    for ((shift, spread), limit) in shift.iter_mut().zip(spread.iter()).zip(code.values()) {
        let unit = Unit {
            shift: *shift,
            spread: *spread,
            limit: *limit,
        };
        *shift = noise.value(unit, words.next()).unwrap_or(0.0);
    }
    take_dense(code, CodeSign::Signed, shift);
    Ok(best)
}

/// μ, b or σ, and limits, one of each for a component.
type Units<'a> = iter::Enumerate<
    iter::Zip<iter::Zip<slice::Iter<'a, f32>, slice::Iter<'a, f32>>, slice::Iter<'a, f32>>,
>;

/// The active components of a sample, drawn as they are asked for.
struct Entries<'a> {
    noise: Noise,
    words: Words,
    units: Units<'a>,
}

impl Iterator for Entries<'_> {
    type Item = (usize, f32);

    fn next(&mut self) -> Option<(usize, f32)> {
        loop {
            let (index, ((&shift, &spread), &limit)) = self.units.next()?;
            let unit = Unit {
                shift,
                spread,
                limit,
            };
            if let Some(value) = self.noise.value(unit, self.words.next()) {
                return Some((index, value));
            }
        }
    }
}

/// Leaves μ in `drive` and the spread in `point`. `code` receives the limits, one for each
/// component, which is no code: it has the room, and nothing else to hold yet.
#[inline(never)] // gives its stack back
fn prepare<C: CodeBuffer>(
    encoder: &Variational<'_>,
    posterior: &Posterior<'_>,
    iterations: u8,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        drive: shift,
        point: spread,
        hidden,
        ..
    } = scratch;
    match &encoder.body {
        VariationalBody::Dense { trunk, shift: head } => {
            let features = features(trunk, input, hidden);
            affine(head, features, shift);
            spreads(posterior, features, spread);
            limits(posterior, features, spread, code);
        }
        VariationalBody::Lista {
            encoder: lista,
            shrinkage,
        } => {
            infer(lista, shrinkage, iterations, input, code, (shift, spread));
            code.to_dense(shift);
            for magnitude in shift.iter_mut() {
                *magnitude = magnitude.abs();
            }
            spreads(posterior, shift, spread);
            // Heads take |μ|; the sign of μ waits beside the spread, which has none.
            for (index, value) in code.iter() {
                if value < 0.0
                    && let Some(spread) = spread.get_mut(usize::from(index))
                {
                    *spread = -*spread;
                }
            }
            limits(posterior, shift, spread, code);
            for (shift, spread) in shift.iter_mut().zip(spread.iter_mut()) {
                if spread.is_sign_negative() {
                    (*shift, *spread) = (-*shift, -*spread);
                }
            }
        }
    }
}

/// b or σ of each component.
fn spreads(posterior: &Posterior<'_>, features: &[f32], spread: &mut [f32]) {
    affine(&posterior.scale, features, spread);
    for spread in spread.iter_mut() {
        *spread = noise::spread(posterior.base, *spread);
    }
}

/// Rows of a head that are computed together.
const ROWS: usize = 8;

/// What the probability to be active is of each component, by the magnitude of its spread.
fn limits<C: CodeBuffer>(
    posterior: &Posterior<'_>,
    features: &[f32],
    spread: &[f32],
    code: &mut C,
) {
    code.clear();
    let (mut shapes, mut rates) = ([0.0; ROWS], [0.0; ROWS]);
    let indices = (0..=u16::MAX).step_by(ROWS);
    for (first, spread) in indices.zip(spread.chunks(ROWS)) {
        if let PosteriorThreshold::Learned { shape, rate } = &posterior.threshold {
            let (from, count) = (usize::from(first), spread.len());
            for (head, output) in [(shape, &mut shapes), (rate, &mut rates)] {
                let rows = rows(head, from, count);
                affine(&rows, features, output.get_mut(..count).unwrap_or_default());
            }
        }
        let heads = shapes.iter().zip(&rates);
        for ((index, spread), (shape, rate)) in (first..=u16::MAX).zip(spread).zip(heads) {
            let spread = spread.abs();
            let probability = match posterior.threshold {
                PosteriorThreshold::None => 1.0,
                PosteriorThreshold::Fixed(threshold) => {
                    noise::activity(posterior.base, threshold, spread)
                }
                PosteriorThreshold::Learned { .. } => {
                    noise::learned_activity(*shape, *rate, spread)
                }
            };
            code.append(index, noise::limit(probability));
        }
    }
}

/// `count` outputs of a layer from output `first` on.
fn rows<'a>(layer: &Layer<'a>, first: usize, count: usize) -> Layer<'a> {
    fn part<T>(all: &[T], first: usize, count: usize) -> &[T] {
        let rest = all.get(first..).unwrap_or_default();
        rest.get(..count).unwrap_or(rest)
    }
    let cols = layer.weights.cols;
    let (begin, length) = (first.saturating_mul(cols), count.saturating_mul(cols));
    let weights = match layer.weights.weights {
        Weights::F32(values) => Weights::F32(part(values, begin, length)),
        Weights::I16 { values, scale } => Weights::I16 {
            values: part(values, begin, length),
            scale: part(scale, first, count),
        },
        Weights::I8 { values, scale } => Weights::I8 {
            values: part(values, begin, length),
            scale: part(scale, first, count),
        },
    };
    Layer {
        weights: MatrixRef {
            rows: count,
            weights,
            ..layer.weights
        },
        bias: part(layer.bias, first, count),
    }
}
