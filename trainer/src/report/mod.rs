//! What a person sees of a run: pictures, tables, progress, and the files that plots are made from.
//!
//! | module | writes |
//! |---|---|
//! | [`image`] | atoms and before/after strips as PNG |
//! | [`table`] | figures as aligned text or Markdown, with their units |
//! | [`metrics`] | `metrics.jsonl`: one JSON object a line |
//! | [`tensorboard`] | event files that TensorBoard reads |
//! | [`progress`] | progress on the terminal, or lines in a log |

mod font;
pub mod image;
pub mod metrics;
pub mod progress;
pub mod table;
pub mod tensorboard;
