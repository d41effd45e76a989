//! The runtime for programs in C (feature `capi`): the functions of `include/sparsecode.h`.
//!
//! `cargo xtask header` writes the header from the sources of this module, so names are C's, and
//! documentation is written for it. The folder `capi` of the repository makes a static library of
//! it, for hosts and for bare metal, and `examples/c` is a program.
//!
//! Nothing is computed here: arguments are checked, references are made of pointers, and
//! [`ModelView`](crate::ModelView) or the functions behind [`IntegerView`](crate::IntegerView) do
//! the work. C and Rust get the same bits from the same file.
//!
//! # Safety
//!
//! What can be checked is checked at every call and answered with a status: null, alignment,
//! lengths, memory that overlaps, handles that hold no model, codes that are none, settings outside
//! their range. What cannot be checked is the caller's part, and the same for every function:
//!
//! - a pointer that is not null points to as much memory as its type, or the length beside it,
//!   says, which may be read, and written if it is not `const`, and which nothing else writes until
//!   the call returns;
//! - a model handle is zero, or was written by the function that loads it and not changed since (a
//!   copy of it is as good);
//! - a model file stays where it is, unchanged, as long as its handle is in use;
//! - a deadline function can be called with its context at any time during the call, returns, and
//!   leaves the memory that the call was given alone.

#![allow(
    non_camel_case_types,
    reason = "the names are those of the C header, which is made from this module"
)]

mod code;
mod integer;
mod integer_code;
mod memory;
mod model;
mod settings;
mod status;
mod stream;

pub use code::sparsecode_code;
pub use integer::{
    sparsecode_integer_decode, sparsecode_integer_denoise, sparsecode_integer_encode,
    sparsecode_integer_model, sparsecode_integer_model_get_info,
    sparsecode_integer_model_get_scales, sparsecode_integer_model_info,
    sparsecode_integer_model_load, sparsecode_integer_model_load_into,
    sparsecode_integer_model_verify_checksum, sparsecode_integer_normalisation,
    sparsecode_integer_preprocess, sparsecode_integer_refine, sparsecode_integer_refine_settings,
    sparsecode_integer_refinement, sparsecode_integer_restore,
    sparsecode_integer_settings_for_model, sparsecode_method,
};
pub use integer_code::{
    sparsecode_integer_code, sparsecode_integer_code_get, sparsecode_integer_code_push,
};
pub use model::{
    sparsecode_decode, sparsecode_denoise, sparsecode_encode, sparsecode_encode_best_of,
    sparsecode_model, sparsecode_model_get_info, sparsecode_model_info, sparsecode_model_load,
    sparsecode_model_load_slot, sparsecode_model_verify_checksum, sparsecode_normalisation,
    sparsecode_preprocess, sparsecode_refine, sparsecode_restore, sparsecode_settings_for_model,
    sparsecode_settings_for_noise,
};
pub use settings::{
    sparsecode_best, sparsecode_refine_settings, sparsecode_refinement, sparsecode_samples,
    sparsecode_start,
};
pub use status::{sparsecode_status, sparsecode_status_message, sparsecode_stop};
pub use stream::{
    sparsecode_integer_stream_finish, sparsecode_integer_stream_get_info,
    sparsecode_integer_stream_push, sparsecode_integer_stream_start, sparsecode_stream_finish,
    sparsecode_stream_get_info, sparsecode_stream_info, sparsecode_stream_push,
    sparsecode_stream_start,
};
