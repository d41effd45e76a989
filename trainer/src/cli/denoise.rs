use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use sparsecode_formats::Contrast;
use sparsecode_runtime::Refine;

use super::{check_extension, usage};
use crate::data::Column;
use crate::data::npy::{read_npy_f32, write_npy_f32};
use crate::data::recording::{Hints, Recording};
use crate::denoise::{denoise_image, denoise_signal};
use crate::export::{HostModel, read_model};
use crate::report::image::Picture;
use crate::storage::write_atomic;

/// Clean raw samples (.npy), an image (.png, .jpg, .pgm) or a signal (.npy, .csv, .wav) with a model file
///
/// Images and signals are cut into overlapping patches that are averaged where they overlap. An array N×d (or N×h×w) is denoised row by
/// row; a one-dimensional array is a signal.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode denoise model.safetensors --input noisy.png --output clean.png --refine 50 --sigma 0.1
  sparsecode denoise model.safetensors --input ecg.csv --output clean.csv")]
pub(super) struct Arguments {
    /// Model file
    file: PathBuf,
    /// What to clean
    #[arg(long)]
    input: PathBuf,
    /// Where to write it: .png for an image, .npy, .csv or .wav for a signal, .npy for an array
    #[arg(long)]
    output: PathBuf,
    /// Refine each code with at most so many FISTA iterations
    #[arg(long, value_name = "ITERATIONS")]
    refine: Option<u32>,
    /// Standard deviation of the noise in raw units: sets the refinement's λ [default: λ as trained]
    #[arg(long, requires = "refine")]
    sigma: Option<f32>,
    /// Distance between neighbouring patches [default: a quarter of the patch]
    #[arg(long)]
    hop: Option<usize>,
    /// Column of a .csv or channel of a .wav, by name or index from 0 [default: the first]
    #[arg(long)]
    column: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = read_model(&arguments.file)?;
    let mut host = HostModel::new(&bytes, &arguments.file.display().to_string())?;
    let spec = *host.spec();
    if arguments.hop == Some(0) {
        return Err(usage("--hop: at least 1"));
    }
    let hop = arguments
        .hop
        .unwrap_or(usize::from(spec.input_shape.width).div_ceil(4));
    let refine = arguments.refinement(&host)?;
    let refine = refine.as_ref();
    let extension = arguments
        .input
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    match extension.as_str() {
        "png" | "jpg" | "jpeg" | "pgm" => {
            check_extension(&arguments.output, &["png"])?;
            let image = image::open(&arguments.input)
                .map_err(|e| anyhow::anyhow!("{}: {e}", arguments.input.display()))?
                .to_luma32f();
            let (width, height) = (image.width() as usize, image.height() as usize);
            let clean = denoise_image(&mut host, image.as_raw(), width, height, hop, refine)
                .with_context(|| arguments.input.display().to_string())?;
            Picture::from_levels(width, height, &clean)?.save(&arguments.output)?;
            println!("{}: {width}x{height}", arguments.output.display());
        }
        "csv" | "wav" => arguments.signal(&mut host, hop, refine)?,
        "npy" => {
            let (shape, _) = read_npy_f32(&arguments.input)?;
            if shape.len() == 1 {
                arguments.signal(&mut host, hop, refine)?;
            } else {
                check_extension(&arguments.output, &["npy"])?;
                if matches!(spec.preprocessing.contrast, Contrast::Local { .. }) {
                    return Err(usage(
                        "--input: this model normalises local contrast, which needs a patch's surroundings; give a whole image",
                    ));
                }
                let (count, mut samples) = super::read_rows(&arguments.input, spec.input_dim())?;
                for sample in samples.chunks_exact_mut(spec.input_dim()) {
                    host.denoise(sample, refine)?;
                }
                write_npy_f32(&arguments.output, &shape, &samples)?;
                println!("{}: {count} samples", arguments.output.display());
            }
        }
        _ => {
            return Err(usage(format!(
                "{}: expected .npy, .csv, .wav, .png, .jpg or .pgm",
                arguments.input.display()
            )));
        }
    }
    Ok(())
}

impl Arguments {
    fn refinement(&self, host: &HostModel<'_>) -> anyhow::Result<Option<Refine>> {
        let Some(iterations) = self.refine else {
            return Ok(None);
        };
        let spec = host.spec();
        let mut refine = host.refinement(iterations);
        if let Some(sigma) = self.sigma {
            if !(sigma.is_finite() && sigma >= 0.0) {
                return Err(usage(format!(
                    "--sigma {sigma}: a standard deviation is not negative"
                )));
            }
            if matches!(
                spec.preprocessing.contrast,
                Contrast::Standardize { .. } | Contrast::Local { .. }
            ) {
                return Err(usage(
                    "--sigma: this model normalises each patch's contrast, so that noise of one strength has many there; leave it out",
                ));
            }
            refine.lambda = Refine::for_noise(spec, sigma / spec.preprocessing.deviation).lambda;
        }
        Ok(Some(refine))
    }

    fn signal(
        &self,
        host: &mut HostModel<'_>,
        hop: usize,
        refine: Option<&Refine>,
    ) -> anyhow::Result<()> {
        check_extension(&self.output, &["npy", "csv", "wav"])?;
        let column = self.column.as_deref().map(|text| match text.parse() {
            Ok(index) => Column::Index(index),
            Err(_) => Column::Name(text.to_owned()),
        });
        let hints = Hints {
            column,
            ..Hints::default()
        };
        let signal = Recording::read(&self.input, &hints)?;
        let chosen = signal.choose(hints.column.as_ref())?;
        let clean = denoise_signal(host, &signal.channels[chosen].values, hop, refine)
            .with_context(|| self.input.display().to_string())?;
        write_signal(&self.output, &clean, signal.sample_rate)?;
        println!("{}: {} samples", self.output.display(), clean.len());
        Ok(())
    }
}

fn write_signal(path: &Path, values: &[f32], sample_rate: Option<f32>) -> anyhow::Result<()> {
    let extension = path
        .extension()
        .map(|extension| extension.to_ascii_lowercase());
    match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("npy") => Ok(write_npy_f32(path, &[values.len()], values)?),
        Some("wav") => Ok(write_atomic(path, &wav(values, sample_rate)?)?),
        _ => {
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            Ok(write_atomic(path, lines.as_bytes())?)
        }
    }
}

/// A `.wav` of 32-bit floats.
fn wav(values: &[f32], sample_rate: Option<f32>) -> anyhow::Result<Vec<u8>> {
    let Some(sample_rate) = sample_rate else {
        return Err(usage(
            "--output .wav: the input does not say its sample rate; write .npy or .csv",
        ));
    };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: sample_rate.round() as u32,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec)?;
    for &value in values {
        writer.write_sample(value)?;
    }
    writer.finalize()?;
    Ok(bytes.into_inner())
}
