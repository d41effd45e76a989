//! Checkpoints of version 1, which knew this family alone.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::learner::{DECODER_STEPS, ENCODER_STEPS};
use crate::run::{EpochSums, Share, Tensors};

/// The sums of an epoch as version 1 had them.
#[derive(Deserialize)]
struct Sums {
    samples: f64,
    batches: f64,
    psnr: f64,
    zeros: f64,
    code_l1: f64,
    energy: f64,
    encoder_loss: f64,
    steps: f64,
    iterations: f64,
    seconds: f64,
    #[serde(default)]
    held_step_size: Option<f64>,
}

impl Sums {
    fn upgraded(&self, code_dim: f64) -> EpochSums {
        if self.batches == 0.0 {
            return EpochSums::new([], self.seconds);
        }
        let mean = |sum, weight| Share::Mean { sum, weight };
        let per_sample = |sum| mean(sum, self.samples);
        let per_batch = |sum| mean(sum, self.batches);
        let figures = [
            ("psnr", per_sample(self.psnr)),
            ("sparsity", mean(self.zeros, self.samples * code_dim)),
            ("code_l1", per_sample(self.code_l1)),
            ("energy", per_batch(self.energy)),
            ("encoder_loss", per_batch(self.encoder_loss)),
            ("fista_steps", per_batch(self.steps)),
            ("fista_iterations", per_batch(self.iterations)),
        ];
        let held = self.held_step_size.map(Share::Smallest);
        let held = held.map(|share| ("held_step_size", share));
        EpochSums::new(figures.into_iter().chain(held), self.seconds)
    }
}

/// Components of a code, which the sums of version 1 count and do not name.
fn code_dim(tensors: &Tensors) -> Option<f64> {
    let first = ["decoder.dictionary", "decoder.hidden"];
    let decoder = first.iter().find_map(|name| tensors.get(*name))?;
    Some(*decoder.dims().get(1)? as f64)
}

/// Rewrites the metadata. What is missing or of another type stays, so that the reader names it.
pub(super) fn upgrade_checkpoint(metadata: &mut Map<String, Value>, tensors: &Tensors) {
    let mut counts = Map::new();
    for (old, new) in [
        ("decoder_steps", DECODER_STEPS),
        ("encoder_steps", ENCODER_STEPS),
    ] {
        if let Some(steps) = metadata.remove(old) {
            counts.insert(new.to_owned(), steps);
        }
    }
    metadata.insert("counts".to_owned(), Value::Object(counts));
    if let Some(code_dim) = code_dim(tensors)
        && let Some(position) = metadata.get_mut("position")
        && let Some(sums) = position.get("sums")
        && let Ok(sums) = Sums::deserialize(sums)
    {
        position["sums"] = json!(sums.upgraded(code_dim));
    }
}
