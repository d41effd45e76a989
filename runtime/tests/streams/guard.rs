//! The residual guard beside its definition.

use proptest::prelude::*;
use sparsecode_runtime::stream::{residual_guard, residual_guard_i16};

use crate::common::Random;
use crate::whole::U;

/// The share and the result in `f64`.
fn exact(noisy: &[f64], clean: &[f64], sigma: f64, c: f64) -> (f64, Vec<f64>) {
    let squares: f64 = noisy.iter().zip(clean).map(|(x, y)| (x - y).powi(2)).sum();
    let mean = squares / noisy.len() as f64;
    let share = if mean > 0.0 {
        (1.0 - c * sigma * sigma / mean).max(0.0)
    } else {
        0.0
    };
    let mixed = noisy
        .iter()
        .zip(clean)
        .map(|(x, y)| y + share * (x - y))
        .collect();
    (share, mixed)
}

fn wide<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| (*value).into()).collect()
}

/// Holds the integers to the bound; returns the share.
fn check(noisy: &[i16], clean: &[i16], sigma: u16, c: u16) -> u16 {
    let (sigma_exact, c_exact) = (f64::from(sigma) / 16.0, f64::from(c) / 256.0);
    let (share, mixed) = exact(&wide(noisy), &wide(clean), sigma_exact, c_exact);
    let mut found = clean.to_vec();
    let found_share = residual_guard_i16(noisy, &mut found, sigma, c);
    let error = (f64::from(found_share) / 32_768.0 - share).abs();
    assert!(error <= 1.0 / 65_536.0 + 1e-12, "{found_share} {share}");
    for (i, found) in found.iter().enumerate() {
        let residual = (f64::from(noisy[i]) - f64::from(clean[i])).abs();
        let error = (f64::from(*found) - mixed[i]).abs();
        assert!(
            error <= 0.5 + residual / 65_536.0 + 1e-6,
            "{found} {} {residual}",
            mixed[i]
        );
        let (low, high) = (noisy[i].min(clean[i]), noisy[i].max(clean[i]));
        assert!((low..=high).contains(found));
    }
    found_share
}

#[test]
fn the_extremes_do_not_overflow() {
    for n in [1, 2, 64, 65_535] {
        let (low, high) = (vec![i16::MIN; n], vec![i16::MAX; n]);
        for (noisy, clean) in [(&low, &high), (&high, &low)] {
            // Everything back, nothing back, and the largest σ and c.
            assert_eq!(check(noisy, clean, 0, u16::MAX), 32_768);
            assert_eq!(check(noisy, clean, u16::MAX, 0), 32_768);
            assert_eq!(check(noisy, clean, u16::MAX, u16::MAX), 0);
            assert!(check(noisy, clean, u16::MAX, 256) > 32_000);
            assert!(check(noisy, clean, u16::MAX, u16::MAX / 2) > 0);
        }
        // The smallest residual beside the largest noise.
        let mut close = low.clone();
        close[0] += 1;
        assert_eq!(check(&low, &close, u16::MAX, u16::MAX), 0);
        assert_eq!(check(&low, &close, 0, 1), 32_768);
        assert_eq!(check(&low, &low, 16, 333), 0);
    }
    // Elements beyond 65,535 stay.
    let mut clean = vec![0; 65_537];
    assert_eq!(
        residual_guard_i16(&vec![9; 65_537], &mut clean, 0, 256),
        32_768
    );
    assert_eq!((clean[65_534], clean[65_535]), (9, 0));
    let mut clean = vec![0.0; 65_537];
    assert_eq!(
        residual_guard(&vec![9.0; 65_537], &mut clean, 0.0, 1.0),
        1.0
    );
    assert_eq!((clean[65_534], clean[65_535]), (9.0, 0.0));
}

#[test]
fn without_a_residual_nothing_changes() {
    assert_eq!(residual_guard(&[], &mut [], 1.0, 1.3), 0.0);
    assert_eq!(residual_guard_i16(&[], &mut [], 1, 333), 0);
    let mut clean = [1.0, f32::MAX, -0.0];
    assert_eq!(
        residual_guard(&[1.0, f32::MAX, 0.0], &mut clean, 0.0, 1.3),
        0.0
    );
    assert_eq!(clean, [1.0, f32::MAX, 0.0]);
}

#[test]
fn nan_leaves_the_estimate_alone() {
    for (noisy, sigma, c) in [
        ([f32::NAN, 5.0], 1.0, 1.0),
        ([3.0, 5.0], f32::NAN, 1.0),
        ([3.0, 5.0], 1.0, f32::NAN),
        ([3.0, 5.0], f32::INFINITY, 1.0),
    ] {
        let mut clean = [1.0, 2.0];
        assert_eq!(residual_guard(&noisy, &mut clean, sigma, c), 0.0);
        assert_eq!(clean, [1.0, 2.0]);
    }
    // Squares that overflow: the residual is large.
    let mut clean = [0.0, 0.0];
    assert_eq!(residual_guard(&[1e30, 5.0], &mut clean, 1.0, 1.0), 1.0);
    assert_eq!(clean, [1e30, 5.0]);
}

#[test]
fn the_shorter_length_counts() {
    let mut clean = [0.0, 0.0, 7.0];
    assert_eq!(residual_guard(&[4.0, 4.0], &mut clean, 2.0, 1.0), 0.75);
    assert_eq!(clean, [3.0, 3.0, 7.0]);
    let mut clean = [0, 0];
    assert_eq!(
        residual_guard_i16(&[400, 400, 9], &mut clean, 3200, 256),
        24_576
    );
    assert_eq!(clean, [300, 300]);
}

#[test]
fn floats_follow_the_definition() {
    for n in [1, 7, 64, 1000] {
        let mut random = Random(n as u64);
        let (noisy, clean) = (random.vector(n, 10.0), random.vector(n, 3.0));
        for (sigma, c) in [(0.0, 1.0), (1.0, 1.3), (3.0, 1.0), (50.0, 1.3)] {
            let mut found = clean.clone();
            let share = residual_guard(&noisy, &mut found, sigma, c);
            let (sigma, c) = (f64::from(sigma), f64::from(c));
            let (expected, mixed) = exact(&wide(&noisy), &wide(&clean), sigma, c);
            let bound = (n + 8) as f64 * U;
            assert!(
                (f64::from(share) - expected).abs() <= bound,
                "{share} {expected}"
            );
            for (found, mixed) in found.iter().zip(mixed) {
                assert!((f64::from(*found) - mixed).abs() <= 20.0 * bound);
            }
        }
    }
}

proptest! {
    #[test]
    fn integers_are_within_the_bound(
        pairs in prop::collection::vec((any::<i16>(), any::<i16>()), 1..100),
        shrink in 0..12_u32,
        sigma in any::<u16>(),
        c in any::<u16>(),
    ) {
        let noisy: Vec<i16> = pairs.iter().map(|(x, y)| y.saturating_add(x >> shrink)).collect();
        let clean: Vec<i16> = pairs.iter().map(|(_, y)| *y).collect();
        check(&noisy, &clean, sigma, c);
        check(&noisy, &clean, sigma >> shrink, 333);
    }
}
