//! The benchmark of models in integer arithmetic: the host's side, and what a core took.

use anyhow::{Result, ensure};
use serde::Serialize;
use sparsecode_formats::{
    Activations, CodeSign, INTEGER_FORMAT_VERSION, IntegerFile, ModelFile, ReadError, WeightType,
};
use sparsecode_patches::{Patches, level, threshold};
use sparsecode_runtime::{
    IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView, IntegerWorkspaceBuf, Method,
};

use crate::cores::Row;
use crate::firmware::Job;
use crate::log::Log;
use crate::{elf, sound, variational};

/// Relative excess over the lowest energy that counts as having arrived.
pub(crate) const GOOD: f64 = 1e-3;

/// Whether a file holds such a model.
pub(crate) fn takes(model: &[u8]) -> bool {
    matches!(
        ModelFile::read(model),
        Err(ReadError::UnsupportedVersion {
            found: INTEGER_FORMAT_VERSION
        })
    )
}

/// CRC-32 of each stage's results, and what refinement takes.
#[derive(Debug, PartialEq)]
struct Host {
    encode: u32,
    decode: u32,
    fista: u32,
    descent: u32,
    /// Mean iterations of FISTA, and passes of coordinate descent, from the encoder's code to
    /// within [`GOOD`] of the lowest energy.
    good: [f64; 2],
}

impl Host {
    /// Where no core ran, nothing is compared.
    const NONE: Self = Self {
        encode: 0,
        decode: 0,
        fista: 0,
        descent: 0,
        good: [f64::NAN; 2],
    };
}

/// The energy that a file's integers stand for, in `f64`, for one patch.
struct Energy {
    /// `WᵀW`, row by row.
    gram: Vec<f64>,
    /// `Wᵀy`
    correlation: Vec<f64>,
    /// `½dλ`
    threshold: f64,
    /// `½‖y‖²`
    constant: f64,
    /// Code units of a level.
    unit: f64,
    signed: bool,
}

impl Energy {
    fn new(file: &IntegerFile<'_>, threshold: i32, levels: &[i16]) -> Result<Self> {
        let (spec, units) = (file.spec().map_err(sound)?, file.units().map_err(sound)?);
        let (codes, inputs) = (file.spec.code_dim(), file.spec.input_dim());
        let refiner = &file.refiner;
        let point_bits = u32::from(refiner.point_fraction) + file.spec.activations.fine_bits();
        let point = units.code / f64::from(1_u32 << point_bits);
        // ρ = 2η/d is in everything that the file holds for refinement; without it there are W, y
        // and λ.
        let step = 2.0 * f64::from(spec.step_size) / inputs as f64;
        let power = |shift: u8| 2f64.powi(shift.into());
        // Atoms in the unit in which a level of the input is 1, from the correlations' multipliers.
        let atoms: Vec<f64> = (0..codes)
            .flat_map(|k| {
                let factor = f64::from(refiner.correlation.multipliers[k])
                    / power(refiner.correlation.shift)
                    * point
                    / step;
                let level =
                    move |i| f64::from(file.decoder.dictionary.get(k, i).unwrap_or(0)) * factor;
                (0..inputs).map(level)
            })
            .collect();
        let correlation = atoms.chunks(inputs).enumerate().map(|(k, atom)| {
            let sum: f64 = atom
                .iter()
                .zip(levels)
                .map(|(w, n)| w * f64::from(*n))
                .sum();
            sum + f64::from(refiner.bias[k]) * point / step
        });
        let gram = (0..codes).flat_map(|j| {
            (0..codes).map(move |k| {
                f64::from(refiner.gram.get(j, k).unwrap_or(0)) / power(refiner.gram_fraction) / step
            })
        });
        let correlation: Vec<f64> = correlation.collect();
        let input = levels
            .iter()
            .map(|n| f64::from(*n) * units.level + units.zero);
        let power: f64 = input.map(|y| y * y).sum();
        Ok(Self {
            gram: gram.collect(),
            threshold: f64::from(threshold) * point / step,
            constant: 0.5 * power,
            correlation,
            unit: units.code,
            signed: refiner.codes == CodeSign::Signed,
        })
    }

    /// `½d` times the energy of a code in units.
    fn of(&self, code: &[f64]) -> f64 {
        let rows = self.gram.chunks(code.len());
        let sum: f64 = rows
            .zip(code)
            .zip(&self.correlation)
            .filter(|((_, z), _)| **z != 0.0)
            .map(|((row, z), c)| {
                let product: f64 = row.iter().zip(code).map(|(g, z)| g * z).sum();
                z * (0.5 * product - c) + self.threshold * z.abs()
            })
            .sum();
        sum + self.constant
    }

    /// The lowest, by coordinate descent.
    fn lowest(&self) -> f64 {
        let codes = self.correlation.len();
        let mut code = vec![0.0; codes];
        for _ in 0..3000 {
            for k in 0..codes {
                let row = &self.gram[k * codes..][..codes];
                let product: f64 = row.iter().zip(&code).map(|(g, z)| g * z).sum();
                let slope = self.correlation[k] - product + row[k] * code[k];
                let size = (slope.abs() - self.threshold).max(0.0);
                code[k] = if row[k] > 0.0 && (slope > 0.0 || self.signed) {
                    size.copysign(slope) / row[k]
                } else {
                    0.0
                };
            }
        }
        self.of(&code)
    }

    fn of_levels(&self, code: &IntegerCodeBuf) -> f64 {
        let mut dense = vec![0.0; self.correlation.len()];
        for (index, level) in code.iter() {
            dense[usize::from(index)] = f64::from(level) * self.unit;
        }
        self.of(&dense)
    }
}

/// What `bin/integer.rs` does, by the same crate.
fn host(file: IntegerFile<'_>, patches: &Patches, iterations: u32) -> Result<Host> {
    let (scale, _) = file.scales().map_err(sound)?;
    let fista = IntegerRefine {
        method: Method::Fista,
        threshold: threshold(&file, patches.noise()).map_err(sound)?,
        max_iterations: iterations,
        tolerance_bits: 31,
        ..IntegerRefine::for_model(&file)
    };
    let descent = IntegerRefine {
        method: Method::CoordinateDescent,
        ..fista
    };
    let view = IntegerView::from(file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let workspace = &mut workspace;
    let mut hashers: [crc32fast::Hasher; 4] = Default::default();
    let add_code = |hasher: &mut crc32fast::Hasher, code: &IntegerCodeBuf| {
        for (index, level) in code.iter() {
            hasher.update(&index.to_le_bytes());
            hasher.update(&level.to_le_bytes());
        }
    };
    let mut good = [0.0; 2];
    for noisy in patches.noisy.chunks(patches.input_dim) {
        let mut input: Vec<i16> = noisy.iter().map(|x| level(*x, scale)).collect();
        let normalisation = view.preprocess(&mut input)?;
        view.encode(&input, &mut code, workspace)?;
        add_code(&mut hashers[0], &code);
        let start = code.clone();
        let mut output = vec![0; input.len()];
        view.decode(&code, &mut output, workspace)?;
        view.restore(&mut output, normalisation)?;
        for level in output {
            hashers[1].update(&level.to_le_bytes());
        }
        view.refine(&input, &mut code, &fista, workspace, || false)?;
        add_code(&mut hashers[2], &code);
        code.clone_from(&start);
        view.refine(&input, &mut code, &descent, workspace, || false)?;
        add_code(&mut hashers[3], &code);

        let energy = Energy::new(&file, fista.threshold, &input)?;
        let enough = energy.lowest() * (1.0 + GOOD);
        for (settings, needed) in [fista, descent].into_iter().zip(&mut good) {
            let arrived = (0..2000).find(|&iterations| {
                code.clone_from(&start);
                let settings = IntegerRefine {
                    max_iterations: iterations,
                    ..settings
                };
                let done = view.refine(&input, &mut code, &settings, workspace, || false);
                done.is_ok() && energy.of_levels(&code) <= enough
            });
            // Codes that are cut, or too coarse for this, never arrive.
            *needed += arrived.map_or(f64::INFINITY, f64::from);
        }
    }
    let [encode, decode, fista, descent] = hashers.map(crc32fast::Hasher::finalize);
    Ok(Host {
        encode,
        decode,
        fista,
        descent,
        good: good.map(|sum| sum / patches.count as f64),
    })
}

/// Instructions of each stage in integers, means over the patches, and sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntegerCosts {
    /// Of preprocessing.
    pub preprocess: u64,
    /// Of a product of all weights with the patch, as the encoder's first layer is.
    pub dense_layer: u64,
    /// Of the encoder.
    pub encode: u64,
    /// Of the decoder.
    pub decode: u64,
    /// Of refinement, whatever the number of iterations.
    pub once: u64,
    /// Of an iteration of FISTA.
    pub iteration: u64,
    /// Of a pass of coordinate descent.
    pub pass: u64,
    /// Flash without model and patches.
    pub flash: u64,
    /// Patch, code and workspace.
    pub buffers: u64,
    /// Deepest stack.
    pub stack: u64,
}

impl IntegerCosts {
    fn of(log: &Log, flash: u64) -> Result<Self> {
        Ok(Self {
            preprocess: log.value("preprocess")?,
            dense_layer: log.value("dense layer")?,
            encode: log.value("encode")?,
            decode: log.value("decode")?,
            once: log.value("fista once")?,
            iteration: log.value("fista iteration")?,
            pass: log.value("descent pass")?,
            flash,
            buffers: log.value("scratch bytes")?,
            stack: log.value("stack bytes")?,
        })
    }
}

/// Mean iterations from the encoder's code to an energy within 1/1000 of the lowest; infinite if a
/// code never arrives, because codes are cut or too coarse.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IntegerIterations {
    /// Of FISTA.
    pub fista: f64,
    /// Passes of coordinate descent.
    pub descent: f64,
}

/// A model in integers on each core.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntegerBench {
    /// The model's variant.
    pub name: String,
    /// What it was trained on.
    pub data: String,
    /// λ of training.
    pub lambda: f32,
    /// Samples of a patch.
    pub input_dim: usize,
    /// Atoms.
    pub code_dim: usize,
    /// Bits of a weight.
    pub weight_bits: u32,
    /// Bits of an activation.
    pub activation_bits: u32,
    /// How many patches the means are taken over.
    pub patches: usize,
    /// Mean number of active atoms in the encoder's code; NaN if no core ran.
    pub active: f64,
    /// To a good code; NaN if no core ran.
    pub iterations: IntegerIterations,
    /// What each core took.
    pub cores: Vec<Row<IntegerCosts>>,
}

/// Holds every core to the host: codes and patches, and no emulation of floating-point arithmetic.
pub(crate) fn bench(job: &Job, rows: Vec<Row<(Vec<u8>, Log)>>) -> Result<IntegerBench> {
    let file = IntegerFile::read(&job.model).map_err(sound)?;
    let (host, active) = match rows.iter().find_map(Row::passed) {
        Some((_, log)) => (
            host(file, &job.patches, log.value("iterations")?)?,
            log.value::<f64>("active")? / job.patches.count as f64,
        ),
        None => (Host::NONE, f64::NAN),
    };
    let patches = 2 * job.patches.noisy.len() as u64;
    let cores = rows.into_iter().map(|row| {
        row.and_then(|core, (elf, log)| {
            check(&host, &log)?;
            elf::check_floats(core, &elf)?;
            let footprint = elf::footprint(&elf, &job.model)?;
            IntegerCosts::of(&log, footprint.flash - footprint.model - patches)
        })
    });
    let about = file.spec().map_err(sound)?;
    let [fista, descent] = host.good;
    Ok(IntegerBench {
        cores: cores.collect(),
        name: variational::name(&file)?,
        data: about.provenance.data.to_string(),
        lambda: about.lambda,
        input_dim: file.spec.input_dim(),
        code_dim: file.spec.code_dim(),
        weight_bits: match about.weights {
            WeightType::I4 => 4,
            _ => 8,
        },
        activation_bits: match file.spec.activations {
            Activations::I16 => 16,
            Activations::I8 => 8,
        },
        patches: job.patches.count,
        active,
        iterations: IntegerIterations { fista, descent },
    })
}

fn check(host: &Host, log: &Log) -> Result<()> {
    for (stage, expected) in [
        ("encode", host.encode),
        ("decode", host.decode),
        ("fista", host.fista),
        ("descent", host.descent),
    ] {
        let found: u32 = log.value(&format!("{stage} checksum"))?;
        ensure!(
            found == expected,
            "{stage} checksum: {found:08x}, the host's is {expected:08x}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_results_than_the_hosts_are_refused() {
        let host = Host {
            encode: 1,
            decode: 2,
            fista: 3,
            descent: 4,
            good: [0.0; 2],
        };
        let log = |fista: u32| {
            let lines = [
                ("encode", 1),
                ("decode", 2),
                ("fista", fista),
                ("descent", 4),
            ];
            Log::from_lines(
                lines
                    .map(|(name, value)| format!("info  {name} checksum = {value}"))
                    .into(),
            )
        };
        check(&host, &log(3)).unwrap();
        let error = check(&host, &log(4)).unwrap_err().to_string();
        assert!(error.contains("fista checksum"), "{error}");
    }
}
