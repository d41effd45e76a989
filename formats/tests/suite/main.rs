//! The model file from outside, in one program: `cargo test -p sparsecode-formats malformed` runs a
//! part of it.

mod codes;
mod common;
mod documented_reader;
mod gram;
mod input;
mod integer;
mod malformed;
mod mutations;
mod quantisation;
mod round_trip;
mod variational;
