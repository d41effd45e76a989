//! `cargo xtask parity`: the first epochs on MNIST, held to those of the papers' code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::results::write_page;
use crate::{SKIPPED, cargo, succeed, target_dir};

/// Trains VDL λ = 0.02 and SDL λ = 0.005 on MNIST and compares each epoch with the curves of the papers' code.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every epoch is within 0.3 dB and 2 points; 1 one is not, or training failed; 2 usage; 77 skipped, because the
data or the curves are not here.

Example: cargo xtask parity --data ../shared/data --markdown docs/results/mnist-parity.md")]
pub(crate) struct Arguments {
    /// Folder with MNIST's four files
    #[arg(long, env = "SPARSECODE_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// Epochs of each model
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// The curves to compare with
    #[arg(long, default_value = "../shared/golden/curves.csv")]
    curves: PathBuf,
    /// Train these models only (repeatable, or separated by commas)
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sdl", "vdl"])]
    model: Vec<Model>,
    /// Where to compute, as for `sparsecode train`
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write the tables here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Sdl,
    Vdl,
}

/// What is trained, and what the reference took for an epoch.
struct Setup {
    name: &'static str,
    preset: &'static str,
    lambda: &'static str,
    /// Wall seconds of the reference's first epoch: torch on the CPU, two threads, otherwise idle machine.
    reference_seconds: f64,
}

impl Model {
    fn setup(self) -> Setup {
        match self {
            Self::Sdl => Setup {
                name: "SDL",
                preset: "mnist/sdl",
                lambda: "0.005",
                reference_seconds: 26.0,
            },
            Self::Vdl => Setup {
                name: "VDL",
                preset: "mnist/vdl",
                lambda: "0.02",
                reference_seconds: 35.0,
            },
        }
    }
}

/// How far an epoch may be off.
const PSNR_DB: f64 = 0.3;
const SPARSITY: f64 = 0.02;

/// The figures of an epoch on the validation set.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    psnr: f64,
    sparsity: f64,
    energy: f64,
}

/// An epoch, ours and theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Epoch {
    epoch: u32,
    ours: Figures,
    theirs: Figures,
    seconds: f64,
}

impl Epoch {
    fn agrees(&self) -> bool {
        // Also false for NaN.
        (self.ours.psnr - self.theirs.psnr).abs() <= PSNR_DB
            && (self.ours.sparsity - self.theirs.sparsity).abs() <= SPARSITY
    }
}

/// Runs `cargo xtask parity`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let curves = match fs::read_to_string(&arguments.curves) {
        Ok(text) => text,
        Err(error) => return skip(&arguments.curves, &error.to_string(), "--curves"),
    };
    if !has_mnist(&arguments.data) {
        return skip(
            &arguments.data,
            "holds no MNIST",
            "--data or SPARSECODE_DATA",
        );
    }
    let data = fs::canonicalize(&arguments.data)?;

    let mut report = String::new();
    let mut agrees = true;
    for model in &arguments.model {
        let setup = model.setup();
        let theirs = reference(&curves, setup.name, setup.lambda.parse()?)
            .with_context(|| arguments.curves.display().to_string())?;
        let metrics = train(&setup, arguments, &data)?;
        let epochs = join(&metrics, &theirs, arguments.epochs)?;
        agrees &= epochs.iter().all(Epoch::agrees);
        let table = table(&setup, &epochs);
        println!("{table}");
        report.push_str(&table);
        report.push('\n');
    }
    let verdict = format!(
        "{} within {PSNR_DB} dB and {:.0} points of sparsity in every epoch.",
        if agrees { "All" } else { "NOT all" },
        100.0 * SPARSITY
    );
    println!("{verdict}");
    if let Some(path) = &arguments.markdown {
        write_page(
            path,
            "MNIST: the first epochs beside the papers' code",
            &format!("{verdict} Energies are sums over batches of 250."),
            &command_line(arguments),
            &arguments.device,
            &report,
        )?;
        println!("written to {}", path.display());
    }
    Ok(ExitCode::from(u8::from(!agrees)))
}

pub(crate) fn skip(path: &Path, why: &str, remedy: &str) -> Result<ExitCode> {
    println!(
        "skipped: {}: {why}; name another with {remedy}",
        path.display()
    );
    Ok(ExitCode::from(SKIPPED))
}

/// Whether the training images are in `folder` or in its `mnist`, packed or not.
pub(crate) fn has_mnist(folder: &Path) -> bool {
    [folder.to_path_buf(), folder.join("mnist")]
        .iter()
        .any(|folder| {
            ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"]
                .iter()
                .any(|name| folder.join(name).exists())
        })
}

/// Trains a model from the start and returns its `metrics.jsonl`.
fn train(setup: &Setup, arguments: &Arguments, data: &Path) -> Result<String> {
    let run = target_dir().join("parity").join(setup.name.to_lowercase());
    // `train` refuses to overwrite a run.
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| run.display().to_string())?;
    }
    let mut cargo = cargo();
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "sparsecode-trainer",
    ]);
    if arguments.device == "cuda" {
        cargo.args(["--features", "cuda"]);
    }
    cargo
        .args([
            "--",
            "train",
            "--preset",
            setup.preset,
            "--lambda",
            setup.lambda,
        ])
        .args(["--epochs", &arguments.epochs.to_string()])
        .args(["--seed", &arguments.seed.to_string()])
        .args(["--device", &arguments.device])
        .arg("--data")
        .arg(data)
        .arg("--out")
        .arg(&run);
    succeed(&mut cargo)?;
    let path = run.join("metrics.jsonl");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The validation figures of a model in the curves, by epoch.
fn reference(curves: &str, model: &str, lambda: f64) -> Result<BTreeMap<u32, Figures>> {
    let mut lines = curves.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|found| *found == name)
            .with_context(|| format!("no column {name}"))
    };
    let (names, lambdas, epochs) = (column("model")?, column("lambda")?, column("epoch")?);
    let figures = [
        column("val_psnr")?,
        column("val_zeros")?,
        column("val_energy")?,
    ];
    let mut found = BTreeMap::new();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |column: usize| -> Result<f64> {
            cells
                .get(column)
                .and_then(|cell| cell.parse().ok())
                .with_context(|| format!("line {}, column {}: no number", index + 2, column + 1))
        };
        if cells.get(names) != Some(&model) || number(lambdas)? != lambda {
            continue;
        }
        let [psnr, sparsity, energy] = figures.map(number);
        let figures = Figures {
            psnr: psnr?,
            sparsity: sparsity?,
            energy: energy?,
        };
        found.insert(number(epochs)? as u32, figures);
    }
    ensure!(!found.is_empty(), "no lines of {model} with λ = {lambda}");
    Ok(found)
}

/// Puts each epoch of `metrics.jsonl` beside the reference's.
fn join(metrics: &str, theirs: &BTreeMap<u32, Figures>, epochs: u32) -> Result<Vec<Epoch>> {
    let records = metrics
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()
        .context("metrics.jsonl")?;
    let mut joined = Vec::new();
    for epoch in 1..=epochs {
        let record = records
            .iter()
            .find(|record| record["epoch"] == epoch)
            .with_context(|| format!("metrics.jsonl has no epoch {epoch}"))?;
        let number = |value: &Value, name: &str| {
            value[name]
                .as_f64()
                .with_context(|| format!("metrics.jsonl, epoch {epoch}: no {name}"))
        };
        let validation = &record["validation"];
        let Some(&theirs) = theirs.get(&epoch) else {
            bail!("the curves end before epoch {epoch}: give fewer --epochs");
        };
        joined.push(Epoch {
            epoch,
            ours: Figures {
                psnr: number(validation, "psnr")?,
                sparsity: number(validation, "sparsity")?,
                energy: number(validation, "energy")?,
            },
            theirs,
            seconds: number(record, "seconds")?,
        });
    }
    Ok(joined)
}

/// The comparison of one model, for terminals and for Markdown.
fn table(setup: &Setup, epochs: &[Epoch]) -> String {
    let mut text = format!(
        "{}, λ = {}, validation set, encoder's codes\n\n\
         | epoch | PSNR dB | reference | difference | zeros % | reference | difference | energy | reference | s/epoch | within |\n\
         |------:|--------:|----------:|-----------:|--------:|----------:|-----------:|-------:|----------:|--------:|:------:|\n",
        setup.name, setup.lambda
    );
    for epoch in epochs {
        let (ours, theirs) = (epoch.ours, epoch.theirs);
        let (zeros, reference) = (100.0 * ours.sparsity, 100.0 * theirs.sparsity);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {:>5} | {:>7.3} | {:>9.3} | {:>+10.3} | {zeros:>7.2} | {reference:>9.2} | {:>+10.2} | {:>6.1} | {:>9.1} | {:>7.1} | {:^6} |",
            epoch.epoch,
            ours.psnr,
            theirs.psnr,
            ours.psnr - theirs.psnr,
            zeros - reference,
            ours.energy,
            theirs.energy,
            epoch.seconds,
            if epoch.agrees() { "yes" } else { "NO" },
        );
    }
    let slowest = epochs.iter().map(|epoch| epoch.seconds).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\nSlowest epoch {slowest:.1} s, validation included; the reference's first takes {:.0} s \
         (reference baseline: torch on two quiet CPU threads).",
        setup.reference_seconds
    );
    text
}

/// The command that makes the same table, wherever the data lie.
fn command_line(arguments: &Arguments) -> String {
    let mut line = format!(
        "cargo xtask parity --epochs {} --seed {} --device {}",
        arguments.epochs, arguments.seed, arguments.device
    );
    if arguments.model != [Model::Sdl, Model::Vdl] {
        for model in &arguments.model {
            line.push_str(" --model ");
            line.push_str(&model.setup().name.to_lowercase());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVES: &str = "model,lambda,epoch,train_psnr,val_psnr,val_zeros,val_energy\n\
                          SDL,0.005,1,9,15.2,0.85,121.5\n\
                          SDL,0.01,1,9,1,0.1,1\n\
                          VDL,0.02,1,9,13.1,0.83,235.5\n\
                          VDL,0.02,2,9,14.2,0.87,196.5\n";

    fn metrics(psnr: f64, sparsity: f64) -> String {
        format!(
            "{{\"epoch\":1,\"validation\":{{\"psnr\":13.0,\"sparsity\":0.84,\"energy\":230.0}},\"seconds\":20.5}}\n\
             {{\"epoch\":2,\"validation\":{{\"psnr\":{psnr},\"sparsity\":{sparsity},\"energy\":195.0}},\"seconds\":21.5}}\n"
        )
    }

    fn compared(psnr: f64, sparsity: f64) -> Vec<Epoch> {
        let theirs = reference(CURVES, "VDL", 0.02).unwrap();
        join(&metrics(psnr, sparsity), &theirs, 2).unwrap()
    }

    #[test]
    fn each_model_finds_its_own_lines() {
        let sdl = reference(CURVES, "SDL", 0.005).unwrap();
        assert_eq!(sdl.len(), 1);
        assert_eq!(
            sdl[&1],
            Figures {
                psnr: 15.2,
                sparsity: 0.85,
                energy: 121.5
            }
        );
        assert_eq!(reference(CURVES, "VDL", 0.02).unwrap().len(), 2);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |result: Result<BTreeMap<u32, Figures>>| format!("{:#}", result.unwrap_err());
        assert!(error(reference(CURVES, "WDL", 0.005)).contains("WDL"));
        assert!(error(reference("model,lambda\n", "VDL", 0.02)).contains("no column epoch"));
        let cut = CURVES.replace("0.87,196.5", "0.87");
        assert!(error(reference(&cut, "VDL", 0.02)).contains("line 5, column 7"));

        let theirs = reference(CURVES, "VDL", 0.02).unwrap();
        let error = join(&metrics(14.0, 0.87), &theirs, 3)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no epoch 3"), "{error}");
        let error = join("{\"epoch\":1}", &theirs, 1).unwrap_err().to_string();
        assert!(error.contains("epoch 1: no psnr"), "{error}");
    }

    #[test]
    fn an_epoch_outside_either_bound_fails() {
        for (psnr, sparsity, expected) in [
            (14.2 + 0.29, 0.87, true),
            (14.2 - 0.31, 0.87, false),
            (14.2 + 0.31, 0.87, false),
            (14.2, 0.87 + 0.019, true),
            (14.2, 0.87 + 0.021, false),
            (14.2, 0.87 - 0.021, false),
        ] {
            let epochs = compared(psnr, sparsity);
            assert!(epochs[0].agrees());
            assert_eq!(epochs[1].agrees(), expected, "{psnr} {sparsity}");
        }
    }

    #[test]
    fn the_table_shows_both_and_the_time() {
        let text = table(&Model::Vdl.setup(), &compared(13.5, 0.88));
        let second = text.lines().find(|line| line.starts_with("|     2 |"));
        let cells: Vec<&str> = second.unwrap().split('|').map(str::trim).collect();
        assert_eq!(
            cells[2..12],
            [
                "13.500", "14.200", "-0.700", "88.00", "87.00", "+1.00", "195.0", "196.5", "21.5",
                "NO"
            ]
        );
        assert!(text.contains("Slowest epoch 21.5 s"), "{text}");
        assert!(text.contains("takes 35 s"), "{text}");
    }

    #[test]
    fn missing_curves_or_data_are_skipped() {
        let arguments = Arguments {
            data: "/no/such/folder".into(),
            epochs: 1,
            seed: 31,
            curves: "/no/such/file.csv".into(),
            model: vec![Model::Sdl],
            device: "cpu".into(),
            markdown: None,
        };
        let skipped = format!("{:?}", ExitCode::from(SKIPPED));
        assert_eq!(format!("{:?}", run(&arguments).unwrap()), skipped);

        let curves = std::env::temp_dir().join(format!("curves-{}.csv", std::process::id()));
        fs::write(&curves, CURVES).unwrap();
        let code = run(&Arguments {
            curves: curves.clone(),
            ..arguments
        });
        fs::remove_file(&curves).unwrap();
        assert_eq!(format!("{:?}", code.unwrap()), skipped);
    }
}
