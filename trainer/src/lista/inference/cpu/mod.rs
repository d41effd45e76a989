//! FISTA for training on a processor: the iterates of [`PlainFista`](super::PlainFista), in a
//! fraction of its time.
//!
//! Threads own tiles of samples for the whole loop; codes, momentum points and constants of a tile
//! stay in the cache of its core. An iteration is a product and one fused pass over the tile, after
//! which the threads meet once: to add up the column statistics of the hinge, and to agree on the
//! end. A sample that has converged takes no gradient, so none is computed for it.

mod hidden;
mod lane;
mod matrix;
mod problem;

use std::sync::{Mutex, PoisonError, RwLock};

use candle_core::{Device, Result, Tensor};

use super::energy::{Energy, Reconstruction};
use super::engine::{Engine, Inference};
use crate::tensor::fista::stride;
use crate::tensor::team::{Team, part};
use hidden::OneHidden;
use lane::Lane;
use matrix::{HostMatrix, matrix};
use problem::{Constants, Gradient, Problem, Report, TILE};

/// The engine for f32 tensors in main memory.
///
/// A linear decoder gives the same bits with any number of threads, a one-hidden decoder with the
/// same number: where several inferences run at the same time in one process and bits matter, give
/// each an engine of its own. Beside [`PlainFista`](super::PlainFista) both differ by the rounding
/// of f32. A thread takes at least 16 samples of a batch: more threads than that rest.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use sparsecode_trainer::lista::Config;
/// use sparsecode_trainer::lista::inference::{CpuEngine, Energy, Engine, PlainFista};
/// use sparsecode_trainer::lista::model::Decoder;
///
/// let dictionary = Tensor::new(&[[1f32, 0.], [0., 1.], [0.5, 0.5]], &Device::Cpu)?;
/// let decoder = Decoder::Linear { dictionary };
/// let inputs = Tensor::new(&[[1f32, 0., 0.5], [0., 2., 1.]], &Device::Cpu)?;
/// let mut settings = Config::preset("mnist/sdl")?.family.inference;
/// settings.tolerance = 0.0;
/// let energy = Energy::new(&decoder, &inputs, None, &settings);
/// let start = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu)?;
/// let (fast, plain) = (CpuEngine::new(1).infer(&energy, &start)?, PlainFista.infer(&energy, &start)?);
/// let distance = (fast.codes - plain.codes)?.abs()?.max_all()?.to_scalar::<f32>()?;
/// assert!(distance < 1e-5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CpuEngine {
    team: Team,
}

impl CpuEngine {
    /// An engine with `threads` threads (at least one) of its own. While it is at work for one
    /// caller, it works for others on their own threads.
    pub fn new(threads: usize) -> Self {
        Self {
            team: Team::new(threads.max(1)),
        }
    }
}

impl Default for CpuEngine {
    /// An engine on rayon's threads (`RAYON_NUM_THREADS`, else one for each core), as the rest of
    /// training. While another engine is at work on them, it works alone on the caller's.
    fn default() -> Self {
        Self { team: Team::Shared }
    }
}

impl Engine for CpuEngine {
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference> {
        let (batch, code_dim) = start.dims2()?;
        let tiles = batch.div_ceil(TILE);
        // Before the crew is gathered: its products take the same threads.
        let reconstruction = energy.reconstruction()?;
        let step_size = energy.step_size()?;
        let crew = self.team.gather(tiles);
        let members = crew.members();
        let tiles_of = |member| part(tiles, members, member, 1);
        let starts = HostMatrix::of(start)?;
        let pull = match energy.encoder_codes() {
            Some(_) => (2.0 * energy.config().encoder_weight / code_dim as f64) as f32,
            None => 0.0,
        };
        let encoder_codes = energy
            .encoder_codes()
            .map(|codes| matrix(codes, batch, code_dim, "the encoder's codes"))
            .transpose()?;

        let correlation;
        let (gradient, constant) = match &reconstruction {
            Reconstruction::Quadratic(quadratic) => {
                let gram = matrix(&quadratic.gram, code_dim, code_dim, "G")?;
                correlation = matrix(&quadratic.correlation, batch, code_dim, "c")?;
                let mut padded = vec![0.0; code_dim * stride(code_dim)];
                for (row, values) in padded
                    .chunks_exact_mut(stride(code_dim))
                    .zip(gram.chunks_exact(code_dim))
                {
                    row[..code_dim].copy_from_slice(values);
                }
                (Gradient::Linear { gram: padded }, Some(&correlation))
            }
            Reconstruction::OneHidden {
                hidden,
                hidden_bias,
                output,
                output_t,
            } => {
                let layers = OneHidden::new(
                    hidden,
                    hidden_bias,
                    output,
                    output_t,
                    energy.inputs(),
                    code_dim,
                    members,
                )?;
                (Gradient::OneHidden(layers), None)
            }
        };

        let constants = Constants {
            correlation: constant.map(|matrix| &**matrix),
            encoder_codes: encoder_codes.as_deref(),
            pull,
        };
        let lanes: Vec<Mutex<Lane>> = (0..members)
            .map(|member| {
                Mutex::new(Lane::new(
                    tiles_of(member),
                    batch,
                    code_dim,
                    &starts,
                    &constants,
                ))
            })
            .collect();
        let has_hinge = energy.config().variance_weight != 0.0 && batch > 1;
        let report = |_| {
            (0..members)
                .map(|member| {
                    let moments = if has_hinge { tiles_of(member).len() } else { 0 };
                    RwLock::new(Report::new(moments, stride(code_dim)))
                })
                .collect()
        };
        let problem = Problem {
            energy,
            step_size,
            gradient,
            batch,
            has_hinge,
            pull,
            reports: [0, 1].map(report),
        };
        crew.run(|member, barrier| {
            let mut lane = lanes[member].lock().unwrap_or_else(PoisonError::into_inner);
            lane.run(&problem, member, barrier);
        });

        let mut codes = vec![0.0; batch * code_dim];
        let mut steps = vec![0; batch];
        let mut iterations = 0;
        for lane in lanes {
            let lane = lane.into_inner().unwrap_or_else(PoisonError::into_inner);
            iterations = lane.iterations();
            lane.collect(&mut codes, &mut steps);
        }
        Ok(Inference {
            codes: Tensor::from_vec(codes, (batch, code_dim), &Device::Cpu)?,
            iterations,
            steps,
            step_size,
        })
    }
}
