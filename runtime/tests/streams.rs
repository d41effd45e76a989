//! Streams against the same thing done with whole signals and whole frames.

mod common;

use common::{Random, Shape, file, random_model};
use proptest::prelude::*;
use sparsecode_formats::{Contrast, InputShape, OwnedModel, Preprocessing, WeightType};
use sparsecode_runtime::stream::{
    ContrastError, ContrastFrameStream, ContrastStream, FrameScratch, FrameStream, Hann,
    LocalContrast, Sample, SignalStream, Uniform, Weighting,
};
use sparsecode_runtime::{
    GramBuffer, GramWorkspace, Model, ModelView, Refine, SparseCode, Workspace,
};

/// Rounding of `f32`.
const U: f64 = 1.0 / 16_777_216.0;

// Whole signals and frames. ------------------------------------------------------------------------------------------

/// Where windows start: as in the trainer's `denoise.rs`.
fn positions(length: usize, window: usize, hop: usize) -> Vec<usize> {
    let last = length - window;
    (0..last).step_by(hop).chain([last]).collect()
}

/// `(c b | a b c | b a)`, by walking there and back.
fn reflected(index: isize, length: usize) -> usize {
    let (mut place, last) = (index, length as isize - 1);
    if last == 0 {
        return 0;
    }
    while place < 0 || place > last {
        place = if place < 0 { -place } else { 2 * last - place };
    }
    place as usize
}

/// `rows` lines of `columns`, and weights of both axes.
#[derive(Clone)]
struct Grid {
    rows: usize,
    columns: usize,
    hop: usize,
    down: Vec<f64>,
    across: Vec<f64>,
}

fn hann(side: usize) -> Vec<f64> {
    let angle = |i: usize| std::f64::consts::PI * (i as f64 + 0.5) / side as f64;
    (0..side).map(|i| angle(i).sin().powi(2)).collect()
}

/// Integer weights as the documentation has them: at least 1, at most what sums of 32 bits allow.
fn integer_hann(side: usize, hop: usize, limit: usize) -> Vec<f64> {
    let peak = limit / (side.div_ceil(hop) + 1).min(side);
    // Halves go up, whatever the last bits of the sine.
    hann(side)
        .iter()
        .map(|w| (w * peak as f64 + 1e-6).round().max(1.0))
        .collect()
}

/// Extends a frame that is too low (or a signal that is too short), denoises every patch, averages in `f64` or, for uniform
/// weights, in the host's `f32`. Returns both.
fn whole(
    frame: &[f32],
    width: usize,
    grid: &Grid,
    mut denoise: impl FnMut(&mut [f32]),
) -> (Vec<f64>, Vec<f32>) {
    let height = frame.len() / width;
    if height == 0 {
        return (Vec::new(), Vec::new());
    }
    let tall = height.max(grid.rows);
    let pixel = |y: usize, x: usize| frame[reflected(y as isize, height) * width + x];
    let mut sums = vec![(0.0_f64, 0.0_f64); tall * width];
    let mut host = vec![(0.0_f32, 0_u32); tall * width];
    let mut patch = vec![0.0; grid.rows * grid.columns];
    for top in positions(tall, grid.rows, grid.hop) {
        for left in positions(width, grid.columns, grid.hop) {
            for (i, value) in patch.iter_mut().enumerate() {
                *value = pixel(top + i / grid.columns, left + i % grid.columns);
            }
            denoise(&mut patch);
            for (i, value) in patch.iter().enumerate() {
                let (y, x) = (i / grid.columns, i % grid.columns);
                let weight = grid.down[y] * grid.across[x];
                let place = (top + y) * width + left + x;
                sums[place].0 += weight * f64::from(*value);
                sums[place].1 += weight;
                host[place].0 += value;
                host[place].1 += 1;
            }
        }
    }
    let kept = height * width;
    let exact = sums.iter().take(kept).map(|(s, w)| s / w).collect();
    let host = host.iter().take(kept).map(|(s, n)| s / *n as f32).collect();
    (exact, host)
}

/// Not the identity, not the same for all places in a window, and of the whole window.
fn stir(patch: &mut [f32]) {
    let mean = patch.iter().sum::<f32>() / patch.len() as f32;
    for (i, value) in patch.iter_mut().enumerate() {
        *value = 0.5 * *value + 0.25 * mean + 0.01 * i as f32;
    }
}

/// [`stir`] for integers; exact in `f32` too.
fn stir_integers(patch: &mut [i16]) {
    let first = patch[0] / 4;
    for (i, value) in patch.iter_mut().enumerate() {
        *value = (*value / 2).wrapping_add(first).wrapping_add(i as i16 % 64);
    }
}

fn integers(seed: u64, length: usize) -> Vec<i16> {
    let mut random = Random(seed);
    (0..length)
        .map(|_| (32768.0 * random.next()) as i16)
        .collect()
}

fn wide(values: &[i16]) -> Vec<f32> {
    values.iter().map(|v| f32::from(*v)).collect()
}

fn rounded(value: f64) -> i16 {
    // `round` takes halves away from zero, which is what the streams do.
    value.round() as i16
}

fn close(found: f32, expected: f64, bound: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(
        error <= bound,
        "{found} instead of {expected}: {error:e} > {bound:e}"
    );
}

// Signals. -----------------------------------------------------------------------------------------------------------

/// A whole signal through a stream; checks the latency, and that as many samples come out as went in.
fn stream<T: Sample, const WINDOW: usize, const HOP: usize, K: Weighting>(
    stream: &mut SignalStream<T, WINDOW, HOP, K>,
    signal: &[T],
    zero: T,
    mut denoise: impl FnMut(&mut [T]),
) -> Vec<T> {
    let mut window = [zero; WINDOW];
    let mut output = Vec::new();
    for (t, sample) in signal.iter().enumerate() {
        let clean = stream.push(*sample, &mut window, |window| denoise(window));
        assert_eq!(clean.is_some(), t >= WINDOW);
        output.extend(clean);
    }
    output.extend(stream.finish(&mut window, |window| denoise(window)));
    assert_eq!(output.len(), signal.len());
    output
}

fn check_signal<const WINDOW: usize, const HOP: usize>(lengths: &[usize]) {
    let window = |down: f64, across| Grid {
        rows: 1,
        columns: WINDOW,
        hop: HOP,
        down: vec![down],
        across,
    };
    // A frame of one line has no reflection along it, so that short signals are extended here.
    let long = |signal: &[f32]| -> Vec<f32> {
        let length = signal.len();
        (0..length.max(WINDOW))
            .map(|t| signal[reflected(t as isize, length)])
            .collect()
    };
    let (mut uniform, mut tapered) = (
        SignalStream::<f32, WINDOW, HOP>::new(),
        SignalStream::<f32, WINDOW, HOP, Hann>::new(),
    );
    let (mut uniform_i16, mut tapered_i16) = (
        SignalStream::<i16, WINDOW, HOP>::new(),
        SignalStream::<i16, WINDOW, HOP, Hann>::new(),
    );
    for &length in lengths.iter().filter(|length| **length > 0) {
        let signal = Random(length as u64).vector(length, 100.0);
        let extended = long(&signal);
        let ones = vec![1.0; WINDOW];
        let (_, host) = whole(&extended, extended.len(), &window(1.0, ones.clone()), stir);
        let found = stream(&mut uniform, &signal, 0.0, stir);
        assert_eq!(found, host[..length], "{WINDOW} {HOP} {length}");

        let overlaps = WINDOW.div_ceil(HOP) as f64 + 1.0;
        let bound = (2.0 * overlaps + 6.0) * U * 200.0;
        let (exact, _) = whole(&extended, extended.len(), &window(1.0, hann(WINDOW)), stir);
        for (found, exact) in stream(&mut tapered, &signal, 0.0, stir).iter().zip(exact) {
            close(*found, exact, bound);
        }
        // The identity, to rounding.
        for (found, sample) in stream(&mut tapered, &signal, 0.0, |_| {})
            .iter()
            .zip(&signal)
        {
            close(*found, f64::from(*sample), bound);
        }
        for (found, sample) in stream(&mut uniform, &signal, 0.0, |_| {})
            .iter()
            .zip(&signal)
        {
            close(*found, f64::from(*sample), bound);
        }

        let signal = integers(length as u64, length);
        assert_eq!(stream(&mut uniform_i16, &signal, 0, |_| {}), signal);
        assert_eq!(stream(&mut tapered_i16, &signal, 0, |_| {}), signal);
        let extended = long(&wide(&signal));
        let stir_wide = |patch: &mut [f32]| {
            let mut narrow: Vec<i16> = patch.iter().map(|v| *v as i16).collect();
            stir_integers(&mut narrow);
            patch.copy_from_slice(&wide(&narrow));
        };
        let found = [
            stream(&mut uniform_i16, &signal, 0, stir_integers),
            stream(&mut tapered_i16, &signal, 0, stir_integers),
        ];
        let weights = [ones, integer_hann(WINDOW, HOP, 65_535)];
        for (found, weights) in found.iter().zip(weights) {
            let (exact, _) = whole(&extended, extended.len(), &window(1.0, weights), stir_wide);
            let exact: Vec<i16> = exact[..length].iter().map(|v| rounded(*v)).collect();
            assert_eq!(found, &exact, "{WINDOW} {HOP} {length}");
        }
    }
}

#[test]
fn signals_equal_the_whole_signal() {
    let all: Vec<usize> = (0..40).collect();
    check_signal::<1, 1>(&all);
    check_signal::<2, 1>(&all);
    check_signal::<8, 1>(&all);
    check_signal::<8, 2>(&all);
    check_signal::<8, 3>(&all);
    check_signal::<8, 4>(&all);
    check_signal::<8, 5>(&all);
    check_signal::<8, 7>(&all);
    check_signal::<8, 8>(&all);
    check_signal::<5, 2>(&all);
    check_signal::<7, 3>(&all);
    check_signal::<64, 16>(&[1, 2, 63, 64, 65, 80, 81, 300]);
    check_signal::<128, 48>(&[127, 128, 129, 500]);
}

#[test]
fn a_constant_comes_out_unchanged_from_the_first_sample_to_the_last() {
    fn check<const HOP: usize, K: Weighting>() {
        for length in [1, 3, 8, 9, 10, 11, 30] {
            let mut samples = SignalStream::<f32, 8, HOP, K>::new();
            for clean in stream(&mut samples, &vec![-0.7; length], 0.0, |_| {}) {
                close(clean, f64::from(-0.7_f32), 16.0 * U);
            }
            for level in [i16::MIN, -1, 0, 1, 12_345, i16::MAX] {
                let mut samples = SignalStream::<i16, 8, HOP, K>::new();
                let clean = stream(&mut samples, &vec![level; length], 0, |_| {});
                assert_eq!(clean, vec![level; length]);
            }
        }
    }
    check::<1, Uniform>();
    check::<3, Uniform>();
    check::<8, Uniform>();
    check::<1, Hann>();
    check::<3, Hann>();
    check::<8, Hann>();
}

#[test]
fn integer_sums_hold_the_largest_overlap() {
    fn check<const WINDOW: usize, const HOP: usize, K: Weighting>(length: usize) {
        let mut samples = Box::new(SignalStream::<i16, WINDOW, HOP, K>::new());
        for level in [i16::MIN, i16::MAX] {
            let clean = stream(&mut samples, &vec![level; length], 0, |_| {});
            assert!(clean.iter().all(|v| *v == level));
        }
    }
    check::<1000, 1, Uniform>(2100);
    check::<1000, 1, Hann>(2100);
    check::<65_535, 16_384, Hann>(150_000);
    check::<65_535, 16_384, Uniform>(150_000);
}

#[test]
fn integers_are_rounded_to_the_nearest() {
    // Two windows hold the middle samples: one gives the sample, the other one more or one less.
    for (sample, change, expected) in [(5, 1, 6), (5, -1, 5), (-5, 1, -5), (-5, -1, -6), (0, 1, 1)]
    {
        let mut samples = SignalStream::<i16, 4, 2>::new();
        let mut windows = 0;
        let clean = stream(&mut samples, &[sample; 6], 0, |window| {
            windows += 1;
            if windows == 2 {
                window.iter_mut().for_each(|v| *v += change);
            }
        });
        assert_eq!(windows, 2);
        assert_eq!(clean[2..4], [expected; 2], "{sample} {change}");
        assert_eq!((clean[0], clean[5]), (sample, sample + change));
    }
}

#[test]
fn a_bad_sample_spoils_its_windows_and_nothing_else() {
    const WINDOW: usize = 8;
    const HOP: usize = 3;
    fn check<K: Weighting>() {
        let signal = Random(3).vector(100, 1.0);
        let good = stream(
            &mut SignalStream::<f32, WINDOW, HOP, K>::new(),
            &signal,
            0.0,
            stir,
        );
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            for place in [0, 1, 7, 8, 50, 51, 52, 91, 92, 99] {
                let mut spoilt = signal.clone();
                spoilt[place] = bad;
                let mut samples = SignalStream::<f32, WINDOW, HOP, K>::new();
                let found = stream(&mut samples, &spoilt, 0.0, stir);
                let mut touched = [false; 100];
                for start in positions(100, WINDOW, HOP) {
                    if (start..start + WINDOW).contains(&place) {
                        touched[start..start + WINDOW].fill(true);
                    }
                }
                for t in 0..100 {
                    if touched[t] {
                        assert!(found[t] != good[t], "{bad} at {place}, {t}");
                    } else {
                        assert_eq!(found[t], good[t], "{bad} at {place}, {t}");
                    }
                }
                // Nor does the next signal notice.
                assert_eq!(stream(&mut samples, &signal, 0.0, stir), good);
                let short = stream(&mut samples, &[bad; 3], 0.0, stir);
                assert_eq!(short.len(), 3);
                assert!(
                    stream(&mut samples, &[1.0; 3], 0.0, |_| {})
                        .iter()
                        .all(|v| (v - 1.0).abs() < 1e-6)
                );
            }
        }
    }
    check::<Uniform>();
    check::<Hann>();
}

#[test]
fn channels_share_everything_but_their_state() {
    let mut model = random_model(
        Shape {
            input: 16,
            code: 12,
            hidden: 0,
            lista: Some(2),
        },
        21,
    );
    model.spec.preprocessing.contrast = Contrast::RemoveMean;
    let bytes = file(&model, WeightType::I8);
    let model = Model::<16, 12>::load(&bytes).unwrap();
    let view = ModelView::load(&bytes).unwrap();
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let mut window = [f32::NAN; 16];
    let signals = [1, 2, 3].map(|seed| Random(seed).vector(90, 2.0));

    let mut channels = [const { SignalStream::<f32, 16, 4>::new() }; 3];
    let mut together = [const { Vec::new() }; 3];
    let mut denoise = |window: &mut [f32; 16]| {
        model.denoise(window, None, &mut code, &mut workspace, || false);
    };
    for t in 0..90 {
        for ((channel, signal), clean) in channels.iter_mut().zip(&signals).zip(&mut together) {
            clean.extend(channel.push(signal[t], &mut window, &mut denoise));
        }
    }
    for (channel, clean) in channels.iter_mut().zip(&mut together) {
        clean.extend(channel.finish(&mut window, &mut denoise));
    }

    // Each on its own, in one piece, by the same model with checked lengths.
    let grid = Grid {
        rows: 1,
        columns: 16,
        hop: 4,
        down: vec![1.0],
        across: vec![1.0; 16],
    };
    for (signal, clean) in signals.iter().zip(&together) {
        let (_, host) = whole(signal, 90, &grid, |window| {
            let (mut code, mut workspace) = (SparseCode::<12>::new(), Workspace::<16, 12>::new());
            view.denoise(window, None, &mut code, &mut workspace, || false)
                .unwrap();
        });
        assert_eq!(clean, &host);
        assert_ne!(clean, signal);
    }
    assert_ne!(together[0], together[1]);
}

#[test]
fn refinement_with_the_gram_matrix_fits_too() {
    let shape = Shape {
        input: 16,
        code: 12,
        hidden: 0,
        lista: None,
    };
    let bytes = file(&random_model(shape, 22), WeightType::F32);
    let model = Model::<16, 12>::load(&bytes).unwrap();
    let (mut buffer, mut scratch) = (GramBuffer::new(), GramWorkspace::new());
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let gram = model.gram(&mut buffer, &mut workspace);
    let settings = Refine::for_noise(model.spec(), 0.1);
    let mut samples = SignalStream::<f32, 16, 8, Hann>::new();
    let clean = stream(&mut samples, &Random(1).vector(50, 1.0), 0.0, |window| {
        let window: &mut [f32; 16] = window.try_into().unwrap();
        let normalisation = model.preprocess(window);
        gram.descend(
            window,
            &mut code,
            &settings,
            &mut workspace,
            &mut scratch,
            || false,
        );
        model.decode(&code, window, &mut workspace);
        model.restore(window, normalisation);
    });
    assert!(clean.iter().all(|v| v.is_finite()));
}

#[test]
fn a_finished_stream_is_as_new() {
    let signal = Random(5).vector(37, 1.0);
    let mut used = SignalStream::<f32, 8, 3>::new();
    let mut window = [0.0; 8];
    assert!(
        used.finish(&mut window, |_| panic!("nothing to denoise"))
            .is_empty()
    );
    let first = stream(&mut used, &signal, 0.0, stir);
    assert!(
        used.finish(&mut window, |_| panic!("nothing to denoise"))
            .is_empty()
    );
    assert_eq!(stream(&mut used, &signal, 0.0, stir), first);

    for sample in &signal[..20] {
        used.push(*sample, &mut window, |window| stir(window));
    }
    // A copy goes its own way.
    let mut copy = used.clone();
    used.reset();
    assert_eq!(stream(&mut used, &signal, 0.0, stir), first);
    let mut rest = Vec::new();
    for sample in &signal[20..] {
        rest.extend(copy.push(*sample, &mut window, |window| stir(window)));
    }
    rest.extend(copy.finish(&mut window, |window| stir(window)));
    assert_eq!(rest, first[12..]);
}

#[test]
fn states_are_as_large_as_documented() {
    assert_eq!(SignalStream::<f32, 64, 16>::BYTES, 8 * 64 + 8);
    assert_eq!(SignalStream::<f32, 64, 16, Hann>::BYTES, 8 * 64 + 8);
    assert_eq!(SignalStream::<i16, 64, 16>::BYTES, 6 * 64 + 8);
    assert_eq!(SignalStream::<i16, 7, 2>::BYTES, 6 * 7 + 6);
    assert_eq!(FrameStream::<f32, 160, 8, 8, 64, 4>::BYTES, 8 * 160 * 8 + 8);
    assert_eq!(FrameStream::<i16, 160, 8, 8, 64, 4>::BYTES, 6 * 160 * 8 + 8);
    assert_eq!(ContrastStream::<160, 13>::BYTES, 8 * 160 * 13 + 8);
    assert_eq!(LocalContrast::<13>::BYTES, 4 * 13 + 12);
    assert_eq!(FrameScratch::<160, 64>::BYTES, 4 * 64 + 8 * 160);
    type Whole = ContrastFrameStream<160, 8, 8, 64, 4, 13>;
    assert_eq!(Whole::BYTES, 8 * 160 * (2 * 8 + 13) + 24);
    assert_eq!(Whole::LATENCY, 20);
}

proptest! {
    #[test]
    fn blocks_of_any_size_are_samples(
        signal in prop::collection::vec(any::<i16>(), 0..120),
        cuts in prop::collection::vec(0..30_usize, 0..12),
    ) {
        let single = stream(&mut SignalStream::<i16, 9, 4, Hann>::new(), &signal, 0, stir_integers);
        let mut samples = SignalStream::<i16, 9, 4, Hann>::new();
        let (mut window, mut rest, mut found) = ([0; 9], signal.clone(), Vec::new());
        for cut in cuts {
            let mut block: Vec<i16> = rest.drain(..cut.min(rest.len())).collect();
            found.extend_from_slice(samples.push_block(&mut block, &mut window, |w| stir_integers(w)));
        }
        found.extend_from_slice(samples.push_block(&mut rest, &mut window, |w| stir_integers(w)));
        found.extend_from_slice(samples.finish(&mut window, |w| stir_integers(w)));
        prop_assert_eq!(found, single);
    }

    #[test]
    fn clean_samples_lie_between_what_the_windows_say(
        signal in prop::collection::vec(-1e3_f32..1e3, 1..80),
        offsets in prop::collection::vec(-1.0_f32..1.0, 80),
    ) {
        // A weighted mean: each window moves its samples by an offset of its own, so that the result moves by no more.
        let mut offset = offsets.iter();
        let found = stream(&mut SignalStream::<f32, 6, 4, Hann>::new(), &signal, 0.0, |window| {
            let offset = offset.next().unwrap();
            window.iter_mut().for_each(|v| *v += offset);
        });
        for (found, sample) in found.iter().zip(&signal) {
            prop_assert!((found - sample).abs() <= 1.0 + 1e-3);
        }
    }

    #[test]
    fn integer_signals_come_back(signal in prop::collection::vec(any::<i16>(), 0..200)) {
        let mut uniform = SignalStream::<i16, 16, 5>::new();
        let mut tapered = SignalStream::<i16, 16, 5, Hann>::new();
        prop_assert_eq!(&stream(&mut uniform, &signal, 0, |_| {}), &signal);
        prop_assert_eq!(&stream(&mut tapered, &signal, 0, |_| {}), &signal);
    }
}

// Frames. ------------------------------------------------------------------------------------------------------------

/// A whole frame through a stream; checks the latency, and that as many lines come out as went in.
fn frame<
    T: Sample,
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    K: Weighting,
>(
    stream: &mut FrameStream<T, WIDTH, ROWS, COLUMNS, INPUT, HOP, K>,
    pixels: &[T],
    zero: T,
    mut denoise: impl FnMut(&mut [T]),
) -> Vec<T> {
    let mut patch = [zero; INPUT];
    let mut output = Vec::new();
    for (y, line) in pixels.as_chunks::<WIDTH>().0.iter().enumerate() {
        let mut line = *line;
        let clean = stream.push(&mut line, &mut patch, |patch| denoise(patch));
        assert_eq!(clean, y >= ROWS);
        if clean {
            output.extend(line);
        }
    }
    let mut line = [zero; WIDTH];
    stream.finish(
        &mut line,
        &mut patch,
        |patch| denoise(patch),
        |line| {
            output.extend(*line);
        },
    );
    assert_eq!(output.len(), pixels.len());
    output
}

fn check_frame<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
>() {
    let grid = |down, across| Grid {
        rows: ROWS,
        columns: COLUMNS,
        hop: HOP,
        down,
        across,
    };
    let ones = grid(vec![1.0; ROWS], vec![1.0; COLUMNS]);
    let smooth = grid(hann(ROWS), hann(COLUMNS));
    let stepped = grid(
        integer_hann(ROWS, HOP, 255),
        integer_hann(COLUMNS, HOP, 255),
    );
    let mut uniform = FrameStream::<f32, WIDTH, ROWS, COLUMNS, INPUT, HOP>::new();
    let mut tapered = FrameStream::<f32, WIDTH, ROWS, COLUMNS, INPUT, HOP, Hann>::new();
    let mut uniform_i16 = FrameStream::<i16, WIDTH, ROWS, COLUMNS, INPUT, HOP>::new();
    let mut tapered_i16 = FrameStream::<i16, WIDTH, ROWS, COLUMNS, INPUT, HOP, Hann>::new();
    for height in 0..=3 * ROWS + 2 {
        let pixels = Random(height as u64).vector(WIDTH * height, 100.0);
        let (_, host) = whole(&pixels, WIDTH, &ones, stir);
        assert_eq!(frame(&mut uniform, &pixels, 0.0, stir), host, "{height}");
        let (exact, _) = whole(&pixels, WIDTH, &smooth, stir);
        let overlaps = (ROWS.div_ceil(HOP) as f64 + 1.0) * (COLUMNS.div_ceil(HOP) as f64 + 1.0);
        let bound = (2.0 * overlaps + 8.0) * U * 200.0;
        for (found, exact) in frame(&mut tapered, &pixels, 0.0, stir).iter().zip(exact) {
            close(*found, exact, bound);
        }
        for (found, pixel) in frame(&mut tapered, &pixels, 0.0, |_| {})
            .iter()
            .zip(&pixels)
        {
            close(*found, f64::from(*pixel), bound);
        }

        let pixels = integers(height as u64, WIDTH * height);
        assert_eq!(frame(&mut uniform_i16, &pixels, 0, |_| {}), pixels);
        assert_eq!(frame(&mut tapered_i16, &pixels, 0, |_| {}), pixels);
        let stir_wide = |patch: &mut [f32]| {
            let mut narrow: Vec<i16> = patch.iter().map(|v| *v as i16).collect();
            stir_integers(&mut narrow);
            patch.copy_from_slice(&wide(&narrow));
        };
        let found = [
            frame(&mut uniform_i16, &pixels, 0, stir_integers),
            frame(&mut tapered_i16, &pixels, 0, stir_integers),
        ];
        for (found, grid) in found.iter().zip([&ones, &stepped]) {
            let (exact, _) = whole(&wide(&pixels), WIDTH, grid, stir_wide);
            let exact: Vec<i16> = exact.iter().map(|v| rounded(*v)).collect();
            assert_eq!(found, &exact, "{height}");
        }
    }
    // The largest sums.
    for level in [i16::MIN, i16::MAX] {
        let pixels = vec![level; WIDTH * (2 * ROWS + 1)];
        assert_eq!(frame(&mut tapered_i16, &pixels, 0, |_| {}), pixels);
        assert_eq!(frame(&mut uniform_i16, &pixels, 0, |_| {}), pixels);
    }
}

#[test]
fn frames_equal_the_whole_frame() {
    check_frame::<8, 8, 8, 64, 4>(); // as wide as a patch
    check_frame::<11, 3, 4, 12, 2>(); // no multiple of the hop
    check_frame::<17, 5, 3, 15, 2>(); // nor of the patch
    check_frame::<12, 4, 4, 16, 4>(); // no overlap
    check_frame::<13, 4, 6, 24, 3>();
    check_frame::<14, 6, 6, 36, 1>();
    check_frame::<9, 1, 1, 1, 1>();
    check_frame::<7, 2, 7, 14, 2>();
    check_frame::<10, 1, 4, 4, 1>();
}

proptest! {
    #[test]
    fn integer_frames_come_back(lines in prop::collection::vec(any::<[i16; 13]>(), 0..30)) {
        let pixels = lines.as_flattened();
        let mut uniform = FrameStream::<i16, 13, 6, 5, 30, 4>::new();
        let mut tapered = FrameStream::<i16, 13, 6, 5, 30, 4, Hann>::new();
        prop_assert_eq!(frame(&mut uniform, pixels, 0, |_| {}), pixels);
        prop_assert_eq!(frame(&mut tapered, pixels, 0, |_| {}), pixels);
    }

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
fn a_bad_pixel_spoils_its_patches_and_nothing_else() {
    const WIDTH: usize = 14;
    const HEIGHT: usize = 23;
    let pixels = Random(8).vector(WIDTH * HEIGHT, 1.0);
    let mut frames = FrameStream::<f32, WIDTH, 5, 4, 20, 3, Hann>::new();
    let good = frame(&mut frames, &pixels, 0.0, stir);
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        for (row, column) in [(0, 0), (4, 13), (11, 6), (22, 13), (22, 3)] {
            let mut spoilt = pixels.clone();
            spoilt[row * WIDTH + column] = bad;
            let found = frame(&mut frames, &spoilt, 0.0, stir);
            let mut touched = vec![false; WIDTH * HEIGHT];
            for top in positions(HEIGHT, 5, 3) {
                for left in positions(WIDTH, 4, 3) {
                    if (top..top + 5).contains(&row) && (left..left + 4).contains(&column) {
                        for y in top..top + 5 {
                            touched[y * WIDTH + left..][..4].fill(true);
                        }
                    }
                }
            }
            for (place, touched) in touched.iter().enumerate() {
                assert_eq!(!found[place].is_finite(), *touched);
                assert!(*touched || found[place] == good[place]);
            }
            assert_eq!(frame(&mut frames, &pixels, 0.0, stir), good);
        }
    }
}

#[test]
fn a_finished_frame_is_as_new() {
    let pixels = Random(9).vector(11 * 20, 1.0);
    let mut frames = FrameStream::<f32, 11, 3, 4, 12, 2>::new();
    let first = frame(&mut frames, &pixels, 0.0, stir);
    let (mut line, mut patch) = ([0.0; 11], [0.0; 12]);
    frames.finish(
        &mut line,
        &mut patch,
        |_| panic!("nothing to denoise"),
        |_| panic!("nothing to give"),
    );
    for chunk in pixels.as_chunks::<11>().0.iter().take(7) {
        let _ = frames.push(&mut chunk.clone(), &mut patch, |patch| stir(patch));
    }
    frames.reset();
    assert_eq!(frame(&mut frames, &pixels, 0.0, stir), first);
}

// Local contrast normalisation. --------------------------------------------------------------------------------------

const RAW: Preprocessing = Preprocessing::IDENTITY;

fn local<const WINDOW: usize>(
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

/// The definition: `f64`, one two-dimensional Gaussian, reflection. Returns normalised pixels, means, deviations.
fn local_contrast(
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
fn contrast<const WIDTH: usize, const WINDOW: usize>(
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

// All of it. ---------------------------------------------------------------------------------------------------------

type Thermal<K> = ContrastFrameStream<20, 4, 4, 16, 3, 5, K>;

fn thermal<K: Weighting>(
    stream: &mut Thermal<K>,
    settings: &LocalContrast<5>,
    pixels: &[f32],
    mut denoise: impl FnMut(&mut [f32]),
) -> Vec<f32> {
    let mut scratch = FrameScratch::new();
    let mut output = Vec::new();
    for (y, line) in pixels.as_chunks::<20>().0.iter().enumerate() {
        let mut line = *line;
        let done = stream.push(settings, &mut line, &mut scratch, |patch| denoise(patch));
        assert_eq!(done, y >= Thermal::<K>::LATENCY);
        if done {
            output.extend(line);
        }
    }
    let mut line = [f32::NAN; 20];
    stream.finish(
        settings,
        &mut line,
        &mut scratch,
        |patch| denoise(patch),
        |line| output.extend(*line),
    );
    assert_eq!(output.len(), pixels.len());
    output
}

fn thermal_model() -> OwnedModel {
    let shape = Shape {
        input: 16,
        code: 12,
        hidden: 0,
        lista: Some(2),
    };
    let mut model = random_model(shape, 23);
    model.spec.input_shape = InputShape {
        height: 4,
        width: 4,
    };
    model.spec.preprocessing.contrast = Contrast::Local {
        window: 5,
        sigma: 2.0,
        floor: 0.1,
    };
    model
}

#[test]
fn raw_lines_come_out_as_from_the_whole_image() {
    let bytes = file(&thermal_model(), WeightType::I8);
    let model = Model::<16, 12>::load(&bytes).unwrap();
    let preprocessing = model.spec().preprocessing;
    let settings = LocalContrast::new(&preprocessing).unwrap();
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let mut denoise = |patch: &mut [f32]| {
        let patch: &mut [f32; 16] = patch.try_into().unwrap();
        model.denoise(patch, None, &mut code, &mut workspace, || false);
    };
    let grid = Grid {
        rows: 4,
        columns: 4,
        hop: 3,
        down: vec![1.0; 4],
        across: vec![1.0; 4],
    };
    let (mut stream, mut tapered) = (Thermal::<Uniform>::new(), Thermal::<Hann>::new());
    for height in 0..24 {
        let pixels = Random(height).vector(20 * height as usize, 2.0);
        // As the trainer's `denoise_image`: everything on the whole image.
        let (shift, scale) = (
            f64::from(preprocessing.mean),
            f64::from(preprocessing.deviation),
        );
        let scaled: Vec<f64> = pixels
            .iter()
            .map(|x| (f64::from(*x) - shift) / scale)
            .collect();
        let [normalised, mean, deviation] = local_contrast(&scaled, 20, 5, 2.0, 0.1);
        let normalised: Vec<f32> = normalised.iter().map(|v| *v as f32).collect();
        let (clean, _) = whole(&normalised, 20, &grid, &mut denoise);
        let found = thermal(&mut stream, &settings, &pixels, &mut denoise);
        for i in 0..pixels.len() {
            let expected = (clean[i] * deviation[i] + mean[i]) * scale + shift;
            // A code may change a little where a component is at its threshold: that is continuous.
            close(found[i], expected, 2e-5);
        }
        for (found, pixel) in thermal(&mut tapered, &settings, &pixels, |_| {})
            .iter()
            .zip(&pixels)
        {
            close(*found, f64::from(*pixel), 1e-5);
        }
    }
}

#[test]
fn a_stream_of_frames_may_be_cut_off() {
    let settings = local::<5>(2.0, 0.1, RAW);
    let pixels = Random(11).vector(20 * 17, 1.0);
    let mut stream = Thermal::<Uniform>::new();
    let first = thermal(&mut stream, &settings, &pixels, stir);
    assert_eq!(thermal(&mut stream, &settings, &pixels, stir), first);
    let mut scratch = FrameScratch::new();
    for lines in 0..12 {
        for line in pixels.as_chunks::<20>().0.iter().take(lines) {
            let _ = stream.push(&settings, &mut line.clone(), &mut scratch, |patch| {
                patch.fill(f32::NAN);
            });
        }
        stream.reset();
        assert_eq!(thermal(&mut stream, &settings, &pixels, stir), first);
    }
}
