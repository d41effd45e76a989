use clap::{Args, ValueEnum};
use sparsecode_formats::Contrast;
use sparsecode_runtime::{Method, Refine};

use super::common::usage;
use crate::deploy::{HostModel, HostRefine};

/// Flags of commands that refine codes. Numbers may begin with a hyphen, so that they are refused
/// as numbers.
#[derive(Args)]
pub(super) struct RefineFlags {
    /// Refine each code with at most this many iterations
    ///
    /// Refinement starts at the code that the model infers without this flag, and keeps that code
    /// if it finds no better one. With the default --tolerance, refinement ends long before codes
    /// converge; for convergence add --tolerance 0.
    #[arg(
        long,
        value_name = "ITERATIONS",
        value_parser = iterations,
        allow_hyphen_values = true,
        help_heading = "Refinement"
    )]
    refine: Option<u32>,
    /// How to refine [default: what a device does: fista for arithmetic in f32, descent for
    /// arithmetic in integers]
    #[arg(long, value_enum, help_heading = "Refinement")]
    method: Option<MethodChoice>,
    /// Stop when an iteration changes the code by less, relative to its norm; 0: make all
    /// iterations [default: 0.001]
    ///
    /// Models in integers round the tolerance to a power of 2, and stop in any case when nothing
    /// changes.
    #[arg(
        long,
        value_parser = tolerance,
        allow_hyphen_values = true,
        help_heading = "Refinement"
    )]
    tolerance: Option<f32>,
    /// Weight λ of sparsity in the energy [default: λ as trained]
    #[arg(
        long,
        value_parser = amount,
        allow_hyphen_values = true,
        help_heading = "Refinement"
    )]
    lambda: Option<f32>,
    /// Standard deviation of the noise in raw units: sets λ [default: λ as trained]
    #[arg(
        long,
        value_parser = amount,
        allow_hyphen_values = true,
        help_heading = "Refinement"
    )]
    sigma: Option<f32>,
}

/// A method of refinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodChoice {
    /// Iterative shrinkage with momentum, for every decoder.
    Fista,
    /// Coordinate descent on the Gram matrix, for linear decoders: fewer iterations unless λ is
    /// very small.
    Descent,
}

impl From<MethodChoice> for Method {
    fn from(method: MethodChoice) -> Self {
        match method {
            MethodChoice::Fista => Self::Fista,
            MethodChoice::Descent => Self::CoordinateDescent,
        }
    }
}

impl RefineFlags {
    /// The first of the flags that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            ("--refine", self.refine.is_some()),
            ("--method", self.method.is_some()),
            ("--tolerance", self.tolerance.is_some()),
            ("--lambda", self.lambda.is_some()),
            ("--sigma", self.sigma.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// The settings that the flags ask for; `None` without `--refine`.
    ///
    /// Refuses flags that exclude each other, or that mean nothing for the model.
    pub(super) fn settings(&self, host: &HostModel<'_>) -> anyhow::Result<Option<HostRefine>> {
        if self.sigma.is_some() && self.lambda.is_some() {
            return Err(usage(
                "--sigma and --lambda: sigma sets lambda; give one of them",
            ));
        }
        let Some(iterations) = self.refine else {
            let given = [
                ("--method", self.method.is_some()),
                ("--tolerance", self.tolerance.is_some()),
                ("--lambda", self.lambda.is_some()),
                ("--sigma", self.sigma.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(usage(format!(
                    "{flag}: only refinement takes this flag; add --refine ITERATIONS, such as --refine 50"
                ))),
                None => Ok(None),
            };
        };
        let mut refine = host.refinement(iterations);
        let spec = host.spec();
        if let Some(method) = self.method {
            refine.method = method.into();
        }
        if refine.method == Method::CoordinateDescent && !spec.is_linear() {
            return Err(usage(format!(
                "--method descent: needs a linear decoder, but the model's has a hidden layer of \
                 {} units; use --method fista",
                spec.hidden_dim()
            )));
        }
        if let Some(tolerance) = self.tolerance {
            refine.settings.tolerance = tolerance;
        }
        if let Some(lambda) = self.lambda {
            refine.settings.lambda = lambda;
        }
        if let Some(sigma) = self.sigma {
            if matches!(
                spec.preprocessing.contrast,
                Contrast::Standardize { .. } | Contrast::Local { .. }
            ) {
                return Err(usage(
                    "--sigma: this model normalises each patch's contrast, so the noise differs \
                     from patch to patch; give --lambda, or leave both out",
                ));
            }
            let sigma = sigma / spec.preprocessing.deviation;
            refine.settings.lambda = Refine::for_noise(spec, sigma).lambda;
        }
        Ok(Some(refine))
    }
}

fn iterations(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("give a whole number from 0 to {}", u32::MAX))
}

fn amount(text: &str) -> Result<f32, String> {
    number(text, |value| value >= 0.0)
        .ok_or_else(|| "give a finite number that is 0 or more".to_owned())
}

fn tolerance(text: &str) -> Result<f32, String> {
    number(text, |value| (0.0..1.0).contains(&value))
        .ok_or_else(|| "give a number from 0 to below 1, such as 1e-5".to_owned())
}

/// A finite number that `fits`.
fn number(text: &str, fits: impl Fn(f32) -> bool) -> Option<f32> {
    text.parse()
        .ok()
        .filter(|value: &f32| value.is_finite() && fits(*value))
}
