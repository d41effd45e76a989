//! What each stage costs on every core that QEMU models, in instructions, within budgets.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use sparsecode_patches::Patches;
use sparsecode_runtime::{
    CodeBuffer as _, GramView, ModelSpec, ModelView, Refine, Refinement, SparseCodeBuf,
    WorkspaceBuf,
};

use crate::budget::Budgets;
use crate::cores::{Core, Row, on_cores};
use crate::firmware::{Job, check_counter};
use crate::host::add_code;
use crate::integer::{self, GOOD};
use crate::log::Log;
use crate::{Tools, elf, sound, variational};

pub use crate::integer::{IntegerBench, IntegerCosts, IntegerIterations};

/// Instructions of a way to refine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MethodCosts {
    /// For a patch, whatever the number of iterations.
    pub once: u64,
    /// For an iteration, or a pass.
    pub iteration: u64,
}

impl MethodCosts {
    fn of(log: &Log, method: Method) -> Result<Self> {
        let name = method.name();
        Ok(Self {
            once: log.value(&format!("{name} once"))?,
            iteration: log.value(&format!("{name} iteration"))?,
        })
    }

    /// Instructions of a refinement that takes so many iterations.
    pub fn all(&self, iterations: f64) -> f64 {
        self.once as f64 + iterations * self.iteration as f64
    }
}

/// Refinement by means of the Gram matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GramCosts {
    /// Instructions that compute the matrix.
    pub setup: u64,
    /// Bytes of the matrix and its workspace.
    pub bytes: u64,
    /// By FISTA.
    pub fista: MethodCosts,
    /// By coordinate descent.
    pub descent: MethodCosts,
}

/// Instructions of each stage in f32, means over the patches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FloatCosts {
    /// Of preprocessing.
    pub preprocess: u64,
    /// Of the encoder.
    pub encode: u64,
    /// Of the decoder.
    pub decode: u64,
    /// Deepest stack, in bytes.
    pub stack: u64,
    /// Of FISTA without the Gram matrix.
    pub direct: MethodCosts,
    /// With it, where it fits the RAM.
    pub gram: Option<GramCosts>,
}

impl FloatCosts {
    fn of(log: &Log) -> Result<Self> {
        let gram = match has_gram(log) {
            false => None,
            true => Some(GramCosts {
                setup: log.value("gram setup")?,
                bytes: log.value("gram bytes")?,
                fista: MethodCosts::of(log, Method::Gram)?,
                descent: MethodCosts::of(log, Method::Descent)?,
            }),
        };
        Ok(Self {
            preprocess: log.value("preprocess")?,
            encode: log.value("encode")?,
            decode: log.value("decode")?,
            stack: log.value("stack bytes")?,
            direct: MethodCosts::of(log, Method::Direct)?,
            gram,
        })
    }
}

/// Mean iterations from the encoder's code to an energy within 1/1000 of the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FloatIterations {
    /// Of FISTA.
    pub direct: f64,
    /// Of FISTA with the Gram matrix.
    pub gram: f64,
    /// Passes of coordinate descent.
    pub descent: f64,
}

/// A model in f32 on each core.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FloatBench {
    /// Samples of a patch.
    pub input_dim: usize,
    /// Atoms.
    pub code_dim: usize,
    /// How weights are stored.
    pub weights: String,
    /// How many patches the means are taken over.
    pub patches: usize,
    /// Mean number of active atoms in the encoder's code; NaN if no core ran.
    pub active: f64,
    /// To a good code; NaN if no core ran.
    pub iterations: FloatIterations,
    /// What each core took.
    pub cores: Vec<Row<FloatCosts>>,
}

/// A model on each core.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "program", rename_all = "lowercase")]
pub enum Bench {
    /// In f32, with a linear decoder.
    Float(FloatBench),
    /// In integers.
    Integer(IntegerBench),
}

/// A way to refine a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Direct,
    Gram,
    Descent,
}

impl Method {
    const ALL: [Self; 3] = [Self::Direct, Self::Gram, Self::Descent];

    /// As the firmware names it.
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Gram => "gram",
            Self::Descent => "descent",
        }
    }
}

/// What the host finds for the same patches.
struct Host {
    /// Of each method's codes after the firmware's iterations.
    checksums: [u32; 3],
    /// Mean iterations from the encoder's code to within [`GOOD`] of the lowest energy.
    iterations: [f64; 3],
    active: f64,
}

impl Host {
    /// Where no core ran, nothing is compared.
    const NONE: Self = Self {
        checksums: [0; 3],
        iterations: [f64::NAN; 3],
        active: f64::NAN,
    };
}

/// The model, ready to refine in each way.
struct Refiner<'a> {
    model: ModelView<'a>,
    gram: GramView<'a>,
    workspace: WorkspaceBuf,
}

impl Refiner<'_> {
    fn refine(
        &mut self,
        method: Method,
        input: &[f32],
        code: &mut SparseCodeBuf,
        settings: &Refine,
    ) -> Result<Refinement> {
        let workspace = &mut self.workspace;
        Ok(match method {
            Method::Direct => self
                .model
                .refine(input, code, settings, workspace, || false),
            Method::Gram => self.gram.refine(input, code, settings, workspace, || false),
            Method::Descent => self
                .gram
                .descend(input, code, settings, workspace, || false),
        }?)
    }
}

/// The λ for the patches' noise; without any, that of training.
pub(crate) fn objective(spec: &ModelSpec<'_>, patches: &Patches) -> Refine {
    let noise = patches.noise();
    if noise > 0.0 {
        Refine::for_noise(spec, noise / spec.preprocessing.deviation)
    } else {
        Refine::for_model(spec)
    }
}

fn host(model: &[u8], patches: &Patches, iterations: u32) -> Result<Host> {
    let model = ModelView::load(model).map_err(sound)?;
    let spec = model.spec();
    let settings = Refine {
        max_iterations: iterations,
        tolerance: 0.0,
        ..objective(spec, patches)
    };
    let mut refiner = Refiner {
        model,
        gram: GramView::new(&model).context("the benchmark takes models with a linear decoder")?,
        workspace: WorkspaceBuf::for_model(spec),
    };
    let code_dim = u16::try_from(spec.code_dim())?;
    let mut hashers: [crc32fast::Hasher; 3] = Default::default();
    let mut needed = [0.0; 3];
    let mut active = 0;
    let budget = |max_iterations| Refine {
        max_iterations,
        ..settings
    };
    for noisy in patches.noisy.chunks(patches.input_dim) {
        let mut input = noisy.to_vec();
        let _ = model.preprocess(&mut input)?;
        let mut start = SparseCodeBuf::new(code_dim);
        model.encode(&input, &mut start, &mut refiner.workspace)?;
        active += start.active();
        let lowest = refiner
            .refine(Method::Descent, &input, &mut start.clone(), &budget(5000))?
            .energy;
        let good = f64::from(lowest) * (1.0 + GOOD);
        for ((method, hasher), needed) in Method::ALL.into_iter().zip(&mut hashers).zip(&mut needed)
        {
            let mut code = start.clone();
            refiner.refine(method, &input, &mut code, &settings)?;
            add_code(hasher, &code);
            let mut arrived = false;
            for iterations in 0..2000 {
                let found =
                    refiner.refine(method, &input, &mut start.clone(), &budget(iterations))?;
                if f64::from(found.energy) <= good {
                    *needed += f64::from(iterations);
                    arrived = true;
                    break;
                }
            }
            ensure!(
                arrived,
                "{} does not arrive in 2000 iterations",
                method.name()
            );
        }
    }
    let count = patches.count as f64;
    Ok(Host {
        checksums: hashers.map(crc32fast::Hasher::finalize),
        iterations: needed.map(|sum| sum / count),
        active: active as f64 / count,
    })
}

/// Runs one model on every core, and holds its codes to the host's.
///
/// With `budgets`, each core's counts and sizes are held to `firmware-example/budgets.toml`, which
/// is right for the repository's own models with all of their patches.
///
/// # Errors
/// If the host cannot run the model. A core's failure is in its row.
pub fn run(tools: &Tools, job: &Job, cores: &[Core], budgets: bool) -> Result<Bench> {
    let is_integer = integer::takes(&job.model);
    let binary = if is_integer { "integer" } else { "bench" };
    let file = job.model.integer_file().ok();
    let kind = file.as_ref().and_then(variational::kind).unwrap_or(binary);
    let budgets = budgets.then(|| Budgets::of(kind)).transpose()?;
    let rows = on_cores(
        tools,
        cores,
        |setup, toolchain| job.build_binary(setup, toolchain, binary),
        |core, toolchain, path| {
            let elf = fs::read(path)?;
            let log = job.log_of(&core.setup(), path, &elf)?;
            check_counter(&log)?;
            if let Some(budgets) = &budgets {
                let footprint = elf::footprint(&elf, &job.model)?;
                budgets.check(core.name(), toolchain, &log, &footprint)?;
            }
            Ok((elf, log))
        },
    );
    if is_integer {
        return Ok(Bench::Integer(integer::bench(job, rows)?));
    }
    let host = match rows.iter().find_map(Row::passed) {
        Some((_, log)) => host(&job.model, &job.patches, log.value("iterations")?)?,
        None => Host::NONE,
    };
    let model = ModelView::load(&job.model).map_err(sound)?;
    let spec = model.spec();
    let [direct, gram, descent] = host.iterations;
    Ok(Bench::Float(FloatBench {
        input_dim: spec.input_dim(),
        code_dim: spec.code_dim(),
        weights: spec.weights.to_string(),
        patches: job.patches.count,
        active: host.active,
        iterations: FloatIterations {
            direct,
            gram,
            descent,
        },
        cores: rows
            .into_iter()
            .map(|row| {
                row.and_then(|_, (_, log)| {
                    check(&log, &host)?;
                    FloatCosts::of(&log)
                })
            })
            .collect(),
    }))
}

/// Holds the device's codes to the host's.
fn check(log: &Log, host: &Host) -> Result<()> {
    for (method, expected) in Method::ALL.into_iter().zip(host.checksums) {
        let name = format!("{} checksum", method.name());
        // Without room for the Gram matrix there are no other methods.
        if method != Method::Direct && !has_gram(log) {
            continue;
        }
        let found: u32 = log.value(&name)?;
        ensure!(
            found == expected,
            "{name}: {found:08x}, the host's is {expected:08x}"
        );
    }
    Ok(())
}

fn has_gram(log: &Log) -> bool {
    log.value::<u64>("gram setup").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(gram: bool, checksum: u32) -> Log {
        let mut lines = vec![
            "direct once = 100".to_owned(),
            "direct iteration = 10".to_owned(),
            "direct checksum = 1".to_owned(),
            "preprocess = 5".to_owned(),
            "encode = 6".to_owned(),
            "decode = 7".to_owned(),
            "stack bytes = 8".to_owned(),
        ];
        if gram {
            for (name, once, iteration) in [("gram", 50, 4), ("descent", 60, 5)] {
                lines.push(format!("{name} once = {once}"));
                lines.push(format!("{name} iteration = {iteration}"));
                lines.push(format!("{name} checksum = {checksum}"));
            }
            lines.push("gram setup = 1000".to_owned());
            lines.push("gram bytes = 2000".to_owned());
        }
        Log::from_lines(
            lines
                .into_iter()
                .map(|line| format!("info  {line}"))
                .collect(),
        )
    }

    const HOST: Host = Host {
        checksums: [1, 2, 2],
        iterations: [20.0, 20.0, 3.0],
        active: 4.0,
    };

    #[test]
    fn other_codes_than_the_hosts_are_refused() {
        check(&log(true, 2), &HOST).unwrap();
        check(&log(false, 0), &HOST).unwrap();
        let error = check(&log(true, 3), &HOST).unwrap_err().to_string();
        assert!(error.contains("gram checksum"), "{error}");
    }

    #[test]
    fn costs_are_read_and_the_gram_matrix_is_left_out_where_it_does_not_fit() {
        let costs = FloatCosts::of(&log(true, 2)).unwrap();
        assert_eq!((costs.preprocess, costs.encode, costs.decode), (5, 6, 7));
        let gram = costs.gram.unwrap();
        assert_eq!((gram.setup, gram.bytes), (1000, 2000));
        assert_eq!(gram.descent.all(3.0), 75.0);
        assert_eq!(costs.direct.all(20.0), 300.0);
        assert_eq!(FloatCosts::of(&log(false, 0)).unwrap().gram, None);
    }
}
