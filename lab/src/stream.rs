//! A signal through an integer model on a core in QEMU, sample by sample, beside the host.

use std::fs;

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use sparsecode_formats::IntegerFile;
use sparsecode_patches::{level, threshold};
use sparsecode_runtime::stream::{DenoiseCursor, DenoiseView, DenoiseWindows, SignalStream};
use sparsecode_runtime::{IntegerCodeBuf, IntegerRefine, IntegerView, IntegerWorkspaceBuf};

use crate::cores::{Core, Row, on_cores};
use crate::firmware::{Files, Job, check_counter};
use crate::{Tools, elf, firmware, integer, sound};

/// The repository's ECG model and signal, for what `files` does not name.
pub fn ecg(files: Files) -> Files {
    let folder = firmware::folder().join("model");
    Files {
        model: files.model.or_else(|| Some(folder.join("ecg.safetensors"))),
        patches: files.patches.or_else(|| Some(folder.join("ecg.npy"))),
        ..files
    }
}

/// What a sample costs on a core, and what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamCosts {
    /// Instructions for a sample, a mean over those that a full stream gives.
    pub sample: u64,
    /// Instructions of the longest sample: one that completes a window.
    pub longest: u64,
    /// Bytes of a channel.
    pub channel: u64,
    /// Bytes of all buffers.
    pub buffers: u64,
    /// Deepest stack, in bytes.
    pub stack: u64,
}

/// A signal on each core.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stream {
    /// What the model was trained on.
    pub data: String,
    /// Samples of a window.
    pub window: usize,
    /// Samples from one window to the next.
    pub hop: usize,
    /// Samples of the moving means that are taken off first, of a model that denoises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<usize>,
    /// Whether the noise is estimated and the windows guarded: by a model that denoises.
    pub denoises: bool,
    /// Atoms.
    pub code_dim: usize,
    /// Samples of the signal.
    pub samples: usize,
    /// Signal to noise in dB, before and after.
    pub db: [f64; 2],
    /// What each core took; the clean samples are the host's.
    pub cores: Vec<Row<StreamCosts>>,
}

/// What the host finds.
struct Host {
    checksum: u32,
    /// Sums of squares in levels: the noise, and what is left of it.
    noise: u64,
    error: u64,
    /// Of the clean signal about its mean.
    power: f64,
}

impl Host {
    fn of(checksum: u32, noisy: &[i16], output: &[i16], clean: &[i16]) -> Self {
        let squares = |values: &[i16]| -> u64 {
            let pairs = values.iter().zip(clean);
            pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
        };
        let mean = clean.iter().map(|x| f64::from(*x)).sum::<f64>() / clean.len() as f64;
        Self {
            checksum,
            noise: squares(noisy),
            error: squares(output),
            power: clean.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum(),
        }
    }

    /// Signal to noise before and after.
    fn decibels(&self) -> [f64; 2] {
        [self.noise, self.error].map(|error| 10.0 * (self.power / error.max(1) as f64).log10())
    }
}

/// What `bin/stream.rs` does, by the same crate.
fn host<const WINDOW: usize, const HOP: usize>(job: &Job, refine: u32) -> Result<Host> {
    let file = job.model.integer_file().map_err(sound)?;
    let (scale, _) = file.scales().map_err(sound)?;
    let settings = IntegerRefine {
        method: job.method,
        threshold: threshold(&file, job.patches.noise()).map_err(sound)?,
        max_iterations: refine,
        ..IntegerRefine::for_model(&file)
    };
    let settings = (refine > 0).then_some(settings);
    let view = IntegerView::from(file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let mut denoise = |window: &mut [i16; WINDOW]| {
        // The window has the model's length: it chose this function.
        let settings = settings.as_ref();
        let _ = view.denoise(window, settings, &mut code, &mut workspace, || false);
    };
    let levels =
        |samples: &[f32]| -> Vec<i16> { samples.iter().map(|x| level(*x, scale)).collect() };
    let (noisy, clean) = (levels(&job.patches.noisy), levels(&job.patches.clean));
    let mut stream = SignalStream::<i16, WINDOW, HOP>::new();
    let mut window = [0; WINDOW];
    let mut found = noisy.clone();
    let mut output = stream
        .push_block(&mut found, &mut window, &mut denoise)
        .to_vec();
    output.extend_from_slice(stream.finish(&mut window, &mut denoise));
    ensure!(output.len() == clean.len(), "as many samples out as in");
    let mut hasher = crc32fast::Hasher::new();
    output
        .iter()
        .for_each(|level| hasher.update(&level.to_le_bytes()));
    Ok(Host::of(hasher.finalize(), &noisy, &output, &clean))
}

/// What `bin/denoise.rs` does, in memory as long as the file says.
fn denoised(job: &Job, file: &IntegerFile<'_>) -> Result<Host> {
    let (scale, _) = file.scales().map_err(sound)?;
    let levels =
        |samples: &[f32]| -> Vec<i16> { samples.iter().map(|x| level(*x, scale)).collect() };
    let (noisy, clean) = (levels(&job.patches.noisy), levels(&job.patches.clean));
    let output = denoise(file, &noisy)?;
    let levels = output.iter();
    let bytes: Vec<u8> = levels.flat_map(|level| level.to_le_bytes()).collect();
    Ok(Host::of(crc32fast::hash(&bytes), &noisy, &output, &clean))
}

/// A signal in levels through a model that denoises.
pub(crate) fn denoise(file: &IntegerFile<'_>, noisy: &[i16]) -> Result<Vec<i16>> {
    let windows = DenoiseWindows::<i16>::of(file)?;
    let view = IntegerView::from(*file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let mut clean = |window: &mut [i16], sigma| {
        let view = view.at_noise_level(sigma);
        // The window has the model's length: the file has a weight for each sample.
        let _ = view.denoise(window, None, &mut code, &mut workspace, || false);
    };
    let length = windows.side() + windows.drift();
    let (mut samples, mut sums) = (vec![0; length], vec![0; length]);
    let mut cursor = DenoiseCursor::new();
    let mut scratch = vec![0; 2 * windows.side()];
    let mut channel = DenoiseView::new(windows, &mut samples, &mut sums, &mut cursor)?;
    let mut output = Vec::with_capacity(noisy.len());
    for &sample in noisy {
        output.extend(channel.push(sample, &mut scratch, &mut clean)?);
    }
    channel.finish(&mut scratch, &mut clean, |sample| output.push(sample))?;
    Ok(output)
}

/// Denoises a signal on each core as a stream, and holds every clean sample to the host's. Windows
/// start every quarter of a window; [`Job::refined`] says how their codes are refined. A model that
/// was trained to denoise says itself where windows start and what is taken off first.
///
/// # Errors
/// If the model does not take windows of a signal in integers (32, 64, 128 or 256 samples unless it
/// denoises), or the patches are not one signal. A core's failure is in its row.
pub fn run(tools: &Tools, job: &Job, cores: &[Core]) -> Result<Stream> {
    ensure!(
        integer::takes(&job.model),
        "{}: a model exported with --activations i16 is wanted",
        job.model_path.display()
    );
    ensure!(
        job.patches.count == 1,
        "{}: one signal is wanted, shape (2, 1, samples)",
        job.patches_path.display()
    );
    let file = job.model.integer_file().map_err(sound)?;
    let denoises = file.gram.is_some();
    ensure!(
        !denoises || job.refine == 0,
        "{}: the model denoises by its own steps, which are not refined here: leave --refine out",
        job.model_path.display()
    );
    ensure!(
        file.spec.input_shape.is_window(),
        "the model takes patches of {}, not windows of a signal",
        file.spec.input_shape
    );
    let host = match file.spec.input_dim() {
        _ if denoises => denoised(job, &file),
        32 => host::<32, 8>(job, job.refine),
        64 => host::<64, 16>(job, job.refine),
        128 => host::<128, 32>(job, job.refine),
        256 => host::<256, 64>(job, job.refine),
        other => bail!("windows of {other}: the host's side is compiled for 32, 64, 128 and 256"),
    }?;
    let binary = if denoises { "denoise" } else { "stream" };
    let rows = on_cores(
        tools,
        cores,
        |setup, toolchain| job.build_binary(setup, toolchain, binary),
        |core, _, path| {
            let elf = fs::read(path)?;
            elf::check_floats(core, &elf)?;
            let log = job.log_of(&core.setup(), path, &elf)?;
            check_counter(&log)?;
            let value = |name: &str| log.value::<u64>(name);
            let found: u32 = log.value("checksum")?;
            ensure!(
                (found, value("error")?, value("noise")?)
                    == (host.checksum, host.error, host.noise),
                "checksum of the clean samples {found:08x}, the host's is {:08x}",
                host.checksum
            );
            Ok(StreamCosts {
                sample: value("instructions per sample")?,
                longest: value("longest")?,
                channel: value("channel bytes")?,
                buffers: value("scratch bytes")?,
                stack: value("stack bytes")?,
            })
        },
    );
    let spec = file.spec().map_err(sound)?;
    Ok(Stream {
        data: spec.provenance.data.to_string(),
        window: spec.input_dim(),
        hop: match &file.gram {
            Some(gram) => gram.stream.hop.into(),
            None => spec.input_dim().div_ceil(4),
        },
        drift: file
            .gram
            .and_then(|gram| gram.stream.drift)
            .map(usize::from),
        denoises,
        code_dim: spec.code_dim(),
        samples: job.patches.input_dim,
        db: host.decibels(),
        cores: rows,
    })
}
