//! `export` and `evaluate` of a run of the variational family.

use std::path::Path;

use sparsecode_formats::{Activations, WeightType};

use super::common::{print_json, usage};
use super::data_flags::{DataFlags, OtherData};
use super::evaluate_l0;
use super::export_report::{self, DeterministicCode, Figures, Report, TensorCost, head};
use crate::data::{DataConfig, Dataset, ImagesConfig, PatchContrast, Samples, Splits};
use crate::deploy::{Calibration, Deterministic, VariationalRun};
use crate::report::table::{Table, percent};
use crate::run::{Family, RunFolder};
use crate::storage::write_atomic;
use crate::variational::{CodeStatistics, EncoderKind, GradientStatistics, Rule, Variational};

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) weights: WeightType,
    /// `None` for f32.
    pub(super) integers: Option<Activations>,
    pub(super) calibration: Option<Calibration>,
    pub(super) input_scale: Option<f32>,
    /// Whether the file holds what samples are drawn from.
    pub(super) with_posterior: bool,
    pub(super) data: &'a DataFlags,
    pub(super) output: &'a Path,
    pub(super) json: bool,
}

/// Writes the file of the run in `folder`.
pub(super) fn export(folder: &RunFolder, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    let run = VariationalRun::open(folder)?;
    run.check_export()?;
    let splits = wanted.data.load_for(&run, &OtherData::default())?;
    let calibrated_on = format!("training samples of {}", splits.description);
    let train = Samples::new(splits.train)?;
    let (weights, integers) = (wanted.weights, wanted.integers);
    let (bytes, step_size, matrices, ranges, code) = match integers {
        None => {
            let (written, code) = match wanted.with_posterior {
                true => run.export_with_posterior(&train, weights)?,
                false => run.export(&train, weights)?,
            };
            let (step_size, matrices) = (written.step_size, written.matrices);
            (written.bytes, step_size, matrices, None, code)
        }
        Some(activations) => {
            let calibration = wanted.calibration.unwrap_or_default();
            let kinds = (weights, activations);
            let (written, ranges, code) =
                run.export_integer(&train, calibration, wanted.input_scale, kinds)?;
            let report = written.report;
            let ranges = export_report::ranges(calibration, &ranges, activations, &report);
            let (step_size, matrices) = (report.step_size, report.matrices);
            (written.bytes, step_size, matrices, Some(ranges), code)
        }
    };
    write_atomic(wanted.output, &bytes)?;
    let validation = head(splits.validation);
    let figures = run.beside_file((&train, &validation), &code.rule, &bytes)?;
    let [ours, file] = figures.map(|(psnr, sparsity)| {
        Some(Figures {
            samples: validation.len(),
            psnr,
            sparsity,
        })
    });
    let report = Report {
        output: wanted.output.to_path_buf(),
        weights: weights.to_string(),
        activations: integers.map_or("f32", Activations::name),
        ranges,
        bytes: bytes.len(),
        step_size,
        tensors: matrices.iter().map(TensorCost::from).collect(),
        run: ours,
        file,
        deterministic: Some(told(&code, &calibrated_on)),
        is_local: false,
    };
    if wanted.json {
        return print_json(&report);
    }
    export_report::print(&report);
    println!("\n{}", words(&code, &calibrated_on));
    if let DataConfig::Images(ImagesConfig {
        contrast: PatchContrast::Whiten,
        cutoff,
        ..
    }) = &run.config.data
    {
        println!(
            "the file takes patches of whitened pictures (cut-off {cutoff} cycles per pixel): \
             neither device nor host whitens them"
        );
    }
    Ok(())
}

fn told(code: &Deterministic, calibrated_on: &str) -> DeterministicCode {
    let (rule, limit) = match code.rule.rule {
        Rule::Shift(limit) if limit < 0.0 => ("all", None),
        Rule::Shift(limit) => ("shift", Some(limit)),
        Rule::Activity(limit) => ("activity", Some(limit)),
    };
    DeterministicCode {
        rule,
        limit,
        gain: code.rule.gain,
        active: code.active,
        mse: code.error,
        calibrated_on: calibrated_on.to_owned(),
    }
}

fn words(code: &Deterministic, calibrated_on: &str) -> String {
    let rule = match code.rule.rule {
        Rule::Shift(limit) if limit < 0.0 => "of all units".to_owned(),
        Rule::Shift(limit) => format!("whose shift exceeds {limit:.4}"),
        Rule::Activity(limit) => format!("that are active with a probability above {limit:.4}"),
    };
    let mut text = format!(
        "deterministic code: components {rule}, times {:.4}; on {calibrated_on} {} of \
         them, mean square error {:.4}",
        code.rule.gain,
        percent(code.active),
        code.error
    );
    if let Some((other, error)) = code.other {
        let by = match other {
            Rule::Shift(_) => "by the shift",
            Rule::Activity(_) => "by the probability",
        };
        let why = match error < code.error {
            true => ", but more than one head decides it, and no file holds that",
            false => "",
        };
        text += &format!(" ({by} {error:.4}{why})");
    }
    text
}

/// Prints the figures of a part of the data, clean and with noise; with `passes` also statistics
/// of codes, and of gradients over so many passes if there are any.
pub(super) fn evaluate(
    folder: &RunFolder,
    data: &DataFlags,
    noise: &[f64],
    passes: Option<usize>,
    part: impl Fn(&Splits) -> Dataset,
    is_json: bool,
) -> anyhow::Result<()> {
    let run = VariationalRun::open(folder)?;
    if passes.is_some() {
        check_dictionary(&run, "--codes")?;
    }
    let splits = data.load_for(&run, &OtherData::default())?;
    let (train, test) = (
        Samples::new(splits.train.clone())?,
        Samples::new(part(&splits))?,
    );
    let mut all = vec![(None, run.measure(&train, &test, None)?)];
    for sigma in noise {
        all.push((Some(*sigma), run.measure(&train, &test, Some(*sigma))?));
    }
    let statistics = passes.map(|passes| run.statistics(&train, &test, passes));
    let statistics = statistics.transpose()?;
    if is_json {
        let rows = all.iter().map(|(noise, figures)| {
            let mut row = serde_json::to_value(figures)?;
            row["noise"] = serde_json::to_value(noise)?;
            if let (None, Some((codes, gradients))) = (noise, &statistics) {
                row["codes"] = serde_json::to_value(codes)?;
                row["gradients"] = serde_json::to_value(gradients)?;
            }
            Ok(row)
        });
        return print_json(&rows.collect::<anyhow::Result<Vec<_>>>()?);
    }
    let columns = Variational::CLEAN_COLUMNS;
    let heads = columns.iter().map(|column| column.heading.to_owned());
    let mut table = Table::new(std::iter::once("noise".to_owned()).chain(heads));
    for (noise, figures) in &all {
        let first = noise.map_or_else(|| "0".to_owned(), |sigma| format!("{sigma}"));
        let cells = columns.iter().map(|column| {
            let is_noisy = Variational::NOISY_COLUMNS.contains(column);
            let value = figures.get(column.figure);
            let value = value.filter(|_| noise.is_none() || is_noisy);
            value.map_or_else(String::new, |value| column.unit.text(value))
        });
        table.push(std::iter::once(first).chain(cells));
    }
    println!(
        "{} of epoch {} on {} samples of {}, whose training samples calibrate deterministic codes",
        run.config.model_name(),
        run.epoch,
        test.len(),
        splits.description
    );
    print!("{table}");
    println!("{}", Variational::LEGEND);
    if let Some((codes, gradients)) = &statistics {
        print_codes(codes, gradients.as_ref());
    }
    Ok(())
}

/// What is said of codes, one fact a line.
fn print_codes(codes: &CodeStatistics, gradients: Option<&GradientStatistics>) {
    println!(
        "\ncodes: for each of {} samples the one of its samples that counts",
        codes.inputs
    );
    let mut table = Table::new(["", "value"]);
    let mut tell = |what: &str, value: String| table.push([what.to_owned(), value]);
    tell("l1", format!("{:.3}", codes.l1));
    tell(
        "multi-information",
        format!("{:.1} bits", codes.multi_information),
    );
    if let Some(bits) = codes.multi_information_of_prior {
        tell("multi-information of the prior", format!("{bits:.1} bits"));
    }
    if let Some(share) = codes.posterior_collapse {
        tell("posterior collapse", percent(share));
    }
    tell("coefficient collapse", percent(codes.coefficient_collapse));
    if let Some(similarity) = codes.support_similarity {
        tell("support similarity", format!("{similarity:.3}"));
    }
    if let Some(gradients) = gradients {
        tell(
            "gradient signal/noise, dictionary",
            format!("{:.4}", gradients.dictionary),
        );
        tell(
            "gradient signal/noise, encoder",
            format!("{:.4}", gradients.encoder),
        );
    }
    print!("{table}");
    println!(
        "multi-information: marginal entropies less the joint one; of the prior: the same of codes \
         that know nothing of a sample. posterior collapse: components with at most 0.01 nats of \
         divergence in 95 % of the samples. coefficient collapse: components within 0.01 of 0 in \
         95 % of them. support similarity: Jaccard, of 20 inferences of each of 100 samples"
    );
}

/// Prints errors of codes with equally many components.
pub(super) fn evaluate_l0(
    folder: &RunFolder,
    data: &DataFlags,
    wanted: &[f64],
    part: impl Fn(&Splits) -> Dataset,
    is_json: bool,
) -> anyhow::Result<()> {
    let run = VariationalRun::open(folder)?;
    check_dictionary(&run, "--l0")?;
    let splits = data.load_for(&run, &OtherData::default())?;
    let test = Samples::new(part(&splits))?;
    let codes = run.codes(&Samples::new(splits.train)?, &test)?;
    let name = run.config.model_name();
    evaluate_l0::print(name, &splits.description, &codes, wanted, is_json)
}

/// Refuses a flag for convolutional networks.
fn check_dictionary(run: &VariationalRun, flag: &str) -> anyhow::Result<()> {
    match run.config.family.model.encoder {
        EncoderKind::Conv => Err(usage(format!(
            "{flag}: only for models with a dictionary, and this one has convolutions; leave {flag} \
             out"
        ))),
        _ => Ok(()),
    }
}

/// Refuses what a variational run cannot do.
pub(super) fn refuse(flags: &[(&str, bool)]) -> anyhow::Result<()> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(usage(format!(
            "{flag}: not for variational models; leave it out"
        ))),
        None => Ok(()),
    }
}
