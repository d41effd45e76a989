use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::family::{Computes, of_plan};
use crate::cli::common::{exit_with, usage};
use crate::cli::console::Console;
use crate::cli::data_flags::DataFlags;
use crate::cli::device::DeviceChoice;
use crate::cli::family::{FamilyName, with_family};
use crate::cli::train::session::{at_terminal, stop_flag};
use crate::data::Named;
use crate::report::progress::ProgressMode;
use crate::run::Family;
use crate::sweep::folder::PATIENCE;
use crate::sweep::plan::family_in;
use crate::sweep::supervise::{Supervisor, Tally};
use crate::sweep::worker::{Work, Worker};
use crate::sweep::workers::{ENTRY_VARIABLE, HELD, STOPPED};
use crate::sweep::workers::{Epochs, Workers};
use crate::sweep::{Entry, Plan, SweepFolder};

/// Work through a plan on this machine, or do one run of it
///
/// Several runs go at a time, each in its own process. On a GPU each run is a thread of this
/// process, because runs of one process share a GPU and processes take turns on it. Finished runs
/// are passed over, interrupted runs continue from their checkpoints, and runs that another runner
/// works on (here or on a cluster) are left to that runner. Ctrl-C saves all runs and ends. A run
/// that fails does not stop the others; a run that diverged is tried again only with
/// --retry-failed.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode sweep run plan.jsonl --out sweep --data DIR
  sparsecode sweep run plan.jsonl --out sweep --jobs 4 --threads 2
  sparsecode sweep run plan.jsonl --out sweep --index 3
  hq submit --from-json plan.json -- sparsecode sweep run --entry --out sweep

Exit status: 0 all finished, 1 a run failed, 2 used wrongly, 75 another process has the run (one run only), 130 stopped.")]
pub(super) struct Arguments {
    /// Plan, as `sweep plan` wrote it
    #[arg(required_unless_present = "entry")]
    plan: Option<PathBuf>,
    /// Folder of the sweep; each run has the folder OUT/ID
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Do this run of the plan alone (from 0), in this process
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Do the run in the environment variable HQ_ENTRY, which HyperQueue sets
    #[arg(long, conflicts_with_all = ["plan", "index"])]
    entry: bool,
    /// Runs at a time [default: the number of cores, or of runs; on a GPU, as many runs with a
    /// linear decoder as it has room for, of other families one]
    #[arg(long, conflicts_with_all = ["index", "entry"])]
    jobs: Option<usize>,
    /// Threads of each run on the processor, at most the number of cores [default: cores / jobs]
    #[arg(long, conflicts_with_all = ["index", "entry"])]
    threads: Option<usize>,
    /// Seconds to wait for a run that another process has, with --index or --entry
    ///
    /// A lock may linger for a while after the loss of a node.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u32,
    /// Also try again the runs that diverged, or whose settings do not fit their data
    #[arg(long)]
    retry_failed: bool,
    #[command(flatten)]
    data: DataFlags,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceChoice,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Tell progress on standard output, and stop when standard input ends
    #[arg(long, hide = true, requires = "entry")]
    supervised: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = SweepFolder::new(&arguments.out);
    if arguments.entry {
        let text = std::env::var(ENTRY_VARIABLE).map_err(|_| {
            usage(format!(
                "--entry: the environment variable {ENTRY_VARIABLE} holds no run; HyperQueue sets it with --from-json or --each-line"
            ))
        })?;
        let family = FamilyName::of_name(family_in(&text).as_deref());
        return with_family!(family, F => {
            arguments.one(&Entry::<F>::parse(&text, ENTRY_VARIABLE)?, &folder)
        });
    }
    // Clap has seen to it that there is a plan without --entry.
    let path = arguments.plan.as_deref().unwrap_or(Path::new(""));
    with_family!(of_plan(path)?, F => arguments.planned::<F>(path, &folder))
}

impl Arguments {
    fn planned<F: Computes>(&self, path: &Path, folder: &SweepFolder) -> anyhow::Result<()> {
        let plan = Plan::<F>::read(path)?;
        match self.index {
            Some(index) => self.one(plan.entry(index)?, folder),
            None => self.all(path, &plan, folder),
        }
    }

    /// Where the data of these runs are; refuses a flag that none of them can use.
    fn named<F: Family>(&self, entries: &[Entry<F>]) -> anyhow::Result<Named> {
        let named = self.data.named();
        let Some(path) = &named.flag else {
            return Ok(named);
        };
        let generated = entries.iter().filter(|e| e.config.data.is_generated());
        match generated.count() {
            0 => {}
            all if all == entries.len() && !self.supervised => {
                return Err(usage(format!(
                    "--data {}: the plan's data are generated and read no files; leave --data out, or plan with data.source = \"signal\", \"images\" or \"npy\"",
                    path.display()
                )));
            }
            some if !self.supervised => eprintln!(
                "note: {some} of {} runs are on generated data, which --data does not change",
                entries.len()
            ),
            _ => {}
        }
        for entry in entries {
            match entry.config.data.placed_as_planned(&named) {
                Err(error) if error.is_usage() => return Err(error.into()),
                // What is not there now may be there when the run's turn comes; else the run fails.
                _ => {}
            }
        }
        Ok(named)
    }

    fn one<F: Computes>(&self, entry: &Entry<F>, folder: &SweepFolder) -> anyhow::Result<()> {
        let run = folder.run(entry);
        let name = format!("run {} {}", entry.index, entry.id);
        let data = self.named(std::slice::from_ref(entry))?;
        // First of all: opening a device takes time.
        let stop = match self.supervised {
            true => stop_with_supervisor()?,
            false => stop_flag(false)?,
        };
        let backend = F::open(self.device)?;
        // The supervisor itself looks again, and has other runs to do meanwhile.
        let seconds = if self.supervised { 0 } else { self.wait };
        let waiting = || {
            if !self.supervised {
                eprintln!("{name}: another process works on it; waiting up to {seconds} s");
            }
        };
        let worker = Worker {
            patience: Duration::from_secs(u64::from(seconds)).max(PATIENCE),
            waiting: &waiting,
            data: &data,
            backend: backend.as_ref(),
            retry_failed: self.retry_failed,
        };
        let work = if self.supervised {
            worker.work(&run, &mut Epochs(tell_supervisor), &stop)?
        } else {
            let mode = ProgressMode::detect(self.quiet);
            let mut console = Console::new(&entry.config, mode);
            let work = worker.work(&run, &mut console, &stop)?;
            console.finish();
            work
        };
        match work {
            Work::Finished(outcome) => {
                if !self.supervised && !self.quiet {
                    eprintln!(
                        "{name}: finished, best of {} epochs: {}",
                        outcome.epochs, outcome.best_epoch
                    );
                }
                Ok(())
            }
            Work::Failed(failure) => {
                let again = match failure.repeats {
                    true => "; --retry-failed tries again",
                    false => "",
                };
                anyhow::bail!("{name}: {}{again}", failure.message)
            }
            Work::Interrupted => Err(exit_with(
                STOPPED,
                format!("{name}: stopped; the same command goes on from here"),
            )),
            Work::Held => Err(exit_with(
                HELD,
                format!("{name}: another process works on it"),
            )),
        }
    }

    fn all<F: Computes>(
        &self,
        path: &Path,
        plan: &Plan<F>,
        folder: &SweepFolder,
    ) -> anyhow::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let gpu = F::gpu(self.device)?;
        let default_jobs = gpu.as_ref().map_or(cores, |gpu| gpu.runs);
        // A plan of few runs has several cores for each.
        let runs = plan.entries().len();
        let jobs = self.jobs.unwrap_or(default_jobs.min(runs).max(1));
        let threads = self.threads.unwrap_or((cores / jobs.max(1)).max(1));
        for (flag, value) in [("--jobs", jobs), ("--threads", threads)] {
            if value == 0 {
                return Err(usage(format!("{flag}: at least 1")));
            }
        }
        if threads > cores {
            return Err(usage(format!(
                "--threads {threads}: this machine has {cores} cores, and more threads would wait for one another"
            )));
        }
        let gpu = gpu.map(|gpu| F::shared(gpu.backend, jobs));
        let data = self.named(plan.entries())?;
        let workers = match &gpu {
            Some(gpu) => Workers::Threads(gpu.as_ref()),
            None => Workers::Processes(std::env::current_exe()?),
        };
        let stop = stop_flag(at_terminal())?;
        let supervisor = Supervisor {
            plan,
            folder,
            data: &data,
            workers,
            jobs,
            threads,
            retry_failed: self.retry_failed,
            mode: ProgressMode::detect(self.quiet),
        };
        let tally = supervisor.run(&stop)?;
        let all = plan.entries().len();
        for (index, message) in &tally.failed {
            let id = &plan.entries()[*index].id;
            eprintln!("run {index} {id} failed: {message}");
        }
        let Tally {
            finished,
            failed,
            left,
        } = &tally;
        let mut said = format!("{finished} of {all} runs finished");
        if !failed.is_empty() {
            said += &format!(", {} failed", failed.len());
        }
        if *left > 0 {
            said += &format!(", {left} left");
        }
        if stop.load(Ordering::Relaxed) && *left > 0 {
            let message = format!("stopped: {said}; the same command goes on from here");
            return Err(exit_with(STOPPED, message));
        }
        if !failed.is_empty() || *left > 0 {
            anyhow::bail!("{said}; `sweep collect` lists them");
        }
        let (path, out) = (path.display(), folder.path().display());
        println!("{said}; table: sparsecode sweep collect {path} --out {out}");
        Ok(())
    }
}

/// Tells the supervisor of epochs.
fn tell_supervisor(epochs: u32) {
    // Without a supervisor there is nobody to be told; standard input says so too.
    let _ = writeln!(std::io::stdout(), "{epochs}");
}

/// A flag that is raised when standard input ends (the supervisor is gone, or wants it), or by a
/// signal.
fn stop_with_supervisor() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))?;
    let raised = Arc::clone(&stop);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut byte = [0];
        while matches!(input.read(&mut byte), Ok(1..)) {}
        raised.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
