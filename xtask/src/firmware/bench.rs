//! `cargo xtask bench device`: what each stage costs on every core that QEMU models, in instructions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum as _;
use serde_json::{Value, json};
use sparsecode_runtime::{
    CodeBuffer as _, GramView, ModelSpec, ModelView, Refine, Refinement, SparseCodeBuf,
    WorkspaceBuf,
};

use super::budget::Budgets;
use super::host::add_code;
use super::log::Log;
use super::{Core, Files, Job, Patches, check_counter, elf, integer};
use crate::SKIPPED;
use crate::results::{command_line, write_page};

/// Relative excess over the lowest energy that counts as having arrived.
pub(super) const GOOD: f64 = 1e-3;

/// Counts instructions of every stage on each core, in f32 and in integers, and iterations to a good code, for the firmware's models or
/// another one with a linear decoder.
///
/// The firmware's own are held to firmware-example/budgets.toml.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every core ran and its codes are the host's; 1 something failed; 2 usage; 77 nothing failed, but a core was
skipped because its compiler or emulator is missing.

Example: cargo xtask bench device --core m4f,m7 --markdown docs/results/device-bench.md")]
pub(crate) struct Device {
    /// Run only these cores (repeatable, or separated by commas) [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    core: Vec<Core>,
    #[command(flatten)]
    files: Files,
    /// Print JSON instead of tables: for each model what each core's firmware printed by name, and
    /// the cores that were skipped
    #[arg(long)]
    json: bool,
    /// Write the tables here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// What was found, for people and for programs.
#[derive(Default)]
struct Report {
    text: String,
    models: Vec<Value>,
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
pub(super) fn objective(spec: &ModelSpec<'_>, patches: &Patches) -> Refine {
    let noise = patches.noise();
    if noise > 0.0 {
        Refine::for_noise(spec, noise / spec.preprocessing.deviation)
    } else {
        Refine::for_model(spec)
    }
}

fn host(model: &[u8], patches: &Patches, iterations: u32) -> Result<Host> {
    let model = ModelView::load(model).map_err(|error| anyhow::anyhow!("{error}"))?;
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

/// Runs `cargo xtask bench device`.
pub(crate) fn run(arguments: &Device) -> Result<ExitCode> {
    let mut report = Report::default();
    let mut missing = Missing::default();
    // Without a model of the user's: the firmware's two.
    let mut jobs = vec![Job::of(&arguments.files)?];
    if arguments.files.model.is_none() && arguments.files.patches.is_none() {
        jobs.push(Job::of(&Files {
            model: Some(super::folder().join("model/integer.safetensors")),
            ..arguments.files.clone()
        })?);
    }
    // Means over fewer patches are others.
    let own = jobs.len() == 2 && arguments.files.patch_limit.is_none();
    for job in &jobs {
        benchmark(arguments, job, own, &mut report, &mut missing)?;
    }
    let Report { mut text, models } = report;
    let Missing { skipped, failed } = missing;
    // What the others took is worth printing, but no page.
    if !failed.is_empty() {
        println!("{text}");
        bail!("{}", failed.join("\n"));
    }
    if arguments.json {
        println!("{:#}", json!({ "models": models, "skipped": skipped }));
    } else if text.is_empty() {
        for (core, why) in &skipped {
            println!("{core}: skipped: {why}");
        }
    } else {
        for (core, why) in &skipped {
            writeln!(text, "\nSkipped: {core}: {why}")?;
        }
        println!("{text}");
    }
    if let Some(path) = arguments.markdown.as_ref().filter(|_| !text.is_empty()) {
        write_page(
            path,
            "What each stage costs on a microcontroller",
            "Instructions as QEMU executes them, means over the patches; not cycles: no pipeline, wait states or caches. Codes are \
             bit for bit those of the host.",
            &command_line(),
            "cpu",
            &text,
        )?;
        eprintln!("written to {}", path.display());
    }
    Ok(ExitCode::from(if skipped.is_empty() { 0 } else { SKIPPED }))
}

/// Cores without figures, and why.
#[derive(Default)]
struct Missing {
    skipped: BTreeMap<&'static str, String>,
    failed: Vec<String>,
}

/// Runs one model on every core, and appends its tables. The repository's `own` models are held to their budgets.
fn benchmark(
    arguments: &Device,
    job: &Job,
    own: bool,
    report: &mut Report,
    missing: &mut Missing,
) -> Result<()> {
    let cores = if arguments.core.is_empty() {
        Core::value_variants()
    } else {
        &arguments.core
    };
    let binary = if integer::takes(&job.model) {
        "integer"
    } else {
        "bench"
    };
    let budgets = own.then(|| Budgets::of(binary)).transpose()?;
    let mut runs = Vec::new();
    for core in cores {
        let setup = core.setup();
        let toolchain = match setup.ready() {
            Ok(toolchain) => toolchain,
            Err(why) => {
                missing.skipped.insert(setup.name, why);
                continue;
            }
        };
        eprintln!("{}: {} through {toolchain}", setup.name, setup.target);
        let run = || -> Result<(Vec<u8>, Log)> {
            let path = job.build_binary(&setup, &toolchain, binary)?;
            let elf = fs::read(&path)?;
            let log = job.log_of(&setup, &path, &elf)?;
            check_counter(&log)?;
            if let Some(budgets) = &budgets {
                let footprint = elf::footprint(&elf, &job.model)?;
                budgets.check(setup.name, &toolchain, &log, &footprint)?;
            }
            Ok((elf, log))
        };
        match run() {
            Ok((elf, log)) => runs.push((setup.name, elf, log)),
            Err(error) => missing.failed.push(format!("{}: {error:#}", setup.name)),
        }
    }
    if runs.is_empty() {
        return Ok(());
    }
    let text = &mut report.text;
    let iterations = if binary == "integer" {
        let [fista, descent] = integer::tables(text, job, &runs)?;
        json!({ "fista": fista, "descent": descent })
    } else {
        let host = host(&job.model, &job.patches, runs[0].2.value("iterations")?)?;
        let logs: Vec<(&str, &Log)> = runs.iter().map(|(core, _, log)| (*core, log)).collect();
        for (core, log) in &logs {
            check(log, &host).context(*core)?;
        }
        tables(text, job, &logs, &host)?;
        let [direct, gram, descent] = host.iterations;
        json!({ "direct": direct, "gram": gram, "descent": descent })
    };
    let cores = runs
        .iter()
        .map(|(core, _, log)| ((*core).to_owned(), log.json()));
    report.models.push(json!({
        "program": binary,
        // To a good code; null if none arrives.
        "iterations": iterations,
        "cores": cores.collect::<serde_json::Map<_, _>>(),
    }));
    Ok(())
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

fn tables(text: &mut String, job: &Job, logs: &[(&str, &Log)], host: &Host) -> Result<()> {
    let model = ModelView::load(&job.model).map_err(|error| anyhow::anyhow!("{error}"))?;
    let spec = model.spec();
    writeln!(
        text,
        "Model: {} → {}, {} weights, {} patches, {:.1} atoms active in the encoder's code.\n",
        spec.input_dim(),
        spec.code_dim(),
        spec.weights,
        job.patches.count,
        host.active
    )?;
    writeln!(
        text,
        "| core | preprocess | encode | decode | stack, bytes |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|")?;
    for (core, log) in logs {
        let value = |name: &str| log.value::<u64>(name);
        writeln!(
            text,
            "| {core} | {} | {} | {} | {} |",
            value("preprocess")?,
            value("encode")?,
            value("decode")?,
            value("stack bytes")?
        )?;
    }
    refinements(text, logs, host)
}

/// The table of ways to refine.
fn refinements(text: &mut String, logs: &[(&str, &Log)], host: &Host) -> Result<()> {
    let [direct, gram, descent] = host.iterations;
    writeln!(
        text,
        "\nRefinement. *Once*: for a patch, whatever the number of iterations, the report of the result included. *Good*: from the \
         encoder's code to an energy within 1/1000 of the lowest, which takes {direct:.1} iterations of FISTA ({gram:.1} with the Gram \
         matrix) or {descent:.1} passes of coordinate descent.\n"
    )?;
    writeln!(
        text,
        "| core | FISTA, direct: once | iteration | good | FISTA, Gram: once | iteration | good | descent: once | pass | good | \
         Gram matrix: setup | bytes |"
    )?;
    writeln!(text, "|---|{}", "---:|".repeat(11))?;
    for (core, log) in logs {
        write!(text, "| {core} |")?;
        for (method, iterations) in Method::ALL.into_iter().zip(host.iterations) {
            if method != Method::Direct && !has_gram(log) {
                write!(text, " | | |")?;
                continue;
            }
            let once: u64 = log.value(&format!("{} once", method.name()))?;
            let iteration: u64 = log.value(&format!("{} iteration", method.name()))?;
            let good = once as f64 + iterations * iteration as f64;
            write!(text, " {once} | {iteration} | {good:.0} |")?;
        }
        if has_gram(log) {
            let (setup, bytes): (u64, u64) = (log.value("gram setup")?, log.value("gram bytes")?);
            writeln!(text, " {setup} | {bytes} |")?;
        } else {
            writeln!(text, " | does not fit |")?;
        }
    }
    Ok(())
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
    fn good_is_once_and_the_iterations_that_it_takes() {
        let mut text = String::new();
        refinements(
            &mut text,
            &[("big", &log(true, 2)), ("small", &log(false, 0))],
            &HOST,
        )
        .unwrap();
        assert!(
            text.contains("| big | 100 | 10 | 300 | 50 | 4 | 130 | 60 | 5 | 75 | 1000 | 2000 |"),
            "{text}"
        );
        assert!(
            text.contains("| small | 100 | 10 | 300 | | | | | | | | does not fit |"),
            "{text}"
        );
    }
}
