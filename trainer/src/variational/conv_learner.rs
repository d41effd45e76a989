//! The learner of convolutional networks.
//!
//! A step draws J samples of each of B inputs, and goes through the generator twice. First all B·J
//! samples go through at once, without a graph: batch normalisation takes its statistics from all
//! of them, and the sample of the least error wins. Then the B winners alone go through with a
//! graph: these statistics are theirs, gradients go through them, and the running statistics, which
//! evaluation uses, follow them. The released code has one pass over all B·J samples, whose
//! gradient goes through the statistics of the losers too: it costs J times as much.

use candle_core::{Device, Error, Result, Tensor, Var};

use super::config::{FirstStep, Variational, VariationalConfig};
use super::conv::{ConvAdam, ConvEncoder, ConvGenerator, ConvPlan, Pass, restore, snapshot};
use super::deterministic::{Answer, Calibrated, rules};
use super::encoder::Encoded;
use super::learner::{CALIBRATING, MEASURING, NOISE, TRAINING, noisy};
use super::objective::{Facts, Outcome};
use super::posterior::{Heads, Warmth};
use super::sampler::{Sampler as _, Seeded};
use crate::data::{DataFacts, Samples};
use crate::rng::{Stream, generator};
use crate::run::{
    At, Batch, Divergence, Figures, Learner, Share, State, StateError, StepError, StepFigures,
    Tensors,
};

/// Samples that deterministic codes are calibrated on.
const KNOWN: usize = 200;
/// Gains that are tried for deterministic codes.
const GAINS: [f64; 6] = [0.6, 0.8, 1.0, 1.2, 1.4, 1.7];
/// Pictures that the generator makes at a time where nothing depends on how many.
const MOST: usize = 1000;

const STEPS: &str = "steps";

const REMEDY: &str = "lower optimizer.learning_rate";

/// Learns a convolutional encoder and generator.
pub struct ConvLearner {
    config: VariationalConfig,
    encoder: ConvEncoder,
    generator: ConvGenerator,
    optimizer: ConvAdam,
    device: Device,
    /// Steps of the whole run; known when it begins.
    all_steps: u64,
    /// Steps taken.
    steps: u64,
    /// Training samples that deterministic codes are calibrated on.
    known: Option<Tensor>,
}

impl ConvLearner {
    /// A learner at its first step: weights as PyTorch begins.
    ///
    /// # Errors
    ///
    /// If there are no such networks for the data's shape, or the device cannot hold them.
    pub fn new(config: &VariationalConfig, facts: &DataFacts, device: &Device) -> Result<Self> {
        let (shape, _) = facts.parse().map_err(Error::wrap)?;
        let plan = ConvPlan::of_shape(shape)?;
        let mut rng = generator(config.seed, Stream::Weights);
        let (code_dim, heads) = (config.family.model.code_dim, config.family.heads());
        Ok(Self {
            encoder: ConvEncoder::init(&plan, code_dim, heads, &mut rng, device)?,
            generator: ConvGenerator::init(&plan, code_dim, &mut rng, device)?,
            optimizer: ConvAdam::default(),
            device: device.clone(),
            config: config.clone(),
            all_steps: 1,
            steps: 0,
            known: None,
        })
    }

    /// What each unit adds to the picture of no code at all, where it alone is 1: `code_dim ×
    /// input_dim`.
    ///
    /// # Errors
    ///
    /// What the device says.
    pub fn units(&self) -> Result<Tensor> {
        let units = self.family().model.code_dim;
        let codes = Tensor::eye(units, candle_core::DType::F32, &self.device)?;
        let none = Tensor::zeros((1, units), candle_core::DType::F32, &self.device)?;
        self.generator
            .forward(&codes, Pass::Evaluate)?
            .broadcast_sub(&self.generator.forward(&none, Pass::Evaluate)?)
    }

    fn family(&self) -> &Variational {
        &self.config.family
    }

    fn steps_for(&self, samples: usize) -> u64 {
        u64::from(self.config.epochs) * (samples / self.config.batch_size) as u64
    }

    /// κ and T as they stand.
    fn warmth(&self) -> Warmth {
        self.family().schedule.at(self.steps, self.all_steps)
    }

    fn variables(&self) -> Vec<(String, Var)> {
        [self.encoder.variables(), self.generator.variables()].concat()
    }

    /// Rows of codes as a tensor.
    fn codes(&self, values: Vec<f32>) -> Result<Tensor> {
        let units = self.family().model.code_dim;
        let shape = (values.len() / units, units);
        Tensor::from_vec(values, shape, &self.device)
    }

    /// The mean square error of each code's picture. There are as many codes for each target, one
    /// after the other.
    fn errors(&self, codes: &Tensor, targets: &Tensor, pass: Pass) -> Result<Vec<f64>> {
        let (inputs, pixels) = targets.dims2()?;
        let made = self.generator.forward(codes, pass)?;
        let made = made.reshape((inputs, (), pixels))?;
        let errors = made
            .broadcast_sub(&targets.unsqueeze(1)?)?
            .sqr()?
            .mean(2)?
            .flatten_all()?;
        let errors: Vec<f32> = errors.to_vec1()?;
        Ok(errors.into_iter().map(f64::from).collect())
    }

    /// The samples of a batch, and which of them count.
    fn judged(
        &self,
        encoded: &Encoded,
        targets: &Tensor,
        warmth: Warmth,
        pass: Pass,
        (purpose, step): (u16, u64),
    ) -> Result<Outcome> {
        let (objective, units) = (self.family().objective(), self.family().model.code_dim);
        let (inputs, samples) = (targets.dim(0)?, objective.samples);
        let sampler = Seeded::new(
            objective.posterior,
            &encoded.heads,
            [units, samples],
            warmth,
            generator(self.config.seed, Stream::Noise { purpose }),
            step,
        );
        let mut codes = vec![0.0; inputs * samples * units];
        let mut code = Vec::new();
        for (row, values) in codes.chunks_exact_mut(units).enumerate() {
            sampler.code(row / samples, row % samples, &mut code);
            for (unit, value) in &code {
                values[*unit] = *value as f32;
            }
        }
        let errors = self.errors(&self.codes(codes)?, targets, pass)?;
        Ok(objective.judge(&encoded.heads, units, &errors, &sampler))
    }

    /// The gradient of the winners' mean square error for their codes and for the generator, and
    /// for the encoder what follows of the codes'.
    fn gradients(
        &self,
        encoded: &Encoded,
        outcome: &Outcome,
        targets: &Tensor,
        warmth: Warmth,
    ) -> Result<(f64, candle_core::backprop::GradStore)> {
        let values = outcome.counted.iter().flat_map(|counted| &counted.code);
        let values = values.map(|unit| unit.value as f32).collect();
        let codes = Var::from_tensor(&self.codes(values)?)?;
        let made = self.generator.forward(&codes, Pass::Train)?;
        let error = (made - targets)?.sqr()?.mean_all()?;
        let mut gradients = error.backward()?;
        let Some(by_code) = gradients.get(&codes) else {
            return Err(Error::msg("the generator sends no gradient to codes"));
        };
        let by_code: Vec<f32> = by_code.flatten_all()?.to_vec1()?;
        let by_code: Vec<f64> = by_code.into_iter().map(f64::from).collect();
        let objective = self.family().objective();
        let by_head = objective.head_gradients(outcome, &by_code, &encoded.heads, warmth);
        let of_encoder = encoded.backward(&by_head)?;
        for (_, parameter) in self.encoder.parameters() {
            if let Some(gradient) = of_encoder.get(&parameter) {
                gradients.insert(&parameter, gradient.clone());
            }
        }
        let error: f32 = error.to_scalar()?;
        Ok((error.into(), gradients))
    }

    /// The rules of deterministic codes, the better one first, calibrated on training samples to
    /// be as active as samples are, each with the best of some gains.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn rules(&self) -> Result<Vec<(Calibrated, Answer)>> {
        let Some(known) = &self.known else {
            return Ok(Vec::new());
        };
        let known = known.to_device(&self.device)?;
        let encoded = self.encoder.forward(&known, Pass::Evaluate)?;
        let (objective, warmth) = (self.family().objective(), self.warmth());
        let place = (CALIBRATING, 0);
        let outcome = self.judged(&encoded, &known, warmth, Pass::Evaluate, place)?;
        let active = Facts::of(&outcome, objective.samples).active;
        let mut all = Vec::new();
        for rule in rules(&objective.posterior, &encoded.heads, active) {
            let mut best: Option<(Calibrated, Answer)> = None;
            for gain in GAINS {
                let rule = Calibrated { rule, gain };
                let answer = self.answer(&rule, &encoded.heads, &known)?;
                if best.is_none_or(|(_, best)| answer.error < best.error) {
                    best = Some((rule, answer));
                }
            }
            all.extend(best);
        }
        all.sort_by(|a, b| a.1.error.total_cmp(&b.1.error));
        Ok(all)
    }

    /// What a rule comes to.
    fn answer(&self, rule: &Calibrated, heads: &[Heads<f64>], targets: &Tensor) -> Result<Answer> {
        let (posterior, units) = (self.family().posterior(), self.family().model.code_dim);
        let mut codes = vec![0.0; heads.len()];
        let mut kept = 0;
        for (heads, values) in heads.chunks_exact(units).zip(codes.chunks_exact_mut(units)) {
            for (unit, value) in rule.code(&posterior, heads) {
                values[unit] = value as f32;
                kept += 1;
            }
        }
        let errors = self.errors(&self.codes(codes)?, targets, Pass::Evaluate)?;
        Ok(Answer {
            error: errors.iter().sum::<f64>() / errors.len().max(1) as f64,
            active: f64::from(kept) / heads.len().max(1) as f64,
        })
    }

    /// Figures of some samples by name; what a posterior has no closed form for is NaN.
    fn measured(
        &self,
        [inputs, targets]: [&Tensor; 2],
        rule: Option<&Calibrated>,
        chunk: u64,
    ) -> Result<Vec<(&'static str, f64)>> {
        let encoded = self.encoder.forward(inputs, Pass::Evaluate)?;
        let place = (MEASURING, chunk);
        let outcome = self.judged(&encoded, targets, self.warmth(), Pass::Evaluate, place)?;
        let facts = Facts::of(&outcome, self.family().objective.samples);
        let posterior = self.family().posterior();
        let heads = encoded.heads.iter();
        let exact: Option<f64> = heads.map(|heads| posterior.exact_divergence(heads)).sum();
        let mut figures = vec![
            ("loss", outcome.loss),
            ("mse", facts.best),
            ("mse_one", facts.one),
            ("active", facts.active),
            ("divergence", outcome.divergence),
            (
                "divergence_exact",
                exact.map_or(f64::NAN, |sum| sum / encoded.heads.len() as f64),
            ),
        ];
        if let Some(rule) = rule {
            let answer = self.answer(rule, &encoded.heads, targets)?;
            figures.extend([("mse_code", answer.error), ("active_code", answer.active)]);
        }
        let none = vec![0.0; self.family().model.code_dim];
        let none = self.generator.forward(&self.codes(none)?, Pass::Evaluate)?;
        let error = targets.broadcast_sub(&none)?.sqr()?.mean_all()?;
        figures.push(("mse_zero", error.to_scalar::<f32>()?.into()));
        Ok(figures)
    }
}

fn diverged(tensor: &str) -> StepError {
    Divergence::new(tensor, "a value is not finite", REMEDY).into()
}

impl Learner for ConvLearner {
    fn remedy(&self) -> &'static str {
        REMEDY
    }

    fn begin(&mut self, train: &Samples, _: &Samples) -> Result<()> {
        let extremes = [train.inputs.min_all()?, train.inputs.max_all()?];
        let [low, high] = extremes.map(|extreme| extreme.to_scalar::<f32>().unwrap_or(f32::NAN));
        if !(low >= 0.0 && high <= 1.0) {
            candle_core::bail!(
                "model.encoder=conv makes pixels from 0 to 1, and the data go from {low} to \
                 {high}: choose data.source=idx or data.source=pictures, which do not normalise"
            )
        }
        self.all_steps = self.steps_for(train.len()).max(1);
        let known = train.len().min(KNOWN);
        self.known = Some(train.inputs.narrow(0, 0, known)?);
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
        let family = self.family().clone();
        let warmth = family.schedule.at(at.step, self.all_steps);
        let inputs = batch.targets.to_device(&self.device)?;
        let encoded = self.encoder.forward(&inputs, Pass::Train)?;
        let place = (TRAINING, at.step);
        let outcome = self.judged(&encoded, &inputs, warmth, Pass::Look, place)?;
        if !outcome.loss.is_finite() {
            return Err(diverged("the loss"));
        }
        let (error, gradients) = self.gradients(&encoded, &outcome, &inputs, warmth)?;
        let parameters = [self.encoder.parameters(), self.generator.parameters()].concat();
        for (name, parameter) in &parameters {
            if let Some(gradient) = gradients.get(parameter) {
                let square: f32 = gradient.sqr()?.sum_all()?.to_scalar()?;
                if !square.is_finite() {
                    return Err(diverged(&format!("the gradient of {name}")));
                }
            }
        }
        let cycle = family.cycle(self.all_steps);
        let rate = match (at.step, family.optimizer.first_step) {
            (0, FirstStep::Peak) => cycle.peak,
            (0, FirstStep::Scheduled) => cycle.rate(1),
            (step, _) => cycle.rate(step),
        };
        self.optimizer.step(&parameters, &gradients, rate)?;
        self.steps = at.step + 1;
        let weight = batch.places.len() as f64;
        let mean = |value: f64| Share::Mean {
            sum: value * weight,
            weight,
        };
        let facts = Facts::of(&outcome, family.objective.samples);
        Ok(vec![
            ("loss", mean(outcome.loss)),
            ("mse", mean(facts.best)),
            ("mse_winners", mean(error)),
            ("active", mean(facts.active)),
        ])
    }

    fn measure(&self, set: &Samples, noise: Option<f64>) -> Result<Figures> {
        let chunk = (MOST / self.family().objective.samples).max(1);
        let mut rng = generator(self.config.seed, Stream::Noise { purpose: NOISE });
        let rows = set.inputs.dim(0)?;
        let rules = self.rules()?;
        let rule = rules.first().map(|(rule, _)| rule);
        let mut sums: Vec<(&'static str, f64)> = Vec::new();
        for first in (0..rows).step_by(chunk) {
            let count = chunk.min(rows - first);
            let targets = set.inputs.narrow(0, first, count)?;
            let targets = targets.to_device(&self.device)?;
            let mut inputs = targets.clone();
            if let Some(sigma) = noise {
                inputs = noisy(&inputs, sigma, &mut rng)?;
            }
            let place = (first / chunk) as u64;
            let figures = self.measured([&inputs, &targets], rule, place)?;
            let weight = count as f64 / rows as f64;
            match sums.is_empty() {
                true => sums = figures.into_iter().map(|(n, v)| (n, weight * v)).collect(),
                false => sums
                    .iter_mut()
                    .zip(figures)
                    .for_each(|((_, sum), (_, value))| *sum += weight * value),
            }
        }
        // What is not finite because it went wrong is told, as what is not there is not.
        sums.retain(|(name, value)| *name == "loss" || value.is_finite());
        let left = self.all_steps.saturating_sub(self.steps);
        sums.push(("steps_left", left as f64));
        Ok(sums.into_iter().collect())
    }

    fn model(&self) -> Tensors {
        snapshot(&self.variables()).unwrap_or_default()
    }

    fn set_model(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        restore(&self.variables(), model)
    }

    fn state(&self) -> Result<State> {
        let mut state = State {
            tensors: snapshot(&self.variables())?,
            counts: [(STEPS.to_owned(), self.steps)].into(),
        };
        self.optimizer.save(&mut state);
        Ok(state)
    }

    fn restore(&mut self, state: &State) -> std::result::Result<(), StateError> {
        restore(&self.variables(), &state.tensors)?;
        let parameters = [self.encoder.parameters(), self.generator.parameters()].concat();
        self.optimizer = ConvAdam::restored(&parameters, state)?;
        self.steps = state.count(STEPS)?;
        Ok(())
    }
}
