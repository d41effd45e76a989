//! The drift filter beside its definition.

use proptest::prelude::*;
use sparsecode_runtime::stream::{DriftCursor, DriftStream, DriftView, Sample, StreamError};

use crate::common::Random;
use crate::whole::{U, integers};

/// The mean over `[n − h, n + h]`, of what exists.
fn means(signal: &[f64], length: usize) -> Vec<f64> {
    let half = length / 2;
    (0..signal.len())
        .map(|n| {
            let window = &signal[n.saturating_sub(half)..signal.len().min(n + half + 1)];
            window.iter().sum::<f64>() / window.len() as f64
        })
        .collect()
}

fn exact(signal: &[f64], length: usize) -> Vec<f64> {
    let drift = means(&means(signal, length), length);
    signal.iter().zip(drift).map(|(x, b)| x - b).collect()
}

/// Sample by sample; checks the latency and the number.
fn stream<T: Sample, const LENGTH: usize>(
    filter: &mut DriftStream<T, LENGTH>,
    signal: &[T],
) -> Vec<T> {
    let mut output = Vec::new();
    for (t, sample) in signal.iter().enumerate() {
        let clean = filter.push(*sample);
        assert_eq!(clean.is_some(), t >= DriftStream::<T, LENGTH>::LATENCY);
        output.extend(clean);
    }
    output.extend(filter.finish());
    assert_eq!(output.len(), signal.len());
    output
}

/// The view, made anew for each sample.
fn view<T: Sample>(signal: &[T], length: usize, zero: T, empty: T::Sum) -> Vec<T> {
    let (mut samples, mut means) = (vec![zero; length], vec![empty; length]);
    let mut cursor = DriftCursor::new();
    let mut output = Vec::new();
    for sample in signal {
        let mut filter = DriftView::new(&mut samples, &mut means, &mut cursor).unwrap();
        output.extend(filter.push(*sample));
    }
    let mut filter = DriftView::new(&mut samples, &mut means, &mut cursor).unwrap();
    output.extend(filter.finish());
    output
}

fn check_f32(signal: &[f32], found: &[f32], length: usize) {
    let largest = signal
        .iter()
        .fold(0.0_f64, |m, x| m.max(f64::from(*x).abs()));
    let bound = (6 * length + 8) as f64 * U * largest;
    let wide: Vec<f64> = signal.iter().map(|x| f64::from(*x)).collect();
    for (n, (found, exact)) in found.iter().zip(exact(&wide, length)).enumerate() {
        let error = (f64::from(*found) - exact).abs();
        assert!(error <= bound, "{length} {n}: {found} {exact}, {bound}");
    }
}

/// Within half a level and a 32nd; beyond the range at its end.
fn check_i16(signal: &[i16], found: &[i16], length: usize) {
    let wide: Vec<f64> = signal.iter().map(|x| f64::from(*x)).collect();
    for (n, (found, exact)) in found.iter().zip(exact(&wide, length)).enumerate() {
        let exact = exact.clamp(-32_768.0, 32_767.0);
        let error = (f64::from(*found) - exact).abs();
        assert!(error <= 0.53125 + 1e-9, "{length} {n}: {found} {exact}");
    }
}

fn check<const LENGTH: usize>(lengths: &[usize]) {
    let mut floats = DriftStream::<f32, LENGTH>::new();
    let mut levels = DriftStream::<i16, LENGTH>::new();
    for &length in lengths {
        let mut signal = Random(length as u64).vector(length, 100.0);
        signal.iter_mut().for_each(|x| *x += 1000.0);
        let found = stream(&mut floats, &signal);
        check_f32(&signal, &found, LENGTH);
        assert_eq!(view(&signal, LENGTH, 0.0, 0.0), found);
        floats.filter(&mut signal);
        assert_eq!(signal, found);

        let mut signal = integers(length as u64, length);
        let found = stream(&mut levels, &signal);
        check_i16(&signal, &found, LENGTH);
        assert_eq!(view(&signal, LENGTH, 0, 0), found);
        levels.filter(&mut signal);
        assert_eq!(signal, found);
    }
}

#[test]
fn drift_is_the_mean_of_means() {
    let all: Vec<usize> = (0..40).collect();
    check::<1>(&all);
    check::<3>(&all);
    check::<5>(&all);
    check::<9>(&all);
    check::<25>(&all);
    check::<361>(&[1, 2, 180, 181, 359, 360, 361, 362, 541, 542, 720, 722, 5000]);
    check::<4095>(&[1, 2000, 4094, 4096, 9000]);
}

#[test]
fn extremes_neither_wrap_nor_exceed_the_range() {
    fn at<const LENGTH: usize>() {
        let mut filter = Box::new(DriftStream::<i16, LENGTH>::new());
        for level in [i16::MIN, i16::MAX] {
            let length = 3 * LENGTH + 7;
            assert!(
                stream(&mut filter, &vec![level; length])
                    .iter()
                    .all(|y| *y == 0)
            );
            let mut step = vec![level; length];
            step[length / 2..].fill(!level);
            let found = stream(&mut filter, &step);
            check_i16(&step, &found, LENGTH);
            // An impulse of the whole range, and alternation.
            step[..].fill(level);
            step[length / 2] = !level;
            let found = stream(&mut filter, &step);
            check_i16(&step, &found, LENGTH);
            if LENGTH > 3 {
                assert_eq!(found[length / 2], !level);
            }
            step.iter_mut().skip(1).step_by(2).for_each(|x| *x = !level);
            check_i16(&step, &stream(&mut filter, &step), LENGTH);
        }
    }
    at::<1>();
    at::<3>();
    at::<25>();
    at::<361>();
    at::<4095>();
}

#[test]
fn errors_of_f32_do_not_grow_with_time() {
    // A million samples on an offset, after some that are a thousand times as large.
    let mut filter = DriftStream::<f32, 25>::new();
    let mut random = Random(11);
    for _ in 0..100 {
        filter.push(1e6 * random.next());
    }
    let mut signal = random.vector(1_000_000, 1.0);
    signal.iter_mut().for_each(|x| *x += 1000.0);
    let late = signal.split_off(999_000);
    for x in signal {
        filter.push(x);
    }
    let found: Vec<f32> = late.iter().filter_map(|x| filter.push(*x)).collect();
    let wide: Vec<f64> = late.iter().map(|x| f64::from(*x)).collect();
    let bound = (6 * 25 + 8) as f64 * U * 1001.0;
    // 24 samples of latency, and 24 that have all their neighbours in `late`.
    for (n, exact) in exact(&wide, 25).iter().enumerate().take(900).skip(24) {
        let error = (f64::from(found[n + 24]) - exact).abs();
        assert!(error <= bound, "{n}: {error} {bound}");
    }
}

#[test]
fn a_bad_sample_spoils_itself_alone() {
    let signal = Random(5).vector(300, 1.0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in [0, 1, 100, 101, 299] {
            let mut spoiled = signal.clone();
            spoiled[place] = bad;
            // Means count the sample before.
            let mut counted = signal.clone();
            counted[place] = if place > 0 { signal[place - 1] } else { 0.0 };
            let found = stream(&mut DriftStream::<f32, 25>::new(), &spoiled);
            let expected = stream(&mut DriftStream::<f32, 25>::new(), &counted);
            for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
                if n == place {
                    assert!(!found.is_finite());
                } else {
                    assert_eq!(*found, expected, "{bad} {place} {n}");
                }
            }
        }
    }
    // Sums that overflow are replaced.
    let mut filter = DriftStream::<f32, 25>::new();
    for _ in 0..30 {
        filter.push(f32::MAX);
    }
    let late: Vec<f32> = signal.iter().filter_map(|x| filter.push(*x)).collect();
    assert!(late[4 * 25..].iter().all(|y| y.abs() < 2.0));
}

#[test]
fn a_signal_may_follow_another() {
    let signal = integers(3, 80);
    let mut filter = DriftStream::<i16, 9>::new();
    let first = stream(&mut filter, &signal);
    filter.push(7);
    filter.reset();
    assert_eq!(filter.finish().count(), 0);
    assert_eq!(stream(&mut filter, &signal), first);
    // The rest is given up by the next sample.
    for x in &signal {
        filter.push(*x);
    }
    assert_eq!(filter.finish().next(), Some(first[72]));
    assert_eq!(stream(&mut filter, &signal), first);
    assert_eq!(filter.finish().count(), 0);
}

#[test]
fn sizes_are_what_the_documentation_says() {
    assert_eq!(
        DriftStream::<i16, 361>::BYTES,
        (6 * 361 + 24_usize).next_multiple_of(4)
    );
    assert_eq!(DriftStream::<f32, 361>::BYTES, 8 * 361 + 44);
    assert_eq!(DriftStream::<f32, 361>::LATENCY, 360);
}

#[test]
fn bad_lengths_and_cursors_are_named() {
    let refused = |samples: usize, means: usize, cursor: &mut DriftCursor<i16>| {
        let (mut samples, mut means) = (vec![0; samples], vec![0; means]);
        DriftView::new(&mut samples, &mut means, cursor).err()
    };
    let mut cursor = DriftCursor::new();
    for found in [0, 2, 360, 4096, 4097, 65_535] {
        let error = StreamError::Mean { found };
        assert_eq!(refused(found, found, &mut cursor), Some(error));
        assert!(error.to_string().contains("odd, 1 to 4095"));
    }
    let error = refused(9, 7, &mut cursor).unwrap();
    assert_eq!(error.to_string(), "means is 7, but 9 is needed");
    let (mut samples, mut means) = ([0; 9], [0; 9]);
    for _ in 0..20 {
        let mut view = DriftView::new(&mut samples, &mut means, &mut cursor).unwrap();
        view.push(1);
        assert_eq!(refused(9, 9, &mut cursor), None);
    }
    assert_eq!(refused(7, 7, &mut cursor), Some(StreamError::Cursor));
    // Once round a ring of 9, and one further: no place of a ring of 7.
    let mut cursor = DriftCursor::new();
    for _ in 0..10 {
        let mut view = DriftView::new(&mut samples, &mut means, &mut cursor).unwrap();
        view.push(1);
    }
    assert_eq!(refused(7, 7, &mut cursor), Some(StreamError::Cursor));
}

proptest! {
    #[test]
    fn blocks_of_any_size_are_samples(
        signal in prop::collection::vec(any::<i16>(), 0..120),
        cuts in prop::collection::vec(0..30_usize, 0..12),
    ) {
        let single = stream(&mut DriftStream::<i16, 9>::new(), &signal);
        check_i16(&signal, &single, 9);
        let mut filter = DriftStream::<i16, 9>::new();
        let (mut rest, mut found) = (signal.clone(), Vec::new());
        for cut in cuts {
            let mut block: Vec<i16> = rest.drain(..cut.min(rest.len())).collect();
            found.extend_from_slice(filter.push_block(&mut block));
        }
        found.extend_from_slice(filter.push_block(&mut rest));
        found.extend(filter.finish());
        prop_assert_eq!(found, single);
    }

    #[test]
    fn floats_are_within_the_bound(signal in prop::collection::vec(-1e3_f32..1e3, 1..200)) {
        let found = stream(&mut DriftStream::<f32, 33>::new(), &signal);
        check_f32(&signal, &found, 33);
    }
}
