//! The papers' results beside ours: published numbers, comparisons, and their tables.
//!
//! Nothing here trains: figures come from `metrics.jsonl` and from `sparsecode evaluate --json`.
//! Errors are sentences for people.

pub mod curves;
pub mod parity;
pub mod published;
pub mod table1;
