//! Dead leaves: pictures of occluding discs with power-law radii.
//!
//! Discs of random size fall on top of one another until nothing of the ground is seen. With a
//! density of radii ∝ r⁻³ the picture looks the same at every scale and shares the statistics of
//! natural images: a power spectrum ∝ f⁻², sharp edges, occlusion, uniform patches (Lee, Mumford &
//! Huang, "Occlusion models for natural images", 2001). Here small discs also take after the light
//! of their neighbourhood, as details of one thing do; each disc has a shade, many a faint grain,
//! and an edge may be out of focus.

use std::f32::consts::TAU;

use rand::Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    Contrast, DataError, InputFacts, Preprocessing, Splits, checked_made_counts, checked_shape,
    extent, globally_normalised, mean_and_deviation, part_generator,
};
use super::DEMONSTRATION;
use crate::rng::Stream;

/// Side of the pictures that patches are cut from.
const PICTURE: usize = 192;
/// Patches cut from one picture.
const PATCHES: usize = 64;
/// Below this share, what still shines through a pixel goes to the disc at hand.
const CLOSED: f32 = 1.0 / 64.0;

/// `source = "dead-leaves"`: patches of generated pictures of occluding discs, grey in [0, 1],
/// normalised by the mean and the standard deviation of the training part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLeavesConfig {
    /// Rows of a patch.
    #[schemars(range(min = 1, max = PICTURE))]
    pub height: usize,
    /// Pixels in a row of a patch.
    #[schemars(range(min = 1, max = PICTURE))]
    pub width: usize,
    /// Smallest radius of a disc, in pixels.
    #[schemars(range(min = 0.5))]
    pub radius_min: f32,
    /// Largest radius of a disc, in pixels; not below `radius_min`.
    pub radius_max: f32,
    /// Training patches.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub train: usize,
    /// Validation patches.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub validation: usize,
    /// Test patches.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub test: usize,
}

impl Default for DeadLeavesConfig {
    fn default() -> Self {
        Self {
            height: 8,
            width: 8,
            radius_min: 1.5,
            radius_max: 96.0,
            train: 20_000,
            validation: 2000,
            test: 2000,
        }
    }
}

impl DeadLeavesConfig {
    pub(in super::super) fn load(&self, seed: u64) -> Result<Splits, DataError> {
        for (field, side) in [("height", self.height), ("width", self.width)] {
            if !(1..=PICTURE).contains(&side) {
                return Err(DataError::config(
                    field,
                    format!("a patch of {side} pixels does not fit a picture of {PICTURE}"),
                    format!("choose 1 to {PICTURE}"),
                ));
            }
        }
        let shape = checked_shape(self.height, self.width, "height")?;
        checked_made_counts(self.train, self.validation, self.test)?;
        if !(self.radius_min >= 0.5 && self.radius_min.is_finite()) {
            return Err(DataError::config(
                "radius_min",
                format!("{} is too small", self.radius_min),
                "choose 0.5 pixels or more",
            ));
        }
        if !(self.radius_max >= self.radius_min && self.radius_max <= 4096.0) {
            return Err(DataError::config(
                "radius_max",
                format!("{} is not possible", self.radius_max),
                "choose data.radius_min or more, 4096 at most",
            ));
        }
        let train = self.patches(self.train, seed, Stream::TrainData);
        let validation = self.patches(self.validation, seed, Stream::ValidationData);
        let test = self.patches(self.test, seed, Stream::TestData);
        let (mean, deviation) = mean_and_deviation(&train).ok_or_else(|| {
            DataError::config(
                "train",
                "there are too few pixels to vary",
                "ask for more patches",
            )
        })?;
        let dim = shape.input_dim();
        let range = extent(train.iter().copied());
        let normalised = |raw| globally_normalised(raw, dim, mean, deviation);
        let description = format!(
            "generated dead leaves, seed {seed}, {shape} patches, {}/{}/{}",
            self.train, self.validation, self.test
        );
        Ok(Splits {
            train: normalised(train),
            validation: normalised(validation),
            test: normalised(test),
            shape,
            preprocessing: Preprocessing {
                mean,
                deviation,
                contrast: Contrast::None,
            },
            peak: 1.0,
            input: InputFacts {
                range: Some(range),
                ..InputFacts::default()
            },
            read: description.clone(),
            description,
            notes: Vec::new(),
        })
    }

    fn patches(&self, count: usize, seed: u64, stream: Stream) -> Vec<f32> {
        let dim = self.height * self.width;
        let mut samples = vec![0.0; count * dim];
        samples
            .par_chunks_mut(PATCHES * dim)
            .enumerate()
            .for_each(|(part, samples)| {
                let rng = &mut part_generator(seed, stream, part as u32);
                let picture = render(PICTURE, PICTURE, self.radius_min, self.radius_max, rng);
                for patch in samples.chunks_exact_mut(dim) {
                    let x = rng.random_range(0..=PICTURE - self.width);
                    let y = rng.random_range(0..=PICTURE - self.height);
                    for (row, line) in patch.chunks_exact_mut(self.width).enumerate() {
                        line.copy_from_slice(&picture[(y + row) * PICTURE + x..][..self.width]);
                    }
                }
            });
        samples
    }
}

/// A picture of occluding discs as [`DeadLeavesConfig`]'s patches are cut from, row-major, grey in
/// [0, 1]. For demonstrations: no patch of a data set comes from it.
///
/// ```
/// use sparsecode_trainer::data::dead_leaves_image;
///
/// let picture = dead_leaves_image(64, 48, 31);
/// assert_eq!(picture.len(), 64 * 48);
/// assert!(picture.iter().all(|grey| (0.0..=1.0).contains(grey)));
/// assert_eq!(picture, dead_leaves_image(64, 48, 31));
/// ```
pub fn dead_leaves_image(width: usize, height: usize, seed: u64) -> Vec<f32> {
    let config = DeadLeavesConfig::default();
    let rng = &mut part_generator(seed, Stream::TestData, DEMONSTRATION);
    render(width, height, config.radius_min, config.radius_max, rng)
}

/// Draws discs from the front to the back; a disc shows where those before it left something open.
fn render(
    width: usize,
    height: usize,
    radius_min: f32,
    radius_max: f32,
    rng: &mut impl Rng,
) -> Vec<f32> {
    let mut picture = vec![0.0f32; width * height];
    // The share of each pixel that no disc covers yet, and how many pixels of each row have any:
    // late discs find few.
    let mut open = vec![1.0f32; width * height];
    let mut open_in_row = vec![width; height];
    let mut open_pixels = width * height;
    let light = Light::draw(rng);
    let (steep, flat) = (radius_min.powi(-2), radius_max.powi(-2));
    while open_pixels > 0 {
        // Inverse of the distribution function of a density ∝ r⁻³.
        let radius = (steep - rng.random::<f32>() * (steep - flat)).powf(-0.5);
        // Centres are spread so far that a disc of the largest radius touches the picture from
        // every side.
        let x = rng.random_range(-radius_max..width as f32 + radius_max);
        let y = rng.random_range(-radius_max..height as f32 + radius_max);
        let reach = radius + 2.0;
        if x + reach < 0.0
            || y + reach < 0.0
            || x - reach > width as f32
            || y - reach > height as f32
        {
            continue;
        }
        let disc = Disc::draw(x, y, radius, light.at(x, y), rng);
        open_pixels -= disc.paint(&mut picture, &mut open, &mut open_in_row);
    }
    picture
        .iter_mut()
        .for_each(|grey| *grey = grey.clamp(0.0, 1.0));
    picture
}

/// Light that changes slowly over the picture.
struct Light([(f32, f32, f32); 4]);

impl Light {
    fn draw(rng: &mut impl Rng) -> Self {
        Self(std::array::from_fn(|_| {
            let (sin, cos) = (TAU * rng.random::<f32>()).sin_cos();
            let number = TAU / rng.random_range(60.0f32..240.0);
            (number * cos, number * sin, TAU * rng.random::<f32>())
        }))
    }

    /// In [0.1, 0.9].
    fn at(&self, x: f32, y: f32) -> f32 {
        let waves = self
            .0
            .iter()
            .map(|(kx, ky, phase)| (kx * x + ky * y + phase).sin());
        (0.5 + 0.22 * waves.sum::<f32>()).clamp(0.1, 0.9)
    }
}

struct Disc {
    x: f32,
    y: f32,
    radius: f32,
    grey: f32,
    /// Width of the edge in pixels: 1 is antialiased, more is out of focus.
    edge: f32,
    /// Change of grey per pixel.
    shade: (f32, f32),
    /// Amplitude, wave numbers (radians per pixel) and phase of two crossing waves.
    grain: f32,
    waves: [(f32, f32, f32); 2],
}

impl Disc {
    fn draw(x: f32, y: f32, radius: f32, light: f32, rng: &mut impl Rng) -> Self {
        // A disc of 16 pixels or more has any grey; the smallest keep two thirds of what surrounds
        // them.
        let own = 0.35 + 0.65 * (radius / 16.0).min(1.0);
        let grey = light + own * (rng.random_range(0.03f32..0.97) - light);
        let edge = 1.0 + 0.75 * rng.random::<f32>().powi(3);
        let (sin, cos) = (TAU * rng.random::<f32>()).sin_cos();
        // From one side of the disc to the other the light changes by up to 0.3.
        let slope = 0.15 * rng.random::<f32>() / radius;
        let grain = 0.035 * rng.random::<f32>().powi(2);
        let waves = std::array::from_fn(|_| {
            let (sin, cos) = (TAU * rng.random::<f32>()).sin_cos();
            let number = TAU / rng.random_range(3.0f32..14.0);
            (number * cos, number * sin, TAU * rng.random::<f32>())
        });
        Self {
            x,
            y,
            radius,
            grey,
            edge,
            shade: (slope * cos, slope * sin),
            grain,
            waves,
        }
    }

    /// Paints what is open; returns how many pixels it closed.
    fn paint(&self, picture: &mut [f32], open: &mut [f32], open_in_row: &mut [usize]) -> usize {
        let height = open_in_row.len();
        let width = picture.len() / height;
        let reach = self.radius + 0.5 * self.edge;
        let extent = |centre: f32, length: usize| {
            let from = (centre - reach).max(0.0) as usize;
            let to = ((centre + reach).max(0.0) as usize + 1).min(length);
            from..to
        };
        let mut closed = 0;
        for row in extent(self.y, height) {
            if open_in_row[row] == 0 {
                continue;
            }
            let dy = row as f32 + 0.5 - self.y;
            let half = (reach * reach - dy * dy).max(0.0).sqrt();
            let from = (self.x - half - 0.5).max(0.0) as usize;
            let to = ((self.x + half + 0.5).max(0.0) as usize).min(width);
            for column in from..to {
                let index = row * width + column;
                if open[index] == 0.0 {
                    continue;
                }
                let dx = column as f32 + 0.5 - self.x;
                let inside = (self.radius - (dx * dx + dy * dy).sqrt()) / self.edge + 0.5;
                if inside <= 0.0 {
                    continue;
                }
                let mut share = open[index] * inside.min(1.0);
                if open[index] - share < CLOSED {
                    share = open[index];
                    closed += 1;
                    open_in_row[row] -= 1;
                }
                open[index] -= share;
                picture[index] += share * self.grey_at(dx, dy);
            }
        }
        closed
    }

    fn grey_at(&self, dx: f32, dy: f32) -> f32 {
        let waves: f32 = self
            .waves
            .iter()
            .map(|(kx, ky, phase)| (kx * dx + ky * dy + phase).sin())
            .sum();
        self.grey + self.shade.0 * dx + self.shade.1 * dy + self.grain * waves
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::range;
    use super::*;

    /// The power spectrum of a square picture under a Hann window, for frequencies of −side/2 to
    /// side/2 − 1 cycles, by direct sums.
    fn spectrum(picture: &[f32], side: usize) -> Vec<f64> {
        let angle =
            |k: usize, n: usize| f64::from(TAU) * ((k + side / 2) * n % side) as f64 / side as f64;
        let hann = |n: usize| 0.5 - 0.5 * (f64::from(TAU) * (n as f64 + 0.5) / side as f64).cos();
        let mut rows = vec![(0.0, 0.0); side * side];
        for y in 0..side {
            for k in 0..side {
                for x in 0..side {
                    let value = f64::from(picture[y * side + x] - 0.5) * hann(x) * hann(y);
                    let (sin, cos) = angle(k, x).sin_cos();
                    rows[y * side + k].0 += value * cos;
                    rows[y * side + k].1 -= value * sin;
                }
            }
        }
        let mut power = vec![0.0; side * side];
        for (index, power) in power.iter_mut().enumerate() {
            let (l, k) = (index / side, index % side);
            let (mut re, mut im) = (0.0, 0.0);
            for y in 0..side {
                let (sin, cos) = angle(l, y).sin_cos();
                let (a, b) = rows[y * side + k];
                re += a * cos + b * sin;
                im += b * cos - a * sin;
            }
            *power = re * re + im * im;
        }
        power
    }

    #[test]
    fn the_power_spectrum_falls_as_that_of_natural_images() {
        let side = 64;
        // Mean power of the rings of 3 to 12 cycles a picture.
        let mut rings = vec![(0.0, 0.0); 13];
        for seed in 0..16 {
            let power = spectrum(&dead_leaves_image(side, side, seed), side);
            for (index, power) in power.iter().enumerate() {
                let centred = |k: usize| k as f64 - side as f64 / 2.0;
                let ring = centred(index / side).hypot(centred(index % side)).round() as usize;
                if let Some(ring) = rings.get_mut(ring) {
                    ring.0 += power;
                    ring.1 += 1.0;
                }
            }
        }
        let points: Vec<(f64, f64)> = (3..rings.len())
            .map(|ring| ((ring as f64).ln(), (rings[ring].0 / rings[ring].1).ln()))
            .collect();
        let count = points.len() as f64;
        let mx = points.iter().map(|p| p.0).sum::<f64>() / count;
        let my = points.iter().map(|p| p.1).sum::<f64>() / count;
        let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>()
            / points.iter().map(|p| (p.0 - mx).powi(2)).sum::<f64>();
        println!("power spectrum: f to the {slope:.2}");
        // White noise has 0, natural images −2 with some tenths about it, a lone edge −3. The least
        // radius is resolved, so the fall is steeper than −2 towards its wavelength.
        assert!((-2.8..=-1.8).contains(&slope), "{slope}");
    }

    #[test]
    fn pictures_have_edges_between_calm_regions() {
        let side = 160;
        let (mut gradients, mut greys) = (Vec::new(), Vec::new());
        for seed in 0..6 {
            let picture = dead_leaves_image(side, side, seed);
            assert!(picture.iter().all(|grey| (0.0..=1.0).contains(grey)));
            gradients.extend(
                picture
                    .chunks_exact(side)
                    .flat_map(|row| row.windows(2).map(|pair| pair[1] - pair[0])),
            );
            greys.extend(picture);
        }
        let (mean, deviation) = mean_and_deviation(&greys).unwrap();
        assert!(
            (mean - 0.5).abs() < 0.1 && (0.2..0.3).contains(&deviation),
            "{mean} {deviation}"
        );
        assert!(range(&greys) > 0.85);
        // Differences of neighbours in natural images are far from Gaussian (kurtosis 3): many next
        // to nothing, some large.
        let moment = |power: i32| {
            gradients
                .iter()
                .map(|g| f64::from(*g).powi(power))
                .sum::<f64>()
                / gradients.len() as f64
        };
        let kurtosis = moment(4) / moment(2).powi(2);
        println!("kurtosis of neighbours' differences: {kurtosis:.1}");
        assert!(kurtosis > 8.0, "{kurtosis}");
    }

    #[test]
    fn patches_repeat_for_a_seed_on_any_number_of_threads() {
        let config = DeadLeavesConfig {
            height: 8,
            width: 12,
            train: 200,
            validation: 70,
            test: 60,
            ..DeadLeavesConfig::default()
        };
        let load = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| config.load(seed)).unwrap()
        };
        let (one, three, other) = (load(1, 7), load(3, 7), load(3, 8));
        assert_eq!(one.shape.to_string(), "8x12");
        assert_eq!(
            (one.train.len(), one.validation.len(), one.test.len()),
            (200, 70, 60)
        );
        assert_eq!(one.train.samples, three.train.samples);
        assert_ne!(one.train.samples, other.train.samples);
        assert_ne!(one.train.sample(0), one.validation.sample(0));
        assert_ne!(one.test.sample(0), one.validation.sample(0));
        let (mean, deviation) = mean_and_deviation(&one.train.samples).unwrap();
        assert!(mean.abs() < 1e-5 && (deviation - 1.0).abs() < 1e-5);
        for index in 0..one.test.len() {
            let mut patch = one.test.sample(index).to_vec();
            one.test.restore.restore(index, &mut patch);
            assert!(patch.iter().all(|grey| (-1e-5..=1.00001).contains(grey)));
        }
    }

    #[test]
    fn twenty_thousand_patches_are_quick() {
        let start = std::time::Instant::now();
        let splits = DeadLeavesConfig::default().load(31).unwrap();
        println!("{} in {:?}", splits.description, start.elapsed());
        assert_eq!(splits.train.len(), 20_000);
    }

    #[test]
    fn impossible_fields_are_named() {
        let good = DeadLeavesConfig {
            train: 1,
            ..DeadLeavesConfig::default()
        };
        for (config, needle) in [
            (
                DeadLeavesConfig {
                    height: 0,
                    ..good.clone()
                },
                "data.height",
            ),
            (
                DeadLeavesConfig {
                    width: 193,
                    ..good.clone()
                },
                "data.width",
            ),
            (
                DeadLeavesConfig {
                    radius_min: f32::NAN,
                    ..good.clone()
                },
                "data.radius_min",
            ),
            (
                DeadLeavesConfig {
                    radius_max: 1.0,
                    ..good.clone()
                },
                "data.radius_max",
            ),
            (
                DeadLeavesConfig {
                    validation: 0,
                    ..good.clone()
                },
                "data.validation",
            ),
        ] {
            let error = config.load(1).unwrap_err().to_string();
            assert!(error.starts_with(needle), "{error}");
        }
    }
}
