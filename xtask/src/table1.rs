//! `cargo xtask table1`: the paper's Table 1 for MNIST, ours beside theirs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::parity::{has_mnist, skip};
use crate::results::write_page;
use crate::{cargo, root, succeed, target_dir};

/// Trains SDL λ = 0.005 and VDL λ = 0.02 on MNIST for 200 epochs and sets their test figures, clean and denoised, beside the
/// published ones.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
A run that was interrupted is continued; one that is finished is not trained again.

Exit status: 0 all figures are within 0.5 dB and 3 points; 1 one is not, or training failed; 2 usage; 77 skipped, because the
data are not here.

Example: cargo xtask table1 --data ../shared/data --markdown docs/results/mnist-table1.md")]
pub(crate) struct Arguments {
    /// Folder with MNIST's four files
    #[arg(long, env = "SPARSECODE_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// Seeds, one run of each model for each
    #[arg(long, value_delimiter = ',', default_value = "31")]
    seed: Vec<u64>,
    /// Folder of the runs [default: table1 in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Where to compute, as for `sparsecode train`
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write the table here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// How far a figure may be off.
const PSNR_DB: f64 = 0.5;
const ZEROS: f64 = 3.0;

/// The test set's figures at one noise level: σ, PSNR of the noisy inputs (0 if clean), zeros in percent and their deviation over
/// seeds, PSNR and its deviation.
struct Published {
    sigma: f64,
    noisy: f64,
    zeros: (f64, f64),
    psnr: (f64, f64),
}

struct Model {
    name: &'static str,
    preset: &'static str,
    lambda: &'static str,
    published: [Published; 3],
}

/// Table 1 of the paper, its rows for MNIST.
const MODELS: [Model; 2] = [
    Model {
        name: "SDL",
        preset: "mnist/sdl",
        lambda: "0.005",
        published: [
            Published {
                sigma: 0.0,
                noisy: 0.0,
                zeros: (89.7, 0.2),
                psnr: (17.3, 0.028),
            },
            Published {
                sigma: 1.0,
                noisy: 10.2,
                zeros: (87.3, 0.2),
                psnr: (16.9, 0.053),
            },
            Published {
                sigma: 1.5,
                noisy: 6.7,
                zeros: (84.6, 0.5),
                psnr: (15.7, 0.204),
            },
        ],
    },
    Model {
        name: "VDL",
        preset: "mnist/vdl",
        lambda: "0.02",
        published: [
            Published {
                sigma: 0.0,
                noisy: 0.0,
                zeros: (91.8, 0.1),
                psnr: (17.7, 0.023),
            },
            Published {
                sigma: 1.0,
                noisy: 10.2,
                zeros: (88.1, 0.2),
                psnr: (15.4, 0.175),
            },
            Published {
                sigma: 1.5,
                noisy: 6.7,
                zeros: (84.5, 0.3),
                psnr: (12.2, 0.275),
            },
        ],
    },
];

/// Our figures at one noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    noisy: f64,
    zeros: f64,
    psnr: f64,
}

/// Runs `cargo xtask table1`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !has_mnist(&arguments.data) {
        return skip(
            &arguments.data,
            "holds no MNIST",
            "--data or SPARSECODE_DATA",
        );
    }
    let data = fs::canonicalize(&arguments.data)?;
    let runs = match &arguments.runs {
        Some(folder) => std::path::absolute(root().join(folder))?,
        None => target_dir().join("table1"),
    };
    let program = program(&arguments.device)?;
    let mut text = String::from(
        "| model | λ | σ | PSNR of the input | published | zeros % | published | difference | PSNR dB | published | difference |\n\
         |---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut times = String::new();
    let mut agrees = true;
    for model in &MODELS {
        let mut by_seed = Vec::new();
        for seed in &arguments.seed {
            let folder = runs.join(format!("{}-{seed}", model.name.to_lowercase()));
            let seconds = train(&program, model, *seed, arguments, &data, &folder)?;
            let _ = writeln!(
                times,
                "- {}, seed {seed}: 200 epochs in {:.1} minutes",
                model.name,
                seconds / 60.0
            );
            by_seed.push(evaluate(&program, arguments, &data, &folder)?);
        }
        for (level, published) in model.published.iter().enumerate() {
            let figures: Vec<Figures> = by_seed.iter().map(|levels| levels[level]).collect();
            let (row, within) = row(model, published, &figures);
            text.push_str(&row);
            agrees &= within;
        }
    }
    let verdict = format!(
        "{} within {PSNR_DB} dB and {ZEROS:.0} points of the published mean.",
        if agrees {
            "All figures are"
        } else {
            "NOT all figures are"
        }
    );
    println!("{text}\n{times}\n{verdict}");
    if let Some(path) = &arguments.markdown {
        let summary = format!(
            "Test set, the encoder's codes, the model with the lowest validation energy of 200 epochs; σ is the noise added to the \
             normalised input, PSNR against the clean image. Published: Table 1 of \"Sparse Coding with Multi-layer Decoders using \
             Variance Regularization\", means of 5 seeds. {verdict}"
        );
        let seeds: Vec<String> = arguments.seed.iter().map(u64::to_string).collect();
        let command = format!(
            "cargo xtask table1 --data DIR --seed {} --device {}",
            seeds.join(","),
            arguments.device
        );
        write_page(
            path,
            "MNIST: the paper's Table 1",
            &summary,
            &command,
            &arguments.device,
            &format!(
                "{text}\nTraining, sum of the epochs' wall times, validation included:\n\n{times}"
            ),
        )?;
        println!("written to {}", path.display());
    }
    Ok(ExitCode::from(u8::from(!agrees)))
}

/// Builds the program and says where it lies.
fn program(device: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "-p", "sparsecode-trainer"]);
    if device == "cuda" {
        build.args(["--features", "cuda"]);
    }
    succeed(&mut build)?;
    Ok(target_dir().join("release").join("sparsecode"))
}

/// Trains a model to the end, from its checkpoint if it has one. Returns the seconds of all its epochs.
fn train(
    program: &Path,
    model: &Model,
    seed: u64,
    arguments: &Arguments,
    data: &Path,
    folder: &Path,
) -> Result<f64> {
    let mut train = Command::new(program);
    train
        .args(["train", "--preset", model.preset, "--lambda", model.lambda])
        .args(["--seed", &seed.to_string(), "--device", &arguments.device])
        .arg("--data")
        .arg(data)
        .arg("--out")
        .arg(folder);
    if folder.join("checkpoint.safetensors").exists() {
        train.arg("--resume");
    }
    succeed(&mut train)?;
    let path = folder.join("metrics.jsonl");
    let metrics = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut seconds = 0.0;
    for line in metrics.lines() {
        let record: Value = serde_json::from_str(line).context("metrics.jsonl")?;
        seconds += record["seconds"]
            .as_f64()
            .context("metrics.jsonl: no seconds")?;
    }
    Ok(seconds)
}

/// The test set's figures: clean, σ = 1 and σ = 1.5.
fn evaluate(
    program: &Path,
    arguments: &Arguments,
    data: &Path,
    folder: &Path,
) -> Result<Vec<Figures>> {
    let output = Command::new(program)
        .arg("evaluate")
        .arg(folder)
        .args(["--noise", "1.0,1.5", "--json"])
        .args(["--device", &arguments.device])
        .arg("--data")
        .arg(data)
        .output()
        .context("cannot start sparsecode")?;
    ensure!(
        output.status.success(),
        "evaluate: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(json: &str) -> Result<Vec<Figures>> {
    let evaluations: Vec<Value> = serde_json::from_str(json).context("evaluate")?;
    ensure!(
        evaluations.len() == 3,
        "evaluate: {} levels, not 3",
        evaluations.len()
    );
    let number = |evaluation: &Value, name: &str| {
        evaluation[name]
            .as_f64()
            .with_context(|| format!("evaluate: no {name}"))
    };
    evaluations
        .iter()
        .map(|evaluation| {
            Ok(Figures {
                noisy: evaluation["psnr_input"].as_f64().unwrap_or(0.0),
                zeros: 100.0 * number(evaluation, "sparsity")?,
                psnr: number(evaluation, "psnr")?,
            })
        })
        .collect()
}

/// A row of the table, and whether it is within the bounds.
fn row(model: &Model, published: &Published, figures: &[Figures]) -> (String, bool) {
    let of = |field: fn(&Figures) -> f64| {
        let values: Vec<f64> = figures.iter().map(field).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt());
        (mean, deviation)
    };
    let with = |(mean, deviation): (f64, Option<f64>), digits: usize| match deviation {
        Some(deviation) => format!("{mean:.digits$} ± {deviation:.digits$}"),
        None => format!("{mean:.digits$}"),
    };
    let (zeros, psnr) = (of(|f| f.zeros), of(|f| f.psnr));
    let (zeros_off, psnr_off) = (zeros.0 - published.zeros.0, psnr.0 - published.psnr.0);
    let within = zeros_off.abs() <= ZEROS && psnr_off.abs() <= PSNR_DB;
    let clean = published.sigma == 0.0;
    let (noisy, noisy_published) = if clean {
        (String::new(), String::new())
    } else {
        (
            format!("{:.1}", of(|f| f.noisy).0),
            format!("{:.1}", published.noisy),
        )
    };
    let sigma = if clean {
        "clean".to_owned()
    } else {
        format!("{:.1}", published.sigma)
    };
    let row = format!(
        "| {} | {} | {sigma} | {noisy} | {noisy_published} | {} | {} ± {} | {zeros_off:+.1} | {} | {} ± {} | {psnr_off:+.2}{} |\n",
        model.name,
        model.lambda,
        with(zeros, 1),
        published.zeros.0,
        published.zeros.1,
        with(psnr, 2),
        published.psnr.0,
        published.psnr.1,
        if within { "" } else { " (!)" },
    );
    (row, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_the_evaluation() {
        let json = r#"[{"psnr":17.5,"psnr_input":null,"sparsity":0.9},
            {"psnr":15.5,"psnr_input":10.2,"sparsity":0.88},
            {"psnr":12.5,"psnr_input":6.7,"sparsity":0.85}]"#;
        let figures = parse(json).unwrap();
        assert_eq!(figures[0].psnr, 17.5);
        assert_eq!(figures[1].zeros, 88.0);
        assert_eq!(figures[2].noisy, 6.7);
        assert!(parse("[]").is_err());
        assert!(parse(r#"[{"psnr":1},{"psnr":1},{"psnr":1}]"#).is_err());
    }

    #[test]
    fn rows_tell_what_is_off() {
        let model = &MODELS[1];
        let figures = |zeros, psnr| Figures {
            noisy: 0.0,
            zeros,
            psnr,
        };
        let (text, within) = row(model, &model.published[0], &[figures(91.0, 17.5)]);
        assert!(within, "{text}");
        assert!(
            text.contains("| 91.0 | 91.8 ± 0.1 | -0.8 | 17.50 |"),
            "{text}"
        );
        let (text, within) = row(model, &model.published[0], &[figures(91.0, 17.1)]);
        assert!(!within && text.contains("(!)"), "{text}");
        let (_, within) = row(model, &model.published[0], &[figures(88.7, 17.7)]);
        assert!(!within);
        let two = [figures(91.0, 17.5), figures(92.0, 17.7)];
        let (text, _) = row(model, &model.published[0], &two);
        assert!(
            text.contains("91.5 ± 0.7") && text.contains("17.60 ± 0.14"),
            "{text}"
        );
    }
}
