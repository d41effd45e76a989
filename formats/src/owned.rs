//! A model in `f32`, as a writer takes it.

use std::borrow::ToOwned;
use std::string::String;
use std::vec::Vec;

use crate::error::ReadError;
use crate::input::InputFacts;
use crate::quant::dequantize;
use crate::read::{Decoder, ModelFile};
use crate::spec::{CodeSign, InputShape, ModelSpec, Preprocessing, Provenance, Variant};

/// Where a model comes from; see [`Provenance`] for what each field may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedProvenance {
    /// The training data, for people.
    pub data: String,
    /// The seed of the run's random numbers.
    pub seed: u64,
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The commit of the program that trained it.
    pub commit: String,
    /// A hash of the resolved configuration.
    pub config_hash: String,
}

/// A [`ModelSpec`] before it is written: without the number type and the step size, which follow
/// from writing.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedSpec {
    /// How it was trained.
    pub variant: Variant,
    /// The shape of a sample; its size is d.
    pub input_shape: InputShape,
    /// l.
    pub code_dim: u16,
    /// m; 0 for a linear decoder.
    pub hidden_dim: u16,
    /// L; `None` exactly for [`Variant::Do`] and [`Variant::Denoise`].
    pub lista_iterations: Option<u8>,
    /// Which signs the components of its codes have; non-negative with an encoder.
    pub codes: CodeSign,
    /// λ of training.
    pub lambda: f32,
    /// What is done to raw samples.
    pub preprocessing: Preprocessing,
    /// The range of raw samples, for PSNR.
    pub peak: f32,
    /// What is known of the raw samples, for [`InputFacts::read`].
    pub input: InputFacts,
    /// Where it comes from.
    pub provenance: OwnedProvenance,
}

/// The encoder in the stored orientation; see [`Encoder`](crate::Encoder).
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedEncoder {
    /// U \[l, d\], as torch's `Linear` keeps it.
    pub input: Vec<f32>,
    /// b \[l\].
    pub bias: Vec<f32>,
    /// Sᵀ \[l, l\]: the transpose of torch's.
    pub recurrent: Vec<f32>,
}

/// The encoder of a model that denoises; see [`Gram`](crate::Gram).
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedGram {
    /// g \[T\].
    pub steps: Vec<f32>,
    /// θ \[T, l\], for noise of deviation 1.
    pub thresholds: Vec<f32>,
    /// γ \[l\].
    pub gain: Vec<f32>,
    /// The σ to take where nobody knows another, in preprocessed units.
    pub noise_level: f32,
    /// What each sample of a window, or each row and then each column of a patch, counts where
    /// windows overlap; see [`StreamSpec::weights`](crate::StreamSpec::weights).
    pub window_weights: Vec<f32>,
    /// Samples from one window to the next, or pixels from one patch to the next, both ways.
    pub hop: u16,
    /// The length of the means that are taken off before all else.
    pub drift: Option<u16>,
    /// Whether the noise of training was white.
    pub is_white: bool,
    /// c of the residual guard.
    pub guard: f32,
}

/// The decoder in the stored orientation; see [`Decoder`].
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedDecoder {
    /// `ŷ = W z`.
    Linear {
        /// Wᵀ \[l, d\]: the transpose of torch's.
        dictionary: Vec<f32>,
    },
    /// `ŷ = W2 relu(W1 z + b1)`.
    OneHidden {
        /// W1ᵀ \[l, m\]: the transpose of torch's.
        hidden: Vec<f32>,
        /// b1 \[m\].
        hidden_bias: Vec<f32>,
        /// W2ᵀ \[m, d\]: the transpose of torch's.
        output: Vec<f32>,
    },
}

/// A model in `f32`, in the stored orientation: what [`write`](crate::write()) takes.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedModel {
    /// What the metadata will say.
    pub spec: OwnedSpec,
    /// The LISTA encoder; `None` exactly for [`Variant::Do`] and [`Variant::Denoise`].
    pub encoder: Option<OwnedEncoder>,
    /// The encoder of [`Variant::Denoise`]; `None` for every other.
    pub gram: Option<OwnedGram>,
    /// The decoder; linear exactly if `spec.hidden_dim` is 0.
    pub decoder: OwnedDecoder,
}

impl OwnedModel {
    /// The model in a file, with scales applied: writing it again with the same number type gives
    /// the same weights, up to rounding.
    ///
    /// # Errors
    ///
    /// As [`ModelFile::input`].
    pub fn from_file(file: &ModelFile<'_>) -> Result<Self, ReadError> {
        let ModelSpec {
            variant,
            input_shape,
            code_dim,
            hidden_dim,
            lista_iterations,
            codes,
            lambda,
            ..
        } = file.spec;
        let Provenance {
            data,
            seed,
            epoch,
            commit,
            config_hash,
        } = file.spec.provenance;
        Ok(Self {
            spec: OwnedSpec {
                variant,
                input_shape,
                code_dim,
                hidden_dim,
                lista_iterations,
                codes,
                lambda,
                preprocessing: file.spec.preprocessing,
                peak: file.spec.peak,
                input: file.input()?,
                provenance: OwnedProvenance {
                    data: data.to_owned(),
                    seed,
                    epoch,
                    commit: commit.to_owned(),
                    config_hash: config_hash.to_owned(),
                },
            },
            encoder: file.encoder.map(|encoder| OwnedEncoder {
                input: dequantize(&encoder.input),
                bias: encoder.bias.to_vec(),
                recurrent: dequantize(&encoder.recurrent),
            }),
            gram: file.gram.map(|gram| OwnedGram {
                steps: gram.steps.to_vec(),
                thresholds: gram.thresholds.to_vec(),
                gain: gram.gain.to_vec(),
                noise_level: gram.noise_level,
                window_weights: gram.stream.weights.to_vec(),
                hop: gram.stream.hop,
                drift: gram.stream.drift,
                is_white: gram.stream.is_white,
                guard: gram.stream.guard,
            }),
            decoder: match file.decoder {
                Decoder::Linear { dictionary } => OwnedDecoder::Linear {
                    dictionary: dequantize(&dictionary),
                },
                Decoder::OneHidden {
                    hidden,
                    hidden_bias,
                    output,
                } => OwnedDecoder::OneHidden {
                    hidden: dequantize(&hidden),
                    hidden_bias: hidden_bias.to_vec(),
                    output: dequantize(&output),
                },
            },
        })
    }
}
