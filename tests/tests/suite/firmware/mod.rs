//! The firmware in an emulator, as CI runs it for every core: here one core, with the model in the
//! repository and with one of the size that the project promises to fit. Cores that cannot run here
//! are skipped, with what is missing.

mod missing;

use std::path::Path;

use sparsecode_formats::{
    ActivationRanges, Activations, Contrast, GramStorage, InputFacts, InputShape, OwnedDecoder,
    OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Variant, WeightType,
    example_denoiser, write, write_file, write_integer_as, write_integer_with,
};
use sparsecode_lab::bench::{self, Bench, FloatBench, IntegerBench, IntegerCosts};
use sparsecode_lab::firmware::{self, Files, Job, Limits, Measurements};
use sparsecode_lab::precision::{self, ITERATIONS, Inputs};
use sparsecode_lab::{Core, Outcome, Row, no_panic, stream, toolchain};
use sparsecode_runtime::Method;
use sparsecode_tests::papers::Golden;
use sparsecode_tests::tools::{ready, tools};
use sparsecode_tests::{shared, skipped};
use sparsecode_trainer::data::DataFacts;
use sparsecode_trainer::data::npy::write_npy_f32;
use sparsecode_trainer::data::{DataConfig, MnistConfig};
use sparsecode_trainer::deploy::TrainedRun;
use sparsecode_trainer::lista::Config;

/// What the first core found; it passed, which means that its results are the host's.
fn first<T: std::fmt::Debug>(rows: &[Row<T>]) -> &T {
    rows[0].passed().unwrap_or_else(|| panic!("{rows:?}"))
}

/// Runs the M4F's firmware.
fn m4f(files: &Files, limits: &Limits) -> Row<Measurements> {
    let job = Job::of(files).unwrap();
    firmware::run(&tools(), &job, &[Core::M4f], limits).remove(0)
}

fn integers(files: &Files, cores: &[Core]) -> IntegerBench {
    match bench::run(&tools(), &Job::of(files).unwrap(), cores, false).unwrap() {
        Bench::Integer(found) => found,
        Bench::Float(found) => panic!("{found:?}"),
    }
}

fn floats(files: &Files, cores: &[Core]) -> FloatBench {
    match bench::run(&tools(), &Job::of(files).unwrap(), cores, false).unwrap() {
        Bench::Float(found) => found,
        Bench::Integer(found) => panic!("{found:?}"),
    }
}

/// One test of all runs, so that their builds do not wait for each other's lock with the emulator's
/// time running.
#[test]
fn the_firmware_computes_what_the_host_does() {
    if ready(&[Core::M4f]).is_empty() {
        return;
    }
    let row = m4f(&Files::default(), &Limits::default());
    let found = row.passed().unwrap_or_else(|| panic!("{row:?}"));
    assert!(found.refined > found.noisy, "{found:?}");

    let folder = tempfile::tempdir().unwrap();
    let (model, patches) = (
        folder.path().join("model.safetensors"),
        folder.path().join("patches.npy"),
    );
    mnist_sized(&model, &patches);
    let bytes = std::fs::metadata(&model).unwrap().len();
    let files = Files {
        model: Some(model),
        patches: Some(patches),
        ..Files::default()
    };
    let limits = Limits {
        model: Some(225_000),
        scratch: Some(8192),
    };
    let row = m4f(&files, &limits);
    let found = row.passed().unwrap_or_else(|| panic!("{row:?}"));
    assert!(
        (bytes..=225_000).contains(&found.footprint.model) && found.scratch <= 8192,
        "{found:?}: the file has {bytes} bytes"
    );

    let limits = Limits {
        scratch: Some(100),
        ..Limits::default()
    };
    match m4f(&Files::default(), &limits).outcome {
        Outcome::Failed(why) => {
            assert!(why.contains("scratch") && why.contains("limit"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

/// The compiler that builds firmware leaves no panic in it; CI tries every kind of core, two of
/// them with a `core` that is compiled along, too.
#[test]
fn no_panic_can_be_reached() {
    let target = Core::M4f.setup().target;
    match tools().choose(target) {
        None => skipped(&toolchain::remedy(target)),
        Some(toolchain) => no_panic::check(Core::M4f, &toolchain).unwrap(),
    }
}

/// Every way to refine ends at the host's codes on the device, or the core fails; and the Gram
/// matrix must pay.
#[test]
fn the_benchmark_counts_every_way_to_refine() {
    if ready(&[Core::M4f]).is_empty() {
        return;
    }
    let files = Files {
        patch_limit: Some(2),
        ..Files::default()
    };
    let found = floats(&files, &[Core::M4f]);
    let costs = first(&found.cores);
    let gram = costs.gram.unwrap_or_else(|| panic!("{costs:?}"));
    assert!(
        gram.fista.iteration < costs.direct.iteration / 2,
        "{costs:?}"
    );
    let [direct, descent] = [
        costs.direct.all(found.iterations.direct),
        gram.descent.all(found.iterations.descent),
    ];
    assert!(descent < direct / 5.0, "{found:?}");
}

/// In integers the M4F's counts are a fraction of those in f32, and a signal comes out as it does
/// on the host, or the core fails.
#[test]
fn integers_and_streams_run_on_the_device() {
    let cores = ready(&[Core::M0plus, Core::M4f, Core::M33, Core::M55, Core::Rv32imc]);
    if cores.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (model, patches) = (
        folder.path().join("model.safetensors"),
        folder.path().join("patches.npy"),
    );
    let files = Files {
        model: Some(model.clone()),
        patches: Some(patches.clone()),
        ..Files::default()
    };

    // Dimensions that are no multiples of 8: the ends of rows, of lists and of the last block, on
    // each kind of kernel.
    let ranges = ActivationRanges {
        input_scale: 1.0 / 1000.0,
        input_min: -1500,
        input_max: 1500,
        code_max: 3.0,
    };
    let clean = |i: usize| {
        if i % 23 < 12 {
            0.0
        } else {
            (i % 7) as f32 / 7.0
        }
    };
    let noisy = |i: usize| clean(i) + if i.is_multiple_of(3) { 0.2 } else { 0.0 };
    let both: Vec<f32> = (0..5 * 23)
        .map(noisy)
        .chain((0..5 * 23).map(clean))
        .collect();
    write_npy_f32(&patches, &[2, 5, 23], &both).unwrap();
    let eight_bits = ActivationRanges {
        input_scale: 1.0 / 80.0,
        input_min: -127,
        input_max: 127,
        ..ranges
    };
    for (ranges, weights, activations) in [
        (ranges, WeightType::I8, Activations::I16),
        (eight_bits, WeightType::I4, Activations::I8),
    ] {
        let written = write_integer_as(&made_up(1, 23, 13), &ranges, weights, activations);
        write_file(&model, &written.unwrap().bytes).unwrap();
        let found = integers(&files, &cores);
        // To pass is to have the host's codes and patches.
        let passed = found.cores.iter().filter(|row| row.passed().is_some());
        assert_eq!(passed.count(), cores.len(), "{found:?}");
    }

    if !cores.contains(&Core::M4f) {
        return;
    }
    let own = Files {
        model: Some(firmware::folder().join("model/integer.safetensors")),
        patch_limit: Some(2),
        ..Files::default()
    };
    let costs = |found: IntegerBench| -> IntegerCosts { first(&found.cores).clone() };
    let core = costs(integers(&own, &[Core::M4f]));
    // 64 × 128 products in the first layer: with SMLAD about 1.3 instructions each, and what
    // rescaling takes.
    assert!(
        core.dense_layer < 5 * 64 * 128 / 2 && core.encode < 80_000 && core.decode < 6_000,
        "{core:?}"
    );

    // A dense first layer of 784 x 128, no input 0: at most 1.35 instructions a product.
    let ranges = ActivationRanges {
        input_scale: 1.0 / 255.0,
        input_min: -255,
        input_max: 510,
        code_max: 30.0,
    };
    let large = made_up(28, 28, 128);
    let written = write_integer_as(&large, &ranges, WeightType::I8, Activations::I16).unwrap();
    write_file(&model, &written.bytes).unwrap();
    let pixels: Vec<f32> = (0..2 * 2 * 784)
        .map(|i| ((i * 37) % 255 + 1) as f32 / 255.0)
        .collect();
    write_npy_f32(&patches, &[2, 2, 784], &pixels).unwrap();
    let core = costs(integers(&files, &[Core::M4f]));
    assert!(core.dense_layer as f64 <= 1.35 * 784.0 * 128.0, "{core:?}");

    for refine in [0, 5] {
        let job = Job::of(&stream::ecg(Files::default())).unwrap();
        let job = job.refined(refine, Method::CoordinateDescent);
        let found = stream::run(&tools(), &job, &[Core::M4f]).unwrap();
        let core = first(&found.cores);
        // Ten times faster than 360 samples a second at 168 MHz and an instruction a cycle.
        assert!(
            (core.sample as f64) < 168e6 / 360.0 / 10.0 && core.longest > core.sample,
            "{core:?}"
        );
        let [before, after] = found.db;
        assert!(after > before + 5.0, "{found:?}");
    }
}

/// A signal through a model that denoises comes out as it does on the host, on each kind of kernel:
/// without drift, with the noise estimated, guarded, and with a Gram matrix that is built in RAM.
#[test]
fn a_model_that_denoises_runs_on_the_device() {
    let cores = ready(&[Core::M0plus, Core::M4f, Core::Rv32imc]);
    if cores.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (model, patches) = (
        folder.path().join("denoiser.safetensors"),
        folder.path().join("signal.npy"),
    );
    // Whole eights of codes, which kernels that are written out take, no multiple of 8 samples, and
    // a hop that does not divide the window.
    let mut denoiser = example_denoiser(30, 16, 3);
    let gram = denoiser.gram.as_mut().unwrap();
    (gram.hop, gram.drift) = (7, Some(25));
    let ranges = ActivationRanges {
        input_scale: 1.0 / 1000.0,
        input_min: -6000,
        input_max: 6000,
        code_max: 20.0,
    };
    let (weights, storage) = (WeightType::I8, GramStorage::Built);
    let written =
        write_integer_with(&denoiser, &ranges, weights, Activations::I16, storage).unwrap();
    write_file(&model, &written.bytes).unwrap();
    // Long enough for the noise to be estimated.
    let clean = |i: usize| (i as f32 / 3.0).sin();
    let noise = |i: usize| (i * 7919 % 1000) as f32 / 1000.0 - 0.5;
    let count = 0..1500;
    let noisy = count
        .clone()
        .map(|i| clean(i) + noise(i) + i as f32 / 1000.0);
    let both: Vec<f32> = noisy.chain(count.map(clean)).collect();
    write_npy_f32(&patches, &[2, 1, 1500], &both).unwrap();
    let files = Files {
        model: Some(model),
        patches: Some(patches),
        ..Files::default()
    };
    let found = stream::run(&tools(), &Job::of(&files).unwrap(), &cores).unwrap();
    assert_eq!((found.window, found.hop, found.drift), (30, 7, Some(25)));
    let passed = found.cores.iter().filter_map(|row| row.passed());
    let bytes = sparsecode_runtime::stream::DenoiseStream::<i16, 30, 25>::BYTES;
    let right = passed.filter(|costs| costs.channel == bytes as u64 && costs.sample > 100);
    assert_eq!(right.count(), cores.len(), "{found:?}");
}

/// What the host computes of the table of bits and iterations is what the committed page says.
#[test]
fn the_page_on_precision_is_up_to_date() {
    let found = precision::run(&Inputs::default(), None).unwrap();
    // Weights, activations, iterations, PSNR, zeros, bytes; not the instructions, which compilers
    // move.
    let mut expected = Vec::new();
    for entry in &found.entries {
        for (iterations, quality) in ITERATIONS.iter().zip(&entry.quality) {
            expected.push(vec![
                entry.weights.to_owned(),
                entry.activations.to_owned(),
                iterations.to_string(),
                format!("{:.2}", quality.psnr),
                format!("{:.1} %", 100.0 * quality.zeros),
                entry.bytes.to_string(),
            ]);
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/precision.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| weights"));
    let kept: Vec<Vec<String>> = rows
        .map(|line| {
            let cells = line.split('|').skip(1).take(6);
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert_eq!(expected.len(), 24);
    assert_eq!(
        expected, kept,
        "cargo xtask bench precision --markdown docs/results/precision.md"
    );
}

/// A 784→128 model in i8 and two patches for it: the papers' VDL and noisy digits where the shared
/// data are, else made up.
fn mnist_sized(model: &Path, patches: &Path) {
    let made_up = || {
        eprintln!("the model of 784 to 128 is made up");
        (
            made_up_model(),
            samples(|i| ((i * 37) % 101) as f32 / 101.0),
        )
    };
    let (bytes, samples) = papers_model().unwrap_or_else(made_up);
    write_file(model, &bytes).unwrap();
    write_npy_f32(patches, &[2, 2, 784], &samples).unwrap();
}

/// Noisy samples, then clean ones.
fn samples(clean: impl Fn(usize) -> f32) -> Vec<f32> {
    let clean: Vec<f32> = (0..2 * 784).map(clean).collect();
    // Any disturbance will do; this one needs no generator.
    let noise = |i: usize| 0.2 * ((i * i) as f32 * 0.37).sin();
    let noisy = clean.iter().enumerate().map(|(i, x)| x + noise(i));
    noisy.chain(clean.iter().copied()).collect()
}

fn papers_model() -> Option<(Vec<u8>, Vec<f32>)> {
    let golden = Golden::load("reference.safetensors")?;
    let data = DataConfig::Mnist(MnistConfig {
        train: Some(1),
        validation: Some(1),
        test: Some(2),
        ..MnistConfig::default()
    });
    let test = data.load(Some(&shared("data")?), 31).unwrap().test;
    let run = TrainedRun {
        config: Config::preset("mnist/vdl").unwrap(),
        model: golden.model("vdl"),
        facts: DataFacts::mnist(),
        epoch: 11,
        commit: sparsecode_trainer::COMMIT.to_owned(),
    };
    let (mean, deviation) = (run.facts.mean, run.facts.deviation);
    let bytes = run.export(WeightType::I8).unwrap().bytes;
    Some((bytes, samples(|i| test.samples[i] * deviation + mean)))
}

fn made_up_model() -> Vec<u8> {
    write(&made_up(28, 28, 128), WeightType::I8).unwrap()
}

/// A model of any dimensions with numbers from nowhere.
fn made_up(height: u16, width: u16, codes: usize) -> OwnedModel {
    let inputs = usize::from(height) * usize::from(width);
    let weights = |count: usize, step: usize| -> Vec<f32> {
        (0..count)
            .map(|i| ((i * step) % 211) as f32 / 211.0 - 0.5)
            .collect()
    };
    OwnedModel {
        spec: OwnedSpec {
            variant: Variant::Vdl,
            input_shape: InputShape { height, width },
            code_dim: codes as u16,
            hidden_dim: 0,
            lista_iterations: Some(3),
            codes: Default::default(),
            lambda: 0.02,
            preprocessing: Preprocessing {
                mean: 0.5,
                deviation: 0.3,
                contrast: Contrast::None,
            },
            peak: 1.0,
            input: InputFacts::default(),
            provenance: OwnedProvenance {
                data: "made up".to_owned(),
                ..OwnedProvenance::default()
            },
        },
        encoder: Some(OwnedEncoder {
            input: weights(codes * inputs, 53)
                .iter()
                .map(|w| w / 28.0)
                .collect(),
            bias: vec![0.0; codes],
            recurrent: weights(codes * codes, 29)
                .iter()
                .map(|w| w / 40.0)
                .collect(),
        }),
        gram: None,
        variational: None,
        decoder: OwnedDecoder::Linear {
            dictionary: weights(codes * inputs, 71),
        },
    }
}
