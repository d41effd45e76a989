//! The sparsecode model file: what a trained sparse autoencoder looks like on disk and in flash.
//!
//! A model file is an ordinary [safetensors](https://huggingface.co/docs/safetensors) file with
//! agreed tensor names, orientations and metadata. The trainer writes it once; firmware includes it
//! unchanged and reads it **in place**: [`ModelFile::read`] borrows the bytes, needs neither `std`
//! nor an allocator, and treats them as untrusted input. The specification is `docs/model-file.md`
//! in the repository.
//!
//! # From training to a device
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use sparsecode_formats::{
//!     AlignedBytes, CodeSign, Contrast, Decoder, InputFacts, InputShape, ModelFile, OwnedDecoder,
//!     OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Variant, WeightType, write,
//! };
//!
//! // Windows of 2 samples, 3 code components.
//! let trained = OwnedModel {
//!     spec: OwnedSpec {
//!         variant: Variant::Vdl,
//!         input_shape: InputShape::window(2),
//!         code_dim: 3,
//!         hidden_dim: 0,
//!         lista_iterations: Some(3),
//!         codes: CodeSign::NonNegative,
//!         lambda: 0.02,
//!         preprocessing: Preprocessing { mean: 0.5, deviation: 0.25, contrast: Contrast::RemoveMean },
//!         peak: 1.0,
//!         input: InputFacts::default(),
//!         provenance: OwnedProvenance { data: "example".into(), seed: 31, epoch: 5, ..Default::default() },
//!     },
//!     encoder: Some(OwnedEncoder {
//!         input: vec![0.5, 0.0, 0.0, 0.5, -0.5, 0.5],
//!         bias: vec![0.0; 3],
//!         recurrent: vec![0.0; 9],
//!     }),
//!     gram: None,
//!     variational: None,
//!     decoder: OwnedDecoder::Linear { dictionary: vec![1.0, 0.0, 0.0, 1.0, -0.7, 0.7] },
//! };
//! let file = write(&trained, WeightType::I8).unwrap();
//!
//! // On the device: let bytes: &'static [u8] = sparsecode_formats::include_model!("model.safetensors");
//! let bytes = AlignedBytes::from_slice(&file);
//! let model = ModelFile::read(&bytes).unwrap();
//! assert_eq!((model.spec.name(), model.spec.input_dim(), model.spec.code_dim()), ("vdl", 2, 3));
//! let Decoder::Linear { dictionary } = model.decoder else { unreachable!() };
//! assert!((dictionary.weight(2, 1).unwrap() - 0.7).abs() < 0.01);
//!
//! // What is not a model file says why.
//! let error = ModelFile::read(&bytes[..100]).unwrap_err();
//! assert!(error.to_string().starts_with("header needs"));
//! # }
//! ```
//!
//! # Features
//!
//! - `std`: writing ([`OwnedModel`]), quantising ([`quant`]), files on the host ([`AlignedBytes`]).
//! - `defmt`: `defmt::Format` for specifications and errors.
//!
//! Numbers are little-endian and are read in place, so big-endian targets are refused at compile
//! time.

#![no_std]
#![warn(clippy::indexing_slicing)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

#[cfg(target_endian = "big")]
compile_error!(
    "model files are read in place and are little-endian: big-endian targets are not supported"
);

#[cfg(any(feature = "std", test))]
extern crate std;

mod align;
mod checksum;
mod decimal;
mod encoders;
mod error;
#[cfg(feature = "std")]
mod example;
#[cfg(feature = "std")]
mod example_variational;
mod format;
mod header;
mod input;
mod integer;
mod json;
mod layer;
mod matrix;
#[cfg(feature = "std")]
mod owned;
#[cfg(feature = "variational")]
mod posterior;
mod preprocessing;
#[cfg(feature = "std")]
pub mod quant;
mod read;
mod spec;
#[cfg(feature = "std")]
mod spectral;
mod tensors;
#[cfg(feature = "std")]
mod weights;
mod widths;
#[cfg(feature = "std")]
mod write;

#[cfg(feature = "std")]
pub use align::AlignedBytes;
pub use align::{Aligned, MIN_ALIGNMENT};
pub use encoders::{Encoder, Gram, StreamSpec, Variational, VariationalBody};
pub use error::{Dims, Name, ReadError, SpecError};
#[cfg(feature = "std")]
#[doc(hidden)]
pub use example::{example, example_decoder, example_denoiser};
#[cfg(feature = "std")]
#[doc(hidden)]
pub use example_variational::{example_posterior, example_variational};
pub use format::{FORMAT_VERSION, INTEGER_FORMAT_VERSION, MAX_HEADER_LEN};
pub use input::{InputFacts, NumberType};
#[cfg(feature = "std")]
pub use integer::{
    ActivationRanges, GramStorage, IntegerReport, IntegerWritten, write_integer, write_integer_as,
    write_integer_with,
};
pub use integer::{
    Activations, Blocks, CODE_LIMIT, DRIVE_LIMIT, IntegerContrast, IntegerDecoder, IntegerEncoder,
    IntegerFile, IntegerGram, IntegerRefiner, IntegerSpec, IntegerStreamSpec, IntegerVariational,
    LANES, Nibbles, Overflow, Packed, Rescale, Rescales, STANDARD_FRACTION, Units, WeightBlocks,
};
#[cfg(feature = "variational")]
pub use integer::{IntegerLayer, IntegerVariationalBody};
pub use layer::Layer;
pub use matrix::{MatrixRef, ScaleAxis, Weights};
#[cfg(feature = "std")]
pub use owned::{
    OwnedDecoder, OwnedEncoder, OwnedGram, OwnedLayer, OwnedModel, OwnedPosterior, OwnedProvenance,
    OwnedSpec, OwnedThreshold, OwnedVariational, OwnedVariationalBody,
};
#[cfg(feature = "variational")]
pub use posterior::{Posterior, PosteriorBase, PosteriorThreshold};
pub use preprocessing::{Contrast, Preprocessing};
pub use read::{Decoder, ModelFile};
pub use spec::{CodeSign, InputShape, ModelSpec, Provenance, Variant, WeightType};
#[cfg(feature = "std")]
pub use weights::is_run_weights;
pub use widths::EncoderWidths;
#[cfg(feature = "std")]
pub use write::{TensorReport, WriteError, Written, write, write_file, write_with_report};
