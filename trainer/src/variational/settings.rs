//! The presets of variational sparse coding, and settings that cannot be.

use super::config::{
    EncoderKind, FirstStep, FistaConfig, ObjectiveConfig, PosteriorConfig, ScheduleConfig,
    Threshold, Variational, VariationalConfig, VariationalModel, VariationalOptimizer,
};
use super::objective::Select;
use super::posterior::{Base, Estimator, GateOdds, ShiftGradient};
use crate::data::{DataConfig, DeadLeavesConfig, IdxConfig};
use crate::run::{ConfigError, Settings, in_range};

/// Networks, base and threshold of a preset.
type Preset = (&'static str, EncoderKind, Base, Threshold);

/// The presets: what a person names, and what it stands for.
const PRESETS: [Preset; 15] = {
    use EncoderKind::{Conv, Mlp, None as ByFista};
    use Threshold::{Fixed, Gate, Learned, None as Dense};
    const GAUSSIAN: Base = Base::Gaussian;
    const LAPLACIAN: Base = Base::Laplacian;
    [
        ("variational/gaussian", Mlp, GAUSSIAN, Dense),
        ("variational/laplacian", Mlp, LAPLACIAN, Dense),
        ("variational/gaussian-fixed", Mlp, GAUSSIAN, Fixed),
        ("variational/laplacian-fixed", Mlp, LAPLACIAN, Fixed),
        ("variational/gaussian-learned", Mlp, GAUSSIAN, Learned),
        ("variational/laplacian-learned", Mlp, LAPLACIAN, Learned),
        ("variational/spike-and-slab", Mlp, GAUSSIAN, Gate),
        (FISTA, ByFista, GAUSSIAN, Dense),
        ("variational/conv-gaussian", Conv, GAUSSIAN, Dense),
        ("variational/conv-laplacian", Conv, LAPLACIAN, Dense),
        ("variational/conv-gaussian-fixed", Conv, GAUSSIAN, Fixed),
        ("variational/conv-laplacian-fixed", Conv, LAPLACIAN, Fixed),
        ("variational/conv-gaussian-learned", Conv, GAUSSIAN, Learned),
        (
            "variational/conv-laplacian-learned",
            Conv,
            LAPLACIAN,
            Learned,
        ),
        ("variational/conv-spike-and-slab", Conv, GAUSSIAN, Gate),
    ]
};

const FISTA: &str = "variational/fista";
/// Behind the name of a preset: with every peculiarity of the released code, in its sizes.
const PAPER: &str = "/paper";

/// How a dictionary learns, and how FISTA finds codes, by default: what a conv, which has neither,
/// leaves as it is.
const DICTIONARY_RATE: f64 = 0.1;
const DICTIONARY_DECAY: f64 = 0.99;
const NORM_WEIGHT: f64 = 1e-4;
const BY_FISTA: FistaConfig = FistaConfig {
    sparsity: 20.0,
    ramp: 0.1,
    ramp_until: 0.0375,
};

/// Sizes: as the paper has them for patches of 16 × 16, or a quarter of that.
fn sized(config: &mut VariationalConfig, side: usize) {
    let pixels = side * side;
    let model = &mut config.family.model;
    model.code_dim = pixels;
    model.widths = vec![2 * pixels, 4 * pixels, 2 * pixels, pixels];
    if let DataConfig::DeadLeaves(data) = &mut config.data {
        (data.height, data.width) = (side, side);
    }
}

/// What the paper sets otherwise where networks are convolutional.
fn of_pictures(config: &mut VariationalConfig, is_paper: bool) {
    let Variational {
        posterior,
        optimizer,
        schedule,
        ..
    } = &mut config.family;
    if posterior.base == Base::Laplacian {
        posterior.threshold_level = 0.23;
        // Whole from the beginning.
        schedule.noise = 1.0;
    }
    optimizer.learning_rate = 3e-4;
    optimizer.dictionary_rate = DICTIONARY_RATE;
    // From iteration 500 to 5000 of 35,400.
    (schedule.noise_from, schedule.noise_until) = (0.014, 0.141);
    schedule.coolest = 0.005;
    config.data = DataConfig::Idx(IdxConfig::default());
    if is_paper {
        config.batch_size = 512;
    }
}

impl Settings for Variational {
    const NAME: &'static str = "variational";
    const KEYS: &'static [&'static str] = &[
        "model",
        "posterior",
        "objective",
        "optimizer",
        "schedule",
        "inference",
    ];
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] = &[
        ("model.code_dim", "atoms"),
        ("posterior.threshold", "threshold"),
    ];

    fn preset(name: &str) -> Result<VariationalConfig, ConfigError> {
        let (plain, is_paper) = match name.strip_suffix(PAPER) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let known = PRESETS.iter().find(|(known, ..)| *known == plain);
        let Some(&(_, encoder, base, threshold)) = known else {
            return Err(ConfigError::UnknownPreset {
                name: name.to_owned(),
                guess: guess(plain),
                form: format!(
                    "variational ones are {}, each also with {PAPER} behind its name",
                    PRESETS.map(|(name, ..)| name).join(", ")
                ),
            });
        };
        let mut config = VariationalConfig {
            family: Self {
                model: VariationalModel {
                    code_dim: 64,
                    encoder,
                    widths: Vec::new(),
                    lista_iterations: 3,
                },
                posterior: PosteriorConfig {
                    base,
                    threshold,
                    threshold_level: match base {
                        Base::Gaussian => 0.52,
                        Base::Laplacian => 0.25,
                    },
                    threshold_weight: 0.1,
                    spread: 0.1,
                    open: 0.1,
                    gate: GateOdds::Logit,
                },
                objective: ObjectiveConfig {
                    samples: 20,
                    select: Select::Best,
                    kl_weight: 0.01,
                    estimator: Estimator::Straight,
                    shift_gradient: ShiftGradient::Double,
                },
                optimizer: VariationalOptimizer {
                    learning_rate: 0.01,
                    warm_up: 0.05,
                    first_step: FirstStep::Scheduled,
                    // At the paper's 0.5 codes of these patches, which are not white, diverge.
                    dictionary_rate: if is_paper { 0.5 } else { DICTIONARY_RATE },
                    dictionary_decay: DICTIONARY_DECAY,
                    norm_weight: NORM_WEIGHT,
                },
                schedule: ScheduleConfig {
                    noise: 0.1,
                    noise_from: 0.006_25,
                    noise_until: 0.025,
                    cooling: 0.9995,
                    coolest: 0.5,
                },
                inference: BY_FISTA,
            },
            seed: 31,
            epochs: 100,
            batch_size: 100,
            patience: 0,
            data: DataConfig::DeadLeaves(DeadLeavesConfig {
                train: 8000,
                validation: 1000,
                test: 1000,
                ..DeadLeavesConfig::default()
            }),
        };
        if encoder == EncoderKind::Conv {
            of_pictures(&mut config, is_paper);
        } else {
            sized(&mut config, if is_paper { 16 } else { 8 });
        }
        if is_paper {
            config.epochs = 300;
            config.family.posterior.gate = GateOdds::Log;
            config.family.optimizer.first_step = FirstStep::Peak;
            if let DataConfig::DeadLeaves(data) = &mut config.data {
                (data.train, data.validation, data.test) = (80_000, 8000, 8000);
            }
        }
        Ok(config)
    }

    fn presets() -> Vec<String> {
        let names = PRESETS.iter();
        names
            .flat_map(|(name, ..)| [(*name).to_owned(), format!("{name}{PAPER}")])
            .collect()
    }

    fn validate(config: &VariationalConfig) -> Result<(), ConfigError> {
        validate(config)
    }

    fn model_name(&self) -> &'static str {
        let PosteriorConfig {
            base, threshold, ..
        } = self.posterior;
        let networks = match self.model.encoder {
            EncoderKind::None => return FISTA,
            EncoderKind::Conv => EncoderKind::Conv,
            EncoderKind::Mlp | EncoderKind::Lista => EncoderKind::Mlp,
        };
        let found = PRESETS
            .iter()
            .find(|preset| (preset.1, preset.2, preset.3) == (networks, base, threshold));
        // None is a gate behind Laplacian noise, which `validate` refuses.
        found.map_or(Self::NAME, |(name, ..)| name)
    }
}

/// Asks for the preset that a slip or two of the keyboard lead away from.
fn guess(name: &str) -> String {
    let slips = PRESETS.map(|(known, ..)| (strsim::osa_distance(known, name), known));
    match slips.into_iter().min() {
        Some((1..=2, known)) => format!(": did you mean {known}?"),
        _ => String::new(),
    }
}

/// Refuses settings that convolutional networks have no use for.
fn validate_conv(config: &VariationalConfig) -> Result<(), ConfigError> {
    let Variational {
        model,
        objective,
        optimizer,
        inference,
        ..
    } = &config.family;
    if model.encoder != EncoderKind::Conv {
        return Ok(());
    }
    in_range(
        model.widths.is_empty(),
        "model.widths",
        format!("{:?}", model.widths),
        "[] for model.encoder=conv, whose layers are the paper's: begin with a preset \
         variational/conv-…, or set model.encoder=mlp",
    )?;
    in_range(
        objective.select == Select::Best,
        "objective.select",
        match objective.select {
            Select::Average => "average",
            Select::Iwae => "iwae",
            Select::Best => "best",
        },
        "best for model.encoder=conv, whose generator is differentiated at one sample of an input",
    )?;
    in_range(
        config.batch_size > 1,
        "batch_size",
        config.batch_size,
        "2 or more for model.encoder=conv: batch normalisation needs several pictures",
    )?;
    for (value, left, key) in [
        (
            optimizer.dictionary_rate,
            DICTIONARY_RATE,
            "optimizer.dictionary_rate",
        ),
        (
            optimizer.dictionary_decay,
            DICTIONARY_DECAY,
            "optimizer.dictionary_decay",
        ),
        (optimizer.norm_weight, NORM_WEIGHT, "optimizer.norm_weight"),
        (inference.sparsity, BY_FISTA.sparsity, "inference.sparsity"),
        (inference.ramp, BY_FISTA.ramp, "inference.ramp"),
        (
            inference.ramp_until,
            BY_FISTA.ramp_until,
            "inference.ramp_until",
        ),
    ] {
        in_range(
            value == left,
            key,
            value,
            "left as it is by default for model.encoder=conv, which has no dictionary",
        )?;
    }
    Ok(())
}

fn validate(config: &VariationalConfig) -> Result<(), ConfigError> {
    let Variational {
        model,
        posterior,
        objective,
        optimizer,
        schedule,
        inference,
    } = &config.family;
    let within = |x: usize, most: usize| (1..=most).contains(&x);
    in_range(
        within(model.code_dim, 4095),
        "model.code_dim",
        model.code_dim,
        "1 to 4095",
    )?;
    let widths = format!("{:?}", model.widths);
    in_range(
        model.widths.iter().all(|width| within(*width, 65_535)),
        "model.widths",
        widths,
        "widths of 1 to 65535",
    )?;
    in_range(
        model.encoder != EncoderKind::Mlp || within(model.widths.len(), 4),
        "model.widths",
        format!("{:?}", model.widths),
        "1 to 4 layers for model.encoder=mlp",
    )?;
    validate_conv(config)?;
    in_range(
        posterior.threshold != Threshold::Gate || posterior.base == Base::Gaussian,
        "posterior.base",
        "laplacian",
        "gaussian where posterior.threshold=gate: a gate's slab is Gaussian",
    )?;
    in_range(
        model.lista_iterations <= 255,
        "model.lista_iterations",
        model.lista_iterations,
        "0 to 255",
    )?;
    in_range(
        schedule.noise_from <= schedule.noise_until,
        "schedule.noise_from",
        schedule.noise_from,
        "at most schedule.noise_until",
    )?;
    in_range(
        within(objective.samples, 1000),
        "objective.samples",
        objective.samples,
        "1 to 1000",
    )?;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let not_negative = |x: f64| x.is_finite() && x >= 0.0;
    for (is_fine, key, value, expected) in [
        (
            positive(posterior.threshold_level),
            "posterior.threshold_level",
            posterior.threshold_level,
            "positive",
        ),
        (
            not_negative(posterior.threshold_weight),
            "posterior.threshold_weight",
            posterior.threshold_weight,
            "0 or more",
        ),
        (
            posterior.threshold != Threshold::Learned || posterior.threshold_weight != 0.0,
            "posterior.threshold_weight",
            posterior.threshold_weight,
            "above 0 with posterior.threshold = \"learned\": learned thresholds need their prior",
        ),
        (
            positive(posterior.spread),
            "posterior.spread",
            posterior.spread,
            "positive",
        ),
        (
            posterior.open > 0.0 && posterior.open < 1.0,
            "posterior.open",
            posterior.open,
            "between 0 and 1",
        ),
        (
            not_negative(objective.kl_weight),
            "objective.kl_weight",
            objective.kl_weight,
            "0 or more",
        ),
        (
            positive(optimizer.learning_rate),
            "optimizer.learning_rate",
            optimizer.learning_rate,
            "positive",
        ),
        (
            (0.0..=1.0).contains(&optimizer.warm_up),
            "optimizer.warm_up",
            optimizer.warm_up,
            "0 to 1",
        ),
        (
            positive(optimizer.dictionary_rate),
            "optimizer.dictionary_rate",
            optimizer.dictionary_rate,
            "positive",
        ),
        (
            positive(optimizer.dictionary_decay) && optimizer.dictionary_decay <= 1.0,
            "optimizer.dictionary_decay",
            optimizer.dictionary_decay,
            "above 0, at most 1",
        ),
        (
            not_negative(optimizer.norm_weight),
            "optimizer.norm_weight",
            optimizer.norm_weight,
            "0 or more",
        ),
        (
            positive(schedule.noise) && schedule.noise <= 1.0,
            "schedule.noise",
            schedule.noise,
            "above 0, at most 1",
        ),
        (
            (0.0..=1.0).contains(&schedule.noise_from),
            "schedule.noise_from",
            schedule.noise_from,
            "0 to 1",
        ),
        (
            (0.0..=1.0).contains(&schedule.noise_until),
            "schedule.noise_until",
            schedule.noise_until,
            "0 to 1",
        ),
        (
            positive(inference.sparsity),
            "inference.sparsity",
            inference.sparsity,
            "positive",
        ),
        (
            positive(inference.ramp) && inference.ramp <= 1.0,
            "inference.ramp",
            inference.ramp,
            "above 0, at most 1",
        ),
        (
            (0.0..=1.0).contains(&inference.ramp_until),
            "inference.ramp_until",
            inference.ramp_until,
            "0 to 1",
        ),
        (
            positive(schedule.cooling) && schedule.cooling <= 1.0,
            "schedule.cooling",
            schedule.cooling,
            "above 0, at most 1",
        ),
        (
            positive(schedule.coolest) && schedule.coolest <= 1.0,
            "schedule.coolest",
            schedule.coolest,
            "above 0, at most 1",
        ),
    ] {
        in_range(is_fine, key, value, expected)?;
    }
    Ok(())
}
