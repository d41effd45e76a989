//! Local contrast normalisation beside its definition.

use proptest::prelude::*;
use sparsecode_formats::{Contrast, Preprocessing};
use sparsecode_runtime::stream::{ContrastError, ContrastStream, LocalContrast};

use crate::common::Random;
use crate::whole::{close, reflected};

pub(crate) const RAW: Preprocessing = Preprocessing::IDENTITY;

pub(crate) fn local<const WINDOW: usize>(
    sigma: f32,
    floor: f32,
    affine: Preprocessing,
) -> LocalContrast<WINDOW> {
    LocalContrast::new(&Preprocessing {
        contrast: Contrast::Local {
            window: WINDOW as u16,
            sigma,
            floor,
        },
        ..affine
    })
    .unwrap()
}

/// The definition: `f64`, one two-dimensional Gaussian, reflection. Returns normalised pixels,
/// means, deviations.
pub(crate) fn local_contrast(
    pixels: &[f64],
    width: usize,
    window: usize,
    sigma: f32,
    floor: f32,
) -> [Vec<f64>; 3] {
    let height = pixels.len() / width;
    let half = (window / 2) as isize;
    let (sigma, floor) = (f64::from(sigma), f64::from(floor));
    let weight = |y: isize, x: isize| (-((y * y + x * x) as f64) / (2.0 * sigma * sigma)).exp();
    let offsets = || (-half..=half).flat_map(|y| (-half..=half).map(move |x| (y, x)));
    let total: f64 = offsets().map(|(y, x)| weight(y, x)).sum();
    let blur = |values: &[f64]| -> Vec<f64> {
        let at = |row: usize, column: usize| -> f64 {
            offsets()
                .map(|(y, x)| {
                    let row = reflected(row as isize + y, height);
                    let column = reflected(column as isize + x, width);
                    weight(y, x) / total * values[row * width + column]
                })
                .sum()
        };
        (0..values.len())
            .map(|i| at(i / width, i % width))
            .collect()
    };
    let mean = blur(pixels);
    let centred: Vec<f64> = pixels.iter().zip(&mean).map(|(x, m)| x - m).collect();
    let squares: Vec<f64> = centred.iter().map(|v| v * v).collect();
    let deviation: Vec<f64> = blur(&squares).iter().map(|v| v.sqrt().max(floor)).collect();
    let normalised = centred.iter().zip(&deviation).map(|(v, d)| v / d).collect();
    [normalised, mean, deviation]
}

/// A whole frame through a stream: normalised pixels, means, deviations.
pub(crate) fn contrast<const WIDTH: usize, const WINDOW: usize>(
    stream: &mut ContrastStream<WIDTH, WINDOW>,
    settings: &LocalContrast<WINDOW>,
    pixels: &[f32],
) -> [Vec<f32>; 3] {
    let mut output = [const { Vec::new() }; 3];
    let (mut mean, mut deviation) = ([f32::NAN; WIDTH], [f32::NAN; WIDTH]);
    for (y, line) in pixels.as_chunks::<WIDTH>().0.iter().enumerate() {
        let mut line = *line;
        let done = stream.push(settings, &mut line, &mut mean, &mut deviation);
        assert_eq!(done, y >= WINDOW - 1);
        if done {
            output[0].extend(line);
            output[1].extend(mean);
            output[2].extend(deviation);
        }
    }
    let mut line = [f32::NAN; WIDTH];
    stream.finish(
        settings,
        &mut line,
        &mut mean,
        &mut deviation,
        |line, mean, deviation| {
            output[0].extend(*line);
            output[1].extend(*mean);
            output[2].extend(*deviation);
        },
    );
    assert!(output.iter().all(|part| part.len() == pixels.len()));
    output
}

fn check_contrast<const WIDTH: usize, const WINDOW: usize>(sigma: f32) {
    let mut stream = ContrastStream::<WIDTH, WINDOW>::new();
    for height in [0, 1, 2, 3, 5, 6, 7, 8, 12, 13, 14, 25, 26, 27, 40] {
        for (floor, level) in [(0.02, 0.0), (0.7, 3.0)] {
            let settings = local::<WINDOW>(sigma, floor, RAW);
            let mut pixels = Random(height as u64).vector(WIDTH * height, 1.0);
            pixels.iter_mut().for_each(|v| *v += level);
            let exact: Vec<f64> = pixels.iter().copied().map(f64::from).collect();
            let expected = local_contrast(&exact, WIDTH, WINDOW, sigma, floor);
            let found = contrast(&mut stream, &settings, &pixels);
            let bound = 5e-7 * (1.0 + f64::from(level));
            for i in 0..pixels.len() {
                let [value, mean, deviation] = [0, 1, 2].map(|part| expected[part][i]);
                close(found[1][i], mean, bound);
                close(found[2][i], deviation, bound);
                close(found[0][i], value, bound * (1.0 + value.abs()) / deviation);
                let mut restored = [found[0][i]];
                settings.restore(&mut restored, &found[1][i..], &found[2][i..]);
                close(restored[0], exact[i], bound);
            }
        }
    }
}

#[test]
fn contrast_normalisation_equals_its_definition() {
    check_contrast::<1, 1>(1.0);
    check_contrast::<1, 5>(2.0);
    check_contrast::<2, 3>(0.5);
    check_contrast::<5, 13>(5.0); // narrower than the window
    check_contrast::<16, 7>(2.5);
    check_contrast::<31, 13>(5.0);
    check_contrast::<13, 13>(1.7);
    check_contrast::<33, 31>(10.0);
}

proptest! {
    #[test]
    fn contrast_is_undone(
        lines in prop::collection::vec(prop::array::uniform9(-50.0_f32..50.0), 0..20),
        sigma in 0.3_f32..9.0,
        floor in 0.01_f32..5.0,
    ) {
        let pixels = lines.as_flattened();
        let settings = local::<5>(sigma, floor, Preprocessing { mean: 3.0, deviation: 4.0, ..RAW });
        let mut scaled = pixels.to_vec();
        settings.scale(&mut scaled);
        let [mut values, means, deviations] =
            contrast(&mut ContrastStream::<9, 5>::new(), &settings, &scaled);
        prop_assert!(deviations.iter().all(|deviation| *deviation >= floor));
        settings.restore(&mut values, &means, &deviations);
        for (value, pixel) in values.iter().zip(pixels) {
            prop_assert!((value - pixel).abs() <= 50e-6);
        }
    }
}

#[test]
fn a_bad_pixel_spoils_its_surroundings_and_nothing_else() {
    const WIDTH: usize = 30;
    let settings = local::<7>(2.5, 0.02, RAW);
    let mut stream = ContrastStream::<WIDTH, 7>::new();
    let pixels = Random(10).vector(WIDTH * 31, 1.0);
    let good = contrast(&mut stream, &settings, &pixels);
    for bad in [f32::NAN, f32::INFINITY] {
        for (row, column) in [(0, 0), (14, 12), (30, 29)] {
            let mut spoilt = pixels.clone();
            spoilt[row * WIDTH + column] = bad;
            let found = contrast(&mut stream, &settings, &spoilt);
            for place in 0..pixels.len() {
                let (y, x) = (place / WIDTH, place % WIDTH);
                let distance = y.abs_diff(row).max(x.abs_diff(column));
                assert_eq!(found[1][place].is_finite(), distance > 3);
                assert_eq!(found[0][place].is_finite(), distance > 3);
                if distance > 6 {
                    let all = |parts: &[Vec<f32>; 3]| [0, 1, 2].map(|part| parts[part][place]);
                    assert_eq!(all(&found), all(&good));
                }
            }
            assert_eq!(contrast(&mut stream, &settings, &pixels), good);
        }
    }
}

#[test]
fn unusable_contrast_is_named() {
    let with = |contrast| LocalContrast::<7>::new(&Preprocessing { contrast, ..RAW });
    assert_eq!(with(Contrast::None), Err(ContrastError::NotLocal));
    assert_eq!(with(Contrast::RemoveMean), Err(ContrastError::NotLocal));
    let local = |window, sigma, floor| Contrast::Local {
        window,
        sigma,
        floor,
    };
    let error = with(local(13, 5.0, 0.1)).unwrap_err();
    let expected = ContrastError::Window {
        expected: 7,
        found: 13,
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("13 pixels wide"));
    for (contrast, name) in [
        (local(7, f32::NAN, 0.1), "sigma"),
        (local(7, 0.0, 0.1), "sigma"),
        (local(7, 1.0, -0.1), "floor"),
    ] {
        assert_eq!(with(contrast), Err(ContrastError::Value { field: name }));
    }
    let affine = |mean, deviation| {
        LocalContrast::<7>::new(&Preprocessing {
            mean,
            deviation,
            contrast: local(7, 1.0, 0.1),
        })
        .err()
    };
    assert_eq!(
        affine(0.0, 0.0),
        Some(ContrastError::Value { field: "deviation" })
    );
    assert_eq!(
        affine(f32::NAN, 1.0),
        Some(ContrastError::Value { field: "mean" })
    );
    assert_eq!(affine(0.3, 0.2), None);
}
