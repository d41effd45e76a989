//! The firmware in an emulator, as CI runs it for every core: here one core, with the model in the
//! repository and with one of the size that the project promises to fit. Cores that cannot run here
//! are skipped, with what is missing.

mod firmware {
    pub(crate) mod missing;
}

use std::path::Path;

use serde_json::Value;
use sparsecode_formats::{
    ActivationRanges, Activations, Contrast, InputFacts, InputShape, OwnedDecoder, OwnedEncoder,
    OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Variant, WeightType, write, write_file,
    write_integer_as,
};
use sparsecode_tests::papers::Golden;
use sparsecode_tests::shared;
use sparsecode_tests::tools::{ready, xtask};
use sparsecode_trainer::data::DataFacts;
use sparsecode_trainer::data::npy::write_npy_f32;
use sparsecode_trainer::data::{DataConfig, MnistConfig};
use sparsecode_trainer::deploy::TrainedRun;
use sparsecode_trainer::lista::Config;

/// What a developer command prints as JSON; it must succeed.
fn report(arguments: &[&str]) -> Value {
    let output = xtask().args(arguments).arg("--json").output();
    let output = output.expect("xtask runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {text}\n{errors}"
    );
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{arguments:?}: {e}: the report is '{text}'\n{errors}"))
}

/// Runs the M4F's firmware.
fn firmware(arguments: &[&str]) -> Value {
    let report = report(&[&["firmware", "--core", "m4f"], arguments].concat());
    let core = report["cores"][0].clone();
    assert_eq!(core["core"], "m4f", "{report}");
    // That the checksum is the host's is what "passed" means.
    assert_eq!(core["status"], "passed", "{report}");
    assert_eq!(core["checksum"].as_str().map(str::len), Some(8), "{report}");
    core
}

fn number(value: &Value, key: &str) -> f64 {
    value
        .pointer(key)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{key} in {value}"))
}

/// One test of all runs, so that their builds do not wait for each other's lock with the emulator's time running.
#[test]
fn the_firmware_computes_what_the_host_does() {
    if ready("firmware", &["m4f"]).is_empty() {
        return;
    }
    let core = firmware(&[]);
    assert!(
        number(&core, "/psnr_db/refined") > number(&core, "/psnr_db/noisy"),
        "{core}"
    );

    let folder = tempfile::tempdir().unwrap();
    let (model, patches) = (
        folder.path().join("model.safetensors"),
        folder.path().join("patches.npy"),
    );
    mnist_sized(&model, &patches);
    let core = firmware(&[
        "--model",
        model.to_str().unwrap(),
        "--patches",
        patches.to_str().unwrap(),
        "--max-model",
        "225000",
        "--max-scratch",
        "8192",
    ]);
    let bytes = std::fs::metadata(&model).unwrap().len() as f64;
    assert!(
        (bytes..=225_000.0).contains(&number(&core, "/model_bytes")),
        "{core}: the file has {bytes} bytes"
    );
    assert!(number(&core, "/scratch_bytes") <= 8192.0, "{core}");

    let refused = xtask()
        .args([
            "firmware",
            "--core",
            "m4f",
            "--json",
            "--max-scratch",
            "100",
        ])
        .output()
        .expect("xtask runs");
    let text = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("scratch") && text.contains("limit"), "{text}");
}

/// The compiler that builds firmware leaves no panic in it, whether `core` came compiled or not: CI
/// tries both, and every core.
#[test]
fn no_panic_can_be_reached() {
    if ready("no-std", &["thumbv7em-none-eabihf"]).is_empty() {
        return;
    }
    let output = xtask().args(["no-panic", "--core", "m4f"]).output();
    let output = output.expect("xtask runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert!(text.contains("no panic can be reached"), "{text}");
}

/// Every way to refine ends at the host's codes on the device, or `bench device` fails; and the
/// Gram matrix must pay.
#[test]
fn the_benchmark_counts_every_way_to_refine() {
    if ready("firmware", &["m4f"]).is_empty() {
        return;
    }
    let report = report(&["bench", "device", "--core", "m4f", "--patch-limit", "2"]);
    let float = &report["models"][0];
    assert_eq!(float["program"], "bench", "{report}");
    let good = |method: &str| {
        let of = |what: &str| number(float, &format!("/cores/m4f/{method} {what}"));
        of("once") + number(float, &format!("/iterations/{method}")) * of("iteration")
    };
    let iteration = |method: &str| number(float, &format!("/cores/m4f/{method} iteration"));
    assert!(iteration("gram") < iteration("direct") / 2.0, "{report}");
    assert!(good("descent") < good("direct") / 5.0, "{report}");
}

/// In integers the M4F's counts are a fraction of those in f32, and a signal comes out as it does on the host, or the commands fail.
#[test]
fn integers_and_streams_run_on_the_device() {
    let cores = ready("firmware", &["m0plus", "m4f", "m33", "m55", "rv32imc"]);
    if cores.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (model, patches) = (
        folder.path().join("model.safetensors"),
        folder.path().join("patches.npy"),
    );
    let files = [
        "--model",
        model.to_str().unwrap(),
        "--patches",
        patches.to_str().unwrap(),
    ];
    let bench = |cores: &str, more: &[&str]| {
        let report = report(&[&["bench", "device", "--core", cores], more].concat());
        assert_eq!(report["models"][0]["program"], "integer", "{report}");
        report["models"][0]["cores"].clone()
    };

    // Dimensions that are no multiples of 8: the ends of rows, of lists and of the last block, on each kind of kernel.
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
        // That codes and patches are the host's is what success means.
        let found = bench(&cores.join(","), &files);
        let found = found.as_object().unwrap();
        assert_eq!(found.len(), cores.len(), "{found:?}");
    }

    if !cores.contains(&"m4f") {
        return;
    }
    let integer =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-example/model/integer.safetensors");
    let own = ["--patch-limit", "2", "--model", integer.to_str().unwrap()];
    let core = bench("m4f", &own)["m4f"].clone();
    // 64 × 128 products in the first layer: with SMLAD about 1.3 instructions each, and what
    // rescaling takes.
    assert!(
        number(&core, "/dense layer") < 2.5 * 64.0 * 128.0
            && number(&core, "/encode") < 80_000.0
            && number(&core, "/decode") < 6_000.0,
        "{core}"
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
    let core = bench("m4f", &files)["m4f"].clone();
    assert!(
        number(&core, "/dense layer") <= 1.35 * 784.0 * 128.0,
        "{core}"
    );

    for refine in ["0", "5"] {
        let report = report(&["stream", "--core", "m4f", "--refine", refine]);
        let core = &report["cores"]["m4f"];
        assert!(
            number(core, "/real time") > 10.0
                && number(core, "/longest") > number(core, "/instructions per sample"),
            "{report}"
        );
        assert!(
            number(&report, "/db/after") > number(&report, "/db/before") + 5.0,
            "{report}"
        );
    }
}

/// What the host computes of the table of bits and iterations is what the committed page says.
#[test]
fn the_page_on_precision_is_up_to_date() {
    let output = xtask()
        .args(["bench", "precision", "--no-device"])
        .output()
        .expect("xtask runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    // Weights, activations, iterations, PSNR, zeros, bytes; not the instructions, which compilers move.
    let rows = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| weights"))
            .map(|line| line.split('|').take(7).collect::<Vec<_>>().join("|"))
            .collect()
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/precision.md");
    let kept = rows(&std::fs::read_to_string(page).unwrap());
    let found = rows(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(found.len(), 24);
    assert_eq!(
        found, kept,
        "cargo xtask bench precision --markdown docs/results/precision.md"
    );
}

/// A 784→128 model in i8 and two patches for it: the papers' VDL and noisy digits where the shared data are, else made up.
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
        decoder: OwnedDecoder::Linear {
            dictionary: weights(codes * inputs, 71),
        },
    }
}
