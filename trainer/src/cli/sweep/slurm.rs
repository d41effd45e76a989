use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::family::of_plan;
use crate::cli::common::usage;
use crate::cli::data_flags::DataFlags;
use crate::cli::device::DeviceChoice;
use crate::cli::family::with_family;
use crate::storage::write_atomic;
use crate::sweep::Plan;
use crate::sweep::slurm::Script;

/// Write a batch script that does a plan as a Slurm job array
///
/// Before its time limit a task saves its state and queues itself again. A killed task continues
/// from its checkpoint when it is queued again. You may submit the script again at any time:
/// finished runs are passed over.
#[derive(Args)]
#[command(after_help = "Example:
  sparsecode sweep slurm plan.jsonl --out sweep --time 4:00:00 --cpus 2 --script sweep.sbatch
  sbatch sweep.sbatch

Plan, folders and this program must have the same paths on the nodes. Logs are in OUT/slurm.")]
pub(super) struct Arguments {
    /// Plan, as `sweep plan` wrote it
    plan: PathBuf,
    /// Folder of the sweep
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to write the script [default: standard output]
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Time limit of a task, as Slurm writes it
    #[arg(long)]
    time: Option<String>,
    /// Partition
    #[arg(long)]
    partition: Option<String>,
    /// Cores of a task, and threads
    #[arg(long, default_value_t = 1)]
    cpus: usize,
    /// GPUs of a task
    #[arg(long, default_value_t = 0)]
    gpus: usize,
    /// Tasks at a time
    #[arg(long, value_name = "K")]
    at_a_time: Option<usize>,
    /// Runs of a task, one after the other
    #[arg(long, default_value_t = 1, value_name = "RUNS")]
    chunk: usize,
    /// Most tasks that the cluster lets an array have (MaxArraySize in `scontrol show config`)
    #[arg(long, default_value_t = 1001, value_name = "TASKS")]
    max_array_size: usize,
    /// Seconds before the time limit (1 to 65535) at which a task saves and queues itself again
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    warning: u32,
    /// A further option of sbatch, such as --sbatch=--account=lab; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    #[command(flatten)]
    data: DataFlags,
    /// Where to compute [default: cpu; with --gpus, cuda]
    #[arg(long, value_enum)]
    device: Option<DeviceChoice>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let family = of_plan(&arguments.plan)?;
    let runs = with_family!(family, F => Plan::<F>::read(&arguments.plan)?.entries().len());
    for (flag, value) in [
        ("--cpus", Some(arguments.cpus)),
        ("--chunk", Some(arguments.chunk)),
        ("--at-a-time", arguments.at_a_time),
    ] {
        if value == Some(0) {
            return Err(usage(format!("{flag}: at least 1")));
        }
    }
    // What Slurm's --signal takes; at 0 it would warn when it kills.
    if !(1..=65535).contains(&arguments.warning) {
        return Err(usage("--warning: 1 to 65535 seconds"));
    }
    let device = match (arguments.device, arguments.gpus) {
        (Some(DeviceChoice::Cpu), 1..) => {
            return Err(usage(
                "--gpus: a run with --device cpu uses none; leave one of them out",
            ));
        }
        (Some(device), _) => device,
        (None, 0) => DeviceChoice::Cpu,
        (None, _) => DeviceChoice::Cuda,
    };
    let out = absolute(&arguments.out)?;
    let logs = out.join("slurm");
    let mut command = vec![
        text(&std::env::current_exe()?)?,
        "sweep".to_owned(),
        "run".to_owned(),
        text(&absolute(&arguments.plan)?)?,
        "--out".to_owned(),
        text(&out)?,
        "--device".to_owned(),
        device.name().to_owned(),
    ];
    let named = arguments.data.named();
    if let Some(data) = &named.flag {
        command.extend(["--data".to_owned(), text(&absolute(data)?)?]);
    }
    let environment = named.environment.map(|data| text(&absolute(&data)?));
    let name = arguments.plan.file_stem().and_then(|name| name.to_str());
    let script = Script {
        runs,
        // The shell multiplies with it.
        chunk: arguments.chunk.min(runs),
        at_a_time: arguments.at_a_time,
        name: name.unwrap_or("sweep").to_owned(),
        time: arguments.time.clone(),
        partition: arguments.partition.clone(),
        cpus: arguments.cpus,
        gpus: arguments.gpus,
        warning: arguments.warning,
        options: arguments.sbatch.clone(),
        // A percent sign of the path is not one of Slurm's.
        log: format!("{}/%A_%a.log", text(&logs)?.replace('%', "%%")),
        command,
        data: environment.transpose()?,
    };
    let tasks = script.tasks();
    if tasks > arguments.max_array_size {
        return Err(usage(format!(
            "{runs} runs are {tasks} tasks, but an array has at most {}: give a task several with --chunk {}, or set --max-array-size to the cluster's",
            arguments.max_array_size,
            runs.div_ceil(arguments.max_array_size.max(1)),
        )));
    }
    let values = [&script.time, &script.partition].into_iter().flatten();
    if let Some(value) = values.chain(&script.options).find(|v| v.contains('\n')) {
        return Err(usage(format!("{value:?}: an option of sbatch is one line")));
    }
    // Slurm fails a task whose log it cannot open.
    std::fs::create_dir_all(&logs)
        .with_context(|| format!("cannot create {}; choose another --out", logs.display()))?;
    let content = script.text();
    match &arguments.script {
        Some(path) => {
            write_atomic(path, content.as_bytes())?;
            eprintln!(
                "{runs} runs in {tasks} tasks; submit with: sbatch {}",
                path.display()
            );
        }
        None => print!("{content}"),
    }
    Ok(())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

/// A path that a script can name.
fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.contains('\n'));
    text.map(str::to_owned).ok_or_else(|| {
        usage(format!(
            "{path:?}: a batch script takes paths in UTF-8, on one line"
        ))
    })
}
