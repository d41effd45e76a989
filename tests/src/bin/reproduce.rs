//! The papers' results beside ours, with the program `sparsecode` that lies beside this one:
//! `cargo xtask parity`, `table1` and `curves` build both and pass their arguments on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use sparsecode_tests::workspace;
use sparsecode_trainer::report::metrics;
use sparsecode_trainer::report::page::{self, Origin, Page};
use sparsecode_trainer::reproduce::curves;
use sparsecode_trainer::reproduce::parity::{self, Epoch};
use sparsecode_trainer::reproduce::published::{MNIST, PaperModel};
use sparsecode_trainer::reproduce::table1::{self, Figures};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train on MNIST and compare each epoch with the published code's
    Parity(Parity),
    /// Train on MNIST to the end and compare with the paper's Table 1
    Table1(Table1),
    /// Train the variational models on a synthetic set and compare with the released code's curves
    Curves(Curves),
}

/// What both take.
#[derive(clap::Args)]
struct Common {
    /// Folder with MNIST's four files
    #[arg(long, env = "SPARSECODE_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// Where to compute, as for `sparsecode train`
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder of the runs [default: parity or table1 in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Write the tables here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Trains VDL λ = 0.02 and SDL λ = 0.005 on MNIST and compares each epoch with the curves of the
/// papers' code.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 every epoch is within 0.3 dB and 2 points; 1 one is not, or training failed; 2 \
usage; 77 skipped, because the
data or the curves are not here.

Example: cargo xtask parity --data ../shared/data --markdown docs/results/mnist-parity.md")]
struct Parity {
    #[command(flatten)]
    common: Common,
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
}

/// Trains SDL λ = 0.005 and VDL λ = 0.02 on MNIST for 200 epochs and sets their test figures, clean
/// and denoised, beside the published ones.
#[derive(clap::Args)]
#[command(after_help = "\
A run that was interrupted is continued; one that is finished is not trained again.

Exit status: 0 all figures are within 0.5 dB and 3 points; 1 one is not, or training failed; 2 \
usage; 77 skipped, because the
data are not here.

Example: cargo xtask table1 --data ../shared/data --markdown docs/results/mnist-table1.md")]
struct Table1 {
    #[command(flatten)]
    common: Common,
    /// Seeds, one run of each model for each
    #[arg(long, value_delimiter = ',', default_value = "31")]
    seed: Vec<u64>,
}

/// Trains the eight methods of the second paper on the synthetic set of the curves, 8,000 steps
/// each, and sets their last figures beside those of the released code.
#[derive(clap::Args)]
#[command(after_help = "\
A run that was interrupted is continued; one that is finished is not trained again.

Exit status: 0 all methods agree; 1 one does not, or training failed; 2 usage; 77 skipped, because
the set or the curves are not here.

Example: cargo xtask curves --golden ../shared/golden --markdown docs/results/variational-curves.md")]
struct Curves {
    /// Folder with variational_synthetic.safetensors and variational_curves.csv
    #[arg(long, default_value = "../shared/golden")]
    golden: PathBuf,
    /// Seeds, one run of each method for each
    #[arg(long, value_delimiter = ',', default_value = "31")]
    seed: Vec<u64>,
    /// These methods only, by the names of their presets (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',')]
    method: Vec<String>,
    /// Folder of the runs [default: curves in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Write the table here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Model {
    Sdl,
    Vdl,
}

impl Model {
    fn published(self) -> &'static PaperModel {
        let [sdl, vdl] = &MNIST;
        match self {
            Self::Sdl => sdl,
            Self::Vdl => vdl,
        }
    }
}

/// The exit status of what could not run here.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Task::Parity(arguments) => parity(arguments),
        Task::Table1(arguments) => table1(arguments),
        Task::Curves(arguments) => curves(arguments),
    }
}

fn parity(arguments: &Parity) -> Result<ExitCode> {
    let Some(curves) = given(&arguments.curves, "--curves") else {
        return Ok(ExitCode::from(SKIPPED));
    };
    let Some(runs) = Runs::of(&arguments.common, "parity")? else {
        return Ok(ExitCode::from(SKIPPED));
    };
    let mut report = String::new();
    let mut agrees = true;
    for model in arguments.model.iter().copied().map(Model::published) {
        let theirs = parity::reference(&curves, model.name, model.lambda.parse()?)
            .with_context(|| arguments.curves.display().to_string())?;
        let folder = runs.folder.join(model.name.to_lowercase());
        // `train` refuses to overwrite a run.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        runs.train(model, arguments.seed, Some(arguments.epochs), &folder)?;
        let records = metrics::read(folder.join("metrics.jsonl"))?;
        let epochs = parity::join(&records, &theirs, arguments.epochs)?;
        agrees &= epochs.iter().all(Epoch::agrees);
        let table = parity::table(model, &epochs);
        println!("{table}");
        report += &format!("{table}\n");
    }
    let verdict = format!(
        "{} within {} dB and {:.0} points of sparsity in every epoch.",
        if agrees { "All" } else { "NOT all" },
        parity::PSNR_DB,
        100.0 * parity::SPARSITY
    );
    println!("{verdict}");
    let mut command = format!(
        "cargo xtask parity --epochs {} --seed {} --device {}",
        arguments.epochs, arguments.seed, arguments.common.device
    );
    if arguments.model != [Model::Sdl, Model::Vdl] {
        for model in &arguments.model {
            command += &format!(" --model {}", model.published().name.to_lowercase());
        }
    }
    runs.write_page(
        "MNIST: the first epochs beside the papers' code",
        &format!("{verdict} Energies are sums over batches of 250."),
        command,
        &report,
    )?;
    Ok(ExitCode::from(u8::from(!agrees)))
}

fn table1(arguments: &Table1) -> Result<ExitCode> {
    let Some(runs) = Runs::of(&arguments.common, "table1")? else {
        return Ok(ExitCode::from(SKIPPED));
    };
    let mut text = String::from(table1::HEAD);
    let mut times = String::new();
    let mut agrees = true;
    for model in &MNIST {
        let mut by_seed = Vec::new();
        for seed in &arguments.seed {
            let name = format!("{}-{seed}", model.name.to_lowercase());
            let folder = runs.folder.join(name);
            runs.train(model, *seed, None, &folder)?;
            times += &format!(
                "- {}, seed {seed}: 200 epochs in {:.1} minutes\n",
                model.name,
                seconds(&folder)? / 60.0
            );
            by_seed.push(runs.evaluate(&folder)?);
        }
        for (index, level) in model.table1.iter().enumerate() {
            let figures: Vec<Figures> = by_seed.iter().map(|levels| levels[index]).collect();
            let (row, within) = table1::row(model, level, &figures);
            text += &row;
            agrees &= within;
        }
    }
    let verdict = format!(
        "{} within {} dB and {:.0} points of the published mean.",
        match agrees {
            true => "All figures are",
            false => "NOT all figures are",
        },
        table1::PSNR_DB,
        table1::ZEROS
    );
    println!("{text}\n{times}\n{verdict}");
    let seeds: Vec<String> = arguments.seed.iter().map(u64::to_string).collect();
    runs.write_page(
        "MNIST: the paper's Table 1",
        &format!(
            "Test set, the encoder's codes, the model with the lowest validation energy of 200 \
             epochs; σ is the noise added to the \
             normalised input, PSNR against the clean image. Published: Table 1 of \"Sparse \
             Coding with Multi-layer Decoders using \
             Variance Regularization\", means of 5 seeds. {verdict}"
        ),
        format!(
            "cargo xtask table1 --data DIR --seed {} --device {}",
            seeds.join(","),
            arguments.common.device
        ),
        &format!(
            "{text}\nTraining, sum of the epochs' wall times, validation included:\n\n{times}"
        ),
    )?;
    Ok(ExitCode::from(u8::from(!agrees)))
}

fn curves(arguments: &Curves) -> Result<ExitCode> {
    let set = arguments.golden.join("variational_synthetic.safetensors");
    let theirs = arguments.golden.join("variational_curves.csv");
    let Some(theirs) = given(&theirs, "--golden").filter(|_| set.exists()) else {
        return Ok(ExitCode::from(SKIPPED));
    };
    let theirs = curves::reference(&theirs)?;
    let unknown = |name: &&String| !curves::METHODS.iter().any(|m| m.preset == name.as_str());
    if let Some(name) = arguments.method.iter().find(unknown) {
        let known = curves::METHODS.map(|method| method.preset).join(", ");
        eprintln!("error: --method {name}: choose of {known}");
        return Ok(ExitCode::from(2));
    }
    let wanted = |method: &curves::Method| {
        arguments.method.is_empty() || arguments.method.iter().any(|name| name == method.preset)
    };
    let (program, target) = program()?;
    let folder = match &arguments.runs {
        Some(folder) => std::path::absolute(workspace().join(folder))?,
        None => target.join("curves"),
    };
    let mut all = Vec::new();
    for method in curves::METHODS.into_iter().filter(wanted) {
        let mut figures = Vec::new();
        for seed in &arguments.seed {
            let run = folder.join(format!("{}-{seed}", method.preset));
            let mut train = Command::new(&program);
            train.args(["train", "--quiet", "--preset"]);
            train.arg(format!("variational/{}/paper", method.preset));
            train.args(["--seed", &seed.to_string(), "--epochs", "100"]);
            for setting in [
                "data.source=safetensors",
                "model.code_dim=64",
                "model.widths=[128, 256, 128, 64]",
            ] {
                train.args(["--set", setting]);
            }
            train.arg("--data").arg(&set).arg("--out").arg(&run);
            if run.join("checkpoint.safetensors").exists() {
                train.arg("--resume");
            }
            let status = train.status().context("cannot start sparsecode")?;
            ensure!(status.success(), "sparsecode train ended with {status}");
            figures.push(curves::ours(&metrics::read(run.join("metrics.jsonl"))?)?);
        }
        all.push((method, figures));
    }
    let (text, agree) = curves::table(&all, &theirs)?;
    let verdict = format!(
        "{} within {} in mean square error, {} points of activity and {} in recovery.",
        if agree { "All are" } else { "NOT all are" },
        curves::ERROR,
        100.0 * curves::ACTIVE,
        curves::RECOVERY
    );
    println!("{text}\n{verdict}");
    if let Some(path) = &arguments.markdown {
        let seeds: Vec<String> = arguments.seed.iter().map(u64::to_string).collect();
        let mut command = format!("cargo xtask curves --golden DIR --seed {}", seeds.join(","));
        if !arguments.method.is_empty() {
            command += &format!(" --method {}", arguments.method.join(","));
        }
        let origin = Origin {
            command,
            commit: page::commit(workspace()),
            machine: page::machine(false),
        };
        let title = "Variational sparse coding beside the released code";
        let summary = format!(
            "A synthetic set of 64 atoms in 64 dimensions, 8,000 steps, 20 samples; the validation \
             set after the last step, means over our seeds, and in brackets over those of the \
             curves. Mean square errors of a number; a code of zeros has 1.006. {verdict}"
        );
        let mut page = Page::new(title, &summary, &origin);
        page.text(&text);
        page.save(path)?;
    }
    Ok(ExitCode::from(u8::from(!agree)))
}

/// The program `sparsecode` that lies beside this one, and cargo's target folder.
fn program() -> Result<(PathBuf, PathBuf)> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent);
    let target = target.context("a target folder")?.to_path_buf();
    let name = format!("sparsecode{}", std::env::consts::EXE_SUFFIX);
    Ok((program.with_file_name(name), target))
}

/// The text of a file, or a line that says what is skipped.
fn given(path: &Path, flag: &str) -> Option<String> {
    fs::read_to_string(path)
        .inspect_err(|error| skip(path, &error.to_string(), flag))
        .ok()
}

fn skip(path: &Path, why: &str, remedy: &str) {
    println!(
        "skipped: {}: {why}; name another with {remedy}",
        path.display()
    );
}

/// The seconds of all epochs of a run.
fn seconds(folder: &Path) -> Result<f64> {
    let records = metrics::read(folder.join("metrics.jsonl"))?;
    let each = records.iter().map(|record| record["seconds"].as_f64());
    each.sum::<Option<f64>>()
        .context("metrics.jsonl: no seconds")
}

/// Runs of the program that lies beside this one.
struct Runs<'a> {
    program: PathBuf,
    common: &'a Common,
    data: PathBuf,
    folder: PathBuf,
}

impl<'a> Runs<'a> {
    /// Nothing, with a line that says so, where MNIST is not.
    fn of(common: &'a Common, name: &str) -> Result<Option<Self>> {
        let files = ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"];
        let holds = |folder: &Path| files.iter().any(|file| folder.join(file).exists());
        if !holds(&common.data) && !holds(&common.data.join("mnist")) {
            let remedy = "--data or SPARSECODE_DATA";
            skip(&common.data, "holds no MNIST", remedy);
            return Ok(None);
        }
        let (program, target) = program()?;
        let folder = match &common.runs {
            Some(folder) => std::path::absolute(workspace().join(folder))?,
            None => target.join(name),
        };
        Ok(Some(Self {
            program,
            common,
            data: fs::canonicalize(&common.data)?,
            folder,
        }))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(name).args(["--device", &self.common.device]);
        command.arg("--data").arg(&self.data);
        command
    }

    /// Trains a model, from its checkpoint if it has one.
    fn train(
        &self,
        model: &PaperModel,
        seed: u64,
        epochs: Option<u32>,
        folder: &Path,
    ) -> Result<()> {
        let mut train = self.command("train");
        train
            .args(["--preset", model.preset, "--lambda", model.lambda])
            .args(["--seed", &seed.to_string()])
            .arg("--out")
            .arg(folder);
        if let Some(epochs) = epochs {
            train.args(["--epochs", &epochs.to_string()]);
        }
        if folder.join("checkpoint.safetensors").exists() {
            train.arg("--resume");
        }
        let status = train.status().context("cannot start sparsecode")?;
        ensure!(status.success(), "sparsecode train ended with {status}");
        Ok(())
    }

    /// The test set's figures: clean, σ = 1 and σ = 1.5.
    fn evaluate(&self, folder: &Path) -> Result<Vec<Figures>> {
        let mut evaluate = self.command("evaluate");
        evaluate.args(["--noise", "1.0,1.5", "--json"]).arg(folder);
        let output = evaluate.output().context("cannot start sparsecode")?;
        ensure!(
            output.status.success(),
            "evaluate: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        table1::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Writes a page, if one is asked for.
    fn write_page(&self, title: &str, summary: &str, command: String, text: &str) -> Result<()> {
        let Some(path) = &self.common.markdown else {
            return Ok(());
        };
        let origin = Origin {
            command,
            commit: page::commit(workspace()),
            machine: page::machine(self.common.device != "cpu"),
        };
        let mut page = Page::new(title, summary, &origin);
        page.text(text);
        page.save(path)?;
        println!("written to {}", path.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_curves_or_data_are_skipped() {
        let curves = tempfile::NamedTempFile::new().unwrap();
        let curves = curves.path().to_str().unwrap();
        let nowhere = "/no/such/folder";
        for words in [
            &["parity", "--curves", "/no/such/file.csv"][..],
            &["parity", "--curves", curves, "--data", nowhere],
            &["table1", "--data", nowhere],
            &["curves", "--golden", nowhere],
        ] {
            let words = ["cargo xtask"].iter().chain(words);
            let code = run(&Arguments::try_parse_from(words).unwrap()).unwrap();
            assert_eq!(
                format!("{code:?}"),
                format!("{:?}", ExitCode::from(SKIPPED))
            );
        }
    }
}
