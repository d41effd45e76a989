use std::path::PathBuf;

use clap::Args;

use super::common::{check_extension, usage};
use super::data_flags::{DataFlags, OtherData};
use super::family::FamilyName;
use crate::data::{DataFacts, Samples};
use crate::deploy::VariationalRun;
use crate::lista::features;
use crate::lista::inference::CpuEngine;
use crate::report::image::{GalleryOptions, Scaling, gallery};
use crate::run::RunFolder;
use crate::variational::EncoderKind;

/// Draw what a run's best model has learned: atoms of W, rows of U, as PNG
///
/// Zero is mid-grey. The first matrix of a variational encoder stands for U. Atoms of a one-hidden
/// layer decoder are D(a·e) − D(0), where a is the largest value of the component on the validation
/// set; of a convolutional generator with a = 1, channel below channel.
#[derive(Args)]
#[command(after_help = "Example:\n  sparsecode features runs/vdl --output atoms.png")]
pub(super) struct Arguments {
    /// Folder of the run
    run: PathBuf,
    /// Picture to write
    #[arg(long, value_name = "FILE.png")]
    output: PathBuf,
    /// What to draw
    #[arg(long, value_enum, default_value = "decoder")]
    of: Of,
    /// Scale all atoms alike, instead of each by its own largest value
    #[arg(long)]
    joint: bool,
    /// Tiles in a row
    #[arg(long)]
    columns: Option<usize>,
    #[command(flatten)]
    data: DataFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// Atoms: columns of W
    Decoder,
    /// Rows of the encoder's U
    Encoder,
}

/// What is drawn: one tile after the other.
struct Tiles {
    rows: Vec<f32>,
    facts: DataFacts,
}

impl Arguments {
    /// Says that the data that a person names do not matter.
    fn ignore_data(&self) {
        if let Some(path) = &self.data.data {
            eprintln!(
                "note: --data {} is not read: these tiles are the model's own weights",
                path.display()
            );
        }
    }

    fn tiles(&self) -> anyhow::Result<Tiles> {
        let trained = super::run::open(&self.run)?;
        let config = &trained.config;
        let needs_data = self.of == Of::Decoder && config.family.model.hidden_dim > 0;
        if !needs_data {
            self.ignore_data();
        }
        let rows = match self.of {
            Of::Encoder => features::encoder_rows(&trained.model)?
                .ok_or_else(|| without_encoder(config.model_name()))?,
            Of::Decoder => {
                let largest = if !needs_data {
                    Vec::new()
                } else {
                    let splits = self.data.load_for(&trained, &OtherData::default())?;
                    let samples = Samples::new(splits.validation)?;
                    let engine = CpuEngine::default();
                    features::largest_codes(&trained.model, &samples, config, &engine)?
                };
                features::atoms(&trained.model, &largest)?
            }
        };
        let facts = trained.facts;
        Ok(Tiles { rows, facts })
    }

    fn variational_tiles(&self, folder: &RunFolder) -> anyhow::Result<Tiles> {
        let run = VariationalRun::open(folder)?;
        self.ignore_data();
        let model = run.config.model_name();
        let rows = match self.of {
            Of::Encoder if run.config.family.model.encoder == EncoderKind::Conv => {
                return Err(usage(format!(
                    "--of encoder: {model} models have kernels of 4x4, not rows of a sample's \
                     size; leave --of out"
                )));
            }
            Of::Encoder => run.encoder_rows()?.ok_or_else(|| without_encoder(model))?,
            Of::Decoder => run.atoms()?,
        };
        let facts = run.facts;
        Ok(Tiles { rows, facts })
    }
}

fn without_encoder(model: &str) -> anyhow::Error {
    usage(format!("--of encoder: {model} models have none"))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_extension(&arguments.output, &["png"])?;
    let folder = super::run::checked(&arguments.run)?;
    let Tiles { rows, facts } = match FamilyName::of_run(&folder) {
        Some(FamilyName::Variational) => arguments.variational_tiles(&folder)?,
        _ => arguments.tiles()?,
    };
    let (shape, _) = facts.parse()?;
    let options = GalleryOptions {
        scaling: if arguments.joint {
            Scaling::Joint
        } else {
            Scaling::Each
        },
        columns: arguments.columns,
    };
    let (height, width) = (usize::from(shape.height), usize::from(shape.width));
    let count = rows.len() / shape.input_dim();
    gallery(&rows, count, height, width, &options)?.save(&arguments.output)?;
    println!("{}: {count} tiles of {shape}", arguments.output.display());
    Ok(())
}
