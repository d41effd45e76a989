use super::*;
use crate::rng::{Stream, generator};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Rows of `columns` numbers, padded; a fraction `density` of them is not 0.
fn rows(rng: &mut ChaCha8Rng, rows: usize, columns: usize, density: f64) -> Vec<f32> {
    let mut values = vec![0.0; rows * stride(columns)];
    for row in values.chunks_exact_mut(stride(columns)) {
        for value in &mut row[..columns] {
            if rng.random_bool(density) {
                *value = rng.random_range(-1.0..1.0);
            }
        }
    }
    values
}

fn product(
    dense_from: f64,
    gram: &[f32],
    points: &[f32],
    moving: &[usize],
    columns: usize,
) -> Vec<f32> {
    let stride = stride(columns);
    let mut products = vec![f32::NAN; moving.len() * stride];
    GramProduct {
        gram,
        stride,
        points,
        moving,
        products: &mut products,
        support: &mut Support::default(),
        dense_from,
    }
    .run();
    products
}

#[test]
fn sparse_and_dense_products_have_the_same_bits_and_are_right() {
    let mut rng = generator(7, Stream::Weights);
    for columns in [1, 7, 16, 33, 64, 128, 150, 256] {
        for density in [0.0, 0.1, 0.5, 1.0] {
            let gram = rows(&mut rng, columns, columns, 1.0);
            let points = rows(&mut rng, 16, columns, density);
            let moving = [0, 1, 2, 3, 5, 9, 15];
            let of = |from| product(from, &gram, &points, &moving, columns);
            let (sparse, dense) = (of(f64::INFINITY), of(0.0));
            assert_eq!(sparse, dense, "{columns} columns, density {density}");
            let stride = stride(columns);
            for (index, &row) in moving.iter().enumerate() {
                for column in 0..stride {
                    let exact: f64 = (0..columns)
                        .map(|atom| {
                            f64::from(points[row * stride + atom])
                                * f64::from(gram[atom * stride + column])
                        })
                        .sum();
                    let found = f64::from(sparse[index * stride + column]);
                    assert!((found - exact).abs() < 1e-4, "{found} {exact}");
                }
            }
        }
    }
}

#[test]
fn moments_of_tiles_join_to_those_of_the_batch() {
    let mut rng = generator(8, Stream::Weights);
    let (columns, batch, weight, threshold) = (21, 41, 3.0, 0.9f32);
    let stride = stride(columns);
    let mut points = rows(&mut rng, batch, columns, 0.6);
    for row in points.chunks_exact_mut(stride) {
        // A constant, a constant far from 0, and a small spread around a large mean.
        row[3] = 0.1;
        row[4] = 1e6;
        row[5] = 1000.0 + row[0] / 16.0;
    }
    let tiles: Vec<(usize, Vec<f32>, Vec<f32>)> = points
        .chunks(16 * stride)
        .map(|tile| {
            let (mut mean, mut squares) = (vec![0.0; stride], vec![0.0; stride]);
            TileMoments {
                stride,
                rows: tile.len() / stride,
                points: tile,
                mean: &mut mean,
                squares: &mut squares,
            }
            .run();
            (tile.len() / stride, mean, squares)
        })
        .collect();
    let tiles: Vec<Moments<'_>> = tiles
        .iter()
        .map(|(rows, mean, squares)| Moments {
            rows: *rows,
            mean,
            squares,
        })
        .collect();
    let (mut mean, mut factor) = (vec![0.0; stride], vec![0.0; stride]);
    JoinMoments {
        tiles: &tiles,
        batch,
        weight,
        threshold,
        mean: &mut mean,
        factor: &mut factor,
    }
    .run();
    for column in 0..columns {
        let values = || {
            points
                .iter()
                .skip(column)
                .step_by(stride)
                .map(|&v| f64::from(v))
        };
        let exact = values().sum::<f64>() / batch as f64;
        let variance = values().map(|v| (v - exact).powi(2)).sum::<f64>() / (batch - 1) as f64;
        let deviation = variance.sqrt();
        let expected = if variance == 0.0 || exact == 0.1 || exact == 1e6 {
            0.0
        } else {
            2.0 * weight / (batch - 1) as f64 * (f64::from(threshold) - deviation).max(0.0)
                / deviation
        };
        let found = (f64::from(mean[column]), f64::from(factor[column]));
        assert!(
            (found.0 - exact).abs() <= 1e-6 * exact.abs().max(1.0),
            "{found:?} {exact}"
        );
        if [3, 4].contains(&column) {
            assert_eq!(found.1, 0.0, "a constant component");
        } else {
            assert!(
                (found.1 - expected).abs() < 1e-3 * expected,
                "{found:?} {expected}"
            );
            assert!(expected > 0.0);
        }
    }
    assert!(factor[columns..].iter().all(|&f| f == 0.0), "padding");
}

/// One pass, with and without hinge, beside the formulas in f64.
#[test]
fn an_update_is_the_formula() {
    let mut rng = generator(9, Stream::Weights);
    let columns = 19;
    let stride = stride(columns);
    let iteration = Iteration {
        step_size: 0.3,
        threshold: 0.05,
        momentum: 0.7,
        pull: 0.2,
        tolerance_squared: 0.25,
        freeze: false,
    };
    for freeze in [false, true] {
        for with_hinge in [false, true] {
            let (points, codes) = (
                rows(&mut rng, 4, columns, 0.8),
                rows(&mut rng, 4, columns, 0.8),
            );
            let (products, constants) = (
                rows(&mut rng, 3, columns, 1.0),
                rows(&mut rng, 4, columns, 1.0),
            );
            let (mean, factor) = (
                rows(&mut rng, 1, columns, 1.0),
                rows(&mut rng, 1, columns, 1.0),
            );
            let mut samples = [Sample::default(); 4];
            // Sample 1 has converged; sample 3 was far away, so that it converges now.
            samples[1].converged = true;
            samples[3].norm_squared = 1e6;
            let before = samples;
            let (mut new_points, mut new_codes) = (points.clone(), codes.clone());
            let outcome = UpdateTile {
                iteration: Iteration {
                    freeze,
                    ..iteration
                },
                hinge: with_hinge.then_some(Hinge {
                    mean: &mean,
                    factor: &factor,
                }),
                stride,
                products: &products,
                constants: &constants,
                points: &mut new_points,
                codes: &mut new_codes,
                samples: &mut samples,
            }
            .run();
            assert_eq!(
                outcome.moving,
                samples.iter().filter(|s| !s.converged).count()
            );
            assert!(!outcome.overflowed);
            assert!(samples[3].converged && !samples[0].converged);
            let (mut product, mut change) = (0, 0.0);
            for row in 0..4 {
                change = 0.0;
                for column in 0..stride {
                    let at = row * stride + column;
                    let value = |values: &[f32], at: usize| f64::from(values[at]);
                    let (x, z) = (value(&points, at), value(&codes, at));
                    let next = if before[row].converged {
                        match freeze {
                            false => x.max(0.0),
                            true => z,
                        }
                    } else {
                        let mut gradient = value(&products, product * stride + column)
                            - value(&constants, at)
                            + 0.2 * x;
                        if with_hinge {
                            gradient -= value(&factor, column) * (x - value(&mean, column));
                        }
                        let next = x - 0.3 * gradient - 0.05;
                        if column < columns { next.max(0.0) } else { 0.0 }
                    };
                    change += (next - z).powi(2);
                    assert!((f64::from(new_codes[at]) - next).abs() < 1e-5);
                    let point = next + 0.7 * (next - z);
                    assert!((f64::from(new_points[at]) - point).abs() < 1e-5);
                }
                product += usize::from(!before[row].converged);
                let stays = freeze && before[row].converged;
                let meets = change < 0.25 * f64::from(before[row].norm_squared);
                assert_eq!(samples[row].converged, meets || stays);
                assert_eq!(samples[row].steps, u32::from(!samples[row].converged));
            }
            assert!(change > 0.0);
        }
    }
}

#[test]
fn an_overflow_is_reported() {
    let stride = stride(3);
    let infinite = vec![f32::INFINITY; stride];
    let (mut points, mut codes) = (vec![0.0; stride], vec![0.0; stride]);
    let outcome = UpdateTile {
        iteration: Iteration {
            step_size: 1.0,
            threshold: 0.0,
            momentum: 0.0,
            pull: 0.0,
            tolerance_squared: 0.0,
            freeze: false,
        },
        hinge: None,
        stride,
        products: &vec![0.0; stride],
        constants: &infinite,
        points: &mut points,
        codes: &mut codes,
        samples: &mut [Sample::default()],
    }
    .run();
    assert!(outcome.overflowed);
}
