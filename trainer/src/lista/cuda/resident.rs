//! A run in device memory.

use std::ops::Range;
use std::time::{Duration, Instant};

use candle_core::{Device, Result, Tensor};

use super::layout::{self, Arena, Sizes, Team};
use super::run::{Mode, PARAMETERS, RECORD, Record, Run, index_of};
use super::{Facts, Gpu, Launch, Memory};
use crate::data::{Restore, Samples};
use crate::lista::config::Config;
use crate::lista::evaluate::{CodeSource, Evaluation};
use crate::lista::inference::{EnergyTerms, Inference, InferenceConfig, Stopping};
use crate::lista::resident::{Resident, ResidentRun, Update};
use crate::lista::step::{BatchFigures, Stepper};
use crate::run::Divergence;
use crate::tensor::Named;

/// How long a launch is meant to take: the host looks up as often.
const LAUNCH: Duration = Duration::from_millis(100);

/// A run's arena and what it looks like.
pub(super) struct DeviceRun {
    memory: Box<dyn Memory>,
    team: Team,
    train: Run,
    evaluate: Run,
    config: Config,
    evaluation_batches: usize,
    /// Batches of the next launch.
    pace: usize,
}

/// Memory of a run with numbers in it.
struct Numbers<'a>(&'a mut dyn Memory);

impl Numbers<'_> {
    fn write(&mut self, place: u64, numbers: &[f32]) -> Result<()> {
        self.write_words(place, numbers.iter().map(|x| x.to_le_bytes()))
    }

    fn write_words(&mut self, place: u64, words: impl Iterator<Item = [u8; 4]>) -> Result<()> {
        let bytes: Vec<u8> = words.flatten().collect();
        Ok(self.0.write(4 * place, &bytes)?)
    }

    fn read(&mut self, place: u64, count: usize) -> Result<Vec<f32>> {
        Ok(self.words(place, count)?.map(f32::from_le_bytes).collect())
    }

    fn words(&mut self, place: u64, count: usize) -> Result<impl Iterator<Item = [u8; 4]> + use<>> {
        let mut bytes = vec![0; 4 * count];
        self.0.read(4 * place, &mut bytes)?;
        Ok((0..count).map(move |i| {
            let at = 4 * i;
            [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
        }))
    }

    fn records(&mut self, run: &Run, batches: Range<usize>) -> Result<Vec<Record>> {
        let mut bytes = vec![0; 8 * RECORD * batches.len()];
        let place = 4 * run.records + (8 * RECORD * batches.start) as u64;
        self.0.read(place, &mut bytes)?;
        let numbers: Vec<f64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect();
        Ok(numbers.chunks_exact(RECORD).map(Record::of).collect())
    }
}

/// The numbers of a tensor, row by row.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// (t_k − 1)/t_{k+1} of FISTA's iterations.
fn momentum(iterations: usize) -> Vec<f32> {
    let mut t = 1.0f64;
    let mut next = || {
        let before = t;
        t = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
        ((before - 1.0) / t) as f32
    };
    (0..iterations).map(|_| next()).collect()
}

/// What inference minimises, as kernels take it.
fn set_inference(
    run: &mut Run,
    inference: &InferenceConfig,
    step_size: f64,
    pull: bool,
    hinge: bool,
) {
    let l = f64::from(run.code_dim);
    run.tolerance_squared = inference.tolerance * inference.tolerance;
    run.step_size = step_size as f32;
    run.threshold = (inference.lambda * step_size) as f32;
    run.pull = match pull {
        true => (2.0 * inference.encoder_weight / l) as f32,
        false => 0.0,
    };
    run.hinge_weight = match hinge {
        true => inference.variance_weight,
        false => 0.0,
    };
    run.variance_threshold = inference.variance_threshold as f32;
    run.initial_code = inference.initial_code as f32;
    run.freeze = i32::from(inference.stopping == Stopping::Freeze);
    run.lambda = inference.lambda;
    run.variance_weight = inference.variance_weight;
    run.encoder_weight = inference.encoder_weight / l;
}

/// A GPU on which so many runs go at a time.
pub(super) struct Place<'a> {
    pub(super) gpu: &'a dyn Gpu,
    pub(super) runs: usize,
}

impl Place<'_> {
    fn team(&self, sizes: &Sizes) -> Result<Team> {
        let facts: &Facts = self.gpu.facts();
        sizes.team(facts, self.runs).ok_or_else(|| {
            candle_core::Error::Msg(format!(
                "{}: a code of {} components and batches of {} do not fit into the {} KiB of shared memory that a block may have; lower \
                 model.code_dim or batch_size, or use --device cpu",
                facts.name,
                sizes.code_dim,
                sizes.batch_size,
                facts.shared_bytes / 1024
            ))
        })
    }
}

/// Room for a set: samples and scales.
fn set_room(arena: &mut Arena, run: &mut Run, samples: &Samples) {
    let (scale_kind, scales) = match &samples.restore {
        Restore::Global { .. } => (0, 1),
        Restore::PerSample { scale, .. } => (1, scale.len()),
        Restore::PerPixel { scale, .. } => (2, scale.len()),
        // The kernels know a scale for each value.
        Restore::PerPosition { scale, .. } => (2, scale.len() * samples.len()),
    };
    run.inputs = arena.floats(samples.inputs.elem_count());
    run.scales = arena.floats(scales);
    run.scale_kind = scale_kind;
    run.samples = samples.len() as i32;
}

fn write_set(memory: &mut Numbers<'_>, run: &Run, samples: &Samples) -> Result<()> {
    memory.write(run.inputs, &numbers(&samples.inputs)?)?;
    match &samples.restore {
        Restore::Global { scale, .. } => memory.write(run.scales, &[*scale]),
        Restore::PerSample { scale, .. } | Restore::PerPixel { scale, .. } => {
            memory.write(run.scales, scale)
        }
        Restore::PerPosition { scale, .. } => {
            memory.write(run.scales, &scale.repeat(samples.len()))
        }
    }
}

impl DeviceRun {
    /// Takes a run to the device.
    pub(super) fn new(place: &Place<'_>, about: &ResidentRun<'_>) -> Result<Self> {
        let (config, stepper) = (about.config, about.stepper);
        let n = config.batch_size;
        let evaluation_batches = about.validation.len().div_ceil(n);
        let train_batches = about.train.len() / n;
        let sizes = Sizes {
            input_dim: about.train.inputs.dim(1)?,
            code_dim: config.family.model.code_dim,
            hidden_dim: config.family.model.hidden_dim,
            batch_size: n,
            lista_iterations: config.family.model.lista_iterations,
            max_iterations: config.family.inference.max_iterations,
            has_encoder: config.has_encoder(),
            batches: train_batches.max(evaluation_batches),
        };
        let team = place.team(&sizes)?;
        let all = stepper.model.parameters();
        let parameters = layout::parameters(
            all.iter()
                .map(|(name, p)| (*name, p.elem_count(), config.weight_decay(name))),
        );
        let mut arena = Arena::default();
        let mut train = layout::workspace(&mut arena, &sizes, &team, parameters);
        train.mode = Mode::Train as i32;
        train.order = arena.floats(about.train.len());
        train.normalizes_columns = i32::from(config.normalizes_columns());
        train.peak_squared = about.peak * about.peak;
        let mut evaluate = train.clone();
        evaluate.mode = Mode::Evaluate as i32;
        let inference = &config.family.inference;
        let step_size = inference.step_size;
        set_inference(&mut train, inference, step_size, config.has_encoder(), true);
        set_inference(&mut evaluate, inference, step_size, false, false);
        set_room(&mut arena, &mut train, about.train);
        set_room(&mut arena, &mut evaluate, about.validation);

        let mut memory = place.gpu.allocate(arena.bytes())?;
        let mut to = Numbers(memory.as_mut());
        write_set(&mut to, &train, about.train)?;
        write_set(&mut to, &evaluate, about.validation)?;
        to.write(train.momentum, &momentum(sizes.max_iterations))?;
        for (name, parameter) in &all {
            let offset = parameters[index_of(name)].offset;
            to.write(train.parameters + offset, &numbers(parameter)?)?;
        }
        for (name, first, second) in stepper.moments()? {
            let offset = parameters[index_of(name)].offset;
            to.write(train.first_moment + offset, &numbers(&first)?)?;
            to.write(train.second_moment + offset, &numbers(&second)?)?;
        }
        Ok(Self {
            memory,
            team,
            train,
            evaluate,
            config: config.clone(),
            evaluation_batches,
            pace: 1,
        })
    }

    fn launch(&mut self, run: &Run, batches: Range<usize>) -> Result<Vec<Record>> {
        launch(self.memory.as_mut(), &self.team, run, &batches)?;
        Numbers(self.memory.as_mut()).records(run, batches)
    }
}

fn launch(memory: &mut dyn Memory, team: &Team, run: &Run, batches: &Range<usize>) -> Result<()> {
    memory.launch(&Launch {
        is_cluster: team.is_cluster,
        blocks: team.blocks,
        shared_bytes: team.shared_bytes,
        run: &run.to_bytes(),
        first: batches.start,
        count: batches.len(),
        barrier: 4 * run.barrier,
    })?;
    Ok(())
}

/// What a failure's number means, in a model with a hidden layer or without.
fn divergence(failure: i32, has_hidden: bool) -> Divergence {
    match failure {
        1 => Divergence::inputs(),
        2 => Divergence::not_finite("reconstruction"),
        3 => Divergence::not_finite("codes (variance term)"),
        4 => Divergence::not_finite("codes (encoder term)"),
        5 => Divergence::not_finite("codes (l1 term)"),
        6 => Divergence::too_large(),
        gradient => {
            let place = (gradient - 8).unsigned_abs() as usize;
            let is_there = |name: &&&str| match **name {
                "decoder.dictionary" => !has_hidden,
                _ => true,
            };
            let mut names = PARAMETERS.iter().filter(is_there);
            let name = names.find(|name| index_of(name) == place);
            Divergence::gradient(name.unwrap_or(&"a parameter"))
        }
    }
}

impl Resident for DeviceRun {
    fn begin_epoch(&mut self, order: &[u32], updates: &[Update]) -> Result<()> {
        let mut memory = Numbers(self.memory.as_mut());
        memory.write_words(self.train.order, order.iter().map(|i| i.to_le_bytes()))?;
        let updates: Vec<f32> = updates
            .iter()
            .flat_map(|update| [update.decoder, update.encoder])
            .flat_map(|(correction, step)| [correction as f32, step as f32])
            .collect();
        memory.write(self.train.updates, &updates)
    }

    fn steps(&mut self, batches: Range<usize>) -> Result<(Vec<BatchFigures>, Option<Divergence>)> {
        let now = batches.start..batches.end.min(batches.start + self.pace);
        let began = Instant::now();
        let run = self.train.clone();
        let records = self.launch(&run, now.clone())?;
        let each = began.elapsed() / now.len().max(1) as u32;
        // No more than doubled at once: the first launch says little.
        let fitting = (LAUNCH.as_secs_f64() / each.as_secs_f64().max(1e-9)) as usize;
        self.pace = fitting.clamp(1, 2 * self.pace);

        let n = self.config.batch_size as f64;
        let components = n * self.config.family.model.code_dim as f64;
        let mut figures = Vec::with_capacity(records.len());
        for record in records {
            if record.failure != 0 {
                let divergence = divergence(record.failure, self.train.hidden_dim > 0);
                return Ok((figures, Some(divergence)));
            }
            figures.push(BatchFigures {
                psnr: record.psnr,
                zeros: record.zeros,
                code_l1: record.l1,
                energy: EnergyTerms {
                    reconstruction: record.reconstruction,
                    variance: record.variance,
                    encoder: record.encoder,
                    l1: self.config.family.inference.lambda * record.l1,
                },
                encoder_loss: record.encoder_loss / components,
                mean_steps: record.steps / n,
                iterations: record.iterations,
            });
        }
        Ok((figures, None))
    }

    fn evaluate(&mut self) -> Result<Evaluation> {
        let run = self.evaluate.clone();
        let l = self.config.family.model.code_dim;
        Numbers(self.memory.as_mut()).write(run.used, &vec![0.0; l])?;
        let records = self.launch(&run, 0..self.evaluation_batches)?;
        let used = Numbers(self.memory.as_mut()).words(run.used, l)?;
        let dead_atoms = used.filter(|used| *used == [0; 4]).count();
        let samples = run.samples as usize;
        let count = samples.max(1) as f64;
        let sum = |figure: fn(&Record) -> f64| records.iter().map(figure).sum::<f64>();
        let energy = sum(|r| r.reconstruction)
            + sum(|r| r.variance)
            + self.config.family.inference.lambda * sum(|r| r.l1);
        Ok(Evaluation {
            samples,
            codes: match self.config.has_encoder() {
                true => CodeSource::Encoder,
                false => CodeSource::Fista,
            },
            noise: None,
            psnr_input: None,
            psnr: sum(|r| r.psnr) / count,
            sparsity: sum(|r| r.zeros) / (count * l as f64),
            code_l1: sum(|r| r.l1) / count,
            energy: energy / count * self.config.batch_size as f64,
            dead_atoms,
        })
    }

    fn store(&mut self, stepper: &mut Stepper, steps: u64) -> Result<()> {
        let run = &self.train;
        let mut memory = Numbers(self.memory.as_mut());
        let mut read = |base: u64, name: &str, like: &Tensor| -> Result<Tensor> {
            let about = &run.parameter[index_of(name)];
            let values = memory.read(base + about.offset, about.count as usize)?;
            Tensor::from_vec(values, like.shape(), &Device::Cpu)
        };
        let mut moments: Vec<Named<(Tensor, Tensor)>> = Vec::new();
        for (name, parameter) in stepper.model.parameters_mut() {
            *parameter = read(run.parameters, name, parameter)?;
            let first = read(run.first_moment, name, parameter)?;
            let second = read(run.second_moment, name, parameter)?;
            moments.push((name, (first, second)));
        }
        let find = |name: &'static str, _: &[usize]| {
            let found = moments.iter().find(|(other, _)| *other == name);
            match found {
                Some((_, moments)) => Ok(moments.clone()),
                None => Err(candle_core::Error::Msg(format!("no moments of {name}"))),
            }
        };
        stepper.restore((steps, steps), find)
    }
}

/// One batch's codes: what [`crate::lista::inference::Engine::infer`] asks for.
pub(super) struct InferOnce<'a> {
    pub(super) inputs: &'a Tensor,
    pub(super) start: &'a Tensor,
    pub(super) encoder_codes: Option<&'a Tensor>,
    pub(super) parameters: Vec<Named<&'a Tensor>>,
    pub(super) hidden_dim: usize,
    pub(super) inference: &'a InferenceConfig,
    /// η, or what the energy allows.
    pub(super) step_size: f64,
}

impl InferOnce<'_> {
    pub(super) fn run(&self, place: &Place<'_>) -> Result<Inference> {
        let (n, l) = self.start.dims2()?;
        let sizes = Sizes {
            input_dim: self.inputs.dim(1)?,
            code_dim: l,
            hidden_dim: self.hidden_dim,
            batch_size: n,
            max_iterations: self.inference.max_iterations,
            batches: 1,
            ..Sizes::default()
        };
        let team = place.team(&sizes)?;
        let counts = self.parameters.iter();
        let parameters = layout::parameters(counts.map(|(name, p)| (*name, p.elem_count(), 0.0)));
        let mut arena = Arena::default();
        let mut run = layout::workspace(&mut arena, &sizes, &team, parameters);
        run.mode = Mode::Infer as i32;
        run.samples = n as i32;
        run.inputs = arena.floats(self.inputs.elem_count());
        let has_codes = self.encoder_codes.is_some();
        set_inference(&mut run, self.inference, self.step_size, has_codes, true);

        let mut memory = place.gpu.allocate(arena.bytes())?;
        let mut numbers_of = Numbers(memory.as_mut());
        numbers_of.write(run.inputs, &numbers(self.inputs)?)?;
        numbers_of.write(run.start, &numbers(self.start)?)?;
        numbers_of.write(run.momentum, &momentum(sizes.max_iterations))?;
        if let Some(codes) = self.encoder_codes {
            numbers_of.write(run.encoder_codes, &numbers(codes)?)?;
        }
        for (name, parameter) in &self.parameters {
            let offset = parameters[index_of(name)].offset;
            numbers_of.write(run.parameters + offset, &numbers(parameter)?)?;
        }
        launch(memory.as_mut(), &team, &run, &(0..1))?;
        let mut from = Numbers(memory.as_mut());
        let codes = from.read(run.codes, n * l)?;
        let steps: Vec<u32> = from
            .words(run.steps, n + 1)?
            .map(u32::from_le_bytes)
            .collect();
        Ok(Inference {
            codes: Tensor::from_vec(codes, (n, l), &Device::Cpu)?,
            iterations: steps[n] as usize,
            steps: steps[..n].to_vec(),
            step_size: self.step_size,
        })
    }
}
