//! What bits and iterations buy, and what they cost on a microcontroller.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, IntegerFile, OwnedModel, WeightType, write,
    write_file, write_integer_as,
};
use sparsecode_patches::{Patches, level, threshold};
use sparsecode_runtime::{
    CodeBuffer as _, GramView, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView,
    IntegerWorkspaceBuf, Method, ModelView, Refine, SparseCodeBuf, WorkspaceBuf,
    mean_squared_error, psnr_db,
};

use crate::bench::objective;
use crate::firmware::{self, Files, Job, check_counter};
use crate::log::Log;
use crate::{Core, Tools, root, sound};

/// Iterations of refinement in the table.
pub const ITERATIONS: [u32; 4] = [0, 5, 20, 50];

/// The files: a model with f32 weights, the same model in integers, and patches or a signal for it.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// With f32 weights.
    pub model: PathBuf,
    /// In integers.
    pub integer: PathBuf,
    /// Noisy and clean patches; a signal is cut into windows.
    pub patches: PathBuf,
}

impl Default for Inputs {
    /// The small ECG model of the repository.
    fn default() -> Self {
        let model = firmware::folder().join("model");
        Self {
            model: root().join("tests/data/ecg-f32.safetensors"),
            integer: model.join("ecg.safetensors"),
            patches: model.join("ecg.npy"),
        }
    }
}

/// What the host measures of one file after some iterations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quality {
    /// Mean PSNR in dB.
    pub psnr: f64,
    /// Fraction of a code that is zero.
    pub zeros: f64,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// How weights are stored.
    pub weights: &'static str,
    /// What is computed in.
    pub activations: &'static str,
    /// Bytes of the file.
    pub bytes: usize,
    /// After each number of [`ITERATIONS`].
    pub quality: Vec<Quality>,
    /// Instructions of a Cortex-M4F for a patch, with so many iterations; nothing if not asked for
    /// or if the compiler or the emulator is missing.
    pub instructions: Option<[u64; 4]>,
}

/// The same model in several precisions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Precision {
    /// The model's variant.
    pub name: String,
    /// What it was trained on.
    pub data: String,
    /// Samples of a patch.
    pub input_dim: usize,
    /// Atoms.
    pub code_dim: usize,
    /// How many patches the means are taken over.
    pub patches: usize,
    /// Standard deviation of their noise, in raw units.
    pub noise: f32,
    /// f32, i16 and i8 weights; integers with 8-bit and with 4-bit weights, and with 8-bit
    /// activations.
    pub entries: Vec<Entry>,
}

/// Measures each precision on the host; with `tools`, counts instructions in QEMU, too, where the
/// M4F can be built for and run.
///
/// # Errors
/// If a file cannot be read, the files do not fit each other, or the device does.
pub fn run(inputs: &Inputs, tools: Option<&Tools>) -> Result<Precision> {
    let read = |path: &PathBuf| -> Result<AlignedBytes> {
        AlignedBytes::read(path).with_context(|| path.display().to_string())
    };
    let float = read(&inputs.model)?;
    let integer = read(&inputs.integer)?;
    let patches = Patches::parse(&fs::read(&inputs.patches)?, None)?;
    let view = ModelView::load(&float).map_err(sound)?;
    let patches = windows(patches, view.spec().input_dim())?;
    let tools = tools.filter(|tools| Core::M4f.setup().ready(tools).is_ok());

    let mut entries = Vec::new();
    let mut push = |weights: WeightType, activations: Option<Activations>, bytes: &[u8]| {
        let quality = match activations {
            None => float_quality(bytes, &patches)?,
            Some(_) => integer_quality(bytes, &patches)?,
        };
        let mut entry = Entry {
            weights: weights.name(),
            activations: activations.map_or("f32", Activations::name),
            bytes: bytes.len(),
            quality,
            instructions: None,
        };
        if let Some(tools) = tools {
            entry.instructions = Some(device(tools, &entry, bytes, &patches)?);
        }
        entries.push(entry);
        anyhow::Ok(())
    };
    let model = OwnedModel::from_file(view.file()).map_err(sound)?;
    for weights in WeightType::FLOAT {
        push(
            weights,
            None,
            &AlignedBytes::from_slice(&write(&model, weights)?),
        )?;
    }
    let ranges = ranges(&integer)?;
    push(WeightType::I8, Some(Activations::I16), &integer)?;
    for (weights, activations, ranges) in [
        (WeightType::I4, Activations::I16, ranges),
        (
            WeightType::I8,
            Activations::I8,
            eight_bits(ranges, &patches),
        ),
    ] {
        let written = write_integer_as(&model, &ranges, weights, activations)?;
        push(
            weights,
            Some(activations),
            &AlignedBytes::from_slice(&written.bytes),
        )?;
    }
    let spec = view.spec();
    Ok(Precision {
        name: spec.name().to_string(),
        data: spec.provenance.data.to_string(),
        input_dim: spec.input_dim(),
        code_dim: spec.code_dim(),
        patches: patches.count,
        noise: patches.noise(),
        entries,
    })
}

/// Those that a file of 16-bit activations was written with.
fn ranges(bytes: &[u8]) -> Result<ActivationRanges> {
    let file = IntegerFile::read(bytes).map_err(sound)?;
    let (input_scale, code_scale) = file.scales().map_err(sound)?;
    Ok(ActivationRanges {
        input_scale,
        input_min: file.spec.input_min,
        input_max: file.spec.input_max,
        code_max: code_scale * f32::from(file.spec.activations.code_limit()),
    })
}

/// The same in 8 bits, as `export` finds them: pixels stay what they are, other samples reach to
/// ±127, and codes as far as before.
fn eight_bits(ranges: ActivationRanges, patches: &Patches) -> ActivationRanges {
    let pixels = |x: &f32| (0.0..=255.5).contains(&(x / ranges.input_scale));
    if patches.clean.iter().all(pixels) {
        return ActivationRanges {
            input_min: 0,
            input_max: 255,
            ..ranges
        };
    }
    let largest = patches.clean.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
    ActivationRanges {
        input_scale: 1.25 * largest / 127.0,
        input_min: -127,
        input_max: 127,
        ..ranges
    }
}

/// Patches as long as the model's: as they are, or cut out of one signal.
fn windows(patches: Patches, input_dim: usize) -> Result<Patches> {
    if patches.input_dim == input_dim {
        return Ok(patches);
    }
    ensure!(
        patches.count == 1 && patches.input_dim > input_dim,
        "the patches have {} samples, the model takes {input_dim}",
        patches.input_dim
    );
    let count = patches.input_dim / input_dim;
    let cut = |samples: &[f32]| samples[..count * input_dim].to_vec();
    Ok(Patches {
        count,
        input_dim,
        noisy: cut(&patches.noisy),
        clean: cut(&patches.clean),
    })
}

/// Sums PSNR and zeros over patches; `denoise` cleans one and returns the number of active atoms.
fn measure(
    patches: &Patches,
    code_dim: usize,
    peak: f32,
    mut denoise: impl FnMut(&mut [f32]) -> Result<usize>,
) -> Result<Quality> {
    let (mut psnr, mut active) = (0.0, 0);
    let pairs = patches.noisy.chunks(patches.input_dim);
    for (noisy, clean) in pairs.zip(patches.clean.chunks(patches.input_dim)) {
        let mut patch = noisy.to_vec();
        active += denoise(&mut patch)?;
        psnr += f64::from(psnr_db(mean_squared_error(clean, &patch), peak));
    }
    let count = patches.count as f64;
    Ok(Quality {
        psnr: psnr / count,
        zeros: 1.0 - active as f64 / (count * code_dim as f64),
    })
}

fn float_quality(bytes: &[u8], patches: &Patches) -> Result<Vec<Quality>> {
    let view = ModelView::load(bytes).map_err(sound)?;
    let spec = *view.spec();
    let mut gram = GramView::new(&view).context("a linear decoder is wanted")?;
    let mut workspace = WorkspaceBuf::for_model(&spec);
    let mut code = SparseCodeBuf::new(spec.code_dim);
    let mut quality = Vec::new();
    for iterations in ITERATIONS {
        let settings = Refine {
            max_iterations: iterations,
            tolerance: 0.0,
            ..objective(&spec, patches)
        };
        quality.push(measure(patches, spec.code_dim(), spec.peak, |patch| {
            let normalisation = view.preprocess(patch)?;
            view.encode(patch, &mut code, &mut workspace)?;
            gram.refine(patch, &mut code, &settings, &mut workspace, || false)?;
            view.decode(&code, patch, &mut workspace)?;
            view.restore(patch, normalisation)?;
            Ok(code.active())
        })?);
    }
    Ok(quality)
}

fn integer_quality(bytes: &[u8], patches: &Patches) -> Result<Vec<Quality>> {
    let file = IntegerFile::read(bytes).map_err(sound)?;
    let spec = file.spec().map_err(sound)?;
    let (scale, _) = file.scales().map_err(sound)?;
    let threshold = threshold(&file, patches.noise()).map_err(sound)?;
    let view = IntegerView::from(file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let mut quality = Vec::new();
    for iterations in ITERATIONS {
        let settings = IntegerRefine {
            method: Method::Fista,
            threshold,
            max_iterations: iterations,
            tolerance_bits: 31,
            ..IntegerRefine::for_model(&file)
        };
        quality.push(measure(patches, spec.code_dim(), spec.peak, |patch| {
            let mut levels: Vec<i16> = patch.iter().map(|x| level(*x, scale)).collect();
            let (settings, workspace) = (Some(&settings), &mut workspace);
            view.denoise(&mut levels, settings, &mut code, workspace, || false)?;
            for (sample, level) in patch.iter_mut().zip(levels) {
                *sample = f32::from(level) * scale;
            }
            Ok(code.active())
        })?);
    }
    Ok(quality)
}

/// Instructions on a Cortex-M4F for each of [`ITERATIONS`].
fn device(tools: &Tools, entry: &Entry, bytes: &[u8], patches: &Patches) -> Result<[u64; 4]> {
    let setup = Core::M4f.setup();
    let toolchain = setup.ready(tools).map_err(anyhow::Error::msg)?;
    let folder = std::env::temp_dir().join(format!("sparsecode-precision-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = (|| -> Result<Log> {
        let files = Files {
            model: Some(folder.join("model.safetensors")),
            patches: Some(folder.join("patches.npy")),
            timeout: Duration::from_secs(600),
            ..Files::default()
        };
        write_file(folder.join("model.safetensors"), bytes)?;
        write_file(folder.join("patches.npy"), &patches.to_npy())?;
        let job = Job::of(&files)?;
        let binary = if entry.activations == "f32" {
            "bench"
        } else {
            "integer"
        };
        let path = job.build_binary(&setup, &toolchain, binary)?;
        let log = job.log_of(&setup, &path, &fs::read(&path)?)?;
        check_counter(&log)?;
        Ok(log)
    })();
    fs::remove_dir_all(&folder)?;
    let log = outcome?;
    let value = |name: &str| log.value::<u64>(name);
    let method = if entry.activations == "f32" {
        "gram"
    } else {
        "fista"
    };
    let (once, iteration) = (
        value(&format!("{method} once"))?,
        value(&format!("{method} iteration"))?,
    );
    let fixed = value("preprocess")? + value("encode")? + value("decode")?;
    let cost = |iterations: u32| match iterations {
        0 => fixed,
        _ => fixed + once + u64::from(iterations) * iteration,
    };
    Ok(ITERATIONS.map(cost))
}
