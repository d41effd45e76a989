use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sparsecode_formats::{Contrast, InputShape};

use super::common::usage;
use super::data_flags::DataFlags;
use super::family::FamilyName;
use crate::data::{DataConfig, DataFacts, NpyConfig, PatchContrast, SignalConfig};
use crate::deploy::{
    Atoms, Dictionary, DictionaryError, import_torch, import_variational, write_run,
};
use crate::lista::Config;
use crate::lista::inference::safe_step;
use crate::run::{self, Family, RunFolder};
use crate::variational::{EncoderKind, VariationalConfig};

/// Make a run of a dictionary or of weights made elsewhere
///
/// --dictionary FILE is a matrix of atoms (.npy), for example from scikit-learn. It becomes a run
/// of variant DO, whose codes are found by FISTA. Nothing is rescaled. Codes are non-negative: for
/// codes of both signs add the negative atoms, [D; -D]. `train --from RUN --frozen-decoder` learns
/// an encoder for the dictionary.
///
/// FILE.safetensors holds weights of the papers' PyTorch code under the state dict's names:
/// encoder.W.weight, encoder.W.bias, encoder.S.weight, and decoder.decoder.weight or
/// decoder.layer1.weight, decoder.layer1.bias, decoder.layer2.weight. Sizes come from the tensors,
/// everything else from preset and settings.
///
/// With --preset variational/… FILE.safetensors holds the encoder's state dict of the second
/// paper's PyTorch code, in f32: enc.enc.0, enc.enc.2 and so on, shift, scale, and spike, or
/// lambda_prior_alpha and lambda_prior_beta, each with .weight and .bias. The dictionary is phi,
/// with an atom a column: the last one of phi in train_savefile.npz.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode import --dictionary components.npy --atoms rows --input-shape 8x8 --lambda 0.03 --output runs/imported
  sparsecode import --dictionary D.npy --atoms rows --lambda 0.03 --data recording.wav --output runs/imported
  sparsecode import torch.safetensors --preset mnist/vdl --output runs/imported
  sparsecode import encoder.safetensors --preset variational/laplacian-fixed/paper --data PICTURES --output runs/imported

λ weighs ‖z‖₁ against the mean over the d numbers of a sample, (1/d)‖y − Dz‖². scikit-learn's alpha weighs it against
½‖y − Dz‖²: λ = 2 alpha / d.")]
pub(super) struct Arguments {
    /// The weights, as .safetensors
    #[arg(required_unless_present = "dictionary", conflicts_with = "dictionary")]
    file: Option<PathBuf>,
    /// A dictionary, as .npy
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
    /// Whether atoms are rows or columns; needed only if both are as long as a sample
    #[arg(long, value_enum, requires = "dictionary")]
    atoms: Option<AtomsFlag>,
    /// Shape of a sample: numbers, or HEIGHTxWIDTH [default: the length of an atom]
    #[arg(long, value_name = "SHAPE")]
    input_shape: Option<String>,
    /// Mean that is subtracted from raw samples [default: 0, or that of the data]
    #[arg(long)]
    mean: Option<f32>,
    /// Deviation that raw samples are divided by [default: 1, or that of the data]
    #[arg(long)]
    deviation: Option<f32>,
    /// Contrast normalisation of each sample, after mean and deviation: none, remove-mean,
    /// standardize:FLOOR [default: none, or that of the data]
    #[arg(long)]
    contrast: Option<String>,
    /// Range of raw samples, for PSNR [default: 1, or that of the data]
    #[arg(long)]
    peak: Option<f32>,
    /// λ that goes with the atoms (inference.lambda); scikit-learn's alpha is λ = 2 alpha / d
    #[arg(long)]
    lambda: Option<f64>,
    /// Preset with which the weights were trained: DATA/MODEL, such as mnist/vdl
    #[arg(
        long,
        required_unless_present = "dictionary",
        conflicts_with = "dictionary"
    )]
    preset: Option<String>,
    /// TOML file laid over the preset, or over the configuration of a dictionary
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One value laid over preset and file: table.key=value; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the run to make
    #[arg(long, value_name = "RUN")]
    output: PathBuf,
    #[command(flatten)]
    data: DataFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AtomsFlag {
    /// A row is an atom, as in scikit-learn's `components_`.
    Rows,
    /// A column is an atom.
    Columns,
}

impl From<AtomsFlag> for Atoms {
    fn from(flag: AtomsFlag) -> Self {
        match flag {
            AtomsFlag::Rows => Self::Rows,
            AtomsFlag::Columns => Self::Columns,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = RunFolder::new(&arguments.output);
    if folder.config().exists() || folder.best().exists() {
        return Err(usage(format!(
            "--output: {} already holds a run; choose another folder",
            arguments.output.display()
        )));
    }
    match (&arguments.dictionary, &arguments.file, &arguments.preset) {
        (Some(dictionary), _, _) => arguments.import_dictionary(dictionary, &folder),
        (None, Some(file), Some(preset)) => match FamilyName::of_preset(preset) {
            FamilyName::Variational => arguments.import_released(file, preset, &folder),
            // The first family knows no preset that denoises, and says so.
            FamilyName::Lista | FamilyName::Denoise => {
                arguments.import_weights(file, preset, &folder)
            }
        },
        // clap asks for one of them.
        _ => Err(usage("name a file of weights, or --dictionary FILE")),
    }
}

impl Arguments {
    fn settings(&self) -> Vec<String> {
        let mut settings = self.set.clone();
        let lambda = self
            .lambda
            .map(|v| format!("inference.lambda={}", toml::Value::Float(v)));
        settings.extend(lambda);
        settings
    }

    fn shape(&self) -> anyhow::Result<Option<InputShape>> {
        let parse = |text: &String| {
            text.parse::<InputShape>()
                .map_err(|error| usage(format!("--input-shape {text}: {error}")))
        };
        self.input_shape.as_ref().map(parse).transpose()
    }

    /// The facts with what the flags say, which is more than what was found or assumed.
    fn stated(&self, mut facts: DataFacts) -> anyhow::Result<DataFacts> {
        let number = |flag: &str, value: f32, is_good: bool, expected: &str| {
            if is_good {
                return Ok(value);
            }
            Err(usage(format!("{flag} {value}: give {expected}")))
        };
        if let Some(mean) = self.mean {
            facts.mean = number("--mean", mean, mean.is_finite(), "a finite number")?;
        }
        let positive = |value: f32| value.is_finite() && value > 0.0;
        let above = "a finite number above 0";
        if let Some(deviation) = self.deviation {
            facts.deviation = number("--deviation", deviation, positive(deviation), above)?;
        }
        if let Some(peak) = self.peak {
            facts.peak = number("--peak", peak, positive(peak), above)?;
        }
        if let Some(contrast) = &self.contrast {
            let parsed: Contrast = contrast
                .parse()
                .map_err(|error| usage(format!("--contrast {contrast}: {error}")))?;
            facts.contrast = parsed.to_string();
        }
        Ok(facts)
    }

    /// Whether somebody names data to measure: the flag, a setting or the file.
    fn names_data(&self) -> bool {
        let is_data =
            |setting: &String| setting.starts_with("data.") || setting.starts_with("data=");
        self.data.data.is_some() || self.set.iter().any(is_data) || self.config.is_some()
    }

    fn import_dictionary(&self, path: &Path, folder: &RunFolder) -> anyhow::Result<()> {
        let shape = self.shape()?;
        let atoms = self.atoms.map(Atoms::from);
        let read = |input_dim| {
            Dictionary::read(path, atoms, input_dim).map_err(|error| match error {
                DictionaryError::WhichAreAtoms { .. } | DictionaryError::Length { .. } => {
                    usage(error.to_string())
                }
                error => error.into(),
            })
        };
        let mut dictionary = None;
        let shape = match shape {
            Some(shape) => shape,
            None => {
                let found = read(None)?;
                let (input_dim, _) = found.dims();
                dictionary = Some(found);
                let text = input_dim.to_string();
                text.parse()
                    .map_err(|error| usage(format!("{}: {error}", path.display())))?
            }
        };
        let dictionary = match dictionary {
            Some(dictionary) => dictionary,
            None => read(Some(shape.input_dim()))?,
        };
        let (input_dim, code_dim) = dictionary.dims();
        let model = dictionary.model();

        let mut base = Config::preset("vibration/do")?;
        base.family.model.code_dim = code_dim;
        base.family.inference.step_size = safe_step(&model.decoder)?.min(f64::from(f32::MAX));
        base.data = self.data_table(shape)?;
        let settings = self.settings();
        let config = base.with_overrides(self.config.as_deref(), &settings)?;
        let names_lambda = settings.iter().any(|setting| {
            setting.starts_with("inference.lambda") || setting.starts_with("inference=")
        });
        if !names_lambda && self.config.is_none() {
            return Err(usage(
                "--lambda: the weight of the codes' ℓ1 norm that goes with these atoms; scikit-learn's alpha is λ = 2 alpha / d",
            ));
        }
        if (
            config.family.variant,
            config.family.model.code_dim,
            config.family.model.hidden_dim,
        ) != (base.family.variant, code_dim, 0)
        {
            return Err(usage(
                "--dictionary: the run is of variant do, with a code as long as there are atoms; leave variant and model out of the settings",
            ));
        }

        let name = plain_name(path);
        let mut facts = DataFacts {
            input_shape: shape.to_string(),
            mean: 0.0,
            deviation: 1.0,
            contrast: Contrast::None.to_string(),
            peak: 1.0,
            description: format!("imported dictionary {name}"),
            digest: String::new(),
            raw_range: None,
            sample_rate: None,
            number_type: None,
            per_pixel: None,
        };
        let mut config = config;
        if self.names_data() && (self.data.data.is_some() || config.data.place().is_some()) {
            config.data = self.data.place(&config.data)?;
            let splits = config.data.load(None, config.seed)?;
            let found = DataFacts::of(&splits);
            if splits.shape.input_dim() != input_dim {
                return Err(usage(format!(
                    "samples of {} are {}, but an atom has {input_dim} numbers",
                    splits.description, splits.shape
                )));
            }
            facts = DataFacts {
                description: format!("{}, units of {}", facts.description, found.description),
                digest: String::new(),
                ..found
            };
        }
        let facts = self.stated(facts)?;
        facts.parse()?;
        write_run(folder, &config, model.tensors(), &facts, 0)?;
        for line in self.assumed(&facts) {
            eprintln!("note: {line}");
        }
        if !dictionary.zero_atoms.is_empty() {
            eprintln!(
                "note: zero atoms, whose codes are always 0: {}",
                list(&dictionary.zero_atoms)
            );
        }
        println!(
            "{}: {code_dim} atoms of {} numbers, λ {}, mean {}, deviation {}, contrast {}",
            self.output.display(),
            facts.input_shape,
            config.family.inference.lambda,
            facts.mean,
            facts.deviation,
            facts.contrast
        );
        Ok(())
    }

    /// The table of the data that such samples can be read from: a person's own.
    fn data_table(&self, shape: InputShape) -> anyhow::Result<DataConfig> {
        let (height, width) = (usize::from(shape.height), usize::from(shape.width));
        let is_array = self.data.data.as_deref().is_some_and(|path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("npy"))
        });
        Ok(match (height, is_array) {
            (1, _) => DataConfig::Signal(SignalConfig {
                window: width,
                hop: (width / 4).max(1),
                ..SignalConfig::default()
            }),
            (_, false) if self.data.data.is_some() => {
                let mut preset = Config::preset("dead-leaves/do")?.data;
                if let DataConfig::DeadLeaves(config) = &mut preset {
                    (config.height, config.width) = (height, width);
                }
                self.data.on_own_data(&preset)?
            }
            _ => DataConfig::Npy(NpyConfig::default()),
        })
    }

    /// What neither flags nor data say of raw samples.
    fn assumed(&self, facts: &DataFacts) -> Vec<String> {
        let measured = facts.description.contains(", units of ");
        let mut lines = Vec::new();
        if !measured && self.mean.is_none() && self.deviation.is_none() && self.contrast.is_none() {
            lines.push(
                "raw samples are taken as they are; if the dictionary was learnt on normalised \
                 samples, give --mean, --deviation and --contrast, or --data to measure \
                 them"
                    .to_owned(),
            );
        }
        if !measured && self.peak.is_none() {
            lines.push("PSNR refers to a range of 1; --peak says another, such as 255".to_owned());
        }
        lines
    }

    fn import_weights(&self, file: &Path, preset: &str, folder: &RunFolder) -> anyhow::Result<()> {
        let settings = self.settings();
        let mut config = Config::preset(preset)?;
        if let Some(lambda) = self.lambda {
            config = config.at_lambda(lambda);
        }
        let mut config = config.with_overrides(self.config.as_deref(), &settings)?;
        let one_hidden = config.family.model.hidden_dim > 0;
        let (model, input_dim) = import_torch(file, &mut config)?;
        if one_hidden != (config.family.model.hidden_dim > 0) {
            let (has, is) = if one_hidden {
                ("linear", "one-hidden")
            } else {
                ("one-hidden", "linear")
            };
            return Err(usage(format!(
                "--preset {preset}: its decoder is {is}, but {} holds a {has} one",
                file.display()
            )));
        }
        let facts = self.facts_of_weights(file, preset, &mut config, None, input_dim)?;
        write_run(folder, &config, model.tensors(), &facts, 0)?;
        println!(
            "{}: {} with {input_dim} inputs, {} code components, {} hidden units",
            self.output.display(),
            config.model_name(),
            config.family.model.code_dim,
            config.family.model.hidden_dim
        );
        Ok(())
    }

    fn import_released(&self, file: &Path, preset: &str, folder: &RunFolder) -> anyhow::Result<()> {
        if self.lambda.is_some() {
            return Err(usage("--lambda: not for variational models; leave it out"));
        }
        let config = VariationalConfig::preset(preset)?;
        let mut config = config.with_overrides(self.config.as_deref(), &self.set)?;
        let (tensors, input_dim) = import_variational(file, &mut config)?;
        // The paper's pictures are whitened.
        let pictures = Some(PatchContrast::Whiten);
        let facts = self.facts_of_weights(file, preset, &mut config, pictures, input_dim)?;
        write_run(folder, &config, tensors, &facts, 0)?;
        let model = &config.family.model;
        let widths: Vec<String> = model.widths.iter().map(usize::to_string).collect();
        let encoder = match model.encoder {
            EncoderKind::None => "no encoder".to_owned(),
            _ => format!("layers of {}", widths.join(", ")),
        };
        println!(
            "{}: {} with {input_dim} inputs, {} atoms, {encoder}",
            self.output.display(),
            config.model_name(),
            model.code_dim
        );
        Ok(())
    }

    /// The facts of the data that imported weights take: of MNIST, as stated, or of the data of the
    /// configuration, whose place is then set. Pictures in place of generated data have the
    /// contrast normalisation.
    fn facts_of_weights<F: Family>(
        &self,
        file: &Path,
        preset: &str,
        config: &mut run::Config<F>,
        pictures: Option<PatchContrast>,
        input_dim: usize,
    ) -> anyhow::Result<DataFacts> {
        let shape = self.shape()?;
        let stated = self.mean.is_some() && self.deviation.is_some();
        let imported = format!("imported weights {}", plain_name(file));
        let facts = match (&config.data, shape) {
            // MNIST's preprocessing is published constants; other data must be looked at.
            (DataConfig::Mnist(_), None) => DataFacts::mnist(),
            (_, Some(shape)) if stated => DataFacts {
                input_shape: shape.to_string(),
                mean: 0.0,
                deviation: 1.0,
                contrast: Contrast::None.to_string(),
                peak: 1.0,
                description: imported,
                digest: String::new(),
                raw_range: None,
                sample_rate: None,
                number_type: None,
                per_pixel: None,
            },
            (data, _) => {
                let own = match pictures {
                    Some(contrast) => self.data.on_own_pictures(data, contrast)?,
                    None => self.data.on_own_data(data)?,
                };
                config.data = self.data.place(&own)?;
                let found = DataFacts::of(&config.data.load(None, config.seed)?);
                DataFacts {
                    description: format!("{imported}, units of {}", found.description),
                    digest: String::new(),
                    ..found
                }
            }
        };
        let facts = self.stated(facts)?;
        let (found, _) = facts.parse()?;
        if found.input_dim() != input_dim {
            let said = match shape {
                Some(_) => "--input-shape".to_owned(),
                None => format!("--preset {preset}"),
            };
            return Err(usage(format!(
                "{said}: its samples have {} numbers, but the weights take {input_dim}; name their shape, mean and deviation with --input-shape, --mean and --deviation, or their data with --data or --set data.KEY=VALUE",
                found.input_dim()
            )));
        }
        Ok(facts)
    }
}

/// The most atoms that a line lists.
const LISTED: usize = 8;

fn list(atoms: &[usize]) -> String {
    let shown: Vec<String> = atoms.iter().take(LISTED).map(usize::to_string).collect();
    match atoms.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A file's own name, fit for a description.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let is_plain = |c: char| !c.is_control() && !"\"'\\".contains(c);
    let name = name.to_string_lossy();
    name.chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect()
}
