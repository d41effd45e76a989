//! The family's learner.

use candle_core::{Device, Error, Result, Tensor, Var};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use sparsecode_formats::CodeSign;

use super::body::{Encoder, ListaEncoder};
use super::config::{EncoderKind, FirstStep, Variational, VariationalConfig};
use super::deterministic::{Answer, Calibrated, calibrate};
use super::encoder::{Encoded, MlpEncoder};
use super::fista::{BatchCodes, BatchFista, errors};
use super::metrics::{Rows, recovery};
use super::objective::{Dictionary, Facts, Outcome};
use super::posterior::Warmth;
use super::sampler::Seeded;
use super::sgd::Nesterov;
use crate::data::{DataFacts, Samples, TrueAtoms};
use crate::rng::{Stream, generator};
use crate::run::{
    At, Batch, Divergence, Figures, Learner, Share, State, StateError, StepError, StepFigures,
    Tensors, tensor,
};

/// Random numbers of training and of measuring; see [`Stream::Noise`].
pub(super) const TRAINING: u16 = 7;
pub(super) const MEASURING: u16 = 8;
pub(super) const NOISE: u16 = 9;
pub(super) const CALIBRATING: u16 = 10;

/// Samples that deterministic codes are calibrated on.
const KNOWN: usize = 2000;

/// Figures of a set of samples; those that a method has not are left out.
const MEASURED: [&str; 8] = [
    "loss",
    "mse",
    "mse_one",
    "mse_code",
    "active",
    "active_code",
    "divergence",
    "divergence_exact",
];

/// The count of [`State`]: steps taken.
const STEPS: &str = "steps";
const DICTIONARY: &str = "decoder.dictionary";
/// The dictionary's numbers in full, one atom after the other: see [`in_parts`].
const ATOMS: &str = "dictionary.atoms";

const REMEDY: &str = "let schedule.noise reach 1 before the learning rate is highest, or lower \
                      optimizer.dictionary_rate";

/// Learns an encoder and a dictionary.
pub struct VariationalLearner {
    config: VariationalConfig,
    /// `None`: codes are FISTA's.
    encoder: Option<Encoder>,
    dictionary: Dictionary,
    optimizer: Nesterov,
    device: Device,
    /// Steps of the whole run; known when it begins.
    all_steps: u64,
    /// Steps taken.
    steps: u64,
    /// Training samples that deterministic codes are calibrated on.
    known: Option<Tensor>,
    /// The atoms that a synthetic set was made with.
    truth: Option<TrueAtoms>,
}

impl VariationalLearner {
    /// A learner at its first step: weights as PyTorch begins, atoms normal of norm 1.
    ///
    /// # Errors
    ///
    /// If the device cannot hold the network.
    pub fn new(config: &VariationalConfig, facts: &DataFacts, device: &Device) -> Result<Self> {
        let (shape, _) = facts.parse().map_err(candle_core::Error::wrap)?;
        let (input_dim, model) = (shape.input_dim(), &config.family.model);
        let mut rng = generator(config.seed, Stream::Weights);
        let widths = [&[input_dim], &*model.widths].concat();
        let heads = config.family.heads();
        let encoder = match model.encoder {
            EncoderKind::Mlp => {
                let encoder = MlpEncoder::init(&widths, model.code_dim, heads, &mut rng, device)?;
                Some(Encoder::Mlp(encoder))
            }
            EncoderKind::Lista => {
                let sizes = [input_dim, model.code_dim, model.lista_iterations];
                let encoder = ListaEncoder::init(sizes, heads, &mut rng, device)?;
                Some(Encoder::Lista(encoder))
            }
            EncoderKind::None => None,
            EncoderKind::Conv => {
                return Err(Error::msg(
                    "a convolutional encoder learns without a dictionary",
                ));
            }
        };
        let mut atoms = Vec::with_capacity(input_dim * model.code_dim);
        for _ in 0..model.code_dim {
            let atom: Vec<f64> = (0..input_dim)
                .map(|_| StandardNormal.sample(&mut rng))
                .collect();
            let norm = atom.iter().map(|a| a * a).sum::<f64>().sqrt();
            atoms.extend(atom.iter().map(|a| a / norm));
        }
        Ok(Self {
            encoder,
            dictionary: Dictionary::new(atoms, input_dim),
            optimizer: Nesterov::default(),
            device: device.clone(),
            config: config.clone(),
            all_steps: 1,
            steps: 0,
            known: None,
            truth: None,
        })
    }

    /// A learner at its last step, to measure with: of these tensors, with deterministic codes
    /// calibrated on these training samples.
    ///
    /// # Errors
    ///
    /// Names the tensor that is missing or of another shape.
    pub fn trained(
        config: &VariationalConfig,
        facts: &DataFacts,
        tensors: &Tensors,
        train: &Samples,
        device: &Device,
    ) -> std::result::Result<Self, StateError> {
        let mut learner = Self::new(config, facts, device)?;
        learner.set_model(tensors)?;
        learner.calibrate(train)?;
        Ok(learner)
    }

    /// The encoder; none where codes are FISTA's.
    pub fn encoder(&self) -> Option<&Encoder> {
        self.encoder.as_ref()
    }

    pub(super) fn config(&self) -> &VariationalConfig {
        &self.config
    }

    pub(super) fn family(&self) -> &Variational {
        &self.config.family
    }

    /// The atoms, one after the other.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// What the encoder says of a batch, and the samples that count.
    pub(super) fn outcome(
        &self,
        inputs: &Tensor,
        targets: &Tensor,
        warmth: Warmth,
        purpose: u16,
        step: u64,
    ) -> Result<(Encoded, Outcome)> {
        let Some(encoder) = &self.encoder else {
            return Err(Error::msg("no encoder draws no samples"));
        };
        let encoded = encoder.forward(inputs)?;
        let family = self.family();
        let objective = family.objective();
        let values: Vec<f32> = targets.flatten_all()?.to_vec1()?;
        let sampler = Seeded::new(
            objective.posterior,
            &encoded.heads,
            [family.model.code_dim, objective.samples],
            warmth,
            generator(self.config.seed, Stream::Noise { purpose }),
            step,
        );
        let outcome = objective.evaluate(&values, &encoded.heads, &self.dictionary, &sampler);
        Ok((encoded, outcome))
    }

    fn parameters(&self) -> Vec<(String, Var)> {
        self.encoder
            .as_ref()
            .map_or_else(Vec::new, Encoder::parameters)
    }

    /// η as it stands.
    fn dictionary_rate(&self, at: At) -> f64 {
        let optimizer = &self.family().optimizer;
        optimizer.dictionary_rate * optimizer.dictionary_decay.powf(at.epoch.into())
    }

    fn check_dictionary(&self) -> std::result::Result<(), StepError> {
        if self.dictionary.atoms().iter().all(|a| a.is_finite()) {
            return Ok(());
        }
        let problem = "a value is not finite";
        Err(Divergence::new("the dictionary", problem, REMEDY).into())
    }

    /// Codes of a batch where there is no encoder.
    pub(super) fn by_fista(&self, inputs: &[f32], sparsity: f64) -> BatchCodes {
        let fista = BatchFista {
            sign: CodeSign::Signed,
            sparsity,
            tolerance: 1e-3,
            most: 500,
        };
        let inputs: Vec<f64> = inputs.iter().map(|x| f64::from(*x)).collect();
        fista.infer(
            &inputs,
            self.dictionary.atoms(),
            self.dictionary.input_dim(),
        )
    }

    fn step_by_fista(
        &mut self,
        batch: &Batch<'_>,
        at: At,
    ) -> std::result::Result<StepFigures, StepError> {
        let inputs: Vec<f32> = batch.targets.flatten_all()?.to_vec1()?;
        let sparsity = self.family().inference.at(at.step, self.all_steps);
        let found = self.by_fista(&inputs, sparsity);
        let facts = self.facts_by_fista(&inputs, &found, sparsity);
        if !facts[0].is_finite() {
            let problem = "a value is not finite";
            return Err(Divergence::new("the loss", problem, REMEDY).into());
        }
        let (eta, decay) = (
            self.dictionary_rate(at),
            self.family().optimizer.norm_weight,
        );
        self.dictionary.step_for(&found.codes, &inputs, eta, decay);
        self.check_dictionary()?;
        self.steps = at.step + 1;
        let weight = batch.places.len() as f64;
        let mean = |value: f64| Share::Mean {
            sum: value * weight,
            weight,
        };
        Ok(vec![
            ("loss", mean(facts[0])),
            ("mse", mean(facts[1])),
            ("active", mean(facts[2])),
        ])
    }

    /// `½‖x − A z‖² + τ‖z‖₁` of a sample, its mean square error, and the share of its components
    /// that are active: means of a batch.
    fn facts_by_fista(&self, inputs: &[f32], found: &BatchCodes, sparsity: f64) -> [f64; 3] {
        let wide: Vec<f64> = inputs.iter().map(|x| f64::from(*x)).collect();
        let (square, active) = errors(&self.dictionary, &wide, &found.codes);
        let magnitudes = found.codes.iter().map(|z| z.abs()).sum::<f64>();
        let count = (inputs.len() / self.dictionary.input_dim()) as f64;
        [
            (0.5 * square + sparsity * magnitudes) / count,
            square / inputs.len() as f64,
            active as f64 / found.codes.len() as f64,
        ]
    }

    /// The rules of deterministic codes, the better one first, calibrated on training samples to
    /// be as active as samples are; none where there is nothing to calibrate.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn rules(&self) -> Result<Vec<(Calibrated, Answer)>> {
        let (Some(_), Some(known)) = (&self.encoder, &self.known) else {
            return Ok(Vec::new());
        };
        let known = known.to_device(&self.device)?;
        let (encoded, outcome) = self.outcome(&known, &known, self.warmth(), CALIBRATING, 0)?;
        let active = Facts::of(&outcome, self.family().objective.samples).active;
        let (heads, posterior) = (encoded.heads, self.family().posterior());
        let inputs: Vec<f32> = known.flatten_all()?.to_vec1()?;
        let rules = calibrate(&posterior, &self.dictionary, &inputs, &heads, active);
        Ok(rules.into())
    }

    /// The figures of [`MEASURED`] of some samples.
    fn measured(
        &self,
        [inputs, targets]: [&Tensor; 2],
        rule: &Calibrated,
        chunk: u64,
    ) -> Result<[f64; MEASURED.len()]> {
        let (encoded, outcome) = self.outcome(inputs, targets, self.warmth(), MEASURING, chunk)?;
        let facts = Facts::of(&outcome, self.family().objective.samples);
        let posterior = self.family().posterior();
        let exact = encoded
            .heads
            .iter()
            .map(|heads| posterior.exact_divergence(heads));
        let exact: Option<f64> = exact.sum();
        let values: Vec<f32> = targets.flatten_all()?.to_vec1()?;
        let code = rule.answer(&posterior, &self.dictionary, &values, &encoded.heads);
        Ok([
            outcome.loss,
            facts.best,
            facts.one,
            code.error,
            facts.active,
            code.active,
            outcome.divergence,
            exact.map_or(f64::NAN, |sum| sum / encoded.heads.len() as f64),
        ])
    }

    fn measured_by_fista(&self, both: [&Tensor; 2]) -> Result<[f64; MEASURED.len()]> {
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let sparsity = self.family().inference.sparsity;
        let found = self.by_fista(&values(both[0])?, sparsity);
        let [loss, error, active] = self.facts_by_fista(&values(both[1])?, &found, sparsity);
        let nothing = f64::NAN;
        Ok([
            loss, error, nothing, error, active, active, nothing, nothing,
        ])
    }

    /// κ and T as they stand.
    pub(super) fn warmth(&self) -> Warmth {
        self.family().schedule.at(self.steps, self.all_steps)
    }
}

impl Learner for VariationalLearner {
    fn remedy(&self) -> &'static str {
        REMEDY
    }

    fn begin(&mut self, train: &Samples, _: &Samples) -> Result<()> {
        let batches = train.len() / self.config.batch_size;
        self.all_steps = u64::from(self.config.epochs) * batches as u64;
        let known = train.inputs.dim(0)?.min(KNOWN);
        self.known = Some(train.inputs.narrow(0, 0, known)?);
        let truth = self.config.data.true_atoms(None, self.config.seed);
        self.truth = truth.map_err(|error| Error::msg(error.to_string()))?;
        Ok(())
    }

    fn calibrate(&mut self, train: &Samples) -> Result<()> {
        self.begin(train, train)?;
        self.steps = self.all_steps;
        Ok(())
    }

    fn step(
        &mut self,
        batch: &Batch<'_>,
        _: &Samples,
        at: At,
    ) -> std::result::Result<StepFigures, StepError> {
        if self.encoder.is_none() {
            return self.step_by_fista(batch, at);
        }
        let family = self.family().clone();
        let warmth = family.schedule.at(at.step, self.all_steps);
        let inputs = batch.targets.to_device(&self.device)?;
        let (encoded, outcome) = self.outcome(&inputs, &inputs, warmth, TRAINING, at.step)?;
        if !outcome.loss.is_finite() {
            let problem = "a value is not finite";
            return Err(Divergence::new("the loss", problem, REMEDY).into());
        }
        let objective = family.objective();
        let count = batch.places.len();
        let by_code = objective.code_gradients(&outcome, &self.dictionary, count);
        let by_head = objective.head_gradients(&outcome, &by_code, &encoded.heads, warmth);
        let gradients = encoded.backward(&by_head)?;
        let cycle = family.cycle(self.all_steps);
        let rate = match (at.step, family.optimizer.first_step) {
            (0, FirstStep::Peak) => cycle.peak,
            (0, FirstStep::Scheduled) => cycle.rate(1),
            (step, _) => cycle.rate(step),
        };
        self.optimizer.step(&self.parameters(), &gradients, rate)?;
        let (eta, decay) = (self.dictionary_rate(at), family.optimizer.norm_weight);
        self.dictionary.step(&outcome, count, eta, decay);
        self.check_dictionary()?;
        self.steps = at.step + 1;
        let weight = count as f64;
        let mean = |value: f64| Share::Mean {
            sum: value * weight,
            weight,
        };
        let facts = Facts::of(&outcome, family.objective.samples);
        Ok(vec![
            ("loss", mean(outcome.loss)),
            ("mse", mean(facts.best)),
            ("active", mean(facts.active)),
        ])
    }

    fn measure(&self, set: &Samples, noise: Option<f64>) -> Result<Figures> {
        /// Inputs at a time.
        const CHUNK: usize = 250;
        let mut rng = generator(self.config.seed, Stream::Noise { purpose: NOISE });
        let rows = set.inputs.dim(0)?;
        let posterior = self.family().posterior();
        let rules = self.rules()?;
        let held = rules.iter().find(|(rule, _)| rule.rule.is_held(&posterior));
        let rule = held.map(|(rule, _)| *rule);
        let (mut sums, mut zero) = ([0.0; MEASURED.len()], 0.0);
        for first in (0..rows).step_by(CHUNK) {
            let count = CHUNK.min(rows - first);
            let targets = set
                .inputs
                .narrow(0, first, count)?
                .to_device(&self.device)?;
            let mut inputs = targets.clone();
            if let Some(sigma) = noise {
                inputs = noisy(&inputs, sigma, &mut rng)?;
            }
            let chunk = (first / CHUNK) as u64;
            let values = match (&self.encoder, &rule) {
                (Some(_), Some(rule)) => self.measured([&inputs, &targets], rule, chunk)?,
                (Some(_), None) => {
                    candle_core::bail!("no training samples to calibrate deterministic codes on")
                }
                (None, _) => self.measured_by_fista([&inputs, &targets])?,
            };
            let weight = count as f64;
            sums.iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += weight * value);
            let squares: f32 = targets.sqr()?.mean_all()?.to_scalar()?;
            zero += weight * f64::from(squares);
        }
        let means = sums.map(|sum| sum / rows as f64);
        let known = MEASURED.into_iter().zip(means);
        let mut figures: Vec<(&str, f64)> = known.filter(|(_, mean)| mean.is_finite()).collect();
        figures.push(("mse_zero", zero / rows as f64));
        figures.push((
            "steps_left",
            self.all_steps.saturating_sub(self.steps) as f64,
        ));
        // What is not finite because it went wrong is told, as what is not there is not.
        if !means[0].is_finite() {
            figures.push(("loss", means[0]));
        }
        Ok(figures.into_iter().collect())
    }

    fn figures(&self, _: u32) -> Result<Figures> {
        let atoms = self.dictionary.atoms();
        let square = atoms.iter().map(|a| a * a).sum::<f64>();
        let norm = (square / self.dictionary.code_dim() as f64).sqrt();
        let mut figures = vec![("dictionary_norm", norm)];
        if let Some(truth) = &self.truth {
            let width = truth.input_dim;
            let rows = |values| Rows { values, width };
            let found = recovery(rows(atoms), rows(&truth.atoms));
            figures.push(("recovery", found));
        }
        Ok(figures.into_iter().collect())
    }

    fn model(&self) -> Tensors {
        let mut tensors = self
            .encoder
            .as_ref()
            .map_or_else(Tensors::new, Encoder::snapshot);
        let (atoms, units) = (self.dictionary.atoms(), self.dictionary.code_dim());
        let pixels = atoms.len() / units;
        let columns =
            (0..pixels * units).map(|place| atoms[place % units * pixels + place / units]);
        let values: Vec<f32> = columns.map(|a| a as f32).collect();
        if let Ok(dictionary) = Tensor::from_vec(values, (pixels, units), &Device::Cpu) {
            tensors.insert(DICTIONARY.to_owned(), dictionary);
        }
        tensors
    }

    fn set_model(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        for (name, parameter) in self.parameters() {
            let found = tensor(model, &name, parameter.dims())?;
            parameter.set(&found.to_device(&self.device)?)?;
        }
        let (pixels, units) = (self.dictionary.input_dim(), self.dictionary.code_dim());
        let found = tensor(model, DICTIONARY, &[pixels, units])?;
        let values: Vec<f32> = found.t()?.flatten_all()?.to_vec1()?;
        let atoms = values.into_iter().map(f64::from).collect();
        self.dictionary = Dictionary::new(atoms, pixels);
        Ok(())
    }

    fn start_from(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        self.set_model(model)
    }

    fn state(&self) -> Result<State> {
        let mut tensors = self.model();
        let (pixels, units) = (self.dictionary.input_dim(), self.dictionary.code_dim());
        let parts = in_parts(self.dictionary.atoms());
        let parts = Tensor::from_vec(parts, (PARTS, units, pixels), &Device::Cpu)?;
        tensors.insert(ATOMS.to_owned(), parts);
        for (name, parameter) in self.parameters() {
            let velocity = match self.optimizer.velocity(&name) {
                Some(velocity) => velocity.copy()?,
                None => parameter.as_tensor().zeros_like()?,
            };
            tensors.insert(format!("momentum.{name}"), velocity);
        }
        Ok(State {
            tensors,
            counts: [(STEPS.to_owned(), self.steps)].into(),
        })
    }

    fn restore(&mut self, state: &State) -> std::result::Result<(), StateError> {
        self.set_model(&state.tensors)?;
        let (pixels, units) = (self.dictionary.input_dim(), self.dictionary.code_dim());
        let parts = state.tensor(ATOMS, &[PARTS, units, pixels])?;
        let atoms = of_parts(&parts.flatten_all()?.to_vec1()?);
        self.dictionary = Dictionary::new(atoms, pixels);
        self.steps = state.count(STEPS)?;
        let mut optimizer = Nesterov::default();
        if self.steps > 0 {
            for (name, parameter) in self.parameters() {
                let velocity = state.tensor(&format!("momentum.{name}"), parameter.dims())?;
                optimizer.set_velocity(name, velocity.to_device(&self.device)?);
            }
        }
        self.optimizer = optimizer;
        Ok(())
    }
}

/// Inputs with normal noise of this deviation.
pub(super) fn noisy(inputs: &Tensor, sigma: f64, rng: &mut impl Rng) -> Result<Tensor> {
    let draws = (0..inputs.elem_count())
        .map(|_| StandardNormal.sample(rng))
        .map(|draw: f32| draw * sigma as f32)
        .collect::<Vec<_>>();
    inputs + Tensor::from_vec(draws, inputs.shape(), inputs.device())?
}

/// Numbers of 64 bits as sums of so many of 32, which is what states hold: first all first parts.
const PARTS: usize = 3;

fn in_parts(values: &[f64]) -> Vec<f32> {
    let mut rest = values.to_vec();
    let mut parts = Vec::with_capacity(PARTS * values.len());
    for _ in 0..PARTS {
        for value in &mut rest {
            let part = *value as f32;
            *value -= f64::from(part);
            parts.push(part);
        }
    }
    parts
}

fn of_parts(parts: &[f32]) -> Vec<f64> {
    let count = parts.len() / PARTS;
    // The smallest first, so that each sum is exact.
    let whole = |place: usize| {
        let of = |part: usize| f64::from(parts[part * count + place]);
        (0..PARTS).rev().map(of).sum()
    };
    (0..count).map(whole).collect()
}
