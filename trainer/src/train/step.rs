use candle_core::{Error, Result, Tensor};

use super::adam::Adam;
use super::guard::{self, Divergence};
use crate::config::Config;
use crate::evaluate::initial_codes;
use crate::inference::{Energy, EnergyTerms, Engine, Inference};
use crate::kernels::awake::awake;
use crate::kernels::elementwise::{difference, scaled, sum_of_squares};
use crate::model::{Autoencoder, Named};

/// Learns from one mini-batch at a time: a model and its two optimisers.
pub struct Learner {
    /// What is learnt.
    pub model: Autoencoder,
    pub(super) decoder_adam: Adam,
    pub(super) encoder_adam: Adam,
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

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The numbers left the floats.
    #[error(transparent)]
    Diverged(#[from] Divergence),
    /// The device or a shape.
    #[error(transparent)]
    Device(#[from] candle_core::Error),
}

impl Learner {
    /// A learner at its first step. Columns of SDL and DO decoders are normalised here once, before training, unless the decoder is
    /// frozen.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot hold the optimisers' moments.
    pub fn new(mut model: Autoencoder, config: &Config) -> Result<Self> {
        let learns_decoder = !config.optimizer.frozen_decoder;
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

    /// Takes over `moments` (first and second by name), after so many steps.
    ///
    /// # Errors
    ///
    /// Names the parameter whose moments are missing or of another shape.
    pub(crate) fn restore_moments(
        &mut self,
        steps: u64,
        moments: &[Named<(Tensor, Tensor)>],
    ) -> Result<()> {
        let find = |name: &'static str| -> Result<(Tensor, Tensor)> {
            let found = moments.iter().find(|(other, _)| *other == name);
            match found {
                Some((_, moments)) => Ok(moments.clone()),
                None => Err(Error::Msg(format!("no moments of {name}"))),
            }
        };
        self.decoder_adam.restore(steps, find)?;
        self.encoder_adam.restore(steps, find)
    }

    /// Encodes, infers Z*, and updates decoder and encoder once, on `inputs` (`batch × input_dim`) in `epoch` (from 0).
    ///
    /// On a processor all of rayon's threads are at work until it returns. They take up what else is given to rayon meanwhile, so
    /// that a step may have to wait for another caller's long job.
    ///
    /// # Errors
    ///
    /// [`StepError::Diverged`] names the tensor that stopped being finite; the model is then as it was before the update.
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
        // Gradients are taken where the device will be, and applied to the weights that are rounded.
        let rounded = config
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
            None => initial_codes(config, inputs)?,
        };
        let energy = Energy::new(
            &model.decoder,
            inputs,
            encoder_codes.as_ref(),
            &config.inference,
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
            config.optimizer.encoder_learning_rate,
        )?;
        if config.normalizes_columns() && !config.optimizer.frozen_decoder {
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
