//! Sparse codes on microcontrollers: encode a patch, refine the code, reconstruct the patch.
//!
//! This crate runs the model files of [`sparsecode_formats`] in memory that is fixed when the
//! program is compiled: no `std`, no allocator, and no panic path, neither in loading a model nor
//! in running it. A [`Model`] borrows its file, wherever that lies (flash, usually); all scratch
//! memory is a [`Workspace`]; a [`SparseCode`] holds the active atoms only, and products with it
//! read only their rows.
//!
//! ```
//! use sparsecode_runtime::{CodeBuffer, Model, Refine, SparseCode, Stop, Workspace};
//! # use sparsecode_runtime::formats::{self, *};
//! # let preprocessing = Preprocessing { mean: 0.1, ..Preprocessing::IDENTITY };
//! # let trained = formats::example(preprocessing);
//! # let file = AlignedBytes::from_slice(&formats::write(&trained, WeightType::I8).unwrap());
//! # let bytes: &[u8] = &file;
//!
//! // On a device: let bytes: &[u8] = sparsecode_runtime::include_model!("model.safetensors");
//! // 8 samples, 4 atoms: another file, or a patch of another length, is an error.
//! let model = Model::<8, 4>::load(bytes)?;
//! let mut workspace = Workspace::new();
//! let mut code = SparseCode::new();
//!
//! let mut patch = [0.1, 0.1, 1.1, 1.1, 0.1, 0.1, 0.15, 0.05];
//! let normalisation = model.preprocess(&mut patch);
//! model.encode(&patch, &mut code, &mut workspace);
//!
//! // Better codes while there is time: here until converged, or for 50 iterations.
//! let settings = Refine { max_iterations: 50, ..Refine::for_model(model.spec()) };
//! let refinement = model.refine(&patch, &mut code, &settings, &mut workspace, || false);
//! assert_eq!(refinement.stopped, Stop::Converged);
//! assert_eq!(code.indices(), [1]);
//!
//! model.decode(&code, &mut patch, &mut workspace);
//! model.restore(&mut patch, normalisation);
//! assert!((patch[2] - 1.1).abs() < 0.1 && (patch[6] - 0.1).abs() < 1e-6);
//! # Ok::<(), sparsecode_runtime::LoadError>(())
//! ```
//!
//! [`Model::denoise`] is all of this in one call. Build scripts can turn a model file into
//! constants and types with feature `embed`; programs that meet models of unknown dimensions use
//! [`ModelView`].
//!
//! # Streams
//!
//! Sensors deliver samples or lines, not patches. [`stream::SignalStream`] and
//! [`stream::FrameStream`] take them as they come, let a closure denoise overlapping windows or
//! patches, and give clean samples or lines after a fixed latency; [`stream::ContrastFrameStream`]
//! does so for models with local contrast normalisation. One model serves any number of channels,
//! each of which is a state of fixed size. [`stream::SignalView`], [`stream::FrameView`] and
//! [`stream::ContrastView`] are the same over memory of a size known at run time.
//!
//! # Arithmetic
//!
//! [`IntegerModel`] computes in integers, by the formulas of the model file. All else is `f32`,
//! whatever the number type of the weights: a quantised weight is converted when it is read, and
//! the scale of its channel is applied to the sum. The order of every sum is fixed, nothing is
//! fused, and roots are correctly rounded, so that a host and a microcontroller compute the same
//! bits from the same file. A dot product of `n` numbers is kept in eight partial sums (element `i`
//! goes to sum `i mod 8`) and is off by at most `(n/8 + 4)·2⁻²⁴·Σ|w·x|`; a sum over `a` active
//! atoms, in ascending order, by at most `(a + 1)·2⁻²⁴·Σ|w·z|` (first order, before the scale).
//!
//! Kernels are chosen when a program is built for a device, and when it is loaded on a host. Each
//! gives the bits of the portable one, which property tests hold it to:
//!
//! | | products of integer models | `f32` arithmetic |
//! |---|---|---|
//! | Cortex-M with Helium | eight or four products an instruction | portable |
//! | Cortex-M with DSP | two 16-bit products an instruction | portable |
//! | x86-64 with AVX-512 VNNI | dense ones with VNNI, of inputs from 0 to 255 four to a lane; the rest with AVX2 | products with `f32` weights in the encoder, dense ones from whole cache lines; the rest with AVX2 |
//! | x86-64 with AVX2 | AVX2 | AVX2, without fused multiply-add |
//! | AArch64 with dot products (Cortex-A76, Apple's, Neoverse) | dense ones with `SDOT`, of as many digits to base 256 as inputs have; the rest with NEON | NEON |
//! | AArch64 (Cortex-A53, A72) | NEON | NEON, without fused multiply-add |
//! | others | portable | portable |
//!
//! Hosts encode many patches at once ([`ModelView::encode_batch`](ModelView#method.encode_batch)
//! and `IntegerView::encode_batch`, feature `std`): in integers with the same bits; in `f32`, with
//! AVX-512, by fused products, the one exception to what is said above.
//!
//! [`self_test`] holds the kernels of a device to the portable ones on the device itself.
//!
//! Without feature `std` an x86-64 or AArch64 processor is not asked what it has: what the compiler
//! was told (`-C target-cpu`) counts.
//!
//! # Memory and cost
//!
//! With `d` samples, `l` atoms, `m` hidden units (0: linear) and `a` active atoms:
//!
//! | | bytes of RAM | | multiply-adds |
//! |---|---|---|---|
//! | patch, decoded in place | `4·d` | [`encode`](Model::encode) | `l·d + L·a·l` |
//! | [`SparseCode`] | `6·l + 8` | [`refine`](Model::refine), each iteration | `(a + l)·d`, or `(a + l)·m + 2·h·d` |
//! | [`Workspace`] | `4·(d + 2·l + m)` | [`decode`](Model::decode) | `a·d`, or `a·m + h·d` |
//! | | | `encode_best_of`, each sample (feature `variational`) | `a·d`, and `l` random words |
//! | [`GramBuffer`], [`GramWorkspace`], if used | `4·l² + 14·l` | [`descend`](Gram::descend), each pass | `b·l`, after `l·d` |
//! | [`SignalStream`](stream::SignalStream), a channel | `8·d + 8` | each sample, beside `1/s` windows | `d/s` |
//! | [`DriftStream`](stream::DriftStream), a channel | `8·n + 44` | each sample | 7 additions, 2 divisions |
//! | [`NoiseLevel`](stream::NoiseLevel), a channel | 200 | each sample | 8 |
//! | [`FrameStream`](stream::FrameStream), a channel | `8·w·r + 8` | each pixel, beside `1/s²` patches | `2·d/s²` |
//! | [`ContrastStream`](stream::ContrastStream), a channel | `8·w·g + 8` | each pixel | `5·g` |
//!
//! where `L` is the number of LISTA iterations, `h ≤ m` that of active hidden units, and `b` that
//! of components that change; in streams of `f32`, `s` is the hop, `n` the length of the moving
//! mean, `w` the width of a frame, `r` the rows of a patch, and `g` the side of the contrast
//! window. [`ram_bytes`] adds up the first three rows of the left side.
//!
//! # Features
//!
//! - `std`: `SparseCodeBuf`, `WorkspaceBuf`, `IntegerCodeBuf`, `IntegerWorkspaceBuf` and
//!   `GramView`, sized at run time; many patches at once.
//! - `embed`: the build-script helper `embed` (needs `std`).
//! - `defmt`: `defmt::Format` for everything that is worth a log line.
//! - `serde`: `Serialize` and `Deserialize` for settings, results and codes.
//! - `capi`: the functions of `include/sparsecode.h`, for programs in C.
//! - `micromath`: `decibel`, a cheap logarithm for telemetry. It decides nothing.

#![no_std]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "capi")]
pub mod capi;
#[cfg(feature = "variational")]
mod chacha;
#[cfg(feature = "embed")]
pub mod embed;
mod error;
mod float;
mod integer;
mod kernels;
mod quality;
mod refinement;
mod shrink;
pub mod stream;
mod workspace;

/// The model file's crate, whose types appear here.
pub use sparsecode_formats as formats;
pub use sparsecode_formats::{Aligned, CodeSign, ModelFile, ModelSpec, ReadError, include_model};

#[cfg(feature = "variational")]
pub use error::SampleError;
pub use error::{CodeError, DimensionError, LoadError};
#[cfg(feature = "std")]
pub use float::code::SparseCodeBuf;
pub use float::code::{CodeBuffer, SparseCode};
pub use float::denoise::Denoised;
#[cfg(feature = "std")]
pub use float::gram::GramView;
pub use float::gram::{Gram, GramBuffer, GramWorkspace};
pub use float::model::Model;
pub use float::preprocess::Normalisation;
pub use float::refine::{Refine, Refinement, Start};
#[cfg(feature = "variational")]
pub use float::sampling::{BestOf, Samples};
pub use float::view::ModelView;
#[cfg(feature = "std")]
pub use float::workspace::WorkspaceBuf;
pub use float::workspace::{Workspace, WorkspaceBuffer, ram_bytes};
#[cfg(feature = "std")]
pub use integer::code::IntegerCodeBuf;
pub use integer::code::{IntegerCode, IntegerCodeBuffer};
pub use integer::model::IntegerModel;
pub use integer::preprocess::IntegerNormalisation;
pub use integer::refine::{IntegerRefine, IntegerRefinement};
pub use integer::view::IntegerView;
#[cfg(feature = "std")]
pub use integer::workspace::IntegerWorkspaceBuf;
pub use integer::workspace::{IntegerWorkspace, IntegerWorkspaceBuffer};
pub use kernels::{KernelMismatch, self_test};
#[cfg(feature = "micromath")]
pub use quality::decibel;
pub use quality::{mean_squared_error, psnr_db};
pub use refinement::{Method, Stop};
