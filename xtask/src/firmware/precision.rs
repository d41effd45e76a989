//! `cargo xtask bench precision`: what bits and iterations buy, and what they cost on a microcontroller.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, IntegerFile, OwnedModel, WeightType, write,
    write_file, write_integer_as,
};
use sparsecode_runtime::{
    CodeBuffer as _, GramView, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView,
    IntegerWorkspaceBuf, Method, ModelView, Refine, SparseCodeBuf, WorkspaceBuf,
    mean_squared_error, psnr_db,
};

use super::bench::objective;
use super::log::Log;
use super::{Core, Files, Job, Patches, check_counter, npy};
use crate::results::{command_line, write_page};
use crate::{SKIPPED, root};

/// Iterations of refinement in the table.
const ITERATIONS: [u32; 4] = [0, 5, 20, 50];

/// PSNR, zeros, flash and instructions of a model with f32, i16 and i8 weights, and in integers, with 4-bit weights and with 8-bit
/// activations, too, after so many iterations of refinement.
///
/// Instructions are a Cortex-M4F's, in QEMU: preprocess, encode, refine with the Gram matrix, decode.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 done; 1 failed; 77 done, but without instructions, because the compiler or the emulator is missing.

Without arguments: the small ECG model of the repository.

Example:
  sparsecode export runs/mnist --weights f32 --output f32.safetensors
  sparsecode export runs/mnist --activations i16 --output integer.safetensors
  cargo xtask bench precision --model f32.safetensors --integer integer.safetensors --patches digits.npy")]
pub(crate) struct Precision {
    /// The model with f32 weights
    #[arg(long, requires_all = ["integer", "patches"])]
    model: Option<PathBuf>,
    /// The same model in integers
    #[arg(long, requires = "model")]
    integer: Option<PathBuf>,
    /// Noisy and clean patches, .npy of shape (2, n, d); a signal (2, 1, samples) is cut into windows
    #[arg(long, requires = "model")]
    patches: Option<PathBuf>,
    /// Only what the host computes
    #[arg(long)]
    no_device: bool,
    /// Write the table here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// What the host measures of one file after some iterations.
struct Quality {
    psnr: f64,
    zeros: f64,
}

/// A row group: one file.
struct Entry {
    weights: &'static str,
    activations: &'static str,
    bytes: AlignedBytes,
    /// For each of [`ITERATIONS`].
    quality: Vec<Quality>,
}

/// Runs `cargo xtask bench precision`.
pub(crate) fn run(arguments: &Precision) -> Result<ExitCode> {
    let data = root().join("tests/data");
    let path = |given: &Option<PathBuf>, default: &str| -> PathBuf {
        given.clone().unwrap_or_else(|| data.join(default))
    };
    let read = |path: &PathBuf| -> Result<AlignedBytes> {
        AlignedBytes::read(path).with_context(|| path.display().to_string())
    };
    let float = read(&path(&arguments.model, "ecg-f32.safetensors"))?;
    let integer = match &arguments.integer {
        Some(path) => path.clone(),
        None => super::folder().join("model/ecg.safetensors"),
    };
    let integer = read(&integer)?;
    let signal = match &arguments.patches {
        Some(path) => path.clone(),
        None => super::folder().join("model/ecg.npy"),
    };
    let patches = Patches::parse(&fs::read(&signal)?, None).map_err(anyhow::Error::msg)?;
    let view = ModelView::load(&float).map_err(|error| anyhow::anyhow!("{error}"))?;
    let patches = windows(patches, view.spec().input_dim())?;

    let mut entries = Vec::new();
    let model = OwnedModel::from_file(view.file()).map_err(|error| anyhow::anyhow!("{error}"))?;
    for weights in WeightType::FLOAT {
        let bytes = AlignedBytes::from_slice(&write(&model, weights)?);
        entries.push(Entry {
            weights: weights.name(),
            activations: "f32",
            quality: float_quality(&bytes, &patches)?,
            bytes,
        });
    }
    let ranges = ranges(&integer)?;
    let mut push = |weights: WeightType, activations: Activations, bytes: AlignedBytes| {
        entries.push(Entry {
            weights: weights.name(),
            activations: activations.name(),
            quality: integer_quality(&bytes, &patches)?,
            bytes,
        });
        anyhow::Ok(())
    };
    push(WeightType::I8, Activations::I16, integer)?;
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
            activations,
            AlignedBytes::from_slice(&written.bytes),
        )?;
    }

    let mut text = heading(&view, &patches)?;
    let mut skipped = arguments.no_device;
    for entry in &entries {
        let costs = if skipped {
            None
        } else {
            device(entry, &patches)?
        };
        skipped |= costs.is_none();
        for (index, (iterations, quality)) in ITERATIONS.iter().zip(&entry.quality).enumerate() {
            let cost = costs
                .as_ref()
                .map_or("not run".to_owned(), |costs| costs[index].to_string());
            writeln!(
                text,
                "| {} | {} | {iterations} | {:.2} | {:.1} % | {} | {cost} |",
                entry.weights,
                entry.activations,
                quality.psnr,
                100.0 * quality.zeros,
                entry.bytes.len(),
            )?;
        }
    }
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        write_page(
            path,
            "What bits and iterations buy",
            "PSNR and zeros of the device's code on the host, which are the device's to the bit.",
            &command_line(),
            "cpu",
            &text,
        )?;
    }
    let without = skipped && !arguments.no_device;
    Ok(ExitCode::from(if without { SKIPPED } else { 0 }))
}

/// Those that a file of 16-bit activations was written with.
fn ranges(bytes: &[u8]) -> Result<ActivationRanges> {
    let sound = |error| anyhow::anyhow!("{error}");
    let file = IntegerFile::read(bytes).map_err(sound)?;
    let (input_scale, code_scale) = file.scales().map_err(sound)?;
    Ok(ActivationRanges {
        input_scale,
        input_min: file.spec.input_min,
        input_max: file.spec.input_max,
        code_max: code_scale * f32::from(file.spec.activations.code_limit()),
    })
}

/// The same in 8 bits, as `export` finds them: pixels stay what they are, other samples reach to ±127, and codes as far as before.
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

fn heading(view: &ModelView<'_>, patches: &Patches) -> Result<String> {
    let spec = view.spec();
    let mut text = String::new();
    writeln!(
        text,
        "{} of {}, {} → {}, {} patches with noise of deviation {:.3}. *Iterations* of FISTA after the encoder; *model* is the file, in bytes of flash; \
         *instructions* of a Cortex-M4F from raw samples to clean ones, with the Gram matrix in RAM (f32) or in the file (i16).\n",
        spec.name(),
        spec.provenance.data,
        spec.input_dim(),
        spec.code_dim(),
        patches.count,
        patches.noise()
    )?;
    writeln!(
        text,
        "| weights | activations | iterations | PSNR, dB | zeros | model | instructions |"
    )?;
    writeln!(text, "|---|---|---:|---:|---:|---:|---:|")?;
    Ok(text)
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
    let view = ModelView::load(bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
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
    let sound = |error| anyhow::anyhow!("{error}");
    let file = IntegerFile::read(bytes).map_err(sound)?;
    let spec = file.spec().map_err(sound)?;
    let (scale, _) = file.scales().map_err(sound)?;
    let threshold = npy::threshold(&file, patches.noise()).map_err(sound)?;
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
            let mut levels: Vec<i16> = patch.iter().map(|x| npy::level(*x, scale)).collect();
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

/// Instructions on a Cortex-M4F for each of [`ITERATIONS`]; `None` if it cannot be built or run here.
fn device(entry: &Entry, patches: &Patches) -> Result<Option<Vec<u64>>> {
    let setup = Core::M4f.setup();
    let toolchain = match setup.ready() {
        Ok(toolchain) => toolchain,
        Err(missing) => {
            eprintln!("{}: skipped: {missing}", setup.name);
            return Ok(None);
        }
    };
    let folder = std::env::temp_dir().join(format!("sparsecode-precision-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = (|| -> Result<Log> {
        let files = Files {
            model: Some(folder.join("model.safetensors")),
            patches: Some(folder.join("patches.npy")),
            timeout: 600,
            ..Files::default()
        };
        write_file(folder.join("model.safetensors"), &entry.bytes)?;
        write_file(folder.join("patches.npy"), &super::model::npy(patches))?;
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
    Ok(Some(ITERATIONS.map(cost).to_vec()))
}
