//! The golden files of `tests/golden/`: written by the trainer on one machine, met by the runtime
//! on every other.

use sparsecode_formats::{AlignedBytes, InputFacts, ModelFile, OwnedModel, WeightType};
use sparsecode_runtime::Start;
use sparsecode_tests::deployed::Runner;
use sparsecode_tests::golden::{self, MODELS, Tensors, WEIGHTS};
use sparsecode_tests::{max_difference, workspace};
use sparsecode_trainer::lista::inference::PlainFista;
use std::path::PathBuf;

/// What codes and reconstructions may differ by: other orders of summation in f32.
const TOLERANCE: f32 = 1e-5;
/// The same after the iterations of a refinement.
const REFINED: f32 = 1e-4;

fn tolerance(key: &str) -> f32 {
    if key.starts_with("refined") {
        REFINED
    } else {
        TOLERANCE
    }
}

/// The folders of golden files: `cpu`, and `cuda` where somebody has written it.
fn folders() -> Vec<PathBuf> {
    let root = workspace().join("tests/golden");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|e| panic!("{}: {e}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(
        folders.contains(&root.join("cpu")),
        "the CPU's golden files"
    );
    folders
}

/// Calls `check` with each model file, its label, its name, and the tensors of its folder.
fn each_model(mut check: impl FnMut(&str, &AlignedBytes, &str, &str, &Tensors)) {
    for folder in folders() {
        let tensors = golden::read_tensors(&folder.join("expected.safetensors")).unwrap();
        for (name, ..) in MODELS {
            for weights in WEIGHTS {
                let key = format!("{name}-{weights}");
                let path = folder.join(format!("{key}.safetensors"));
                let bytes =
                    AlignedBytes::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                check(&path.display().to_string(), &bytes, name, &key, &tensors);
            }
        }
    }
}

#[test]
fn the_runtime_meets_them() {
    let mut models = 0;
    each_model(|label, bytes, name, key, tensors| {
        models += 1;
        let mut runner = Runner::new(bytes);
        runner.view.file().verify_checksum().unwrap();
        let refine = golden::refinement(runner.view.file());
        assert_eq!(refine.start, Start::Code, "{label}");
        let (d, l) = (
            runner.view.spec().input_dim(),
            runner.view.spec().code_dim(),
        );
        let get = |what: &str, width: usize| -> Vec<&[f32]> {
            let (shape, values) = &tensors[&format!("{key}.{what}")];
            assert_eq!(shape, &[golden::SAMPLES, width], "{label}: {what}");
            values.chunks_exact(width).collect()
        };
        let (codes, refined) = (get("codes", l), get("refined", l));
        let (reconstructions, cleaned) =
            (get("reconstructions", d), get("refined_reconstructions", d));
        let near = |row: usize, what: &str, ours: &[f32], theirs: &[f32]| {
            let difference = max_difference(ours, theirs);
            assert!(
                difference < tolerance(what),
                "{label}, sample {row}: {what} differ by {difference}"
            );
        };
        let inputs = &tensors[&format!("{name}.inputs")].1;
        for (row, input) in inputs.chunks_exact(d).enumerate() {
            let code = runner.encode(input);
            assert!(
                code.iter().any(|z| *z > 0.0),
                "{label}, sample {row}: an empty code"
            );
            near(row, "codes", &code, codes[row]);
            near(
                row,
                "reconstructions",
                &runner.decode(&code),
                reconstructions[row],
            );
            let (code, _) = runner.refine(input, &refine);
            near(row, "refined", &code, refined[row]);
            near(
                row,
                "refined_reconstructions",
                &runner.decode(&code),
                cleaned[row],
            );
        }
        // Refinement must do something, or meeting it says nothing.
        let moved = max_difference(&codes.concat(), &refined.concat());
        assert!(
            moved > 100.0 * REFINED,
            "{label}: refinement moves codes by {moved}"
        );
    });
    assert!(models >= 4);
}

/// The trainer on this machine computes from the kept files what it computed on the machine that
/// wrote them.
#[test]
fn the_trainer_meets_them() {
    each_model(|label, bytes, name, key, tensors| {
        let file = ModelFile::read(bytes).unwrap();
        let inputs = &tensors[&format!("{name}.inputs")];
        for (what, (shape, values)) in golden::expected(&file, inputs, &PlainFista).unwrap() {
            let (kept_shape, kept) = &tensors[&format!("{key}.{what}")];
            assert_eq!(&shape, kept_shape, "{label}: {what}");
            let difference = max_difference(&values, kept);
            assert!(
                difference < tolerance(&what),
                "{label}: {what} differ by {difference}"
            );
        }
    });
}

/// Trained anew on this machine the models are the same, but for what rounding does to Adam's first
/// steps where a gradient is near zero.
#[test]
fn writing_them_again_gives_them_again() {
    let kept = workspace().join("tests/golden/cpu");
    let folder = tempfile::tempdir().unwrap();
    golden::write(folder.path(), &PlainFista, "cpu", "a test").unwrap();
    let tensors = [kept.as_path(), folder.path()]
        .map(|folder| golden::read_tensors(&folder.join("expected.safetensors")).unwrap());
    assert!(tensors[0].keys().eq(tensors[1].keys()));
    for (name, ..) in MODELS {
        let key = format!("{name}.inputs");
        let difference = max_difference(&tensors[0][&key].1, &tensors[1][&key].1);
        assert!(difference < TOLERANCE, "{key} differ by {difference}");
        for weights in WEIGHTS {
            let file = format!("{name}-{weights}.safetensors");
            let [old, new] = [kept.as_path(), folder.path()].map(|folder| {
                let bytes = AlignedBytes::read(folder.join(&file)).unwrap();
                let read = ModelFile::read(&bytes).unwrap();
                let mut model = OwnedModel::from_file(&read).unwrap();
                // What names the build, not the model; and what the kept files were written
                // without.
                model.spec.provenance.commit.clear();
                model.spec.input = InputFacts::default();
                model
            });
            assert_eq!(old.spec, new.spec, "{file}");
            let [old, new] = [&old, &new].map(numbers);
            let mut differences: Vec<f32> =
                old.iter().zip(&new).map(|(a, b)| (a - b).abs()).collect();
            differences.sort_by(f32::total_cmp);
            let quantile = differences[differences.len() * 99 / 100];
            let largest = differences[differences.len() - 1];
            // One level of i8 is about 0.01 of the largest weight; six steps move a weight by 0.006
            // at most.
            let limit = if weights == WeightType::I8 {
                2e-2
            } else {
                6e-3
            };
            assert!(
                old.len() == new.len() && quantile < 1e-5 && largest < limit,
                "{file}: 99 % within {quantile}, all within {largest}"
            );
        }
    }
}

fn numbers(model: &OwnedModel) -> Vec<f32> {
    use sparsecode_formats::OwnedDecoder::{Linear, OneHidden};
    let encoder = model.encoder.as_ref().expect("golden models have encoders");
    let mut all = [&encoder.input[..], &encoder.bias, &encoder.recurrent].concat();
    match &model.decoder {
        Linear { dictionary } => all.extend(dictionary),
        OneHidden {
            hidden,
            hidden_bias,
            output,
        } => {
            all.extend(hidden);
            all.extend(hidden_bias);
            all.extend(output);
        }
    }
    all
}

#[test]
fn they_say_where_they_come_from_and_stay_small() {
    for folder in folders() {
        let path = folder.join("provenance.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let provenance: serde_json::Value = serde_json::from_str(&text).unwrap();
        let device = folder.file_name().unwrap().to_str().unwrap();
        for key in ["command", "device"] {
            let value = provenance[key].as_str().unwrap_or_default();
            assert!(
                value.contains(device),
                "{}: {key} is '{value}'",
                path.display()
            );
        }
        assert!(
            provenance["commit"].as_str().is_some_and(|c| !c.is_empty()),
            "{}: commit",
            path.display()
        );
        let bytes: u64 = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes < 100_000, "{}: {bytes} bytes", folder.display());
    }
}
