//! What a person sees of a run: pictures, tables, pages, progress, and the files that plots are
//! made from.
//!
//! | module | writes |
//! |---|---|
//! | `image` | atoms and before/after strips as PNG (feature `pictures`) |
//! | [`table`] | figures as aligned text or Markdown, with their units |
//! | [`page`] | results in Markdown, with the command, the commit and the machine |
//! | [`metrics`] | `metrics.jsonl`: one JSON object a line |
//! | [`tensorboard`] | event files that TensorBoard reads |
//! | `progress` | progress on the terminal, or lines in a log (feature `progress`) |
//! | [`storage`] | files of which no reader ever meets half |

#[cfg(feature = "pictures")]
pub mod image;
pub mod metrics;
pub mod page;
#[cfg(feature = "progress")]
pub mod progress;
pub mod storage;
pub mod table;
pub mod tensorboard;
