//! The GPU's kernels, compiled for the host, against the reference: codes, whole training steps, whole runs.

use candle_core::{DType, Device, Tensor};
use sparsecode_tests::emulator::{Emulator, Order};
use sparsecode_tests::runs;
use sparsecode_trainer::config::Config;
use sparsecode_trainer::cuda::CudaEngine;
use sparsecode_trainer::inference::{
    CpuEngine, Energy, Engine, Inference, InferenceConfig, PlainFista, Stopping,
};
use sparsecode_trainer::model::Decoder;
use sparsecode_trainer::rng::{Stream, generator};

/// A decoder, inputs, a start and an encoder's codes, made up.
struct Problem {
    decoder: Decoder,
    inputs: Tensor,
    start: Tensor,
    encoder_codes: Tensor,
    config: InferenceConfig,
}

fn uniform(shape: &[usize], low: f32, high: f32, stream: u32) -> Tensor {
    use rand::Rng;
    let mut rng = generator(7, Stream::Shuffle { epoch: stream });
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(low..high)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

impl Problem {
    fn new(n: usize, d: usize, l: usize, m: usize, preset: &str) -> Self {
        let decoder = if m == 0 {
            Decoder::Linear {
                dictionary: uniform(&[d, l], -0.3, 0.3, 1),
            }
        } else {
            Decoder::OneHidden {
                hidden: uniform(&[m, l], -0.3, 0.3, 1),
                hidden_bias: uniform(&[m], -0.1, 0.1, 2),
                output: uniform(&[d, m], -0.3, 0.3, 3),
            }
        };
        let start = uniform(&[n, l], -1.0, 0.5, 4).relu().unwrap();
        let inference = Config::preset(preset).unwrap().inference;
        Self {
            decoder,
            inputs: uniform(&[n, d], -1.0, 1.0, 5),
            encoder_codes: start.clone(),
            start,
            config: InferenceConfig {
                max_iterations: 40,
                // As strong for a sample as in a batch of the published size.
                variance_weight: inference.variance_weight * n as f64 / 250.0,
                ..inference
            },
        }
    }

    fn infer(&self, engine: &dyn Engine) -> Inference {
        let encoder_codes = Some(&self.encoder_codes);
        let energy = Energy::new(&self.decoder, &self.inputs, encoder_codes, &self.config);
        engine.infer(&energy, &self.start).unwrap()
    }

    /// The same by the definition, in f64.
    fn reference(&self) -> Inference {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
        let decoder = match &self.decoder {
            Decoder::Linear { dictionary } => Decoder::Linear {
                dictionary: double(dictionary),
            },
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => Decoder::OneHidden {
                hidden: double(hidden),
                hidden_bias: double(hidden_bias),
                output: double(output),
            },
        };
        let (inputs, codes) = (double(&self.inputs), double(&self.encoder_codes));
        let energy = Energy::new(&decoder, &inputs, Some(&codes), &self.config);
        PlainFista.infer(&energy, &double(&self.start)).unwrap()
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    flat.to_vec1().unwrap()
}

/// The largest difference, relative to the largest value.
fn distance(ours: &Tensor, theirs: &Tensor) -> f64 {
    let (ours, theirs) = (values(ours), values(theirs));
    let scale = theirs.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert!(scale > 0.0, "nothing to compare");
    let pairs = ours.iter().zip(&theirs);
    // NaN must not pass.
    pairs.map(|(a, b)| (a - b).abs() / scale).fold(0.0, |a, b| {
        if b.is_nan() { f64::INFINITY } else { a.max(b) }
    })
}

fn emulated() -> CudaEngine {
    Emulator::new(Order::Forward).engine()
}

/// Sizes below, at and beyond those of tiles, quads and chunks; n, d, l, m.
const SIZES: [(usize, usize, usize, usize, &str); 7] = [
    (37, 20, 24, 0, "mnist/vdl"),
    (70, 90, 130, 0, "mnist/sdl"),
    (2, 5, 30, 0, "mnist/vdl"),
    (1, 64, 128, 0, "mnist/sdl"),
    (37, 20, 24, 70, "mnist/vdl-nl"),
    (20, 65, 40, 130, "mnist/sdl-nl"),
    (1, 3, 9, 5, "mnist/sdl-nl"),
];

#[test]
fn codes_are_the_references() {
    let mut ended_early = 0;
    for (n, d, l, m, preset) in SIZES {
        for stopping in [Stopping::Sliding, Stopping::Freeze] {
            let mut problem = Problem::new(n, d, l, m, preset);
            problem.config.stopping = stopping;
            problem.config.tolerance = 0.03;
            let (ours, theirs) = (problem.infer(&emulated()), problem.reference());
            let label = format!("{preset} {n} {d} {l} {m}, {stopping:?}");
            let apart = distance(&ours.codes, &theirs.codes);
            assert!(apart < 1e-4, "{label}: {apart}");
            assert_eq!(ours.iterations, theirs.iterations, "{label}");
            assert_eq!(ours.steps, theirs.steps, "{label}");
            ended_early += usize::from(ours.iterations < problem.config.max_iterations);
        }
    }
    assert!(
        ended_early >= 4,
        "{ended_early} loops ended before their last iteration"
    );
}

/// A component that is the same in every sample has no deviation, and no gradient from the hinge: not one from rounding either.
#[test]
fn constant_components_are_left_alone() {
    let mut problem = Problem::new(40, 12, 20, 0, "mnist/vdl");
    problem.start = Tensor::full(0.3f32, (40, 20), &Device::Cpu).unwrap();
    problem.encoder_codes = problem.start.clone();
    problem.inputs = uniform(&[1, 12], -1.0, 1.0, 9)
        .broadcast_as((40, 12))
        .unwrap();
    problem.inputs = problem.inputs.contiguous().unwrap();
    let (ours, theirs) = (problem.infer(&emulated()), problem.reference());
    let apart = distance(&ours.codes, &theirs.codes);
    assert!(apart < 1e-5, "{apart}");
}

/// What leaves the floats ends the loop, with codes from which the caller can tell.
#[test]
fn an_overflow_ends_the_loop() {
    for m in [0, 16] {
        let mut problem = Problem::new(20, 30, 24, m, "mnist/sdl");
        problem.config.step_size = 1e20;
        let ours = problem.infer(&emulated());
        assert!(ours.iterations < problem.config.max_iterations, "m = {m}");
        assert!(
            values(&ours.codes).iter().any(|&z| z.is_nan() || z > 1e15),
            "m = {m}"
        );
    }
}

/// Neither the order in which threads run, nor the number of blocks, nor where a block's state lies changes a bit. A barrier that is
/// missing would.
#[test]
fn bits_depend_on_nothing_else() {
    for (n, d, l, m, preset) in [
        (70, 90, 130, 0, "mnist/vdl"),
        (37, 65, 24, 130, "mnist/vdl-nl"),
    ] {
        let mut problem = Problem::new(n, d, l, m, preset);
        problem.config.max_iterations = 12;
        problem.config.tolerance = 0.05;
        let expected = problem.infer(&emulated());
        let new = Emulator::new;
        let mut others = vec![
            ("reverse", new(Order::Reverse)),
            ("random", new(Order::Random(1))),
            ("random again", new(Order::Random(2))),
            ("one block", new(Order::Random(3)).grid(1)),
            ("three blocks", new(Order::Random(4)).grid(3)),
            ("a grid", new(Order::Reverse).grid(13)),
            // Without the Gram matrix, and without the state, in shared memory.
            (
                "less shared memory",
                new(Order::Random(5)).shared_bytes(90 * 1024),
            ),
            (
                "little shared memory",
                new(Order::Random(6)).shared_bytes(40 * 1024),
            ),
        ];
        if m > 0 {
            others.push(("more blocks than tiles", new(Order::Random(7)).grid(40)));
        }
        for (label, device) in others {
            let ours = problem.infer(&device.engine());
            assert_eq!(
                values(&ours.codes),
                values(&expected.codes),
                "{preset}, {label}"
            );
            assert_eq!(ours.steps, expected.steps, "{preset}, {label}");
            assert_eq!(ours.iterations, expected.iterations, "{preset}, {label}");
        }
    }
}

/// What a short run on built-in data came to: the parameters of its best model, and its figures.
struct Trained {
    parameters: Vec<(&'static str, Vec<f64>)>,
    metrics: Vec<serde_json::Value>,
    checkpoint: Vec<u8>,
}

const SMALL: [&str; 6] = [
    "epochs=2",
    "data.train=130",
    "data.height=6",
    "data.width=6",
    "model.code_dim=40",
    "inference.max_iterations=30",
];

fn settings(preset: &str) -> Vec<&'static str> {
    let mut settings = SMALL.to_vec();
    if preset.ends_with("-nl") {
        settings.push("model.hidden_dim=24");
    }
    settings
}

fn train(engine: &dyn Engine, preset: &str, more: &[&str]) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let mut all = settings(preset);
    all.extend(more);
    let (run, _) = runs::train_with(engine, preset, &all, folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap_or_default();
    Trained {
        parameters: run
            .model
            .parameters()
            .into_iter()
            .map(|(name, parameter)| (name, values(parameter)))
            .collect(),
        metrics: text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        checkpoint: std::fs::read(folder.path().join("checkpoint.safetensors")).unwrap(),
    }
}

const VARIANTS: [&str; 9] = [
    "dead-leaves/sdl",
    "dead-leaves/vdl",
    "dead-leaves/wdl",
    "dead-leaves/do",
    "dead-leaves/none",
    "dead-leaves/sdl-nl",
    "dead-leaves/vdl-nl",
    "dead-leaves/wdl-nl",
    "dead-leaves/do-nl",
];

#[test]
fn whole_runs_are_the_processors() {
    for preset in VARIANTS {
        let ours = train(&emulated(), preset, &[]);
        let theirs = train(&CpuEngine::new(1), preset, &[]);
        for ((name, a), (_, b)) in ours.parameters.iter().zip(&theirs.parameters) {
            let scale = b.iter().fold(0.0f64, |x, y| x.max(y.abs()));
            let far = a
                .iter()
                .zip(b)
                .filter(|(a, b)| !((*a - *b).abs() <= 1e-4 * scale))
                .count();
            let most = a
                .iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            eprintln!(
                "{preset} {name}: {far} of {} beyond, most {most:e} scale {scale}",
                a.len()
            );
        }
    }
}
