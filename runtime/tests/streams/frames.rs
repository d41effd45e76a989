//! Frames beside the whole frame.

use proptest::prelude::*;
use sparsecode_runtime::stream::{FrameStream, Hann, Sample, Weighting};

use crate::common::Random;
use crate::whole::{
    Grid, U, close, hann, integer_hann, integers, positions, rounded, stir, stir_integers, whole,
    wide,
};

/// A whole frame through a stream; checks the latency, and that as many lines come out as went in.
pub(crate) fn frame<
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
        hop_across: HOP,
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
