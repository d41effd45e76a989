//! Damaged files: each either still works or is refused with a message that says where; nothing
//! panics.
//!
//! The files are the project's own, written by the trainer, with a few hundred seeded mutations
//! each: bits flipped, bytes cut, moved, repeated, and words and numbers of the headers exchanged.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sparsecode_formats::{Activations, AlignedBytes, OwnedModel, WeightType};
use sparsecode_runtime::{ModelView, SparseCodeBuf, WorkspaceBuf};
use sparsecode_tests::golden::{Tensors, write_tensors};
use sparsecode_tests::runs;
use sparsecode_trainer::data::npy::{read_npy_f32, write_npy_f32};
use sparsecode_trainer::deploy::{Calibration, HostModel, TrainedRun, import_torch};
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Lista;
use sparsecode_trainer::lista::model::Autoencoder;
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::run::{Checkpoint, RunFolder};
use tempfile::TempDir;

/// Mutations of each file.
const MUTATIONS: u64 = 300;

/// A stream of numbers that is the same on every machine.
struct Dice(Box<dyn FnMut() -> u64>);

impl Dice {
    fn new(seed: u64) -> Self {
        use rand::RngCore;
        let mut rng = generator(seed, Stream::TestData);
        Self(Box::new(move || rng.next_u64()))
    }

    fn below(&mut self, limit: usize) -> usize {
        ((self.0)() % limit.max(1) as u64) as usize
    }
}

/// Damages a file in one of several ways. `header` is the length of the part that is text.
fn mutate(bytes: &[u8], header: usize, dice: &mut Dice) -> Vec<u8> {
    const WORDS: [&[u8]; 14] = [
        b"0",
        b"-1",
        b"18446744073709551616",
        b"1e999",
        b"NaN",
        b"null",
        b"\"",
        b"{",
        b"}",
        b"[]",
        b"F32",
        b"I8",
        b"\xff",
        b"0.5",
    ];
    let mut damaged = bytes.to_vec();
    // Half of the time the header, which is where readers make decisions.
    let at = if dice.below(2) == 0 {
        dice.below(header)
    } else {
        dice.below(bytes.len())
    };
    let length = 1 + dice.below(24);
    let end = (at + length).min(damaged.len());
    match dice.below(7) {
        0 => damaged[at] ^= 1 << dice.below(8),
        1 => damaged.truncate(at),
        2 => {
            damaged.drain(at..end);
        }
        3 => {
            let copy = damaged[at..end].to_vec();
            damaged.splice(at..at, copy);
        }
        4 => damaged[at..end].fill([0, 0xff, b' ', b'9'][dice.below(4)]),
        5 => {
            let word = WORDS[dice.below(WORDS.len())];
            damaged.splice(at..end.min(at + word.len()), word.iter().copied());
        }
        _ => {
            // One digit for another: sizes, offsets and versions that are nearly right.
            let digits: Vec<usize> = (0..header)
                .filter(|&i| damaged[i].is_ascii_digit())
                .collect();
            if let Some(&place) = digits.get(dice.below(digits.len())) {
                damaged[place] = b'0' + dice.below(10) as u8;
            }
        }
    }
    damaged
}

/// The safetensors header: its length is in the first eight bytes.
fn header_length(bytes: &[u8]) -> usize {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    8 + length as usize
}

/// Runs, and their model files.
struct Files {
    folder: TempDir,
    models: Vec<(String, Vec<u8>)>,
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let sizes = ["model.code_dim=16", "data.window=12", "data.hop=6"];
        let mut models = Vec::new();
        for preset in ["ecg/vdl", "ecg/sdl-nl", "ecg/do"] {
            let out = folder.path().join(preset);
            let mut settings = sizes.to_vec();
            if preset.ends_with("-nl") {
                settings.push("model.hidden_dim=10");
            }
            let (run, splits) = runs::train(preset, &settings, &out).unwrap();
            for weights in WeightType::FLOAT {
                let bytes = run.export(weights).unwrap().bytes;
                models.push((format!("{preset} in {weights}"), bytes));
            }
            if !preset.ends_with("-nl") {
                let method = Calibration::default();
                let (written, _) = run
                    .export_integer(&splits.validation, method, None)
                    .unwrap();
                models.push((format!("{preset} in integers"), written.bytes));
                let (few, bits) = (WeightType::I4, Activations::I8);
                let (written, _) = run
                    .export_integer_as(&splits.validation, method, None, few, bits)
                    .unwrap();
                models.push((format!("{preset} in few bits"), written.bytes));
            }
        }
        Files { folder, models }
    })
}

/// What became of the mutations.
#[derive(Default)]
struct Outcomes {
    worked: u64,
    refused: u64,
}

impl Outcomes {
    /// A refusal must say something that a person can look for.
    fn refuse(&mut self, what: &str, message: &str, file: Option<&Path>) {
        self.refused += 1;
        assert!(
            message.len() > 15 && message.is_char_boundary(message.len()),
            "{what}: '{message}'"
        );
        if let Some(file) = file {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(message.contains(name), "{what}: no '{name}' in '{message}'");
        }
    }

    fn finish(&self, what: &str) {
        assert!(self.refused > 0, "{what}: every damaged file was taken");
    }
}

/// Names of the fields of a model file; a refusal holds one of them.
const FIELDS: [&str; 28] = [
    "header",
    "metadata",
    "tensor",
    "checksum",
    "format",
    "version",
    "variant",
    "input_shape",
    "code_dim",
    "hidden_dim",
    "lista_iterations",
    "lambda",
    "step_size",
    "weights",
    "mean",
    "deviation",
    "contrast",
    "peak",
    "data",
    "seed",
    "epoch",
    "commit",
    "config_hash",
    "encoder",
    "decoder",
    "offset",
    "buffer",
    "atom_norm",
];

#[test]
fn damaged_model_files_work_or_say_what_is_wrong() {
    let mut outcomes = Outcomes::default();
    for (number, (name, bytes)) in files().models.iter().enumerate() {
        let mut dice = Dice::new(number as u64);
        let header = header_length(bytes);
        for mutation in 0..MUTATIONS {
            let what = format!("{name}, mutation {mutation}");
            let damaged = AlignedBytes::from_slice(&mutate(bytes, header, &mut dice));
            match ModelView::load(&damaged) {
                Ok(view) => use_model(&view, &what),
                Err(error) => {
                    let message = error.to_string();
                    assert!(
                        FIELDS.iter().any(|field| message.contains(field)),
                        "{what}: no field in '{message}'"
                    );
                }
            }
            match HostModel::new(&damaged, "the-file.safetensors") {
                Ok(mut host) => {
                    outcomes.worked += 1;
                    let mut sample = vec![0.5; host.spec().input_dim()];
                    host.denoise(&mut sample, None).unwrap();
                }
                Err(error) => {
                    let file = Path::new("the-file.safetensors");
                    outcomes.refuse(&what, &error.to_string(), Some(file));
                }
            }
        }
    }
    outcomes.finish("model files");
}

/// Everything that a device does, on a model that was accepted.
fn use_model(view: &ModelView<'_>, what: &str) {
    let spec = view.spec();
    // A mutated size that is accepted still has its numbers in the file, so that memory is bounded
    // by it.
    let mut workspace = WorkspaceBuf::for_model(spec);
    let mut code = SparseCodeBuf::new(spec.code_dim);
    let mut patch = vec![0.25; spec.input_dim()];
    patch[0] = -1.0;
    view.denoise(&mut patch, None, &mut code, &mut workspace, || false)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let _ = OwnedModel::from_file(view.file());
}

#[test]
fn damaged_files_of_a_run_work_or_say_what_is_wrong() {
    let good = RunFolder::new(files().folder.path().join("ecg/vdl"));
    let folder = tempfile::tempdir().unwrap();
    let damaged = RunFolder::new(folder.path());
    std::fs::copy(good.config(), damaged.config()).unwrap();
    let mut outcomes = Outcomes::default();
    let mut dice = Dice::new(100);
    for (source, target) in [
        (good.checkpoint(), damaged.checkpoint()),
        (good.best(), damaged.best()),
    ] {
        let bytes = std::fs::read(&source).unwrap();
        let header = header_length(&bytes);
        for mutation in 0..MUTATIONS {
            let what = format!("{}, mutation {mutation}", target.display());
            std::fs::write(&target, mutate(&bytes, header, &mut dice)).unwrap();
            let result = if target == damaged.best() {
                TrainedRun::open(&damaged)
                    .map(|run| drop(run.export(WeightType::I8)))
                    .map_err(|e| e.to_string())
            } else {
                Checkpoint::read::<Lista>(&target)
                    .map(drop)
                    .map_err(|e| e.to_string())
            };
            match result {
                Ok(()) => outcomes.worked += 1,
                Err(message) => outcomes.refuse(&what, &message, None),
            }
        }
    }
    outcomes.finish("files of a run");

    let text = std::fs::read(good.config()).unwrap();
    for mutation in 0..MUTATIONS {
        let what = format!("config.toml, mutation {mutation}");
        std::fs::write(damaged.config(), mutate(&text, text.len(), &mut dice)).unwrap();
        if let Err(error) = Config::read(&damaged.config()) {
            outcomes.refuse(&what, &error.to_string(), None);
        }
    }
}

/// Weights under the names of the papers' code.
fn torch_file(folder: &Path) -> PathBuf {
    let (d, l) = (12, 5);
    let zeros = |shape: &[usize]| (shape.to_vec(), vec![0.25; shape.iter().product()]);
    let tensors: Tensors = [
        ("encoder.W.weight", zeros(&[l, d])),
        ("encoder.W.bias", zeros(&[l])),
        ("encoder.S.weight", zeros(&[l, l])),
        ("decoder.decoder.weight", zeros(&[d, l])),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .collect();
    let path = folder.join("torch.safetensors");
    write_tensors(&path, &tensors).unwrap();
    path
}

#[test]
fn damaged_torch_files_work_or_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = torch_file(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    let header = header_length(&bytes);
    let import = || -> Result<(Autoencoder, usize), String> {
        let mut config = Config::preset("ecg/vdl").unwrap();
        import_torch(&path, &mut config).map_err(|e| e.to_string())
    };
    import().unwrap();
    let mut outcomes = Outcomes::default();
    let mut dice = Dice::new(200);
    for mutation in 0..2 * MUTATIONS {
        std::fs::write(&path, mutate(&bytes, header, &mut dice)).unwrap();
        match import() {
            Ok(_) => outcomes.worked += 1,
            Err(message) => {
                outcomes.refuse(
                    &format!("torch, mutation {mutation}"),
                    &message,
                    Some(&path),
                );
            }
        }
    }
    outcomes.finish("torch files");
}

#[test]
fn damaged_arrays_work_or_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.npy");
    let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
    write_npy_f32(&path, &[5, 12], &values).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(read_npy_f32(&path).unwrap(), (vec![5, 12], values));
    let mut outcomes = Outcomes::default();
    let mut dice = Dice::new(300);
    for mutation in 0..3 * MUTATIONS {
        std::fs::write(&path, mutate(&bytes, 128, &mut dice)).unwrap();
        match read_npy_f32(&path) {
            Ok((shape, values)) => {
                outcomes.worked += 1;
                assert_eq!(shape.iter().product::<usize>(), values.len());
            }
            Err(error) => outcomes.refuse(
                &format!("array, mutation {mutation}"),
                &error.to_string(),
                Some(&path),
            ),
        }
    }
    outcomes.finish("arrays");
}

/// The mutations do what they are for: some leave files whole, most do not, and they differ.
#[test]
fn mutations_vary() {
    let (_, bytes) = &files().models[0];
    let mut dice = Dice::new(400);
    let header = header_length(bytes);
    let all: Vec<Vec<u8>> = (0..100).map(|_| mutate(bytes, header, &mut dice)).collect();
    let changed = all.iter().filter(|damaged| *damaged != bytes).count();
    assert!(changed > 85, "{changed}");
    let in_data = all
        .iter()
        .filter(|damaged| damaged.len() == bytes.len() && damaged[..header] == bytes[..header])
        .count();
    assert!((5..70).contains(&in_data), "{in_data}");
}
