use std::path::PathBuf;

use clap::Args;

use super::{DataFlags, usage};
use crate::config::Config;
use crate::data::DataConfig;
use crate::export::{import_torch, write_run};
use crate::train::{DataFacts, RunFolder};

/// Make a run of weights trained by the papers' PyTorch code
///
/// Takes a .safetensors file with the state dict's names: encoder.W.weight, encoder.W.bias, encoder.S.weight, and
/// decoder.decoder.weight or decoder.layer1.weight, decoder.layer1.bias, decoder.layer2.weight. Sizes come from the tensors,
/// everything else from the preset.
#[derive(Args)]
#[command(
    after_help = "Example:\n  sparsecode import torch.safetensors --preset mnist/vdl --output runs/imported"
)]
pub(super) struct Arguments {
    /// The weights
    file: PathBuf,
    /// What they were trained as: DATA/MODEL, as mnist/vdl
    #[arg(long)]
    preset: String,
    /// λ that they were trained with
    #[arg(long)]
    lambda: Option<f64>,
    /// Folder of the run to make
    #[arg(long, value_name = "RUN")]
    output: PathBuf,
    #[command(flatten)]
    data: DataFlags,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = Config::preset(&arguments.preset)?;
    if let Some(lambda) = arguments.lambda {
        config = config.at_lambda(lambda).with_overrides(None, &[])?;
    }
    let folder = RunFolder::new(&arguments.output);
    if folder.config().exists() || folder.best().exists() {
        return Err(usage(format!(
            "--output: {} already holds a run; choose another folder",
            arguments.output.display()
        )));
    }
    let one_hidden = config.model.hidden_dim > 0;
    let (model, input_dim) = import_torch(&arguments.file, &mut config)?;
    if one_hidden != (config.model.hidden_dim > 0) {
        let (has, preset) = if one_hidden {
            ("linear", "one-hidden")
        } else {
            ("one-hidden", "linear")
        };
        return Err(usage(format!(
            "--preset {}: its decoder is {preset}, but {} holds a {has} one",
            arguments.preset,
            arguments.file.display()
        )));
    }
    let facts = match &config.data {
        // MNIST's preprocessing is published constants; other data must be looked at.
        DataConfig::Mnist(_) => DataFacts::mnist(),
        data => DataFacts::of(&arguments.data.load(data, config.seed)?),
    };
    let (shape, _) = facts.parse()?;
    if shape.input_dim() != input_dim {
        return Err(usage(format!(
            "--preset {}: its samples have {} numbers, but the weights take {input_dim}",
            arguments.preset,
            shape.input_dim()
        )));
    }
    write_run(&folder, &config, &model, &facts, 0)?;
    println!(
        "{}: {} with {input_dim} inputs, {} code components, {} hidden units",
        arguments.output.display(),
        config.model_name(),
        config.model.code_dim,
        config.model.hidden_dim
    );
    Ok(())
}
