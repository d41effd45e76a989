//! Refinement is what a person asks for: the host does what a device does, a code never becomes
//! worse, and to convergence it is scikit-learn's.

use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Contrast, InputShape, IntegerFile, OwnedDecoder,
    OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Units, Variant, WeightType, write,
    write_integer_as,
};
use sparsecode_runtime::{
    CodeBuffer, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView,
    IntegerWorkspaceBuf, Method, ModelView, Refine, SparseCodeBuf, WorkspaceBuf,
};
use sparsecode_tests::golden::{Tensors, read_tensors};
use sparsecode_tests::{runs, workspace};
use sparsecode_trainer::data::Dataset;
use sparsecode_trainer::deploy::{Calibration, HostModel, HostRefine, TrainedRun};

/// A model of every kind of encoder and decoder, and samples of its data.
fn trained() -> Vec<(&'static str, TrainedRun, Dataset)> {
    let folder = tempfile::tempdir().unwrap();
    [
        "dead-leaves/vdl",
        "ecg/do",
        "dead-leaves/vdl-nl",
        "ecg/do-nl",
    ]
    .into_iter()
    .map(|preset| {
        let out = folder.path().join(preset.replace('/', "-"));
        let (run, splits) = runs::train(preset, &["model.code_dim=32"], &out).unwrap();
        (preset, run, splits.test)
    })
    .collect()
}

/// Raw samples, as sensors give them.
fn raw(samples: &Dataset, count: usize) -> Vec<Vec<f32>> {
    let sample = |index: usize| {
        let mut sample = samples.sample(index).to_vec();
        samples.restore.restore(index, &mut sample);
        sample
    };
    (0..count).map(sample).collect()
}

fn dense(code: &SparseCodeBuf) -> Vec<f32> {
    let mut dense = vec![0.0; code.capacity()];
    code.to_dense(&mut dense);
    dense
}

/// The program's default beside what the guide has a device call (`docs/embedded.md`), in `f32`.
#[test]
fn the_host_refines_as_a_device_does_in_f32() {
    for (name, run, test) in trained() {
        for weights in [WeightType::F32, WeightType::I8] {
            let bytes = AlignedBytes::from_slice(&run.export(weights).unwrap().bytes);
            let mut host = HostModel::new(&bytes, name).unwrap();
            let device = ModelView::load(&bytes).unwrap();
            let mut code = SparseCodeBuf::new(device.spec().code_dim);
            let mut workspace = WorkspaceBuf::for_model(device.spec());
            for iterations in [0, 1, 20] {
                let settings = Refine {
                    max_iterations: iterations,
                    ..Refine::for_model(device.spec())
                };
                let asked = host.refinement(iterations);
                let what = format!("{name}, {weights}, {iterations} iterations");
                for sample in raw(&test, 4) {
                    let mut patch = sample.clone();
                    device
                        .denoise(
                            &mut patch,
                            Some(&settings),
                            &mut code,
                            &mut workspace,
                            || false,
                        )
                        .unwrap();
                    let mut hosts = sample.clone();
                    host.denoise(&mut hosts, Some(&asked)).unwrap();
                    assert_eq!(hosts, patch, "{what}");
                    assert_eq!(*host.code(), code, "{what}");

                    // The steps one by one, of programs that send codes.
                    let mut patch = sample.clone();
                    let _ = device.preprocess(&mut patch).unwrap();
                    device.encode(&patch, &mut code, &mut workspace).unwrap();
                    device
                        .refine(&patch, &mut code, &settings, &mut workspace, || false)
                        .unwrap();
                    host.encode_raw(&sample, Some(&asked)).unwrap();
                    assert_eq!(*host.code(), code, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_host_refines_as_a_device_does_in_integers() {
    for (name, run, test) in trained() {
        if name.ends_with("-nl") {
            continue;
        }
        for activations in [Activations::I16, Activations::I8] {
            let (written, _) = run
                .export_integer_as(&test, Calibration::Max, None, WeightType::I8, activations)
                .unwrap();
            let bytes = AlignedBytes::from_slice(&written.bytes);
            let mut host = HostModel::new(&bytes, name).unwrap();
            let file = IntegerFile::read(&bytes).unwrap();
            let Units { input, code, .. } = file.units().unwrap();
            let device = IntegerView::from(file);
            let mut integers = IntegerCodeBuf::new(file.spec.code_dim);
            let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
            for iterations in [0, 1, 2, 30] {
                let settings = IntegerRefine {
                    max_iterations: iterations,
                    ..IntegerRefine::for_model(&file)
                };
                let asked = host.refinement(iterations);
                assert_eq!(asked.method, settings.method);
                for sample in raw(&test, 4) {
                    let mut patch: Vec<i16> = sample
                        .iter()
                        .map(|x| (x / input as f32).round() as i16)
                        .collect();
                    let (settings, workspace) = (Some(&settings), &mut workspace);
                    device
                        .denoise(&mut patch, settings, &mut integers, workspace, || false)
                        .unwrap();
                    let mut hosts = sample.clone();
                    host.denoise(&mut hosts, Some(&asked)).unwrap();
                    let real = |level: &i16, unit: f64| (f64::from(*level) * unit) as f32;
                    let expected: Vec<f32> = patch.iter().map(|level| real(level, input)).collect();
                    let what = format!("{name}, {activations}, {iterations} iterations");
                    assert_eq!(hosts, expected, "{what}");
                    let levels = integers.iter().map(|(k, level)| (k, real(&level, code)));
                    assert!(host.code().iter().eq(levels), "{what}");
                }
            }
        }
    }
}

/// `--refine N` beside no `--refine`, by the energy in `f64` of what a file's codes stand for.
#[test]
fn a_refined_code_is_never_worse_than_a_plain_one() {
    for (name, run, test) in trained() {
        let linear = !name.ends_with("-nl");
        let float = AlignedBytes::from_slice(&run.export(WeightType::F32).unwrap().bytes);
        let mut files = vec![(float, 1e-6)];
        if linear {
            let (written, _) = run.export_integer(&test, Calibration::Max, None).unwrap();
            // Compared with the trained dictionary: levels of it and of codes are rounded.
            files.push((AlignedBytes::from_slice(&written.bytes), 2e-3));
        }
        for (bytes, rounding) in &files {
            let mut host = HostModel::new(bytes, name).unwrap();
            let lambda = host.spec().lambda;
            let mut methods = vec![Method::Fista];
            if linear {
                methods.push(Method::CoordinateDescent);
            }
            for input in test.samples.chunks_exact(test.dim).take(6) {
                let energy = |code: &SparseCodeBuf| energy(&run, input, &dense(code), lambda);
                let plain = energy(host.encode(input, None).unwrap());
                for method in &methods {
                    for iterations in [0, 1, 2, 3, 5, 10, 20, 30, 50, 200] {
                        let mut refine = host.refinement(iterations);
                        refine.method = *method;
                        let refined = energy(host.encode(input, Some(&refine)).unwrap());
                        assert!(
                            refined <= plain * (1.0 + rounding) + 1e-9,
                            "{name}, {method:?}: {iterations} iterations lead from {plain} to {refined}"
                        );
                    }
                }
            }
        }
    }
}

/// `(1/d)·‖y − D(z)‖² + λ‖z‖₁` of the run's decoder, in `f64`.
fn energy(run: &TrainedRun, input: &[f32], code: &[f32], lambda: f32) -> f64 {
    let device = &candle_core::Device::Cpu;
    let z = candle_core::Tensor::from_slice(code, (1, code.len()), device).unwrap();
    let output = run.model.decoder.forward(&z).unwrap();
    let output: Vec<f32> = output.flatten_all().unwrap().to_vec1().unwrap();
    let errors = output.iter().zip(input);
    let square: f64 = errors.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let l1: f64 = code.iter().map(|z| f64::from(*z)).sum();
    square / input.len() as f64 + f64::from(lambda) * l1
}

#[test]
fn descent_is_refused_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["model.hidden_dim=24"];
    let (run, splits) = runs::train("dead-leaves/vdl-nl", &settings, folder.path()).unwrap();
    let bytes = AlignedBytes::from_slice(&run.export(WeightType::I8).unwrap().bytes);
    let mut host = HostModel::new(&bytes, "nl").unwrap();
    let descent = HostRefine {
        method: Method::CoordinateDescent,
        ..host.refinement(3)
    };
    let error = host.encode(splits.test.sample(0), Some(&descent));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("24 units") && error.contains("FISTA"),
        "{error}"
    );
}

/// What scikit-learn made (`docs/results/compare/sklearn_codes.py`).
struct Sklearn {
    tensors: Tensors,
}

impl Sklearn {
    fn read() -> Self {
        let path = workspace().join("tests/data/sklearn.safetensors");
        Self {
            tensors: read_tensors(&path).unwrap(),
        }
    }

    fn rows(&self, name: &str) -> Vec<&[f32]> {
        let (shape, values) = &self.tensors[name];
        values.chunks_exact(shape[1]).collect()
    }

    fn model(&self) -> OwnedModel {
        let (shape, dictionary) = &self.tensors["dictionary"];
        OwnedModel {
            spec: OwnedSpec {
                variant: Variant::Do,
                input_shape: InputShape::window(shape[1] as u16),
                code_dim: shape[0] as u16,
                hidden_dim: 0,
                lista_iterations: None,
                codes: Default::default(),
                lambda: 0.01,
                preprocessing: Preprocessing {
                    mean: 0.0,
                    deviation: 1.0,
                    contrast: Contrast::None,
                },
                peak: 1.0,
                input: Default::default(),
                provenance: OwnedProvenance::default(),
            },
            encoder: None,
            gram: None,
            variational: None,
            decoder: OwnedDecoder::Linear {
                dictionary: dictionary.clone(),
            },
        }
    }

    /// `(1/d)·‖y − Wz‖² + λ‖z‖₁`.
    fn energy(&self, sample: &[f32], code: &[f32], lambda: f64) -> f64 {
        let mut error: Vec<f64> = sample.iter().map(|y| f64::from(*y)).collect();
        for (atom, z) in self.rows("dictionary").iter().zip(code) {
            for (e, w) in error.iter_mut().zip(*atom) {
                *e -= f64::from(*w) * f64::from(*z);
            }
        }
        let square: f64 = error.iter().map(|e| e * e).sum();
        let l1: f64 = code.iter().map(|z| f64::from(*z)).sum();
        square / sample.len() as f64 + lambda * l1
    }

    /// The largest relative excess of energy, and the largest relative distance of codes, of what
    /// `encode` makes.
    fn compare(&self, alpha: &str, mut encode: impl FnMut(&[f32], f32) -> Vec<f32>) -> [f64; 2] {
        let samples = self.rows("samples");
        let lambda = 2.0 * alpha.parse::<f64>().unwrap() / samples[0].len() as f64;
        let mut worst = [0.0_f64; 2];
        for (sample, expected) in samples.iter().zip(self.rows(&format!("codes.{alpha}"))) {
            let code = encode(sample, lambda as f32);
            let best = self.energy(sample, expected, lambda);
            let excess = self.energy(sample, &code, lambda) / best - 1.0;
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let size = norm(&mut expected.iter().map(|z| f64::from(*z)));
            let pairs = code.iter().zip(expected);
            let distance = norm(&mut pairs.map(|(a, b)| f64::from(a - b)));
            if size == 0.0 {
                assert_eq!(distance, 0.0, "{alpha}: a code for nothing");
                continue;
            }
            worst = [worst[0].max(excess), worst[1].max(distance / size)];
        }
        worst
    }
}

const ALPHAS: [&str; 3] = ["0.2", "1", "3"];

/// What a model file's codes are beside those of scikit-learn, for each method and α: refined for
/// so many iterations.
fn converged(bytes: &AlignedBytes, sklearn: &Sklearn) -> Vec<(String, [f64; 2])> {
    let mut host = HostModel::new(bytes, "sklearn").unwrap();
    let mut found = Vec::new();
    for (method, iterations) in [(Method::CoordinateDescent, 1000), (Method::Fista, 4000)] {
        for alpha in ALPHAS {
            let mut refine = host.refinement(iterations);
            refine.method = method;
            refine.settings.tolerance = 0.0;
            let distance = sklearn.compare(alpha, |sample, lambda| {
                refine.settings.lambda = lambda;
                dense(host.encode(sample, Some(&refine)).unwrap())
            });
            found.push((format!("{method:?}, alpha {alpha}"), distance));
        }
    }
    found
}

/// `--refine N --tolerance 0 --lambda λ`: within 1e-4 in energy, and 1e-3 in codes.
#[test]
fn to_convergence_codes_are_those_of_scikit_learn() {
    let sklearn = Sklearn::read();
    let bytes = AlignedBytes::from_slice(&write(&sklearn.model(), WeightType::F32).unwrap());
    let found = converged(&bytes, &sklearn);
    println!("{found:?}");
    for (what, [energy, codes]) in &found {
        assert!(*energy < 1e-4 && *codes < 1e-3, "{what}: {found:?}");
    }
}

/// Models in integers: 8-bit weights move a code that two similar atoms share, and hardly its
/// energy.
#[test]
fn to_convergence_integers_have_the_energy_of_scikit_learn() {
    let sklearn = Sklearn::read();
    let samples = sklearn.rows("samples");
    let most = samples.iter().flat_map(|row| row.iter());
    let most = most.fold(0.0_f32, |most, y| most.max(y.abs()));
    let codes = sklearn.tensors["codes.0.2"].1.iter();
    let ranges = ActivationRanges {
        input_scale: most / 4000.0,
        input_min: -4000,
        input_max: 4000,
        code_max: 1.25 * codes.fold(0.0_f32, |most, z| most.max(*z)),
    };
    let (weights, activations) = (WeightType::I8, Activations::I16);
    let written = write_integer_as(&sklearn.model(), &ranges, weights, activations).unwrap();
    let found = converged(&AlignedBytes::from_slice(&written.bytes), &sklearn);
    println!("{found:?}");
    for (what, [energy, codes]) in &found {
        assert!(*energy < 1e-3 && *codes < 0.2, "{what}: {found:?}");
    }
}
