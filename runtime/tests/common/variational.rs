//! Encoders of variational models in `f64`, by the formulas of the model file.

use sparsecode_formats::{Layer, MatrixRef, ModelFile, VariationalBody};

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// `M x` where rows are outputs, or, transposed, columns.
pub(crate) fn product(matrix: &MatrixRef<'_>, x: &[f64], transposed: bool) -> Vec<f64> {
    let (outputs, inputs) = match transposed {
        false => (matrix.rows, matrix.cols),
        true => (matrix.cols, matrix.rows),
    };
    assert_eq!(inputs, x.len());
    let weight = |output: usize, input: usize| match transposed {
        false => matrix.weight(output, input),
        true => matrix.weight(input, output),
    };
    (0..outputs)
        .map(|output| {
            let terms = x.iter().enumerate();
            terms
                .map(|(input, x)| f64::from(weight(output, input).unwrap()) * x)
                .sum()
        })
        .collect()
}

pub(crate) fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(crate) fn affine(layer: &Layer<'_>, x: &[f64]) -> Vec<f64> {
    sum(&product(&layer.weights, x, false), &wide(layer.bias))
}

/// What heads behind the shift take, and the shift of each component.
pub(crate) fn features(file: &ModelFile<'_>, input: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let encoder = file.variational.unwrap();
    match encoder.body {
        VariationalBody::Dense { trunk, shift } => {
            let mut features = input.to_vec();
            for layer in trunk.iter().flatten() {
                features = affine(layer, &features);
                features.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            let shift = affine(&shift, &features);
            (features, shift)
        }
        VariationalBody::Lista {
            encoder: lista,
            shrinkage,
        } => {
            let shrink = |v: Vec<f64>| -> Vec<f64> {
                let pairs = v.iter().zip(wide(shrinkage));
                pairs
                    .map(|(v, t)| (v.abs() - t).max(0.0).copysign(*v))
                    .collect()
            };
            let drive = sum(&product(&lista.input, input, false), &wide(lista.bias));
            let mut z = shrink(drive.clone());
            for _ in 0..file.spec.lista_iterations.unwrap() {
                z = shrink(sum(&drive, &product(&lista.recurrent, &z, true)));
            }
            (z.iter().map(|x| x.abs()).collect(), z)
        }
    }
}
