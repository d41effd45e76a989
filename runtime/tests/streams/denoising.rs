//! Whole streams through models that denoise, beside their parts one after the other.

use std::cell::RefCell;

use proptest::prelude::*;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, GramStorage, IntegerFile, ModelFile, OwnedModel,
    Preprocessing, WeightType, example, example_denoiser, write, write_integer_with,
};
use sparsecode_runtime::stream::{
    Cursor, DenoiseCursor, DenoiseScratch, DenoiseStream, DenoiseView, DenoiseWindows, Denoising,
    DriftCursor, DriftView, NOISE_MEMORY, NoiseLevel, Sample, SignalView, StreamError, Windows,
    residual_guard, residual_guard_i16,
};
use sparsecode_runtime::{IntegerCode, IntegerModel, IntegerWorkspace};

const WINDOW: usize = 16;
const CODES: usize = 8;

fn model(hop: u16, drift: Option<u16>) -> OwnedModel {
    let mut model = example_denoiser(WINDOW as u16, CODES as u16, 2);
    let gram = model.gram.as_mut().unwrap();
    (gram.hop, gram.drift) = (hop, drift);
    model
}

fn floats(model: &OwnedModel) -> AlignedBytes {
    AlignedBytes::from_slice(&write(model, WeightType::F32).unwrap())
}

fn integers(model: &OwnedModel) -> AlignedBytes {
    let ranges = ActivationRanges {
        input_scale: 0.001,
        input_min: -32_000,
        input_max: 32_000,
        code_max: 16.0,
    };
    let (weights, storage) = (WeightType::I8, GramStorage::Stored);
    let written = write_integer_with(model, &ranges, weights, Activations::I16, storage).unwrap();
    AlignedBytes::from_slice(&written.bytes)
}

/// What a file says, and what follows a window's cleaning.
#[allow(clippy::type_complexity)] // an alias would need the trait that `Sigma` is of
struct Parts<'a, T: Sample> {
    weights: &'a [T::Sum],
    hop: usize,
    drift: usize,
    sigma: T::Sigma,
    known: bool,
    guard: &'a dyn Fn(&[T], &mut [T], T::Sigma),
}

/// The parts that have tests of their own, one after the other.
fn composed<T: Sample + Default>(
    signal: &[T],
    parts: &Parts<'_, T>,
    clean: &mut dyn FnMut(&mut [T], T::Sigma),
) -> Vec<T>
where
    T::Sum: Default,
{
    let mut signal = signal.to_vec();
    if parts.drift > 0 {
        let mut levels = vec![T::default(); parts.drift];
        let mut means = vec![T::Sum::default(); parts.drift];
        let mut cursor = DriftCursor::new();
        let view = DriftView::new(&mut levels, &mut means, &mut cursor);
        view.unwrap().filter(&mut signal);
    }
    let (mut held, mut sums) = ([T::default(); WINDOW], [T::Sum::default(); WINDOW]);
    let mut cursor = Cursor::new();
    let windows = Windows::new(parts.weights, parts.hop).unwrap();
    let mut stream = SignalView::new(windows, &mut held, &mut sums, &mut cursor).unwrap();
    let noise = RefCell::new(NoiseLevel::<T, NOISE_MEMORY>::new());
    let mut each = |window: &mut [T]| {
        let heard = noise.borrow().rough_sigma().filter(|_| !parts.known);
        let sigma = heard.unwrap_or(parts.sigma);
        let noisy = window.to_vec();
        clean(window, sigma);
        (parts.guard)(&noisy, window, sigma);
    };
    let (mut window, mut output) = ([T::default(); WINDOW], Vec::new());
    for sample in signal {
        noise.borrow_mut().push(sample);
        output.extend(stream.push(sample, &mut window, &mut each).unwrap());
    }
    output.extend_from_slice(stream.finish(&mut window, &mut each).unwrap());
    output
}

/// The stream itself, twice: a finished one is as new.
fn streamed<T: Sample, const DRIFT: usize>(
    signal: &[T],
    by: &Denoising<'_, T, WINDOW, DRIFT>,
    clean: &mut dyn FnMut(&mut [T; WINDOW], T::Sigma),
) -> [Vec<T>; 2] {
    let mut stream = DenoiseStream::<T, WINDOW, DRIFT>::new();
    let mut scratch = DenoiseScratch::new();
    [0, 1].map(|_| {
        let mut output = Vec::new();
        for &sample in signal {
            output.extend(stream.push(sample, by, &mut scratch, &mut *clean));
        }
        let latency = DenoiseStream::<T, WINDOW, DRIFT>::LATENCY;
        assert_eq!(output.len(), signal.len().saturating_sub(latency));
        stream.finish(by, &mut scratch, &mut *clean, |sample| output.push(sample));
        output
    })
}

/// The same in memory of the caller's, made anew for every sample, twice.
fn viewed<T: Sample + Default>(
    signal: &[T],
    windows: DenoiseWindows<'_, T>,
    clean: &mut dyn FnMut(&mut [T], T::Sigma),
) -> [Vec<T>; 2]
where
    T::Sum: Default,
{
    let length = WINDOW + windows.drift();
    let (mut samples, mut sums) = (vec![T::default(); length], vec![T::Sum::default(); length]);
    let mut cursor = DenoiseCursor::new();
    let mut scratch = [T::default(); 2 * WINDOW];
    [0, 1].map(|_| {
        let mut output = Vec::new();
        for &sample in signal {
            let view = DenoiseView::new(windows, &mut samples, &mut sums, &mut cursor);
            let given = view.unwrap().push(sample, &mut scratch, &mut *clean);
            output.extend(given.unwrap());
        }
        assert_eq!(output.len(), signal.len().saturating_sub(windows.latency()));
        let view = DenoiseView::new(windows, &mut samples, &mut sums, &mut cursor);
        let give = |sample| output.push(sample);
        view.unwrap()
            .finish(&mut scratch, &mut *clean, give)
            .unwrap();
        output
    })
}

fn integers_agree<const DRIFT: usize>(signal: &[i16], hop: u16, known: Option<u16>) {
    let drift = (DRIFT > 0).then_some(DRIFT as u16);
    let bytes = integers(&model(hop, drift));
    let file = IntegerFile::read(&bytes).unwrap();
    let gram = file.gram.unwrap();
    let mut totals = vec![0; hop.into()];
    let mut by = Denoising::<i16, WINDOW, DRIFT>::of(&file, &mut totals).unwrap();
    if let Some(sigma) = known {
        by = by.with_noise(sigma);
    }
    let parts = Parts {
        weights: gram.stream.weights,
        hop: hop.into(),
        drift: DRIFT,
        sigma: known.unwrap_or(gram.noise_level),
        known: known.is_some(),
        guard: &|noisy, clean, sigma| {
            residual_guard_i16(noisy, clean, sigma, gram.stream.guard);
        },
    };
    let network = IntegerModel::<WINDOW, CODES>::from_file(file).unwrap();
    let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
    let mut clean = |window: &mut [i16; WINDOW], sigma| {
        let network = network.at_noise_level(sigma);
        network.denoise(window, None, &mut code, &mut workspace, || false);
    };
    let found = streamed(signal, &by, &mut clean);
    let expected = composed(signal, &parts, &mut |window, sigma| {
        clean(window.try_into().unwrap(), sigma);
    });
    assert_eq!(expected.len(), signal.len());
    assert_eq!(found, [expected.clone(), expected]);
    let mut windows = DenoiseWindows::<i16>::of(network.file()).unwrap();
    if let Some(sigma) = known {
        windows = windows.with_noise(sigma);
    }
    let same = viewed(signal, windows, &mut |window, sigma| {
        clean(window.try_into().unwrap(), sigma);
    });
    assert_eq!(same, found);
}

fn floats_agree<const DRIFT: usize>(signal: &[f32], hop: u16, known: Option<f32>) {
    let drift = (DRIFT > 0).then_some(DRIFT as u16);
    let bytes = floats(&model(hop, drift));
    let file = ModelFile::read(&bytes).unwrap();
    let gram = file.gram.unwrap();
    let mut totals = vec![0.0; hop.into()];
    let mut by = Denoising::<f32, WINDOW, DRIFT>::of(&file, &mut totals).unwrap();
    if let Some(sigma) = known {
        by = by.with_noise(sigma);
    }
    let parts = Parts {
        weights: gram.stream.weights,
        hop: hop.into(),
        drift: DRIFT,
        sigma: known.unwrap_or(gram.noise_level * file.spec.preprocessing.deviation),
        known: known.is_some(),
        guard: &|noisy, clean, sigma| {
            residual_guard(noisy, clean, sigma, gram.stream.guard);
        },
    };
    // As good as a model: it depends on σ and on every sample.
    let clean = |window: &mut [f32], sigma: f32| {
        let mean = window.iter().sum::<f32>() / WINDOW as f32;
        for sample in window {
            *sample = mean + (*sample - mean) / (1.0 + sigma);
        }
    };
    let found = streamed(signal, &by, &mut |window, sigma| clean(window, sigma));
    let expected = composed(signal, &parts, &mut |window, sigma| clean(window, sigma));
    assert_eq!(found, [expected.clone(), expected]);
    let mut windows = DenoiseWindows::<f32>::of(&file).unwrap();
    if let Some(sigma) = known {
        windows = windows.with_noise(sigma);
    }
    let same = viewed(signal, windows, &mut |window, sigma| clean(window, sigma));
    assert_eq!(same, found);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Shorter than a window, than the drift filter, and long enough for an estimate.
    #[test]
    fn a_stream_is_its_parts(
        signal in prop_oneof![
            prop::collection::vec(-3000..3000_i16, 0..60),
            prop::collection::vec(-3000..3000_i16, 1100..1400),
        ],
        hop in 1..=WINDOW as u16,
        known in prop::option::of(1..5000_u16),
    ) {
        integers_agree::<0>(&signal, hop, known);
        integers_agree::<25>(&signal, hop, known);
        let floats: Vec<f32> = signal.iter().map(|x| f32::from(*x) / 1000.0).collect();
        let known = known.map(|sigma| f32::from(sigma) / 16_000.0);
        floats_agree::<0>(&floats, hop, known);
        floats_agree::<25>(&floats, hop, known);
    }
}

#[test]
fn another_file_is_refused() {
    let bytes = integers(&model(4, Some(25)));
    let file = IntegerFile::read(&bytes).unwrap();
    let mut totals = [0; 4];
    let window = Denoising::<i16, 8, 25>::of(&file, &mut totals).unwrap_err();
    assert!(window.to_string().contains("window"), "{window}");
    let drift = Denoising::<i16, WINDOW, 0>::of(&file, &mut totals).unwrap_err();
    assert!(drift.to_string().contains("drift"), "{drift}");
    let hop = Denoising::<i16, WINDOW, 25>::of(&file, &mut totals[..3]).unwrap_err();
    assert!(hop.to_string().contains("totals"), "{hop}");

    let lista = floats(&example(Preprocessing::IDENTITY));
    let file = ModelFile::read(&lista).unwrap();
    let error = Denoising::<f32, 8, 0>::of(&file, &mut [0.0; 4]).unwrap_err();
    assert_eq!(error, StreamError::Denoiser);
    assert!(error.to_string().contains("--task denoise"));
}

#[test]
fn views_of_another_size_are_refused() {
    let bytes = integers(&model(4, Some(25)));
    let file = IntegerFile::read(&bytes).unwrap();
    let windows = DenoiseWindows::<i16>::of(&file).unwrap();
    assert_eq!(windows.latency(), WINDOW + 24);
    let whole = WINDOW + 25;
    let refused = |samples: usize, sums: usize, field: &str| {
        let (mut samples, mut sums) = (vec![0; samples], vec![0; sums]);
        let mut cursor = DenoiseCursor::new();
        let view = DenoiseView::new(windows, &mut samples, &mut sums, &mut cursor);
        let error = view.err().unwrap().to_string();
        assert!(error.contains(field), "{error}");
    };
    refused(whole - 1, whole, "samples");
    refused(whole, whole + 1, "sums");
    let (mut samples, mut sums, mut cursor) = ([0; 41], [0; 41], DenoiseCursor::new());
    let mut view = DenoiseView::new(windows, &mut samples, &mut sums, &mut cursor).unwrap();
    for length in [WINDOW, 2 * WINDOW - 1, 2 * WINDOW + 1] {
        let mut scratch = vec![0; length];
        assert!(view.push(1, &mut scratch, |_, _| panic!()).is_err());
        assert!(
            view.finish(&mut scratch, |_, _| panic!(), |_| panic!())
                .is_err()
        );
    }
    for sample in 0..30 {
        view.push(sample, &mut [0; 2 * WINDOW], |_, _| {}).unwrap();
    }
    // A cursor of another memory.
    let other = windows.without_drift();
    let (mut samples, mut sums) = ([0; WINDOW], [0; WINDOW]);
    assert!(DenoiseView::new(other, &mut samples, &mut sums, &mut cursor).is_ok());
    assert_eq!(
        windows.with_hop(17).unwrap_err(),
        StreamError::Hop {
            found: 17,
            side: WINDOW
        }
    );
}

#[test]
fn the_sizes_are_those_of_the_documentation() {
    assert_eq!(DenoiseStream::<f32, 64, 0>::BYTES, 764);
    assert_eq!(DenoiseStream::<f32, 64, 361>::BYTES, 3652);
    assert_eq!(DenoiseStream::<i16, 64, 0>::BYTES, 552);
    assert_eq!(DenoiseStream::<i16, 64, 361>::BYTES, 2716);
    assert_eq!(size_of::<DenoiseCursor<i16>>(), 168);
    assert_eq!(size_of::<DenoiseCursor<f32>>(), 252);
}
