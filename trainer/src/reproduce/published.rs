//! What the papers say, once.
//!
//! The paper is "Sparse Coding with Multi-layer Decoders using Variance Regularization". Its Table
//! 1 has means and deviations over 5 seeds of the test set.

/// A mean and its deviation over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// The test set's figures at one noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Deviation of the noise on the normalised input; 0 is the clean test set.
    pub sigma: f64,
    /// PSNR of the noisy inputs in dB; 0 if clean.
    pub noisy: f64,
    /// Zeros in a code, in percent.
    pub zeros: Given,
    /// PSNR of the reconstructions in dB.
    pub psnr: Given,
}

/// A model that the paper trains on MNIST.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperModel {
    /// The paper's name.
    pub name: &'static str,
    /// The preset with its settings.
    pub preset: &'static str,
    /// λ, as the command line takes it.
    pub lambda: &'static str,
    /// Wall seconds of the published code's first epoch: torch on the CPU, two threads, otherwise
    /// idle machine.
    pub epoch_seconds: f64,
    /// Its rows of Table 1.
    pub table1: [Level; 3],
}

const fn level(sigma: f64, noisy: f64, zeros: (f64, f64), psnr: (f64, f64)) -> Level {
    Level {
        sigma,
        noisy,
        zeros: Given {
            mean: zeros.0,
            std: zeros.1,
        },
        psnr: Given {
            mean: psnr.0,
            std: psnr.1,
        },
    }
}

/// The models of Table 1 on MNIST.
pub const MNIST: [PaperModel; 2] = [
    PaperModel {
        name: "SDL",
        preset: "mnist/sdl",
        lambda: "0.005",
        epoch_seconds: 26.0,
        table1: [
            level(0.0, 0.0, (89.7, 0.2), (17.3, 0.028)),
            level(1.0, 10.2, (87.3, 0.2), (16.9, 0.053)),
            level(1.5, 6.7, (84.6, 0.5), (15.7, 0.204)),
        ],
    },
    PaperModel {
        name: "VDL",
        preset: "mnist/vdl",
        lambda: "0.02",
        epoch_seconds: 35.0,
        table1: [
            level(0.0, 0.0, (91.8, 0.1), (17.7, 0.023)),
            level(1.0, 10.2, (88.1, 0.2), (15.4, 0.175)),
            level(1.5, 6.7, (84.5, 0.3), (12.2, 0.275)),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lista::Config;

    #[test]
    fn the_presets_are_ours_and_the_noise_is_what_evaluate_is_asked_for() {
        for model in &MNIST {
            Config::preset(model.preset).unwrap();
            assert!(model.lambda.parse::<f64>().unwrap() > 0.0);
            assert_eq!(model.table1.map(|level| level.sigma), [0.0, 1.0, 1.5]);
        }
    }
}
