//! Golden files: small models, samples, and what the trainer computes from them. The runtime must
//! meet them on every machine.
//!
//! A folder of them holds, for each model of [`MODELS`] and each number type of [`WEIGHTS`], the
//! model file `NAME-TYPE.safetensors`; `expected.safetensors` with the tensors `NAME.inputs` and,
//! for each file, `NAME-TYPE.codes`, `.reconstructions`, `.refined` and `.refined_reconstructions`
//! (one row a sample); and `provenance.json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sparsecode_formats::{AlignedBytes, ModelFile, WeightType};
use sparsecode_runtime::Refine;
use sparsecode_trainer::COMMIT;
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::storage::write_atomic;

use crate::deployed::{autoencoder, trainer_refine};
use crate::runs;

/// Name, preset and settings of each model. The files that are kept were trained with FISTA's step
/// as it stands.
pub const MODELS: [(&str, &str, &[&str]); 2] = [
    (
        "linear",
        "dead-leaves/vdl",
        // Small enough to be kept in the repository.
        &[
            "data.height=6",
            "data.width=6",
            "model.code_dim=48",
            "inference.step_rule=fixed",
        ],
    ),
    (
        "one-hidden",
        "dead-leaves/vdl-nl",
        &[
            "data.height=6",
            "data.width=6",
            "model.code_dim=48",
            "model.hidden_dim=40",
            "inference.step_rule=fixed",
        ],
    ),
];

/// The number types that model files are kept in.
pub const WEIGHTS: [WeightType; 2] = [WeightType::F32, WeightType::I8];

/// Samples of each model.
pub const SAMPLES: usize = 6;

/// The refinement that the expected codes come from: a fixed number of iterations, so that no
/// machine's rounding moves the stop. Few with a hidden layer, whose units switch: iterates that
/// differ by rounding part there.
pub fn refinement(file: &ModelFile<'_>) -> Refine {
    Refine {
        max_iterations: if file.spec.is_linear() { 30 } else { 4 },
        tolerance: 0.0,
        ..Refine::for_model(&file.spec)
    }
}

/// Tensors by name: shape and values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What the trainer computes from a model file for samples (`count × input_dim`), refined by
/// `engine`.
///
/// # Errors
///
/// Fails if shapes disagree.
pub fn expected(
    file: &ModelFile<'_>,
    inputs: &(Vec<usize>, Vec<f32>),
    engine: &(dyn Backend + 'static),
) -> anyhow::Result<Tensors> {
    let model = autoencoder(file)?;
    let inputs = Tensor::from_slice(&inputs.1, inputs.0.as_slice(), &Device::Cpu)?;
    let encoder = model
        .encoder
        .as_ref()
        .context("golden models have encoders")?;
    let codes = encoder.forward(&inputs)?;
    let reconstructions = model.decoder.forward(&codes)?;
    let refined = trainer_refine(engine, &model, &inputs, &refinement(file))?.codes;
    let refined_reconstructions = model.decoder.forward(&refined)?;
    [
        ("codes", codes),
        ("reconstructions", reconstructions),
        ("refined", refined),
        ("refined_reconstructions", refined_reconstructions),
    ]
    .into_iter()
    .map(|(name, tensor)| {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok((name.to_owned(), (tensor.dims().to_vec(), values)))
    })
    .collect()
}

/// Trains the models by `engine`, which computes on `device` (`cpu` or `cuda`), and writes a folder
/// of golden files.
///
/// # Errors
///
/// What the trainer or the file system says.
pub fn write(
    folder: &Path,
    engine: &(dyn Backend + 'static),
    device: &str,
    command: &str,
) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut tensors = Tensors::new();
    for (name, preset, settings) in MODELS {
        let (run, splits) =
            runs::train_with(engine, preset, settings, &temporary.path().join(name))?;
        let dim = splits.test.dim;
        let inputs = (
            vec![SAMPLES, dim],
            splits.test.samples[..SAMPLES * dim].to_vec(),
        );
        for weights in WEIGHTS {
            let bytes = AlignedBytes::from_slice(&run.export(weights)?.bytes);
            write_atomic(folder.join(format!("{name}-{weights}.safetensors")), &bytes)?;
            let file = ModelFile::read(&bytes).map_err(|e| anyhow::anyhow!("{e}"))?;
            for (key, tensor) in expected(&file, &inputs, engine)? {
                tensors.insert(format!("{name}-{weights}.{key}"), tensor);
            }
        }
        tensors.insert(format!("{name}.inputs"), inputs);
    }
    write_tensors(&folder.join("expected.safetensors"), &tensors)?;
    let provenance = serde_json::json!({
        "command": command,
        "commit": COMMIT,
        "device": describe(device),
        "presets": MODELS.map(|(name, preset, settings)| (name, preset, settings)),
        "settings": runs::FEW_STEPS,
        "refinement": { "iterations": { "linear": 30, "one-hidden": 4 }, "tolerance": 0.0, "start": "the encoder's code", "lambda, step_size": "the file's" },
    });
    let text = format!("{provenance:#}\n");
    write_atomic(folder.join("provenance.json"), text.as_bytes())?;
    Ok(())
}

/// The machine's part of the provenance: `cpu` or `cuda`, and which.
pub fn describe(device: &str) -> String {
    if device == "cpu" {
        return format!("cpu, {}", std::env::consts::ARCH);
    }
    let name = std::process::Command::new("nvidia-smi")
        .args(["--query-gpu=name,driver_version", "--format=csv,noheader"])
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    format!(
        "{device}, {}",
        name.as_deref()
            .and_then(|name| name.lines().next())
            .unwrap_or("unknown")
    )
}

/// Writes f32 tensors; the same tensors give the same bytes.
///
/// # Errors
///
/// What the file system says.
pub fn write_tensors(path: &Path, tensors: &Tensors) -> anyhow::Result<()> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (name.as_str(), shape.as_slice(), bytes)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    write_atomic(path, &safetensors::serialize(views, None)?)?;
    Ok(())
}

/// Reads f32 tensors.
///
/// # Errors
///
/// Names the file.
pub fn read_tensors(path: &Path) -> anyhow::Result<Tensors> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| path.display().to_string())?;
    Ok(file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            (name, (view.shape().to_vec(), values))
        })
        .collect())
}
