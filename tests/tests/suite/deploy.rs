//! Export, then run: the model file does on a device what the trainer does, exactly for f32 and
//! within bounds that follow from the scales for i16 and i8.

use std::sync::OnceLock;

use candle_core::{Device, Tensor};
use sparsecode_formats::{
    AlignedBytes, Decoder as StoredDecoder, MatrixRef, ModelFile, ModelSpec, OwnedModel, ScaleAxis,
    WeightType, write,
};
use sparsecode_runtime::{Refine, Stop, ram_bytes};
use sparsecode_tests::deployed::{Runner, inference_config, trainer_refine};
use sparsecode_tests::papers::{Golden, flat};
use sparsecode_tests::{max_difference, runs, shared};
use sparsecode_trainer::data::DataFacts;
use sparsecode_trainer::data::Samples;
use sparsecode_trainer::data::{DataConfig, MnistConfig};
use sparsecode_trainer::deploy::measure::measure;
use sparsecode_trainer::deploy::{HostModel, TrainedRun};
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::evaluate::{self, CodeSource};
use sparsecode_trainer::lista::inference::{Energy, PlainFista};
use sparsecode_trainer::lista::model::{Decoder, Encoder};
use sparsecode_trainer::run::RunFolder;

/// What f32 sums in another order may differ by, in preprocessed units.
const ROUNDING: f32 = 1e-5;

/// The subject whose encoder is one layer.
const SHALLOW: &str = "vdl without recurrence";

/// The settings that the inference of a file refines with: from the encoder's code, or as without
/// an encoder.
fn settings(spec: &ModelSpec<'_>) -> Refine {
    if spec.has_encoder() {
        Refine::for_model(spec)
    } else {
        Refine::for_inference(spec)
    }
}

/// A run and some preprocessed samples of its data, `count × input_dim`.
struct Subject {
    name: &'static str,
    run: TrainedRun,
    inputs: Tensor,
}

impl Subject {
    fn rows(&self) -> Vec<Vec<f32>> {
        self.inputs.to_vec2().unwrap()
    }

    fn file(&self, weights: WeightType) -> AlignedBytes {
        AlignedBytes::from_slice(&self.run.export(weights).unwrap().bytes)
    }

    /// The codes that the trainer would use: the encoder's, or FISTA's with the file's step.
    fn codes(&self, refine: &Refine) -> Vec<Vec<f32>> {
        let codes = match &self.run.model.encoder {
            Some(encoder) => encoder.forward(&self.inputs).unwrap(),
            None => {
                trainer_refine(&PlainFista, &self.run.model, &self.inputs, refine)
                    .unwrap()
                    .codes
            }
        };
        codes.to_vec2().unwrap()
    }
}

/// A model of the papers' own code as a run, with the images that came with it.
fn papers_run(golden: &Golden, prefix: &str, preset: &str) -> (TrainedRun, Tensor) {
    let model = golden.model(prefix);
    let hidden = format!("model.hidden_dim={}", model.decoder.hidden_dim());
    let config = Config::preset(preset)
        .unwrap()
        .with_overrides(None, &[hidden])
        .unwrap();
    let run = TrainedRun {
        config,
        model,
        facts: DataFacts::mnist(),
        epoch: 11,
        commit: sparsecode_trainer::COMMIT.to_owned(),
    };
    (run, golden.inputs.narrow(0, 0, 24).unwrap())
}

/// One small model of each kind, and the papers' where the shared data are.
fn subjects() -> &'static [Subject] {
    static SUBJECTS: OnceLock<Vec<Subject>> = OnceLock::new();
    SUBJECTS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut subjects: Vec<Subject> = [
            ("vdl", "dead-leaves/vdl", "seed=31"),
            (SHALLOW, "vibration/vdl", "model.lista_iterations=0"),
            ("vdl-nl", "dead-leaves/vdl-nl", "seed=32"),
            ("do", "ecg/do", "seed=33"),
            ("do-nl", "dead-leaves/do-nl", "seed=34"),
        ]
        .into_iter()
        .map(|(name, preset, setting)| {
            let folder = folder.path().join(name);
            let (run, splits) = runs::train(preset, &[setting], &folder).unwrap();
            let shape = (splits.test.len(), splits.test.dim);
            let inputs = Tensor::from_vec(splits.test.samples, shape, &Device::Cpu).unwrap();
            Subject {
                name,
                run,
                inputs: inputs.narrow(0, 0, 24).unwrap(),
            }
        })
        .collect();
        if let Some(golden) = Golden::load("reference.safetensors") {
            for (name, prefix, preset) in [
                ("the papers' vdl", "vdl", "mnist/vdl"),
                ("the papers' vdl-nl", "vdlnl", "mnist/vdl-nl"),
            ] {
                let (run, inputs) = papers_run(&golden, prefix, preset);
                subjects.push(Subject { name, run, inputs });
            }
        }
        subjects
    })
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// What one iteration more or less moves a code by where FISTA has converged: the tolerance,
/// relative to its norm; and rounding.
fn stop_tolerance(refine: &Refine, code: &[f32]) -> f32 {
    let norm = code.iter().map(|z| z * z).sum::<f32>().sqrt();
    2.0 * refine.tolerance * norm + 10.0 * ROUNDING
}

#[test]
fn f32_codes_and_reconstructions_are_the_trainers() {
    for subject in subjects() {
        let name = subject.name;
        let file = subject.file(WeightType::F32);
        let mut runner = Runner::new(&file);
        let mut host = HostModel::new(&file, name).unwrap();
        let spec = *runner.view.spec();
        let refine = settings(&spec);
        let codes = subject.codes(&refine);
        let reconstructions: Vec<Vec<f32>> = subject
            .run
            .model
            .decoder
            .forward(&Tensor::new(codes.clone(), &Device::Cpu).unwrap())
            .unwrap()
            .to_vec2()
            .unwrap();
        assert!(codes.iter().any(|code| largest(code) > 0.0), "{name}");
        for (row, input) in subject.rows().iter().enumerate() {
            // Without an encoder this is FISTA, which may stop one iteration sooner or later.
            let tolerance = match &subject.run.model.encoder {
                Some(_) => ROUNDING,
                None => stop_tolerance(&refine, &codes[row]),
            };
            let code = runner.encode(input);
            let difference = max_difference(&code, &codes[row]);
            // FISTA through a hidden layer: see the test of refinement.
            let comparable = spec.is_linear() || spec.lista_iterations.is_some();
            assert!(
                difference < tolerance || !comparable,
                "{name}, sample {row}: codes differ by {difference}"
            );
            let mut other = vec![0.0; code.len()];
            sparsecode_runtime::CodeBuffer::to_dense(host.encode(input, None).unwrap(), &mut other);
            assert_eq!(code, other, "{name}, sample {row}: the host model's code");

            let difference = max_difference(&runner.decode(&codes[row]), &reconstructions[row]);
            assert!(
                difference < ROUNDING,
                "{name}, sample {row}: reconstructions differ by {difference}"
            );
        }
    }
}

/// With a fixed number of iterations the iterates are compared; with a tolerance, where they stop,
/// too.
///
/// A hidden layer makes the energy piecewise: units switch, and iterates that differ by rounding
/// part. There the first iterates are compared, and the energies of the last.
#[test]
fn f32_refinement_is_the_trainers() {
    for subject in subjects() {
        let name = subject.name;
        let file = subject.file(WeightType::F32);
        let mut runner = Runner::new(&file);
        let spec = *runner.view.spec();
        let rows = subject.rows();
        let iterations = if spec.is_linear() { 40 } else { 4 };
        let fixed = Refine {
            max_iterations: iterations,
            tolerance: 0.0,
            ..settings(&spec)
        };
        let theirs =
            trainer_refine(&PlainFista, &subject.run.model, &subject.inputs, &fixed).unwrap();
        let theirs: Vec<Vec<f32>> = theirs.codes.to_vec2().unwrap();
        for (row, input) in rows.iter().enumerate() {
            let (code, refinement) = runner.refine(input, &fixed);
            // A code that stays zero is done.
            assert!(
                refinement.iterations == iterations || largest(&code) == 0.0,
                "{name}, sample {row}: {refinement:?}"
            );
            let difference = max_difference(&code, &theirs[row]);
            assert!(
                difference < 10.0 * ROUNDING,
                "{name}, sample {row}: {iterations} iterations differ by {difference}"
            );
        }

        let until = settings(&spec);
        let theirs =
            trainer_refine(&PlainFista, &subject.run.model, &subject.inputs, &until).unwrap();
        let config = inference_config(&until);
        let energy = Energy::new(&subject.run.model.decoder, &subject.inputs, None, &config);
        let their_energy = energy.value(&theirs.codes).unwrap().total();
        let codes: Vec<Vec<f32>> = theirs.codes.to_vec2().unwrap();
        let (mut same_stop, mut our_energy) = (0, 0.0);
        for (row, input) in rows.iter().enumerate() {
            let (code, refinement) = runner.refine(input, &until);
            our_energy += f64::from(refinement.energy);
            // The trainer counts the iterations that did not converge.
            let expected = theirs.steps[row] + u32::from(refinement.stopped == Stop::Converged);
            same_stop += usize::from(refinement.iterations == expected || largest(&code) == 0.0);
            if spec.is_linear() {
                let bound = stop_tolerance(&until, &codes[row]);
                let difference = max_difference(&code, &codes[row]);
                assert!(
                    difference < bound,
                    "{name}, sample {row}: {difference} is more than {bound}"
                );
            }
        }
        assert!(
            (our_energy - their_energy).abs() < 0.01 * their_energy,
            "{name}: energy {our_energy}, the trainer's {their_energy}"
        );
        assert!(
            !spec.is_linear() || 10 * same_stop >= 9 * rows.len(),
            "{name}: {same_stop} of {} samples stop where the trainer's do",
            rows.len()
        );
    }
}

/// A matrix of the trainer (`outputs × inputs`) and the scales of its outputs in the file.
struct Quantized {
    weights: Vec<Vec<f32>>,
    scale: Vec<f32>,
}

impl Quantized {
    fn new(matrix: &Tensor, stored: &MatrixRef<'_>, axis: ScaleAxis) -> Self {
        let weights: Vec<Vec<f32>> = matrix.to_vec2().unwrap();
        assert_eq!(stored.scale_axis, axis);
        assert_eq!(stored.scale().len(), weights.len(), "a scale per output");
        Self {
            weights,
            scale: stored.scale().to_vec(),
        }
    }

    /// A bound of each output's error: with |ΔW| ≤ scale/2 and inputs off by at most `error`,
    /// |Σ (W+ΔW)(x+Δx) − Σ W x| ≤ Σ |W|·|Δx| + (scale/2)·Σ (|x| + |Δx|).
    fn bound(&self, x: &[f32], error: &[f64]) -> Vec<f64> {
        let reach: f64 = x
            .iter()
            .zip(error)
            .map(|(x, e)| f64::from(x.abs()) + e)
            .sum();
        let outputs = self.weights.iter().zip(&self.scale);
        outputs
            .map(|(row, scale)| {
                let carried: f64 = row
                    .iter()
                    .zip(error)
                    .map(|(w, e)| f64::from(w.abs()) * e)
                    .sum();
                carried + f64::from(*scale) / 2.0 * reach
            })
            .collect()
    }
}

/// The largest ratio of error to bound; the bound gets the rounding of f32 on top.
fn used(ours: &[f32], theirs: &[f32], bound: &[f64]) -> f64 {
    ours.iter()
        .zip(theirs)
        .zip(bound)
        .map(|((a, b), bound)| f64::from((a - b).abs()) / (bound + f64::from(ROUNDING)))
        .fold(0.0, f64::max)
}

/// The encoder's bound, layer by layer. relu is 1-Lipschitz, so errors of the drive and of S z pass
/// it unchanged at most: e⁰ = (s_U/2)·‖y‖₁, eⁱ = e⁰ + |S|·eⁱ⁻¹ + (s_S/2)·(‖zⁱ⁻¹‖₁ + ‖eⁱ⁻¹‖₁).
fn encoder_bound(
    encoder: &Encoder,
    stored: &sparsecode_formats::Encoder<'_>,
    input: &Tensor,
) -> Vec<f64> {
    let first = Quantized::new(&encoder.input, &stored.input, ScaleAxis::Row);
    let recurrent = Quantized::new(&encoder.recurrent, &stored.recurrent, ScaleAxis::Column);
    let y = flat(input);
    let drive = first.bound(&y, &vec![0.0; y.len()]);
    let mut error = drive.clone();
    for iterations in 0..encoder.iterations {
        let upto = Encoder {
            iterations,
            ..encoder.clone()
        };
        let code = flat(&upto.forward(input).unwrap());
        let step = recurrent.bound(&code, &error);
        error = drive.iter().zip(step).map(|(a, b)| a + b).collect();
    }
    error
}

/// The decoder's bound: (s/2)·‖z‖₁ for a linear one; through both layers otherwise.
fn decoder_bound(decoder: &Decoder, stored: &StoredDecoder<'_>, code: &[f32]) -> Vec<f64> {
    let exact = vec![0.0; code.len()];
    match (decoder, stored) {
        (Decoder::Linear { dictionary }, StoredDecoder::Linear { dictionary: stored }) => {
            Quantized::new(dictionary, stored, ScaleAxis::Column).bound(code, &exact)
        }
        (
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            },
            StoredDecoder::OneHidden {
                hidden: stored_hidden,
                output: stored_output,
                ..
            },
        ) => {
            let first = Quantized::new(hidden, stored_hidden, ScaleAxis::Column);
            let second = Quantized::new(output, stored_output, ScaleAxis::Column);
            let error = first.bound(code, &exact);
            let z = Tensor::from_slice(code, (1, code.len()), &Device::Cpu).unwrap();
            let units = z.matmul(&hidden.t().unwrap()).unwrap();
            let units = units.broadcast_add(hidden_bias).unwrap().relu().unwrap();
            second.bound(&flat(&units), &error)
        }
        _ => panic!("the file's decoder is of another kind than the run's"),
    }
}

#[test]
fn quantised_codes_and_reconstructions_stay_within_the_bound_of_their_scales() {
    for subject in subjects() {
        for weights in [WeightType::I16, WeightType::I8] {
            let what = format!("{} in {weights}", subject.name);
            let bytes = subject.file(weights);
            let file = ModelFile::read(&bytes).unwrap();
            let mut runner = Runner::new(&bytes);
            let codes = subject.codes(&settings(&file.spec));
            let (mut encoder_used, mut decoder_used) = (0.0f64, 0.0f64);
            for (row, input) in subject.rows().iter().enumerate() {
                if let (Some(encoder), Some(stored)) = (&subject.run.model.encoder, &file.encoder) {
                    let y = subject.inputs.narrow(0, row, 1).unwrap();
                    let bound = encoder_bound(encoder, stored, &y);
                    let share = used(&runner.encode(input), &codes[row], &bound);
                    assert!(
                        share <= 1.0,
                        "{what}, sample {row}: the code's error is {share} of its bound"
                    );
                    encoder_used = encoder_used.max(share);
                }
                let decoder = &subject.run.model.decoder;
                let z = Tensor::from_slice(&codes[row], (1, codes[row].len()), &Device::Cpu);
                let theirs = flat(&decoder.forward(&z.unwrap()).unwrap());
                let bound = decoder_bound(decoder, &file.decoder, &codes[row]);
                let share = used(&runner.decode(&codes[row]), &theirs, &bound);
                assert!(
                    share <= 1.0,
                    "{what}, sample {row}: the reconstruction's error is {share} of its bound"
                );
                decoder_used = decoder_used.max(share);
            }
            // A bound that nothing comes near would hold anything. Over several layers it adds |S|
            // up without signs, and is wide.
            if weights == WeightType::I8 {
                assert!(
                    subject.name != SHALLOW || encoder_used > 0.1,
                    "{what}: the encoder uses only {encoder_used} of its bound"
                );
                assert!(
                    decoder_used > if file.spec.is_linear() { 0.1 } else { 0.005 },
                    "{what}: the decoder uses only {decoder_used} of its bound"
                );
            }
        }
    }
}

/// Refinement with quantised atoms, judged by the trainer's energy. With z the trainer's code, ẑ
/// the file's after K iterations and r(·) the root of the reconstruction term, |r_q(x) − r(x)| ≤
/// ‖δ(x)‖/√d with |δ(x)_i| ≤ (s_i/2)‖x‖₁, and FISTA from zero holds E_q(ẑ) ≤ E_q(z) + 2‖z‖²/(η
/// (K+1)²) (Beck & Teboulle 2009, theorem 4.4, whose proof needs no minimiser).
#[test]
fn quantised_refinement_stays_near_the_trainers_energy() {
    let linear = subjects()
        .iter()
        .filter(|s| matches!(s.run.model.decoder, Decoder::Linear { .. }));
    for subject in linear {
        for weights in [WeightType::I16, WeightType::I8] {
            let what = format!("{} in {weights}", subject.name);
            let bytes = subject.file(weights);
            let file = ModelFile::read(&bytes).unwrap();
            let StoredDecoder::Linear { dictionary } = &file.decoder else {
                panic!("{what}: the file's decoder is not linear");
            };
            let mut runner = Runner::new(&bytes);
            let refine = Refine {
                start: sparsecode_runtime::Start::Zero,
                max_iterations: 200,
                tolerance: 0.0,
                ..Refine::for_model(&file.spec)
            };
            let theirs =
                trainer_refine(&PlainFista, &subject.run.model, &subject.inputs, &refine).unwrap();
            let theirs: Vec<Vec<f32>> = theirs.codes.to_vec2().unwrap();
            let d = file.spec.input_dim() as f64;
            let l1 = |z: &[f32]| z.iter().map(|z| f64::from(z.abs())).sum::<f64>();
            let half_scales = dictionary
                .scale()
                .iter()
                .map(|s| f64::from(*s).powi(2) / 4.0)
                .sum::<f64>()
                .sqrt();
            let delta = |z: &[f32]| half_scales * l1(z) / d.sqrt();
            for (row, input) in subject.rows().iter().enumerate() {
                let root = |z: &[f32]| {
                    let z = Tensor::from_slice(z, (1, z.len()), &Device::Cpu).unwrap();
                    let y = flat(&subject.run.model.decoder.forward(&z).unwrap());
                    let errors = y.iter().zip(input).map(|(a, b)| f64::from(a - b).powi(2));
                    (errors.sum::<f64>() / d).sqrt()
                };
                let lambda = f64::from(refine.lambda);
                let (code, _) = runner.refine(input, &refine);
                let ours = root(&code).powi(2) + lambda * l1(&code);

                let z = &theirs[row];
                let norm: f64 = z.iter().map(|z| f64::from(*z).powi(2)).sum();
                let gap = 2.0 * norm / (f64::from(refine.step_size) * 201.0f64.powi(2));
                let at_quantised = (root(z) + delta(z)).powi(2) + lambda * l1(z) + gap;
                // E_q(ẑ) ≤ at_quantised, so r_q(ẑ) is at most this:
                let residual = (at_quantised - lambda * l1(&code)).max(0.0).sqrt();
                let bound = (residual + delta(&code)).powi(2) + lambda * l1(&code) + 1e-5;
                assert!(
                    ours <= bound,
                    "{what}, sample {row}: energy {ours}, bound {bound}"
                );
                let base = root(z).powi(2) + lambda * l1(z);
                assert!(
                    bound < 1.5 * base + 0.01,
                    "{what}, sample {row}: the bound {bound} says little of {base}"
                );
            }
        }
    }
}

/// Largest loss of mean PSNR against the run, in dB, and largest change of the fraction of zeros,
/// on MNIST's first 1000 test images. Measured for i8: 0.0006 dB and 0.00004.
const COST: [(WeightType, f64, f64); 3] = [
    (WeightType::F32, 1e-3, 1e-5),
    (WeightType::I16, 1e-3, 1e-5),
    (WeightType::I8, 0.01, 5e-4),
];

#[test]
fn quantisation_costs_little_on_mnist() {
    let (Some(golden), Some(folder)) = (Golden::load("reference.safetensors"), shared("data"))
    else {
        return;
    };
    let data = DataConfig::Mnist(MnistConfig {
        train: Some(250),
        validation: Some(250),
        test: Some(1000),
        ..MnistConfig::default()
    });
    let test = data.load(Some(&folder), 31).unwrap().test;
    for (prefix, preset) in [("vdl", "mnist/vdl"), ("vdlnl", "mnist/vdl-nl")] {
        let (run, _) = papers_run(&golden, prefix, preset);
        let samples = Samples::new(test.clone()).unwrap();
        let own = evaluate::evaluate(
            &run.model,
            &samples,
            &run.config,
            1.0,
            &PlainFista,
            CodeSource::Encoder,
            None,
        )
        .unwrap();
        assert!(own.psnr > 15.0, "{prefix}: {} dB", own.psnr);
        for (weights, psnr_cost, sparsity_cost) in COST {
            let bytes = AlignedBytes::from_slice(&run.export(weights).unwrap().bytes);
            let mut host = HostModel::new(&bytes, prefix).unwrap();
            let figures = measure(&mut host, &test.samples, &test, 1.0, None).unwrap();
            assert!(
                own.psnr - figures.psnr < psnr_cost,
                "{prefix} in {weights}: {} dB, the run has {} dB",
                figures.psnr,
                own.psnr
            );
            assert!(
                (own.sparsity - figures.sparsity).abs() < sparsity_cost,
                "{prefix} in {weights}: {} zeros, the run has {}",
                figures.sparsity,
                own.sparsity
            );
        }
    }
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = runs::train("dead-leaves/vdl-nl", &[], folder.path()).unwrap();
    let again = TrainedRun::open(&RunFolder::new(folder.path())).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (retrained, _) = runs::train("dead-leaves/vdl-nl", &[], elsewhere.path()).unwrap();
    let (other, _) = runs::train(
        "dead-leaves/vdl-nl",
        &["seed=32"],
        &elsewhere.path().join("other"),
    )
    .unwrap();
    for weights in WeightType::FLOAT {
        let bytes = |run: &TrainedRun| run.export(weights).unwrap().bytes;
        assert!(bytes(&run) == bytes(&run), "{weights}: exported twice");
        assert!(bytes(&run) == bytes(&again), "{weights}: opened anew");
        assert!(bytes(&run) == bytes(&retrained), "{weights}: trained anew");
        assert!(bytes(&run) != bytes(&other), "{weights}: another seed");
    }
}

#[test]
fn a_file_is_a_source_again() {
    for subject in subjects() {
        for weights in WeightType::FLOAT {
            let bytes = subject.file(weights);
            let file = ModelFile::read(&bytes).unwrap();
            let owned = OwnedModel::from_file(&file).unwrap();
            let again = AlignedBytes::from_slice(&write(&owned, weights).unwrap());
            if weights == WeightType::F32 {
                assert!(bytes[..] == again[..], "{}", subject.name);
                continue;
            }
            // Scales are found again from the largest weight, up to a rounding of f32.
            let mut before = Runner::new(&bytes);
            let mut after = Runner::new(&again);
            for input in subject.rows().iter().take(4) {
                let code = before.encode(input);
                let difference = max_difference(&before.decode(&code), &after.decode(&code));
                assert!(
                    difference < ROUNDING,
                    "{} in {weights}: {difference}",
                    subject.name
                );
            }
        }
    }
}

/// The figures: 225 KB of flash for the model, 8 KB of RAM to encode and decode (and to
/// refine).
#[test]
fn a_model_of_784_to_128_fits_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = runs::train(
        "dead-leaves/vdl",
        &[
            "data.height=28",
            "data.width=28",
            "model.code_dim=128",
            "data.train=50",
            "inference.max_iterations=3",
        ],
        folder.path(),
    )
    .unwrap();
    let bytes = run.export(WeightType::I8).unwrap().bytes;
    assert!(bytes.len() <= 225_000, "{} bytes", bytes.len());
    assert!(ram_bytes(784, 128, 0) <= 8192, "{}", ram_bytes(784, 128, 0));
    let aligned = AlignedBytes::from_slice(&bytes);
    let spec = ModelFile::read(&aligned).unwrap().spec;
    assert_eq!((spec.input_dim(), spec.code_dim()), (784, 128));
}
