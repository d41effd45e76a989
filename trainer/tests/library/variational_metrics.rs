//! What is said of codes, and the FISTA that variational codes are compared with, beside closed
//! forms.

use rand_distr::{Distribution, StandardNormal};
use sparsecode_formats::CodeSign;
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::variational::BatchFista;
use sparsecode_trainer::variational::metrics::{Rows, collapsed, information, support_similarity};

/// Normal codes of variance 0.1, those within the threshold 0 and the others by as much less.
fn prior_codes(count: usize, units: usize, threshold: f64) -> Vec<f64> {
    let mut rng = generator(9, Stream::Weights);
    let noise = (0..count * units).map(|_| {
        let draw: f64 = StandardNormal.sample(&mut rng);
        0.1_f64.sqrt() * draw
    });
    noise
        .map(|e| e.signum() * (e.abs() - threshold).max(0.0))
        .collect()
}

/// What the release reports of 1,024 units and 10,000 pictures is what codes of the prior have,
/// which say nothing of a picture.
#[test]
fn multi_information_of_the_prior_is_what_its_sparsity_says() {
    let (count, width) = (10_000, 1024);
    for (threshold, expected) in [(0.0, 3496.0), (0.52, 753.0)] {
        let values = prior_codes(count, width, threshold);
        let rows = Rows {
            values: &values,
            width,
        };
        let found = information(rows, 30).multi_information();
        assert!(
            (found / expected - 1.0).abs() < 5e-3,
            "{threshold}: {found}"
        );
    }
}

#[test]
fn identical_columns_share_all_their_information() {
    let (count, width) = (2000, 7);
    let column = prior_codes(count, 1, 0.3);
    let values: Vec<f64> = column.iter().flat_map(|z| [*z; 7]).collect();
    let rows = Rows {
        values: &values,
        width,
    };
    let found = information(rows, 20);
    let one = found.entropies[0];
    assert!(one > 0.5, "{one}");
    let expected = (width - 1) as f64 * one;
    assert!((found.multi_information() - expected).abs() < 1e-9);
    assert!((found.joint - one).abs() < 1e-9);
}

#[test]
fn units_that_hardly_move_have_collapsed() {
    // 19 of 20 rows are within the limit in the first column, 18 in the second.
    let rows = (0..20).flat_map(|row| {
        let large = |is_large: bool| if is_large { -0.5 } else { 0.01 };
        [large(row < 1), large(row < 2)]
    });
    let values: Vec<f64> = rows.collect();
    let rows = Rows {
        values: &values,
        width: 2,
    };
    assert_eq!(collapsed(rows, 0.01), 0.5);
}

#[test]
fn supports_are_alike_by_what_they_share() {
    let values = [
        1.0, 2.0, 0.0, 0.0, //
        3.0, 0.0, -1.0, 0.0, //
        0.0, 0.0, 0.0, 0.0,
    ];
    let rows = Rows {
        values: &values,
        width: 4,
    };
    // One of three, and twice none of two.
    let found = support_similarity(rows);
    assert!((found - 1.0 / 9.0).abs() < 1e-12, "{found}");
}

/// Of `½‖x − A z‖² + τ‖z‖₁`: no atom correlates with the rest by more than τ, and those of the code
/// by just as much, with their sign. Where no component may be negative, any atom may correlate as
/// far below 0 as it likes.
#[test]
fn codes_of_fista_meet_the_conditions_of_an_optimum() {
    let (pixels, units, tau) = (12, 20, 0.4);
    let mut rng = generator(4, Stream::Weights);
    let mut normal = |count: usize| -> Vec<f64> {
        (0..count)
            .map(|_| StandardNormal.sample(&mut rng))
            .collect()
    };
    let (atoms, inputs) = (normal(units * pixels), normal(5 * pixels));
    for sign in CodeSign::ALL {
        let fista = BatchFista {
            sign,
            sparsity: tau,
            tolerance: 1e-13,
            most: 100_000,
        };
        let found = fista.infer(&inputs, &atoms, pixels);
        let (mut signs, mut least) = ([0, 0, 0], 0.0_f64);
        for (x, code) in inputs
            .chunks_exact(pixels)
            .zip(found.codes.chunks_exact(units))
        {
            let mut rest = x.to_vec();
            for (atom, z) in atoms.chunks_exact(pixels).zip(code) {
                rest.iter_mut().zip(atom).for_each(|(r, a)| *r -= z * a);
            }
            for (atom, z) in atoms.chunks_exact(pixels).zip(code) {
                let along: f64 = atom.iter().zip(&rest).map(|(a, r)| a * r).sum();
                assert!(along <= tau * (1.0 + 1e-6), "{along}");
                least = least.min(along);
                if *z == 0.0 {
                    signs[1] += 1;
                } else {
                    assert!(
                        (along - tau * z.signum()).abs() < 1e-6 * tau,
                        "{along}, {z}"
                    );
                    signs[if *z > 0.0 { 2 } else { 0 }] += 1;
                }
            }
        }
        let is_signed = sign == CodeSign::Signed;
        assert_eq!(signs[0] > 5, is_signed, "{signs:?}");
        assert!(signs[1] > 5 && signs[2] > 5, "{signs:?}");
        assert_eq!(least >= -tau * (1.0 + 1e-6), is_signed, "{least}");
    }
}

/// Of atoms at right angles the code is known: what is beyond τ of each correlation.
#[test]
fn one_iteration_is_enough_for_orthonormal_atoms() {
    // Hadamard's matrix of order 4, halved.
    let atoms = [
        0.5, 0.5, 0.5, 0.5, //
        0.5, -0.5, 0.5, -0.5, //
        0.5, 0.5, -0.5, -0.5, //
        0.5, -0.5, -0.5, 0.5,
    ];
    let x = [1.0, -2.0, 0.25, 3.0];
    let fista = BatchFista {
        sign: CodeSign::Signed,
        sparsity: 0.7,
        tolerance: 0.0,
        most: 1,
    };
    let found = fista.infer(&x, &atoms, 4);
    let expected = atoms.chunks_exact(4).map(|atom| {
        let along: f64 = atom.iter().zip(&x).map(|(a, x)| a * x).sum();
        along.signum() * (along.abs() - 0.7).max(0.0)
    });
    let expected: Vec<f64> = expected.collect();
    assert_eq!(found.iterations, 1);
    assert!(expected.contains(&0.0) && expected.iter().any(|z| *z < 0.0));
    for (found, expected) in found.codes.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}
