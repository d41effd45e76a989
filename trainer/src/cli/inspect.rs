use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sparsecode_formats::{CodeSign, Contrast, InputFacts, IntegerFile, NumberType, ReadError};
use sparsecode_runtime::ram_bytes;

use super::common::print_json;
use crate::deploy::{HostError, HostModel, read_model};
use crate::report::table::{Table, bytes, thousands};

/// Show what a model file holds, and what it needs on a device
///
/// Checks the whole file, its checksum included. RAM is what encoding, refining and decoding in
/// place need: the patch, its code and the workspace; the stack of the calls comes on top.
#[derive(Args)]
#[command(after_help = "Example:\n  sparsecode inspect model.safetensors --json")]
pub(super) struct Arguments {
    /// Model file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    file: PathBuf,
    format_version: u32,
    model: &'static str,
    input_shape: String,
    input_dim: usize,
    code_dim: usize,
    codes: &'static str,
    hidden_dim: usize,
    lista_iterations: Option<u8>,
    /// Widths of a dense encoder's layers; none of other encoders.
    encoder_widths: Vec<usize>,
    /// Null for models that reconstruct.
    denoising: Option<Denoising>,
    lambda: f32,
    step_size: f32,
    weights: String,
    activations: &'static str,
    /// Null for models in f32 arithmetic.
    levels: Option<Levels>,
    preprocessing: Preprocessing,
    peak: f32,
    input: Input,
    provenance: Provenance,
    flash_bytes: usize,
    ram: Ram,
    multiply_adds: MultiplyAdds,
    checksum: String,
}

#[derive(Serialize)]
struct Preprocessing {
    mean: f32,
    deviation: f32,
    contrast: String,
    /// Whether contrast is normalised before samples become levels: a patch's surroundings are
    /// needed.
    #[serde(skip)]
    is_local: bool,
}

/// What the file says of the samples that it was trained on; null for what it does not say.
#[derive(Serialize)]
struct Input {
    /// In raw units.
    raw_min: Option<f32>,
    raw_max: Option<f32>,
    /// Samples per second.
    sample_rate: Option<f32>,
    number_type: Option<&'static str>,
}

impl From<InputFacts> for Input {
    fn from(facts: InputFacts) -> Self {
        Self {
            raw_min: facts.range.map(|[least, _]| least),
            raw_max: facts.range.map(|[_, most]| most),
            sample_rate: facts.sample_rate,
            number_type: facts.number_type.map(NumberType::name),
        }
    }
}

#[derive(Serialize)]
struct Provenance {
    data: String,
    seed: u64,
    epoch: u32,
    commit: String,
    config_hash: String,
}

/// What the integers of a model stand for.
#[derive(Serialize)]
struct Levels {
    /// Raw units of one input level; where local contrast is normalised, units of samples so
    /// normalised.
    input_scale: f32,
    input_min: i16,
    input_max: i16,
    /// The smallest level of a code component; 0 where codes are not negative.
    code_min: i16,
    /// The largest one.
    code_max: i16,
    /// Code units of one level.
    code_scale: f32,
}

impl Levels {
    /// Proves on the way that no sum overflows.
    fn of(file: &IntegerFile<'_>) -> anyhow::Result<Self> {
        file.prove()?;
        let (input_scale, code_scale) = file.scales()?;
        let code_max = file.spec.activations.code_limit();
        Ok(Self {
            input_scale,
            input_min: file.spec.input_min,
            input_max: file.spec.input_max,
            code_min: match file.spec()?.codes {
                CodeSign::Signed => -code_max,
                CodeSign::NonNegative => 0,
            },
            code_max,
            code_scale,
        })
    }
}

/// How a model that denoises is used.
#[derive(Serialize)]
struct Denoising {
    iterations: usize,
    hop: usize,
    /// Length of the means of the drift filter; null without one.
    drift: Option<usize>,
    guard: f32,
    /// The noise of training: white, which is estimated, or recorded, which has to be told.
    noise: &'static str,
    /// The middle of the levels of training, in raw units; taken before there is an estimate.
    noise_level: f64,
    /// Where the Gram matrix is; in f32 there is none.
    gram: &'static str,
    /// Bytes of a matrix that is built when the file is read.
    #[serde(skip)]
    built_bytes: usize,
}

impl Denoising {
    fn of(host: &HostModel<'_>, data: &[u8]) -> Option<Self> {
        let stream = host.stream()?;
        let (iterations, guard, noise_level) = host.gram_facts()?;
        let code_dim = host.spec().code_dim();
        let is_built = matches!(IntegerFile::read(data), Err(ReadError::GramMemory { .. }));
        let gram = match (host.integer().is_some(), is_built) {
            (false, _) => "none",
            (true, true) => "built",
            (true, false) => "stored",
        };
        Some(Self {
            iterations,
            hop: stream.hop,
            drift: stream.drift,
            guard,
            noise: if stream.is_white { "white" } else { "recorded" },
            noise_level,
            gram,
            built_bytes: match is_built {
                true => 2 * IntegerFile::gram_levels(code_dim),
                false => 0,
            },
        })
    }
}

#[derive(Serialize)]
struct Ram {
    patch: usize,
    code: usize,
    workspace: usize,
    /// A Gram matrix that the file does not store.
    gram: usize,
    total: usize,
}

/// Multiply-adds if every component were active, and for each active one.
#[derive(Serialize)]
struct MultiplyAdds {
    encode_first_layer: usize,
    encode_per_active_atom: usize,
    decode_per_active_atom: usize,
    /// For each active hidden unit; 0 for a linear decoder.
    decode_per_active_unit: usize,
    /// One FISTA iteration, on top of decoding (for a one-hidden decoder: twice its active units);
    /// 0 for integer models.
    refine_iteration: usize,
    /// One FISTA iteration of an integer model, for each component that it changes; 0 for others.
    refine_per_changed_atom: usize,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let data = read_model(&arguments.file)?;
    let host = HostModel::new(&data, &arguments.file.display().to_string())?;
    let spec = *host.spec();
    let input = InputFacts::read(&data)
        .map_err(|error| HostError::Read(arguments.file.display().to_string(), error))?;
    let (d, l, m) = (spec.input_dim(), spec.code_dim(), spec.hidden_dim());
    let integers = host.integer();
    let levels = integers.map(Levels::of).transpose()?;
    let (patch, workspace, total) = match integers {
        None => {
            let hidden = spec.hidden_units();
            (4 * d, 4 * (d + 2 * l + hidden), ram_bytes(d, l, hidden))
        }
        // `IntegerCode` and `IntegerWorkspace`.
        Some(file) => {
            let workspace = 18 * l + 6 * file.spec.hidden_units();
            (2 * d, workspace, 2 * d + workspace + 4 * l + 4)
        }
    };
    let widths: Vec<usize> = spec.encoder_widths.iter().flat_map(|w| w.iter()).collect();
    let iterations = usize::from(spec.lista_iterations.unwrap_or(0));
    let denoising = Denoising::of(&host, &data);
    let gram = denoising.as_ref().map_or(0, |model| model.built_bytes);
    // Steps of a model that denoises after the first, which has no code to begin with.
    let steps = denoising.as_ref().map_or(0, |model| model.iterations - 1);
    let (first_layer, per_atom) = match (&denoising, integers) {
        (None, _) if !widths.is_empty() => {
            let all = [&[d], &widths[..], &[l]].concat();
            (all.windows(2).map(|pair| pair[0] * pair[1]).sum(), 0)
        }
        (None, _) if spec.lista_iterations.is_none() => (0, 0),
        (None, _) => (d * l, iterations * l),
        (Some(_), Some(_)) => (d * l, steps * l),
        (Some(_), None) => ((steps + 1) * d * l, steps * d),
    };
    let report = Report {
        file: arguments.file.clone(),
        format_version: match integers {
            None => sparsecode_formats::FORMAT_VERSION,
            Some(_) => sparsecode_formats::INTEGER_FORMAT_VERSION,
        },
        activations: integers.map_or("f32", |file| file.spec.activations.name()),
        levels,
        model: spec.variant.model_name(m > 0),
        input_shape: spec.input_shape.to_string(),
        input_dim: d,
        code_dim: l,
        codes: spec.codes.name(),
        hidden_dim: m,
        lista_iterations: spec.lista_iterations,
        encoder_widths: widths,
        denoising,
        lambda: spec.lambda,
        step_size: spec.step_size,
        weights: spec.weights.to_string(),
        preprocessing: Preprocessing {
            mean: spec.preprocessing.mean,
            deviation: spec.preprocessing.deviation,
            contrast: spec.preprocessing.contrast.to_string(),
            is_local: matches!(spec.preprocessing.contrast, Contrast::Local { .. }),
        },
        peak: spec.peak,
        input: input.into(),
        provenance: Provenance {
            data: spec.provenance.data.to_owned(),
            seed: spec.provenance.seed,
            epoch: spec.provenance.epoch,
            commit: spec.provenance.commit.to_owned(),
            config_hash: spec.provenance.config_hash.to_owned(),
        },
        flash_bytes: data.len(),
        ram: Ram {
            patch,
            code: total - patch - workspace,
            workspace,
            gram,
            total: total + gram,
        },
        multiply_adds: MultiplyAdds {
            encode_first_layer: first_layer,
            encode_per_active_atom: per_atom,
            decode_per_active_atom: if m == 0 { d } else { m },
            decode_per_active_unit: if m == 0 { 0 } else { d },
            refine_iteration: match integers {
                None => l * if m == 0 { d } else { m },
                Some(_) => 0,
            },
            refine_per_changed_atom: if integers.is_some() { l } else { 0 },
        },
        checksum: "ok".to_owned(),
    };
    if arguments.json {
        return print_json(&report);
    }
    print(&report);
    Ok(())
}

fn print(report: &Report) {
    let mut table = Table::new(["field", "value"]);
    let mut row = |field: &str, value: String| table.push([field.to_owned(), value]);
    row("model", report.model.to_owned());
    row(
        "input",
        format!("{} ({} numbers)", report.input_shape, report.input_dim),
    );
    row(
        "code",
        format!("{} atoms, {} components", report.code_dim, report.codes),
    );
    if report.hidden_dim > 0 {
        row("hidden units", report.hidden_dim.to_string());
    }
    let encoder = match (&report.denoising, report.lista_iterations) {
        (Some(model), _) => format!("{} steps on the Gram matrix", model.iterations),
        (None, Some(n)) => format!("LISTA, {n} iterations"),
        (None, None) if !report.encoder_widths.is_empty() => {
            let widths = report.encoder_widths.iter().map(ToString::to_string);
            format!("dense layers, {}", widths.collect::<Vec<_>>().join(", "))
        }
        (None, None) => "none: encoded by FISTA".to_owned(),
    };
    row("encoder", encoder);
    if let Some(model) = &report.denoising {
        row(
            "windows of a signal",
            format!("every {} samples", model.hop),
        );
        let drift = model.drift.map_or("none".to_owned(), |length| {
            format!("two means of {length} samples")
        });
        row("drift filter", drift);
        row("residual guard", format!("c = {}", model.guard));
        row(
            "noise of training",
            format!(
                "{}, about {:.4} in raw units{}",
                model.noise,
                model.noise_level,
                match model.noise {
                    "white" => "; estimated unless told",
                    _ => "; has to be told",
                }
            ),
        );
        row("Gram matrix", model.gram.to_owned());
    }
    row("lambda", report.lambda.to_string());
    row(
        "step size",
        format!(
            "{} (largest safe one of the stored decoder)",
            report.step_size
        ),
    );
    row(
        "weights, activations",
        format!("{}, {}", report.weights, report.activations),
    );
    let pre = &report.preprocessing;
    if let Some(levels) = &report.levels {
        let Levels {
            input_scale,
            input_min,
            input_max,
            code_min,
            code_max,
            code_scale,
        } = levels;
        row(
            "input levels",
            format!(
                "{input_min} to {input_max}, {input_scale} {} each",
                match pre.is_local {
                    true => "units of samples with normalised contrast",
                    false => "raw units",
                }
            ),
        );
        let levels = format!("{code_min} to {code_max}, {code_scale} each");
        row("code levels", levels);
        row(
            "sums of 32 bits",
            "cannot overflow (proved again)".to_owned(),
        );
    }
    row(
        "preprocessing",
        format!(
            "(x - {}) / {}, contrast {}",
            pre.mean, pre.deviation, pre.contrast
        ),
    );
    row("range for PSNR", report.peak.to_string());
    let Input {
        raw_min,
        raw_max,
        sample_rate,
        number_type,
    } = &report.input;
    if let (Some(least), Some(most)) = (raw_min, raw_max) {
        row("raw samples in training", format!("{least} to {most}"));
    }
    if let Some(number_type) = number_type {
        row("stored in training as", (*number_type).to_owned());
    }
    if let Some(rate) = sample_rate {
        row("sample rate", format!("{rate} Hz"));
    }
    let from = &report.provenance;
    row("trained on", from.data.clone());
    row("seed, epoch", format!("{}, {}", from.seed, from.epoch));
    row(
        "commit, configuration",
        format!("{}, {}", from.commit, from.config_hash),
    );
    row("flash for the model", bytes(report.flash_bytes as u64));
    let ram = &report.ram;
    let gram = match ram.gram {
        0 => String::new(),
        bytes => format!(" + Gram matrix {bytes}"),
    };
    row(
        "RAM to encode, refine, decode (without stack)",
        format!(
            "{} = patch {} + code {} + workspace {}{gram}",
            bytes(ram.total as u64),
            ram.patch,
            ram.code,
            ram.workspace
        ),
    );
    let cost = &report.multiply_adds;
    let count = |n: usize| thousands(n as u64);
    let encode = match cost.encode_first_layer {
        layers @ 1.. if cost.encode_per_active_atom == 0 => count(layers),
        1.. => format!(
            "{} + {} an active atom",
            count(cost.encode_first_layer),
            count(cost.encode_per_active_atom)
        ),
        0 => "by refinement from zero, up to 200 iterations".to_owned(),
    };
    row("multiply-adds to encode", encode);
    let mut decode = format!("{} an active atom", count(cost.decode_per_active_atom));
    if cost.decode_per_active_unit > 0 {
        decode += &format!(
            " + {} an active hidden unit",
            count(cost.decode_per_active_unit)
        );
    }
    row("multiply-adds to decode", decode);
    let step = match &report.levels {
        None => format!("{} + those of decoding", count(cost.refine_iteration)),
        Some(_) => format!(
            "{} an atom that changes",
            count(cost.refine_per_changed_atom)
        ),
    };
    row("multiply-adds of a refinement step", step);
    row("checksum", report.checksum.clone());
    print!("{table}");
}
