use candle_core::{Result, Tensor};

use super::config::Config;
use super::guard;
use super::inference::{Energy, EnergyTerms, Engine, Inference, initial_codes};
use super::model::Autoencoder;
use crate::optim::Adam;
use crate::run::StepError;
use crate::tensor::Named;
use crate::tensor::awake::awake;
use crate::tensor::elementwise::{difference, scaled, sum_of_squares};

/// Learns from one mini-batch at a time: a model and its two optimisers.
pub struct Stepper {
    /// What is learnt.
    pub model: Autoencoder,
    decoder_adam: Adam,
    encoder_adam: Adam,
}

/// What happened in one step.
pub struct StepOutcome {
    /// Z* and how FISTA got there.
    pub inference: Inference,
    /// The energy at Z*, summed over the batch.
    pub energy: EnergyTerms,
    /// `D(z*) − y` before the update, `batch × input_dim`.
    pub error: Tensor,
    /// mean (1/l)‖E(y) − z*‖² before the update; 0 without an encoder.
    pub encoder_loss: f64,
}

/// The figures of one step, over its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchFigures {
    /// PSNR of D(z*), in dB, summed over the batch.
    pub psnr: f64,
    /// Components of z* that are 0.
    pub zeros: f64,
    /// Σ ‖z*‖₁.
    pub code_l1: f64,
    /// The energy at Z*, summed over the batch.
    pub energy: EnergyTerms,
    /// mean (1/l)‖E(y) − z*‖² before the update.
    pub encoder_loss: f64,
    /// Iterations in which a sample had not converged, mean over the batch.
    pub mean_steps: f64,
    /// Iterations of FISTA.
    pub iterations: f64,
}

impl Stepper {
    /// A learner at its first step. Columns of SDL and DO decoders are normalised here once, before
    /// training, unless the decoder is frozen.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot hold the optimisers' moments.
    pub fn new(mut model: Autoencoder, config: &Config) -> Result<Self> {
        let learns_decoder = !config.family.optimizer.frozen_decoder;
        if config.normalizes_columns() && learns_decoder {
            model.decoder.normalize_columns()?;
        }
        let decay = |name: &str| config.weight_decay(name);
        // A frozen decoder's optimiser counts the steps and has no parameters.
        let mut decoder_parameters = model.decoder.parameters();
        decoder_parameters.retain(|_| learns_decoder);
        let decoder_adam = Adam::new(&decoder_parameters, decay)?;
        let encoder_parameters = model
            .encoder
            .as_ref()
            .map_or_else(Vec::new, |encoder| encoder.parameters());
        let encoder_adam = Adam::new(&encoder_parameters, decay)?;
        Ok(Self {
            model,
            decoder_adam,
            encoder_adam,
        })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.decoder_adam.steps()
    }

    /// Adam's moments of all parameters: name, first, second.
    ///
    /// # Errors
    ///
    /// Fails if the device fails.
    pub fn moments(&self) -> Result<Vec<(&'static str, Tensor, Tensor)>> {
        let mut all = self.encoder_adam.moments()?;
        all.extend(self.decoder_adam.moments()?);
        Ok(all)
    }

    /// Steps that the optimisers of decoder and encoder have taken.
    pub(super) fn optimiser_steps(&self) -> (u64, u64) {
        (self.decoder_adam.steps(), self.encoder_adam.steps())
    }

    /// Takes over first and second moments, as `moments` gives them for a parameter's name and
    /// shape, after so many steps of decoder and encoder.
    ///
    /// # Errors
    ///
    /// What `moments` says.
    pub(crate) fn restore<E>(
        &mut self,
        (decoder_steps, encoder_steps): (u64, u64),
        moments: impl Fn(&'static str, &[usize]) -> std::result::Result<(Tensor, Tensor), E>,
    ) -> std::result::Result<(), E>
    where
        E: From<candle_core::Error>,
    {
        self.decoder_adam.restore(decoder_steps, &moments)?;
        self.encoder_adam.restore(encoder_steps, &moments)
    }

    /// Encodes, infers Z*, and updates decoder and encoder once, on `inputs` (`batch × input_dim`)
    /// in `epoch` (from 0).
    ///
    /// On a processor all of rayon's threads are at work until it returns. They take up what else
    /// is given to rayon meanwhile, so that a step may have to wait for another caller's long job.
    ///
    /// # Errors
    ///
    /// [`StepError::Diverged`] names the tensor that stopped being finite; the model is then as it
    /// was before the update.
    pub fn step(
        &mut self,
        inputs: &Tensor,
        epoch: u32,
        config: &Config,
        engine: &dyn Engine,
    ) -> std::result::Result<StepOutcome, StepError> {
        awake(|| self.step_awake(inputs, epoch, config, engine))
    }

    fn step_awake(
        &mut self,
        inputs: &Tensor,
        epoch: u32,
        config: &Config,
        engine: &dyn Engine,
    ) -> std::result::Result<StepOutcome, StepError> {
        // Gradients are taken where the device will be, and applied to the weights that are
        // rounded.
        let rounded = config
            .family
            .optimizer
            .quantize_aware
            .map(|weights| self.model.quantized(weights))
            .transpose()?;
        let model = rounded.as_ref().unwrap_or(&self.model);
        let trace = model
            .encoder
            .as_ref()
            .map(|encoder| encoder.forward_traced(inputs))
            .transpose()?;
        let encoder_codes = trace.as_ref().map(|trace| trace.code().clone());
        let start = match &encoder_codes {
            Some(codes) => codes.clone(),
            None => initial_codes(
                &config.family.inference,
                config.family.model.code_dim,
                inputs,
            )?,
        };
        let energy = Energy::new(
            &model.decoder,
            inputs,
            encoder_codes.as_ref(),
            &config.family.inference,
        );
        let inference = engine.infer(&energy, &start)?;
        let codes = &inference.codes;
        let (decoder_gradients, error) = energy.decoder_gradients(codes)?;
        let terms = energy.value_given_error(codes, &error)?;
        guard::check_energy(&terms, inputs)?;

        let mut encoder_gradients: Vec<Named<Tensor>> = Vec::new();
        let mut encoder_loss = 0.0;
        if let (Some(encoder), Some(trace)) = (&model.encoder, &trace) {
            let difference = difference(trace.code(), codes)?;
            let count = difference.elem_count() as f64;
            encoder_loss = sum_of_squares(&difference)? / count;
            encoder_gradients =
                encoder.gradients(inputs, trace, &scaled(&difference, 2.0 / count)?)?;
        }
        guard::check_gradients(decoder_gradients.iter().chain(&encoder_gradients))?;

        let rate = config.decoder_learning_rate(epoch);
        self.decoder_adam
            .step(self.model.parameters_mut(), &decoder_gradients, rate)?;
        self.encoder_adam.step(
            self.model.parameters_mut(),
            &encoder_gradients,
            config.family.optimizer.encoder_learning_rate,
        )?;
        if config.normalizes_columns() && !config.family.optimizer.frozen_decoder {
            self.model.decoder.normalize_columns()?;
        }
        Ok(StepOutcome {
            inference,
            energy: terms,
            error,
            encoder_loss,
        })
    }
}
