//! `cargo xtask bench host`: what a patch costs on this machine, beside other runtimes with the
//! same network, in one run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sparsecode_lab::{cargo, root, target_dir};

use crate::exit::SKIPPED;
use crate::results::write_page;

/// Times encoding, refining and decoding on one thread, beside candle, and beside ONNX Runtime and
/// scikit-learn through Python.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 everything was measured; 1 something failed; 2 usage; 77 Python or its packages are missing, so that only the rest was.

Example: cargo xtask bench host --model vdl.safetensors --patches digits.npy --markdown docs/results/host-bench.md")]
pub(crate) struct Host {
    /// A model with f32 weights, an encoder and a linear decoder (`sparsecode export --weights
    /// f32`) [default: a random one]
    #[arg(long, value_name = "FILE", requires = "patches")]
    model: Option<PathBuf>,
    /// Raw patches for the model, 8-bit levels divided by 255, as the rows of a .npy file; 250 are
    /// used
    #[arg(long, value_name = "FILE", requires = "model")]
    patches: Option<PathBuf>,
    /// Python with numpy, onnx, onnxruntime and scikit-learn
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Write the tables here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Microseconds for a patch: the shortest and the median time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Time {
    shortest: f64,
    median: f64,
}

type Times = BTreeMap<String, Time>;

/// Patches of an iteration of the Rust benchmark.
const BATCH: f64 = 250.0;

/// Names in the Rust benchmark.
const OURS: [&str; 12] = [
    "encode/f32",
    "encode/f32-batch",
    "encode/i8-weights",
    "encode/integer",
    "encode/integer-batch",
    "encode/candle",
    "encode/candle-batch",
    "refine/descent",
    "refine/fista",
    "refine/integer",
    "decode/f32",
    "decode/integer",
];

/// Runs `cargo xtask bench host`.
pub(crate) fn run(arguments: &Host) -> Result<ExitCode> {
    let folder = target_dir().join("host-bench");
    let notes = rust(arguments, &folder)?;
    let mut times = Times::new();
    for name in OURS {
        let path = folder.join("criterion").join(name).join("new/sample.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        times.insert(
            name.into(),
            sample(&text).with_context(|| path.display().to_string())?,
        );
    }
    let (status, mut text) = match python(arguments, &folder)? {
        Ok(output) => {
            let heard = heard(&output, &mut times)?;
            (ExitCode::SUCCESS, heard)
        }
        Err(why) => {
            eprintln!(
                "{} cannot run docs/results/compare/host_bench.py: {why}\n\
                 It needs: python3 -m pip install numpy onnx onnxruntime scikit-learn; name another Python with --python",
                arguments.python.display()
            );
            (
                ExitCode::from(SKIPPED),
                "ONNX Runtime and scikit-learn were not there.\n".to_owned(),
            )
        }
    };
    text = format!("{notes}\n{text}\n{}", tables(&times));
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        let model = if arguments.model.is_some() {
            " --model MODEL --patches PATCHES"
        } else {
            ""
        };
        write_page(
            path,
            "What a patch costs on a host",
            "One thread, one run. Microseconds for a patch, over 250 patches: the shortest of at least ten repetitions, and their median \
             in brackets. Times of ONNX Runtime are less the time of a call that computes nothing, measured beside it. The speed of virtual \
             processors drifts: believe ratios more than times.",
            &format!("cargo xtask bench host{model}"),
            "cpu",
            &text,
        )?;
    }
    Ok(status)
}

/// Runs the Rust benchmark, and returns what it says of the model.
fn rust(arguments: &Host, folder: &Path) -> Result<String> {
    let mut command = cargo();
    command
        .args([
            "bench",
            "--quiet",
            "-p",
            "sparsecode-tests",
            "--bench",
            "host",
            "--",
        ])
        // Many short samples: the shortest of them had the processor to itself.
        .args(["--sample-size", "200", "--warm-up-time", "0.5"])
        .args(["--measurement-time", "1"])
        .env("CRITERION_HOME", folder.join("criterion"))
        .env("SPARSECODE_BENCH_FILES", folder)
        // What candle's products would use more of.
        .env("RAYON_NUM_THREADS", "1");
    for (name, path) in [
        ("SPARSECODE_MODEL", &arguments.model),
        ("SPARSECODE_PATCHES", &arguments.patches),
    ] {
        match path {
            // Cargo runs a benchmark in its package's folder.
            Some(path) => command.env(name, std::path::absolute(path)?),
            None => command.env_remove(name),
        };
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the benchmark ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let notes = text.lines().find(|line| line.contains("atoms active"));
    let model = match &arguments.model {
        Some(path) => path.file_name().unwrap_or_default().to_string_lossy(),
        None => "a random one".into(),
    };
    Ok(format!(
        "Model: {model}; {}.\n",
        notes.unwrap_or("nothing is known of it")
    ))
}

/// The times of one benchmark of criterion.
fn sample(text: &str) -> Result<Time> {
    let sample: Value = serde_json::from_str(text)?;
    let numbers = |field: &str| -> Result<Vec<f64>> {
        let values = sample[field]
            .as_array()
            .with_context(|| format!("no {field}"))?;
        let numbers: Option<_> = values.iter().map(Value::as_f64).collect();
        numbers.with_context(|| format!("{field} are no numbers"))
    };
    let (iterations, nanoseconds) = (numbers("iters")?, numbers("times")?);
    let times = iterations.iter().zip(&nanoseconds);
    let mut times: Vec<f64> = times.map(|(n, t)| t / n / BATCH / 1000.0).collect();
    times.sort_by(f64::total_cmp);
    Ok(Time {
        shortest: *times.first().context("no samples")?,
        median: *times.get(times.len() / 2).context("no samples")?,
    })
}

/// What the script prints, or why it cannot run.
fn python(arguments: &Host, folder: &Path) -> Result<std::result::Result<String, String>> {
    let output = Command::new(&arguments.python)
        .arg(root().join("docs/results/compare/host_bench.py"))
        .arg(folder)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ModuleNotFoundError") {
        return Ok(Err(errors.lines().last().unwrap_or_default().to_owned()));
    }
    ensure!(
        output.status.success(),
        "host_bench.py ended with {}:\n{errors}",
        output.status
    );
    Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Takes the script's times, and returns what else it says.
fn heard(output: &str, times: &mut Times) -> Result<String> {
    let mut notes = Vec::new();
    for line in output.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let text = value["versions"]
            .as_str()
            .or_else(|| value["note"].as_str());
        if let Some(text) = text {
            notes.push(text.to_owned());
            continue;
        }
        let number = |field: &str| value[field].as_f64().with_context(|| line.to_owned());
        let name = value["name"].as_str().with_context(|| line.to_owned())?;
        let time = Time {
            shortest: number("min")?,
            median: number("median")?,
        };
        times.insert(name.to_owned(), time);
    }
    Ok(format!("{}.\n", notes.join("; ")))
}

/// A line of a table: what it is called, its time, what is subtracted, and what it is compared
/// with.
struct Line {
    label: &'static str,
    ours: &'static str,
    theirs: &'static str,
    /// The call that is part of theirs.
    floor: Option<&'static str>,
}

fn tables(times: &Times) -> String {
    let call = Some("call");
    let batch_call = Some("call-batch");
    #[rustfmt::skip]
    let lines = [
        Line { label: "encode, f32, beside ONNX Runtime", ours: "encode/f32", theirs: "ort-f32", floor: call },
        Line { label: "encode, f32, beside candle", ours: "encode/f32", theirs: "encode/candle", floor: None },
        Line { label: "encode, i8 weights and f32 arithmetic, beside ONNX Runtime in i8", ours: "encode/i8-weights", theirs: "ort-i8", floor: call },
        Line { label: "encode, integer, beside ONNX Runtime in i8", ours: "encode/integer", theirs: "ort-i8", floor: call },
        Line { label: "encode a batch of 250, f32, beside ONNX Runtime's", ours: "encode/f32-batch", theirs: "ort-f32-batch", floor: batch_call },
        Line { label: "encode a batch of 250, f32, beside candle's", ours: "encode/f32-batch", theirs: "encode/candle-batch", floor: None },
        Line { label: "encode a batch of 250, integer, beside ONNX Runtime's in i8", ours: "encode/integer-batch", theirs: "ort-i8-batch", floor: batch_call },
        Line { label: "refine to 1e-3, coordinate descent, beside `lasso_cd` as it comes", ours: "refine/descent", theirs: "lasso-cd-default", floor: None },
        Line { label: "refine to 1e-3, FISTA, beside `lasso_cd` as it comes", ours: "refine/fista", theirs: "lasso-cd-default", floor: None },
        Line { label: "refine to 1e-3, coordinate descent, beside `lasso_cd` to 1e-3 from zero", ours: "refine/descent", theirs: "lasso-cd", floor: None },
        Line { label: "refine to 1e-3, coordinate descent, beside `lasso_cd` to 1e-3 from the same code", ours: "refine/descent", theirs: "lasso-cd-warm", floor: None },
        Line { label: "refine to 1e-3, FISTA, beside `lasso_cd` to 1e-3 from zero", ours: "refine/fista", theirs: "lasso-cd", floor: None },
    ];
    let mut text = String::from("| | ours | theirs | ratio |\n|---|---:|---:|---:|\n");
    for Line {
        label,
        ours,
        theirs,
        floor,
    } in lines
    {
        let (Some(ours), Some(theirs)) = (times.get(ours), times.get(theirs)) else {
            continue;
        };
        let floor = floor.and_then(|name| times.get(name)).copied();
        let floor = floor.unwrap_or(Time {
            shortest: 0.0,
            median: 0.0,
        });
        let theirs = Time {
            shortest: theirs.shortest - floor.shortest,
            median: theirs.median - floor.median,
        };
        let _ = writeln!(
            text,
            "| {label} | {} | {} | {:.2} ({:.2}) |",
            show(ours),
            show(&theirs),
            ours.shortest / theirs.shortest,
            ours.median / theirs.median
        );
    }
    text.push_str("\nEverything that was measured:\n\n| | shortest | median |\n|---|---:|---:|\n");
    for (name, time) in times {
        let _ = writeln!(
            text,
            "| `{name}` | {:.3} | {:.3} |",
            time.shortest, time.median
        );
    }
    text
}

fn show(time: &Time) -> String {
    format!("{:.2} ({:.2})", time.shortest, time.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_times_of_a_patch() {
        let text = r#"{"sampling_mode":"Linear","iters":[1.0,2.0,4.0],"times":[750000.0,1000000.0,2500000.0]}"#;
        let time = sample(text).unwrap();
        assert_eq!((time.shortest, time.median), (2.0, 2.5));
        assert!(sample("{}").is_err());
    }

    #[test]
    fn the_floor_is_subtracted() {
        let mut times = Times::new();
        let output = "{\"versions\": \"x 1\"}\n{\"name\": \"call\", \"min\": 4, \"median\": 5}\n\
                      {\"name\": \"ort-i8\", \"min\": 14, \"median\": 25}";
        assert_eq!(heard(output, &mut times).unwrap(), "x 1.\n");
        let ours = Time {
            shortest: 2.0,
            median: 4.0,
        };
        times.insert("encode/integer".into(), ours);
        let text = tables(&times);
        assert!(
            text.contains("| 2.00 (4.00) | 10.00 (20.00) | 0.20 (0.20) |"),
            "{text}"
        );
    }
}
