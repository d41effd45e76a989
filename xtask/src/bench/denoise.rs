//! `cargo xtask bench denoise`: what exported files take off noise on records and pictures that
//! training never saw.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use sparsecode_lab::denoising::{Bench, TEST};
use sparsecode_lab::{cargo, root, target_dir};

use crate::results::{command_line, write_page};

/// Trains models that denoise ECGs and pictures, exports them for integers, and measures the files
/// on test records and pictures.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Example: cargo xtask bench denoise --data ../shared/data --markdown docs/results/denoising.md")]
pub(crate) struct Denoise {
    /// Folder that holds `sensor2`: recordings ecg_NNN.npy, beats_NNN.npy, noise_em.npy, …; and
    /// `natural`: pictures; and `sensor`: three recordings
    #[arg(long, env = "SPARSECODE_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// Measure these records in place of the test records of the split
    #[arg(long, value_delimiter = ',', value_name = "NNN", default_values = TEST)]
    records: Vec<String>,
    /// Folder for runs and files, which are used again
    #[arg(long, value_name = "FOLDER", default_value = "target/denoise")]
    folder: PathBuf,
    /// This program in place of one that is built with --release
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Write the table here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure this part alone
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// A part of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Records of patients that training never saw
    Ecg,
    /// Each model on the later part of the recording that it learns from
    Own,
    /// Pictures that training never saw
    Pictures,
}

impl Part {
    const ALL: [Self; 3] = [Self::Ecg, Self::Own, Self::Pictures];

    /// The folder that it needs.
    fn folder(self) -> &'static str {
        match self {
            Self::Ecg => "sensor2",
            Self::Own => "sensor",
            Self::Pictures => "natural",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Ecg => "ECGs of other patients",
            Self::Own => "One patient, one machine",
            Self::Pictures => "Pictures",
        }
    }

    fn summary(self) -> &'static str {
        match self {
            Self::Ecg => ECG,
            Self::Own => OWN,
            Self::Pictures => PICTURES,
        }
    }
}

const ALL: &str = "\
Files for integer arithmetic (8-bit weights, 16-bit activations, Gram matrix built at start), run by \
the device's code. Sizes, epochs and levels were chosen by the mean gain at 0, 5 and 10 dB on \
recordings for validation.";

const ECG: &str = "\
MIT-BIH records that training never saw. Gains are in dB, means over the \
records and four draws, with σ told; *not told*: with σ estimated on the way; the model for recorded \
noise has to be told. PRD: root mean square error beside \
the record's. F1: of a plain QRS detector on the output, and on the noisy input; annotated beats \
count once within 75 ms. Records less their drift (two means of 361 samples) count as clean; 720 \
samples at either end do not count.";

const PICTURES: &str = "\
The last eight pictures of the folder by name, which training never saw; the \
middle 256x256 pixels, grey. White noise of the deviation σ in levels of 256 is added, nothing is \
cut, and the model is told σ. *Seconds*: of one thread, a picture.";

const OWN: &str = "\
The part of a recording that follows what training saw. White noise, with σ \
told; means of two draws; 720 samples at either end do not count. ECG 208 is of MIT-BIH, the \
bearings are of CWRU.";

/// Runs `cargo xtask bench denoise`.
pub(super) fn run(arguments: &Denoise) -> Result<ExitCode> {
    let data = std::path::absolute(root().join(&arguments.data))?;
    let parts = match arguments.only {
        Some(part) => vec![part],
        None => Part::ALL.to_vec(),
    };
    for part in &parts {
        let needed = data.join(part.folder());
        ensure!(
            needed.is_dir(),
            "{}: no such folder; name the one that holds it with --data, or another part with --only",
            needed.display()
        );
    }
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => {
            let built = cargo()
                .args(["build", "--release", "--quiet", "-p", "sparsecode-trainer"])
                .status()
                .context("cannot start cargo")?;
            ensure!(built.success(), "the program does not build");
            target_dir().join("release/sparsecode")
        }
    };
    let folder = std::path::absolute(root().join(&arguments.folder))?;
    let bench = Bench {
        program,
        data,
        folder,
    };
    let mut page = String::new();
    for part in parts {
        let sections = match part {
            Part::Ecg => bench.sections(&arguments.records)?,
            Part::Own => bench.own_sections()?,
            Part::Pictures => bench.picture_sections()?,
        };
        let sections = sections.replace("\n## ", "\n### ");
        page += &format!("\n## {}\n\n{}\n{sections}", part.title(), part.summary());
    }
    println!("{page}");
    if let Some(path) = &arguments.markdown {
        write_page(path, "Denoising", ALL, &command_line(), "cpu", &page)?;
    }
    Ok(ExitCode::SUCCESS)
}
