//! What is measured: models that have been trained for a while, so that their codes are as sparse
//! as in training, and made-up problems of any size.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sparsecode_trainer::data::Samples;
use sparsecode_trainer::data::Splits;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Stepper;
use sparsecode_trainer::lista::inference::{CpuEngine, Engine, Inference, InferenceConfig};
use sparsecode_trainer::lista::inference::{Energy, StepRule, Stopping};
use sparsecode_trainer::lista::model::{Autoencoder, Decoder};

use crate::measure::Effort;

/// The data, loaded once.
pub(crate) struct Models {
    pub(crate) splits: Splits,
    is_mnist: bool,
    effort: Effort,
}

/// A model some way into its training.
pub(crate) struct Trained {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) learner: Stepper,
    pub(crate) samples: Samples,
}

/// The set that the models of a table learn: MNIST's sizes and hyperparameters, or the patches'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// l = 128, m = 1024.
    Mnist,
    /// l = 256, m = 2048.
    Patches,
}

impl Sizes {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Patches => "patches",
        }
    }
}

impl Models {
    pub(crate) fn load(data: Option<&Path>, effort: Effort) -> anyhow::Result<Self> {
        let mnist = Config::preset("mnist/vdl")?.data;
        if effort == Effort::Full
            && let Some(folder) = data
            && let Ok(splits) = mnist.load(Some(folder), 31)
        {
            return Ok(Self {
                splits,
                is_mnist: true,
                effort,
            });
        }
        let (train, validation) = match effort {
            Effort::Full => (55_000, 5000),
            Effort::Quick => (500, 250),
        };
        let settings = [
            "data.height=28".to_owned(),
            "data.width=28".to_owned(),
            format!("data.train={train}"),
            format!("data.validation={validation}"),
            "data.test=250".to_owned(),
        ];
        let config = Config::preset("dead-leaves/vdl")?.with_overrides(None, &settings)?;
        Ok(Self {
            splits: config.data.load(None, 31)?,
            is_mnist: false,
            effort,
        })
    }

    /// Whether this is what the reference learnt.
    pub(crate) fn is_mnist(&self) -> bool {
        self.is_mnist
    }

    pub(crate) fn description(&self) -> String {
        let place = if self.is_mnist {
            "also for the sizes of the patches, whose pixels are as many"
        } else {
            "in MNIST's place"
        };
        format!("{} ({place})", self.splits.description)
    }

    /// Trains `model` for some batches with the hyperparameters for `sizes`.
    pub(crate) fn train(
        &self,
        sizes: Sizes,
        model: &str,
        batches: usize,
    ) -> anyhow::Result<Trained> {
        let config = Config::preset(&format!("{}/{model}", sizes.name()))?;
        let samples = Samples::new(self.splits.train.clone())?;
        let autoencoder = Autoencoder::init(
            &config.family.model,
            samples.inputs.dim(1)?,
            config.has_encoder(),
            31,
            DType::F32,
            &Device::Cpu,
        )?;
        let mut trained = Trained {
            name: format!("{} {}", sizes.name(), model),
            learner: Stepper::new(autoencoder, &config)?,
            config,
            samples,
        };
        let engine = CpuEngine::default();
        for batch in 0..self.effort.of(batches) {
            trained.step(batch, &engine)?;
        }
        Ok(trained)
    }
}

impl Trained {
    /// Mini-batch `index`; they come round again.
    pub(crate) fn batch(&self, index: usize) -> candle_core::Result<Tensor> {
        let size = self.config.batch_size;
        let batches = self.samples.len() / size;
        self.samples.inputs.narrow(0, index % batches * size, size)
    }

    pub(crate) fn step(&mut self, batch: usize, engine: &dyn Engine) -> anyhow::Result<()> {
        let inputs = self.batch(batch)?;
        self.learner.step(&inputs, 0, &self.config, engine)?;
        Ok(())
    }

    /// Inference alone for mini-batch `index`: `measure` gets a function that runs it.
    pub(crate) fn with_inference<T>(
        &self,
        index: usize,
        measure: impl FnOnce(&dyn Fn(&dyn Engine) -> candle_core::Result<Inference>) -> T,
    ) -> anyhow::Result<T> {
        let inputs = self.batch(index)?;
        let model = &self.learner.model;
        let codes = match &model.encoder {
            Some(encoder) => Some(encoder.forward(&inputs)?),
            None => None,
        };
        let start = match &codes {
            Some(codes) => codes.clone(),
            None => Tensor::full(
                self.config.family.inference.initial_code as f32,
                (inputs.dim(0)?, self.config.family.model.code_dim),
                &Device::Cpu,
            )?,
        };
        let energy = Energy::new(
            &model.decoder,
            &inputs,
            codes.as_ref(),
            &self.config.family.inference,
        );
        // G and c, once for all engines.
        energy.gradient(&start)?;
        Ok(measure(&|engine| engine.infer(&energy, &start)))
    }
}

/// A made-up problem: inputs that are combinations of a tenth of the atoms of a random dictionary.
pub(crate) struct MadeUp {
    decoder: Decoder,
    inputs: Tensor,
    start: Tensor,
    config: InferenceConfig,
}

/// n, d, l and m; 0 for a linear decoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dimensions {
    pub(crate) batch: usize,
    pub(crate) input_dim: usize,
    pub(crate) code_dim: usize,
    pub(crate) hidden_dim: usize,
}

impl MadeUp {
    pub(crate) fn new(sizes: Dimensions, iterations: usize) -> candle_core::Result<Self> {
        let Dimensions {
            batch,
            input_dim,
            code_dim,
            hidden_dim,
        } = sizes;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut matrix = |rows: usize, columns: usize, density: f64| {
            let values: Vec<f32> = (0..rows * columns)
                .map(|_| match rng.random_bool(density) {
                    true => rng.random_range(0.5..1.5),
                    false => 0.0,
                })
                .collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu)
        };
        let mut decoder = if hidden_dim == 0 {
            Decoder::Linear {
                dictionary: (matrix(input_dim, code_dim, 1.0)? - 1.0)?,
            }
        } else {
            Decoder::OneHidden {
                hidden: (matrix(hidden_dim, code_dim, 1.0)? - 1.0)?,
                hidden_bias: Tensor::zeros(hidden_dim, DType::F32, &Device::Cpu)?,
                output: (matrix(input_dim, hidden_dim, 1.0)? - 1.0)?,
            }
        };
        decoder.normalize_columns()?;
        let codes = matrix(batch, code_dim, 0.1)?;
        Ok(Self {
            inputs: decoder.forward(&codes)?,
            start: codes,
            decoder,
            config: InferenceConfig {
                lambda: 1e-4,
                // Small enough for every size, and without a tolerance: all iterations, near the
                // codes that made the inputs.
                step_size: 0.1,
                step_rule: StepRule::Fixed,
                max_iterations: iterations,
                tolerance: 0.0,
                stopping: Stopping::Sliding,
                encoder_weight: 0.0,
                variance_weight: if hidden_dim == 0 { 10.0 } else { 0.0 },
                variance_threshold: 0.05,
                initial_code: 0.0,
            },
        })
    }

    /// A linear problem of MNIST's size with a code of which exactly this fraction is in use, and
    /// stays so: the dictionary is the identity.
    pub(crate) fn with_density(density: f64, iterations: usize) -> candle_core::Result<Self> {
        let (batch, dim) = (250, 128);
        let active = (density * dim as f64).round() as usize;
        let values: Vec<f32> = (0..batch * dim)
            .map(|index| {
                let (row, column) = (index / dim, index % dim);
                // Spread over the components, another set for each sample.
                let place = (column * 37 + row * 11) % dim;
                if place < active { 1.0 } else { 0.0 }
            })
            .collect();
        let codes = Tensor::from_vec(values, (batch, dim), &Device::Cpu)?;
        let mut problem = Self::new(
            Dimensions {
                batch,
                input_dim: dim,
                code_dim: dim,
                hidden_dim: 0,
            },
            iterations,
        )?;
        problem.decoder = Decoder::Linear {
            dictionary: Tensor::eye(dim, DType::F32, &Device::Cpu)?,
        };
        problem.inputs = codes.clone();
        problem.start = codes;
        problem.config.variance_weight = 0.0;
        Ok(problem)
    }

    /// Seconds of one iteration: the difference of a long and of a short loop, so that what is done
    /// once per batch does not count.
    pub(crate) fn seconds_per_iteration(
        &self,
        engine: &dyn Engine,
        repetitions: usize,
    ) -> candle_core::Result<f64> {
        let energy = Energy::new(&self.decoder, &self.inputs, None, &self.config);
        energy.gradient(&self.start)?;
        let short_config = InferenceConfig {
            max_iterations: self.config.max_iterations / 4,
            ..self.config.clone()
        };
        let short_energy = Energy::new(&self.decoder, &self.inputs, None, &short_config);
        short_energy.gradient(&self.start)?;
        let long =
            crate::measure::fastest(repetitions, || engine.infer(&energy, &self.start).map(drop))?;
        let short = crate::measure::fastest(repetitions, || {
            engine.infer(&short_energy, &self.start).map(drop)
        })?;
        Ok((long - short) / (self.config.max_iterations - short_config.max_iterations) as f64)
    }
}
