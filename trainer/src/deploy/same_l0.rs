//! Errors of codes that have equally many components: by what encoders say, and by FISTA.
//!
//! Models of different families, penalties and scales of atoms give codes of different sparsity.
//! The square error falls with every component, so that errors say which model is better only
//! where ℓ0 is the same.

use candle_core::Tensor;
use serde::Serialize;
use sparsecode_formats::CodeSign;

use super::{ExportError, TrainedRun, VariationalRun};
use crate::data::Samples;
use crate::lista::evaluate::{CodeSource, codes_of};
use crate::lista::inference::Engine;
use crate::lista::model::Decoder;
use crate::variational::{
    Answer, Base, Dictionary, Estimator, Heads, Posterior, Rule, ShiftGradient, Sparsity,
    calibrate, fista_of_activity,
};

/// Samples that codes are calibrated on, and samples that errors are measured on.
pub const MOST: usize = 2000;

/// A model with a linear dictionary, and what its encoder says of some samples.
pub struct Codes {
    dictionary: Dictionary,
    sign: CodeSign,
    posterior: Posterior,
    /// Training samples and test samples.
    inputs: [Vec<f32>; 2],
    /// `None` without an encoder.
    heads: Option<[Vec<Heads<f64>>; 2]>,
}

/// Codes with equally many components.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SameL0 {
    /// Components that were asked for, on average of a sample.
    pub l0: f64,
    /// The components of the encoder's code that are largest, by one limit for all samples, times
    /// one gain: both calibrated on training samples.
    pub encoder: Option<Found>,
    /// FISTA on atoms of norm 1.
    pub fista: Found,
    /// τ of FISTA, which the measured samples have this ℓ0 with: `min ½‖x − A z‖² + τ‖z‖₁`.
    pub sparsity: f64,
}

/// What codes come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Components that are not 0, on average of a sample.
    pub l0: f64,
    /// Mean square error of a number, in preprocessed units.
    pub mse: f64,
}

impl Codes {
    /// Components of a code.
    pub fn code_dim(&self) -> usize {
        self.dictionary.code_dim()
    }

    /// Samples that are measured.
    pub fn samples(&self) -> usize {
        self.inputs[1].len() / self.dictionary.input_dim()
    }

    /// Mean square error of a code of zeros.
    pub fn zero(&self) -> f64 {
        let squares = self.inputs[1].iter().map(|x| f64::from(*x).powi(2));
        squares.sum::<f64>() / self.inputs[1].len().max(1) as f64
    }

    /// What codes with so many components come to, on average of a sample. Several passes of
    /// FISTA over all samples.
    pub fn at(&self, l0: f64) -> SameL0 {
        let units = self.code_dim() as f64;
        let found = |answer: Answer| Found {
            l0: answer.active * units,
            mse: answer.error,
        };
        let encoder = self.heads.as_ref().map(|[known, heads]| {
            let share = l0 / units;
            let rules = calibrate(
                &self.posterior,
                &self.dictionary,
                &self.inputs[0],
                known,
                share,
            );
            // Without a threshold all units are active alike, and only the shift tells them apart.
            let told = |rule: &Rule| match rule {
                Rule::Shift(_) => true,
                Rule::Activity(_) => self.posterior.sparsity != Sparsity::Dense,
            };
            let held = rules.iter().map(|(rule, _)| rule);
            let held = held.filter(|rule| told(&rule.rule) && rule.rule.is_held(&self.posterior));
            let rule = held.copied().next().unwrap_or(rules[0].0);
            found(rule.answer(&self.posterior, &self.dictionary, &self.inputs[1], heads))
        });
        let (sparsity, answer) =
            fista_of_activity(&self.dictionary, &self.inputs[1], self.sign, l0 / units);
        SameL0 {
            l0,
            encoder,
            fista: found(answer),
            sparsity,
        }
    }
}

fn first(samples: &Samples) -> Result<Tensor, candle_core::Error> {
    samples.inputs.narrow(0, 0, samples.len().min(MOST))
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, candle_core::Error> {
    tensor.flatten_all()?.to_vec1()
}

impl VariationalRun {
    /// The model beside samples: the first [`MOST`] of either set.
    ///
    /// # Errors
    ///
    /// As [`learner`](Self::learner).
    pub fn codes(&self, train: &Samples, test: &Samples) -> Result<Codes, ExportError> {
        let learner = self.learner(train)?;
        let both = [first(train)?, first(test)?];
        let heads = learner.encoder().map(|encoder| {
            let heads = |inputs| Ok::<_, candle_core::Error>(encoder.forward(inputs)?.heads);
            Ok::<_, candle_core::Error>([heads(&both[0])?, heads(&both[1])?])
        });
        Ok(Codes {
            dictionary: learner.dictionary().clone(),
            sign: CodeSign::Signed,
            posterior: self.config.family.posterior(),
            inputs: [values(&both[0])?, values(&both[1])?],
            heads: heads.transpose()?,
        })
    }
}

impl TrainedRun {
    /// The model beside samples: the first [`MOST`] of either set.
    ///
    /// # Errors
    ///
    /// [`ExportError::Samples`] if the decoder is not linear, or the device fails.
    pub fn codes(
        &self,
        train: &Samples,
        test: &Samples,
        engine: &dyn Engine,
    ) -> Result<Codes, ExportError> {
        let Decoder::Linear { dictionary } = &self.model.decoder else {
            return Err(ExportError::Samples(
                "are no sums of atoms here: a decoder with a hidden layer is not linear",
            ));
        };
        let input_dim = dictionary.dim(0)?;
        let atoms = values(&dictionary.t()?.contiguous()?)?;
        let both = [first(train)?, first(test)?];
        let heads = |inputs: &Tensor| {
            let codes = codes_of(
                &self.model,
                inputs,
                &self.config,
                engine,
                CodeSource::Encoder,
            )?;
            let shift = |z: f32| Heads {
                shift: f64::from(z),
                ..Heads::default()
            };
            Ok::<_, candle_core::Error>(values(&codes)?.into_iter().map(shift).collect())
        };
        let heads = match self.model.encoder {
            Some(_) => Some([heads(&both[0])?, heads(&both[1])?]),
            None => None,
        };
        Ok(Codes {
            dictionary: Dictionary::new(atoms.into_iter().map(f64::from).collect(), input_dim),
            sign: CodeSign::NonNegative,
            // A code is the shift of a posterior without noise that would make it sparse.
            posterior: Posterior {
                base: Base::Gaussian,
                sparsity: Sparsity::Dense,
                spread: 1.0,
                estimator: Estimator::Straight,
                shift_gradient: ShiftGradient::Single,
            },
            inputs: [values(&both[0])?, values(&both[1])?],
            heads,
        })
    }
}
