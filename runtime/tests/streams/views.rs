//! Streams of run-time size beside those with their size in the type.

use proptest::prelude::*;
use sparsecode_formats::{Contrast, Preprocessing};
use sparsecode_runtime::DimensionError;
use sparsecode_runtime::stream::{
    ContrastCursor, ContrastError, ContrastStream, ContrastView, Cursor, FrameStream, FrameView,
    Hann, LocalContrastView, Sample, SignalStream, SignalView, StreamError, Windows,
};

use crate::common::Random;
use crate::contrast::{RAW, contrast, local};
use crate::frames::frame;
use crate::signals::stream;
use crate::whole::{
    Grid, U, close, integer_hann, integers, rounded, stir, stir_integers, whole, wide,
};

/// A whole signal through a view, which is made anew for every sample.
fn signal_view<T: Sample + Default>(
    windows: Windows<'_, T>,
    signal: &[T],
    nothing: T::Sum,
    mut denoise: impl FnMut(&mut [T]),
) -> Vec<T> {
    let side = windows.side();
    let (mut samples, mut window) = (vec![T::default(); side], vec![T::default(); side]);
    let (mut sums, mut cursor) = (vec![nothing; side], Cursor::new());
    let mut output = Vec::new();
    for sample in signal {
        let mut view = SignalView::new(windows, &mut samples, &mut sums, &mut cursor).unwrap();
        output.extend(view.push(*sample, &mut window, &mut denoise).unwrap());
    }
    let mut view = SignalView::new(windows, &mut samples, &mut sums, &mut cursor).unwrap();
    output.extend_from_slice(view.finish(&mut window, &mut denoise).unwrap());
    // The same in one block, by a view that has been used and forgot it.
    view.push(T::default(), &mut window, |_| {}).unwrap();
    view.reset();
    let mut block = signal.to_vec();
    let given = view.push_block(&mut block, &mut window, &mut denoise);
    let given = given.unwrap().len();
    block.truncate(given);
    block.extend_from_slice(view.finish(&mut window, denoise).unwrap());
    assert!(block.len() == output.len() && output.len() == signal.len());
    output
}

/// A whole frame through a view, which is made anew for every line.
fn frame_view<T: Sample + Default>(
    width: usize,
    [down, across]: [Windows<'_, T>; 2],
    pixels: &[T],
    nothing: T::Sum,
    mut denoise: impl FnMut(&mut [T]),
) -> Vec<T> {
    let size = width * down.side();
    let (mut lines, mut sums, mut cursor) =
        (vec![T::default(); size], vec![nothing; size], Cursor::new());
    let mut patch = vec![T::default(); down.side() * across.side()];
    let mut line = vec![T::default(); width];
    let mut output = Vec::new();
    for pixels in pixels.chunks_exact(width) {
        line.copy_from_slice(pixels);
        let mut view =
            FrameView::new(width, down, across, &mut lines, &mut sums, &mut cursor).unwrap();
        if view.push(&mut line, &mut patch, &mut denoise).unwrap() {
            output.extend_from_slice(&line);
        }
    }
    let mut view = FrameView::new(width, down, across, &mut lines, &mut sums, &mut cursor).unwrap();
    let finished = view.finish(&mut line, &mut patch, &mut denoise, |line| {
        output.extend_from_slice(line);
    });
    finished.unwrap();
    assert_eq!(output.len(), pixels.len());
    output
}

fn contrast_view(settings: LocalContrastView<'_>, width: usize, pixels: &[f32]) -> [Vec<f32>; 3] {
    let size = width * settings.taps().len();
    let (mut samples, mut centred) = (vec![f32::NAN; size], vec![f32::NAN; size]);
    let mut cursor = ContrastCursor::new();
    let [mut line, mut mean, mut deviation] = [(); 3].map(|()| vec![0.0; width]);
    let mut output = [const { Vec::new() }; 3];
    for pixels in pixels.chunks_exact(width) {
        line.copy_from_slice(pixels);
        let view = ContrastView::new(settings, width, &mut samples, &mut centred, &mut cursor);
        let done = view.unwrap().push(&mut line, &mut mean, &mut deviation);
        if done.unwrap() {
            output[0].extend_from_slice(&line);
            output[1].extend_from_slice(&mean);
            output[2].extend_from_slice(&deviation);
        }
    }
    let mut view =
        ContrastView::new(settings, width, &mut samples, &mut centred, &mut cursor).unwrap();
    let finished = view.finish(
        &mut line,
        &mut mean,
        &mut deviation,
        |line, mean, deviation| {
            output[0].extend_from_slice(line);
            output[1].extend_from_slice(mean);
            output[2].extend_from_slice(deviation);
        },
    );
    finished.unwrap();
    output
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The integer weights of [`Hann`].
fn integer_weights(side: usize, hop: usize, limit: usize) -> Vec<i32> {
    let weights = integer_hann(side, hop, limit);
    weights.iter().map(|weight| *weight as i32).collect()
}

fn same_signal<const WINDOW: usize, const HOP: usize>(signal: &[f32], levels: &[i16]) {
    let mut uniform = SignalStream::<f32, WINDOW, HOP>::new();
    let ones = [1.0; WINDOW];
    let found = signal_view(Windows::<f32>::new(&ones, HOP).unwrap(), signal, 0.0, stir);
    assert_eq!(bits(&found), bits(&stream(&mut uniform, signal, 0.0, stir)));

    let weights = integer_weights(WINDOW, HOP, 65_535);
    let mut tapered = SignalStream::<i16, WINDOW, HOP, Hann>::new();
    let windows = Windows::<i16>::new(&weights, HOP).unwrap();
    let found = signal_view(windows, levels, 0, stir_integers);
    assert_eq!(found, stream(&mut tapered, levels, 0, stir_integers));
}

fn same_frame<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
>(
    pixels: &[f32],
    levels: &[i16],
) {
    let (pixels, levels) = (
        &pixels[..pixels.len() / WIDTH * WIDTH],
        &levels[..levels.len() / WIDTH * WIDTH],
    );
    let mut uniform = FrameStream::<f32, WIDTH, ROWS, COLUMNS, INPUT, HOP>::new();
    let (rows, columns) = ([1.0; ROWS], [1.0; COLUMNS]);
    let axes = [&rows[..], &columns].map(|ones| Windows::<f32>::new(ones, HOP).unwrap());
    let found = frame_view(WIDTH, axes, pixels, 0.0, stir);
    assert_eq!(bits(&found), bits(&frame(&mut uniform, pixels, 0.0, stir)));

    let mut tapered = FrameStream::<i16, WIDTH, ROWS, COLUMNS, INPUT, HOP, Hann>::new();
    let weights = [ROWS, COLUMNS].map(|side| integer_weights(side, HOP, 255));
    let axes = [0, 1].map(|axis| Windows::<i16>::new(&weights[axis], HOP).unwrap());
    let found = frame_view(WIDTH, axes, levels, 0, stir_integers);
    assert_eq!(found, frame(&mut tapered, levels, 0, stir_integers));
}

fn same_contrast<const WIDTH: usize, const WINDOW: usize>(pixels: &[f32], sigma: f32) {
    let pixels = &pixels[..pixels.len() / WIDTH * WIDTH];
    let affine = Preprocessing {
        mean: 3.0,
        deviation: 4.0,
        ..RAW
    };
    let settings = local::<WINDOW>(sigma, 0.1, affine);
    let mut stream = ContrastStream::<WIDTH, WINDOW>::new();
    let expected = contrast(&mut stream, &settings, pixels);
    let mut taps = [f32::NAN; WINDOW];
    let preprocessing = Preprocessing {
        contrast: Contrast::Local {
            window: WINDOW as u16,
            sigma,
            floor: 0.1,
        },
        ..affine
    };
    let view = LocalContrastView::new(&preprocessing, &mut taps).unwrap();
    assert_eq!(view, settings.view());
    let mut found = contrast_view(view, WIDTH, pixels);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(bits(found), bits(expected));
    }
    let [mut values, mean, deviation] = expected;
    settings.restore(&mut values, &mean, &deviation);
    view.restore(&mut found[0], &mean, &deviation);
    assert_eq!(bits(&found[0]), bits(&values));
    settings.scale(&mut values);
    view.scale(&mut found[0]);
    assert_eq!(bits(&found[0]), bits(&values));
}

/// Compares one size.
type Check = fn(&[f32], &[i16]);

const SIGNALS: [Check; 9] = [
    same_signal::<1, 1>,
    same_signal::<2, 1>,
    same_signal::<2, 2>,
    same_signal::<8, 1>,
    same_signal::<8, 3>,
    same_signal::<8, 8>,
    same_signal::<7, 5>,
    same_signal::<16, 6>,
    same_signal::<33, 4>,
];

const FRAMES: [Check; 7] = [
    same_frame::<1, 1, 1, 1, 1>,
    same_frame::<8, 8, 8, 64, 4>,
    same_frame::<11, 3, 4, 12, 2>,
    same_frame::<17, 5, 3, 15, 2>,
    same_frame::<12, 4, 4, 16, 4>,
    same_frame::<7, 2, 7, 14, 1>,
    same_frame::<10, 1, 4, 4, 1>,
];

const CONTRASTS: [fn(&[f32], f32); 5] = [
    same_contrast::<1, 1>,
    same_contrast::<1, 5>,
    same_contrast::<5, 13>,
    same_contrast::<16, 7>,
    same_contrast::<9, 3>,
];

/// A side and a hop that fits.
fn sides(largest: usize) -> impl Strategy<Value = (usize, usize)> {
    (1..=largest).prop_flat_map(|side| (Just(side), 1..=side))
}

proptest! {
    #[test]
    fn views_give_the_bits_of_the_types(
        size in any::<prop::sample::Index>(),
        pixels in prop::collection::vec(-50.0_f32..50.0, 0..240),
        levels in prop::collection::vec(any::<i16>(), 0..240),
        sigma in 0.3_f32..9.0,
    ) {
        SIGNALS[size.index(SIGNALS.len())](&pixels, &levels);
        FRAMES[size.index(FRAMES.len())](&pixels, &levels);
        CONTRASTS[size.index(CONTRASTS.len())](&pixels, sigma);
    }

    /// Sizes and hops of all kinds, another hop down than across, and weights of the caller's.
    #[test]
    fn frames_of_any_size_are_weighted_means(
        (rows, down) in sides(7),
        (columns, across) in sides(7),
        more in 0_usize..9,
        height in 1_usize..24,
        seed in 1_u64..1000,
    ) {
        let width = columns + more;
        let weights = |side, seed| -> Vec<f32> {
            Random(seed).vector(side, 1.0).iter().map(|v| v.abs() + 0.1).collect()
        };
        let (mine, other) = (weights(rows, seed), weights(columns, seed + 1));
        let axes = [
            Windows::<f32>::new(&mine, down).unwrap(),
            Windows::<f32>::new(&other, across).unwrap(),
        ];
        let pixels = Random(seed + 2).vector(width * height, 100.0);
        let grid = Grid {
            rows,
            columns,
            hop: down,
            hop_across: across,
            down: mine.iter().copied().map(f64::from).collect(),
            across: other.iter().copied().map(f64::from).collect(),
        };
        let (exact, _) = whole(&pixels, width, &grid, stir);
        for (found, exact) in frame_view(width, axes, &pixels, 0.0, stir).iter().zip(exact) {
            close(*found, exact, 256.0 * U * 200.0);
        }

        let ones = [1.0; 7];
        let axes = [(rows, down), (columns, across)]
            .map(|(side, hop)| Windows::<f32>::new(&ones[..side], hop).unwrap());
        let equal = Grid { down: vec![1.0; rows], across: vec![1.0; columns], ..grid };
        let (_, host) = whole(&pixels, width, &equal, stir);
        prop_assert_eq!(bits(&frame_view(width, axes, &pixels, 0.0, stir)), bits(&host));
        if height == 1 && rows == 1 {
            let found = signal_view(axes[1], &pixels, 0.0, stir);
            prop_assert_eq!(bits(&found), bits(&host));
        }
    }

    /// Integer weights of the caller's, up to the largest that are let through.
    #[test]
    fn integer_weights_never_overflow(
        (side, hop) in sides(12),
        loads in prop::collection::vec(1_i32..40_000, 12),
        length in 12_usize..60,
        level in prop::sample::select(vec![i16::MIN, i16::MAX]),
    ) {
        let weights = &loads[..side];
        let windows = Windows::<i16>::new(weights, hop).unwrap();
        let (mut samples, mut sums) = (vec![0; side], vec![0; side]);
        let mut cursor = Cursor::new();
        let heaviest = |start: usize| weights[start..].iter().step_by(hop).sum::<i32>();
        let flush = if hop > 1 { *weights.iter().max().unwrap() } else { 0 };
        let heaviest = (0..hop).map(heaviest).max().unwrap() + flush;
        match SignalView::new(windows, &mut samples, &mut sums, &mut cursor) {
            Ok(_) => {
                prop_assert!(heaviest <= 65_535);
                let signal = vec![level; length];
                prop_assert_eq!(signal_view(windows, &signal, 0, |_| {}), signal);
                let signal = integers(length as u64, length);
                let grid = Grid {
                    rows: 1,
                    columns: side,
                    hop,
                    hop_across: hop,
                    down: vec![1.0],
                    across: weights.iter().copied().map(f64::from).collect(),
                };
                let (exact, _) = whole(&wide(&signal), length, &grid, |_| {});
                let exact: Vec<i16> = exact.iter().map(|v| rounded(*v)).collect();
                prop_assert_eq!(signal_view(windows, &signal, 0, |_| {}), exact);
            }
            Err(error) => {
                prop_assert!(heaviest > 65_535);
                let found = heaviest as u32;
                prop_assert_eq!(error, StreamError::Overflow { found, limit: 65_535 });
            }
        }
    }
}

#[test]
fn bad_sizes_are_named() {
    let windows = |weights: &[f32], hop| Windows::<f32>::new(weights, hop).err();
    assert_eq!(windows(&[], 1), Some(StreamError::Side { found: 0 }));
    let long = vec![1.0; 65_536];
    assert_eq!(windows(&long, 1), Some(StreamError::Side { found: 65_536 }));
    assert_eq!(windows(&long[..65_535], 65_535), None);
    for hop in [0, 5] {
        let expected = StreamError::Hop {
            found: hop,
            side: 4,
        };
        assert_eq!(windows(&long[..4], hop), Some(expected));
    }
    for weight in [0.0, -1.0, 1e-13, 1e13, f32::NAN, f32::INFINITY] {
        let refused = windows(&[1.0, 1.0, weight], 1);
        assert_eq!(refused, Some(StreamError::Weight { index: 2 }));
    }
    for weight in [0, -1] {
        let refused = Windows::<i16>::new(&[weight, 1], 1).err();
        assert_eq!(refused, Some(StreamError::Weight { index: 0 }));
    }

    let memory = |field, expected, found| {
        StreamError::Memory(DimensionError {
            field,
            expected,
            found,
        })
    };
    let ones = [1; 300];
    let of = |side, hop| Windows::<i16>::new(&ones[..side], hop).unwrap();
    let signal = |samples: usize, sums: usize, cursor: &mut Cursor| {
        let (mut samples, mut sums) = (vec![0; samples], vec![0; sums]);
        SignalView::new(of(8, 3), &mut samples, &mut sums, cursor).err()
    };
    let mut cursor = Cursor::new();
    assert_eq!(signal(7, 8, &mut cursor), Some(memory("samples", 8, 7)));
    assert_eq!(signal(8, 9, &mut cursor), Some(memory("sums", 8, 9)));
    assert_eq!(signal(8, 8, &mut cursor), None);

    let frame = |width, down, across, lines: usize, sums: usize, cursor: &mut Cursor| {
        let (mut lines, mut sums) = (vec![0; lines], vec![0; sums]);
        FrameView::new(width, down, across, &mut lines, &mut sums, cursor).err()
    };
    let (three, four) = (of(3, 2), of(4, 2));
    let narrow = StreamError::Width { found: 3, least: 4 };
    assert_eq!(frame(3, three, four, 9, 9, &mut cursor), Some(narrow));
    let low = memory("lines", 15, 14);
    assert_eq!(frame(5, three, four, 14, 15, &mut cursor), Some(low));
    let sums = memory("sums", 15, 16);
    assert_eq!(frame(5, three, four, 15, 16, &mut cursor), Some(sums));
    assert_eq!(frame(5, three, four, 15, 15, &mut cursor), None);
    let huge = memory("lines", usize::MAX, 0);
    assert_eq!(
        frame(usize::MAX, three, four, 0, 0, &mut cursor),
        Some(huge)
    );
    // 300 patches would meet in one line; in a column of a signal as many may.
    let heavy = StreamError::Overflow {
        found: 300,
        limit: 255,
    };
    assert_eq!(
        frame(4, of(300, 1), four, 1200, 1200, &mut cursor),
        Some(heavy)
    );
    assert_eq!(
        frame(300, four, of(300, 1), 1200, 1200, &mut cursor),
        Some(heavy)
    );
    assert_eq!(frame(4, of(300, 3), four, 1200, 1200, &mut cursor), None);

    // A cursor that has gone round another ring.
    let (mut samples, mut sums, mut window) = ([0; 8], [0; 8], [0; 8]);
    let mut view = SignalView::new(of(8, 3), &mut samples, &mut sums, &mut cursor).unwrap();
    for _ in 0..5 {
        view.push(1, &mut window, |_| {}).unwrap();
    }
    let refused = view.push(1, &mut window[..7], |_| panic!("a window")).err();
    let short = DimensionError {
        field: "window",
        expected: 8,
        found: 7,
    };
    assert_eq!(refused, Some(short));
    assert_eq!(
        view.push_block(&mut [1], &mut window[..7], |_| {}),
        Err(short)
    );
    assert_eq!(view.finish(&mut window[..7], |_| {}), Err(short));
    assert_eq!(
        frame(5, three, four, 15, 15, &mut cursor),
        Some(StreamError::Cursor)
    );
    assert_eq!(signal(8, 8, &mut cursor), None);

    let (mut lines, mut sums, mut cursor) = ([0; 15], [0; 15], Cursor::new());
    let mut view = FrameView::new(5, three, four, &mut lines, &mut sums, &mut cursor).unwrap();
    let refused = view.push(&mut [0; 6], &mut [0; 12], |_| {}).unwrap_err();
    assert_eq!((refused.field, refused.expected), ("line", 5));
    let refused = view.push(&mut [0; 5], &mut [0; 13], |_| {}).unwrap_err();
    assert_eq!((refused.field, refused.expected), ("patch", 12));
    let refused = view.finish(&mut [0; 5], &mut [0; 13], |_| {}, |_| {});
    assert_eq!(refused.unwrap_err().field, "patch");

    for (error, text) in [
        (StreamError::Side { found: 0 }, "1 to 65535"),
        (StreamError::Hop { found: 9, side: 8 }, "the hop is 1 to 8"),
        (StreamError::Weight { index: 3 }, "weight 3"),
        (heavy, "add up to 300"),
        (narrow, "3 pixels wide"),
        (low, "lines is 14, but 15 is needed"),
        (StreamError::Cursor, "another size"),
    ] {
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn bad_contrast_sizes_are_named() {
    let with = |window, taps: &mut [f32]| {
        let contrast = Contrast::Local {
            window,
            sigma: 1.0,
            floor: 0.1,
        };
        LocalContrastView::new(&Preprocessing { contrast, ..RAW }, taps).err()
    };
    let taps = &mut [0.0; 9];
    let other = ContrastError::Window {
        expected: 9,
        found: 7,
    };
    assert_eq!(with(7, taps), Some(other));
    assert_eq!(
        with(8, &mut taps[..8]),
        Some(ContrastError::Even { found: 8 })
    );
    assert_eq!(with(0, &mut []), Some(ContrastError::Even { found: 0 }));
    assert_eq!(with(9, taps), None);
    let refused = LocalContrastView::new(&RAW, taps).err();
    assert_eq!(refused, Some(ContrastError::NotLocal));

    let settings = local::<5>(1.0, 0.1, RAW);
    let view = |width, samples: usize, centred: usize, cursor: &mut ContrastCursor| {
        let (mut samples, mut centred) = (vec![0.0; samples], vec![0.0; centred]);
        ContrastView::new(settings.view(), width, &mut samples, &mut centred, cursor).err()
    };
    let memory = |field, expected, found| {
        StreamError::Memory(DimensionError {
            field,
            expected,
            found,
        })
    };
    let mut cursor = ContrastCursor::new();
    let none = StreamError::Width { found: 0, least: 1 };
    assert_eq!(view(0, 0, 0, &mut cursor), Some(none));
    assert_eq!(
        view(3, 14, 15, &mut cursor),
        Some(memory("samples", 15, 14))
    );
    assert_eq!(
        view(3, 15, 16, &mut cursor),
        Some(memory("centred", 15, 16))
    );
    assert_eq!(view(3, 15, 15, &mut cursor), None);

    let settings = local::<7>(1.0, 0.1, RAW);
    let (mut samples, mut centred) = ([0.0; 14], [0.0; 14]);
    let memory = (&mut samples[..], &mut centred[..]);
    let mut seven = ContrastView::new(settings.view(), 2, memory.0, memory.1, &mut cursor).unwrap();
    for _ in 0..6 {
        let done = seven.push(&mut [1.0; 2], &mut [0.0; 2], &mut [0.0; 2]);
        assert!(!done.unwrap());
    }
    for (lengths, field) in [
        ([3, 2, 2], "line"),
        ([2, 3, 2], "mean"),
        ([2, 2, 3], "deviation"),
    ] {
        let [mut line, mut mean, mut deviation] = lengths.map(|length| vec![0.0; length]);
        let refused = seven.push(&mut line, &mut mean, &mut deviation);
        assert_eq!(refused.unwrap_err().field, field);
        let refused = seven.finish(&mut line, &mut mean, &mut deviation, |_, _, _| {});
        assert_eq!(refused.unwrap_err().field, field);
    }
    assert_eq!(view(3, 15, 15, &mut cursor), Some(StreamError::Cursor));
}
