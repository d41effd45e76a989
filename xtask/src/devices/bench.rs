//! `cargo xtask bench device`: what each stage costs on every core that QEMU models, in
//! instructions.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;
use sparsecode_lab::bench::{self, Bench, FloatBench, IntegerBench, MethodCosts};
use sparsecode_lab::firmware::{self, Files, Job};
use sparsecode_lab::{Core, Status, Tools, status, variational};

use super::{FileArguments, cells, core, cores, exit_code, table, without};
use crate::results::{command_line, write_page};

/// Counts instructions of every stage on each core, in f32 and in integers, and iterations to a
/// good code, for the firmware's models or another one with a linear decoder.
///
/// The firmware's own are held to firmware-example/budgets.toml.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every core ran and its codes are the host's; 1 something failed; 2 usage; 77 \
nothing failed, but a core was
skipped because its compiler or emulator is missing.

Example: cargo xtask bench device --core m4f,m7 --markdown docs/results/device-bench.md")]
pub(crate) struct Arguments {
    /// Run only these cores (repeatable, or separated by commas) [default: all]
    #[arg(long, value_parser = core(), value_delimiter = ',')]
    core: Vec<Core>,
    #[command(flatten)]
    files: FileArguments,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write the tables here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs `cargo xtask bench device`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    // Without a model of the user's: the firmware's own.
    let mut jobs = vec![arguments.files.files()];
    if arguments.files.model.is_none() && arguments.files.patches.is_none() {
        for name in ["integer"].into_iter().chain(variational::MODELS) {
            jobs.push(Files {
                model: Some(firmware::folder().join(format!("model/{name}.safetensors"))),
                ..arguments.files.files()
            });
        }
    }
    // Means over fewer patches are others.
    let own = jobs.len() > 1 && arguments.files.patch_limit.is_none();
    let cores = cores(&arguments.core);
    let mut models = Vec::new();
    for files in &jobs {
        models.push(bench::run(tools, &Job::of(files)?, &cores, own)?);
    }
    let (mut tables, mut missing, mut statuses) = (String::new(), Vec::new(), Vec::new());
    for model in &models {
        let (text, lines, status) = match model {
            Bench::Float(found) => (float(found), without(&found.cores), status(&found.cores)),
            Bench::Integer(found) => (integer(found), without(&found.cores), status(&found.cores)),
        };
        tables += &text;
        // All models miss the same tools.
        if !missing.contains(&lines) {
            missing.push(lines);
        }
        statuses.push(status);
    }
    let text = format!("{tables}\n{}", missing.concat());
    match arguments.json {
        true => println!("{:#}", json!({ "models": models })),
        false => println!("{}", text.trim()),
    }
    // What the others took is worth printing, but no page.
    if statuses.contains(&Status::Failed) {
        bail!("a core failed: see above");
    }
    if let Some(path) = arguments.markdown.as_ref().filter(|_| !tables.is_empty()) {
        write_page(
            path,
            "What each stage costs on a microcontroller",
            "Instructions as QEMU executes them, means over the patches; not cycles: no pipeline, \
             wait states or caches. Codes are \
             bit for bit those of the host.",
            &command_line(),
            "cpu",
            &text,
        )?;
    }
    let skipped = statuses.contains(&Status::Skipped);
    Ok(exit_code(if skipped {
        Status::Skipped
    } else {
        Status::Passed
    }))
}

/// The tables of a model in f32; nothing if no core ran.
fn float(found: &FloatBench) -> String {
    let headings = ["core", "preprocess", "encode", "decode", "stack, bytes"];
    let stages = table(&headings, &found.cores, |costs| {
        cells([costs.preprocess, costs.encode, costs.decode, costs.stack])
    });
    let headings = [
        "core",
        "FISTA, direct: once",
        "iteration",
        "good",
        "FISTA, Gram: once",
        "iteration",
        "good",
        "descent: once",
        "pass",
        "good",
        "Gram matrix: setup",
        "bytes",
    ];
    let iterations = &found.iterations;
    let refinement = table(&headings, &found.cores, |costs| {
        let gram = costs.gram.as_ref();
        let mut row = method(Some(&costs.direct), iterations.direct);
        row.extend(method(gram.map(|gram| &gram.fista), iterations.gram));
        row.extend(method(gram.map(|gram| &gram.descent), iterations.descent));
        row.extend(match gram {
            Some(gram) => cells([gram.setup, gram.bytes]),
            None => vec![String::new(), "does not fit".to_owned()],
        });
        row
    });
    let (Some(stages), Some(refinement)) = (stages, refinement) else {
        return String::new();
    };
    format!(
        "Model: {} → {}, {} weights, {} patches, {:.1} atoms active in the encoder's code.\n\n{}\n\
         Refinement. *Once*: for a patch, whatever the number of iterations, the report of the \
         result included. *Good*: from the \
         encoder's code to an energy within 1/1000 of the lowest, which takes {:.1} iterations of \
         FISTA ({:.1} with the Gram \
         matrix) or {:.1} passes of coordinate descent.\n\n{}",
        found.input_dim,
        found.code_dim,
        found.weights,
        found.patches,
        found.active,
        stages.markdown(),
        iterations.direct,
        iterations.gram,
        iterations.descent,
        refinement.markdown()
    )
}

/// Once, an iteration, and all to a good code; empty where there is no such method.
fn method(costs: Option<&MethodCosts>, iterations: f64) -> Vec<String> {
    let Some(costs) = costs else {
        return vec![String::new(); 3];
    };
    let mut row = cells([costs.once, costs.iteration]);
    row.push(good(costs, iterations));
    row
}

/// Instructions to a good code.
fn good(costs: &MethodCosts, iterations: f64) -> String {
    match iterations.is_finite() {
        true => format!("{:.0}", costs.all(iterations)),
        false => "not reached".to_owned(),
    }
}

/// The tables of a model in integers; nothing if no core ran.
fn integer(found: &IntegerBench) -> String {
    let headings = [
        "core",
        "preprocess",
        "dense layer",
        "encode",
        "decode",
        "preprocess + encode + decode",
        "flash without model and patches, bytes",
        "buffers, bytes",
        "stack, bytes",
    ];
    let stages = table(&headings, &found.cores, |costs| {
        cells([
            costs.preprocess,
            costs.dense_layer,
            costs.encode,
            costs.decode,
            costs.preprocess + costs.encode + costs.decode,
            costs.flash,
            costs.buffers,
            costs.stack,
        ])
    });
    let iterations = &found.iterations;
    let headings = [
        "core",
        "once",
        "FISTA: iteration",
        "good",
        "descent: pass",
        "good",
    ];
    let refinement = table(&headings, &found.cores, |costs| {
        let of = |iteration| MethodCosts {
            once: costs.once,
            iteration,
        };
        let mut row = method(Some(&of(costs.iteration)), iterations.fista);
        row.push(costs.pass.to_string());
        row.push(good(&of(costs.pass), iterations.descent));
        row
    });
    let (Some(stages), Some(refinement)) = (stages, refinement) else {
        return String::new();
    };
    format!(
        "\nIntegers: {} of {}, λ = {}, {} → {}, {}-bit weights, {}-bit activations, {} patches, \
         {:.1} atoms active in the encoder's code. \
         The ELFs of cores without a floating-point unit hold no function of its emulation. \
         *Dense layer*: a product of all weights \
         with the patch, as the encoder's first layer and the refinement's start are.\n\n{}\n\
         Refinement in integers. *Once*: for a patch, whatever the number of iterations. *Good*: \
         from the encoder's code to an energy \
         within 1/1000 of the lowest, which takes {:.1} iterations of FISTA or {:.1} passes of \
         coordinate descent.\n\n{}",
        found.name,
        found.data,
        found.lambda,
        found.input_dim,
        found.code_dim,
        found.weight_bits,
        found.activation_bits,
        found.patches,
        found.active,
        stages.markdown(),
        iterations.fista,
        iterations.descent,
        refinement.markdown()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sparsecode_lab::bench::{FloatCosts, FloatIterations, GramCosts};
    use sparsecode_lab::{Outcome, Row};

    #[test]
    fn good_is_once_and_the_iterations_that_it_takes() {
        let costs = |once, iteration| MethodCosts { once, iteration };
        let row = |core, gram| Row {
            core,
            toolchain: String::new(),
            outcome: Outcome::Passed(FloatCosts {
                preprocess: 5,
                encode: 6,
                decode: 7,
                stack: 8,
                direct: costs(100, 10),
                gram,
            }),
        };
        let gram = GramCosts {
            setup: 1000,
            bytes: 2000,
            fista: costs(50, 4),
            descent: costs(60, 5),
        };
        let text = float(&FloatBench {
            input_dim: 64,
            code_dim: 128,
            weights: "i8".into(),
            patches: 4,
            active: 13.5,
            iterations: FloatIterations {
                direct: 20.0,
                gram: 20.0,
                descent: 3.0,
            },
            cores: vec![row(Core::M4f, Some(gram)), row(Core::M33, None)],
        });
        let cells = |core: &str| -> Vec<String> {
            let mut lines = text
                .lines()
                .filter(|line| line.starts_with(&format!("| {core} ")));
            let cells = lines.next_back().unwrap().split('|').skip(2);
            cells.map(|cell| cell.trim().to_owned()).collect()
        };
        let big = [
            "100", "10", "300", "50", "4", "130", "60", "5", "75", "1000", "2000", "",
        ];
        assert_eq!(cells("m4f"), big, "{text}");
        let small = [
            "100",
            "10",
            "300",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "does not fit",
            "",
        ];
        assert_eq!(cells("m33"), small, "{text}");
        assert_eq!(good(&costs(1, 1), f64::INFINITY), "not reached");
    }
}
