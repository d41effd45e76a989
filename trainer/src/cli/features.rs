use std::path::PathBuf;

use clap::Args;

use super::common::{check_extension, usage};
use super::data_flags::{DataFlags, OtherData};
use crate::data::Samples;
use crate::lista::features;
use crate::lista::inference::CpuEngine;
use crate::report::image::{GalleryOptions, Scaling, gallery};

/// Draw what a run's best model has learned: atoms of W, rows of U, as PNG
///
/// Zero is mid-grey. Atoms of a one-hidden-layer decoder are D(a·e) − D(0), where a is the largest
/// value of the component on the validation set.
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_extension(&arguments.output, &["png"])?;
    let trained = super::run::open(&arguments.run)?;
    let config = &trained.config;
    let needs_data = arguments.of == Of::Decoder && config.family.model.hidden_dim > 0;
    if !needs_data && let Some(path) = &arguments.data.data {
        eprintln!(
            "note: --data {} is not read: these tiles are the model's own weights",
            path.display()
        );
    }
    let rows = match arguments.of {
        Of::Encoder => features::encoder_rows(&trained.model)?.ok_or_else(|| {
            usage(format!(
                "--of encoder: {} models have none",
                config.model_name()
            ))
        })?,
        Of::Decoder => {
            let largest = if !needs_data {
                Vec::new()
            } else {
                let splits = arguments.data.load_for(&trained, &OtherData::default())?;
                let samples = Samples::new(splits.validation)?;
                features::largest_codes(&trained.model, &samples, config, &CpuEngine::default())?
            };
            features::atoms(&trained.model, &largest)?
        }
    };
    let (shape, _) = trained.facts.parse()?;
    let options = GalleryOptions {
        scaling: if arguments.joint {
            Scaling::Joint
        } else {
            Scaling::Each
        },
        columns: arguments.columns,
    };
    let (height, width) = (usize::from(shape.height), usize::from(shape.width));
    gallery(&rows, config.family.model.code_dim, height, width, &options)?
        .save(&arguments.output)?;
    println!(
        "{}: {} tiles of {shape}",
        arguments.output.display(),
        config.family.model.code_dim
    );
    Ok(())
}
