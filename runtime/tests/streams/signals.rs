//! Signals beside the whole signal.

use proptest::prelude::*;
use sparsecode_formats::{Contrast, WeightType};
use sparsecode_runtime::stream::{
    ContrastFrameStream, ContrastStream, FrameScratch, FrameStream, Hann, LocalContrast, Sample,
    SignalStream, Uniform, Weighting,
};
use sparsecode_runtime::{
    GramBuffer, GramWorkspace, Model, ModelView, Refine, SparseCode, Workspace,
};

use crate::common::{Random, Shape, file, random_model};
use crate::whole::{
    Grid, U, close, hann, integer_hann, integers, positions, reflected, rounded, stir,
    stir_integers, whole, wide,
};

/// A whole signal through a stream; checks the latency, and that as many samples come out as went
/// in.
pub(crate) fn stream<T: Sample, const WINDOW: usize, const HOP: usize, K: Weighting>(
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
        hop_across: HOP,
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
        hop_across: 4,
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
        // A weighted mean: each window moves its samples by an offset of its own, so that the
        // result moves by no more.
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
