//! What only a GPU can show, in one program: the kernels held to the reference and whole runs to
//! the processor's, times, and golden files. `cargo xtask gpu` builds and runs it, or packs it for
//! a machine that has a GPU and nothing else.

mod checks;
mod page;
mod speed;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use sparsecode_tests::emulator::{Emulator, Order};
use sparsecode_tests::golden;
use sparsecode_trainer::data::Splits;
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::cuda::let_runs_overlap;
use sparsecode_trainer::lista::open_gpu;

use page::Page;

/// Checks the GPU's kernels, measures them, and writes golden files and a page of results.
#[derive(Parser)]
#[command(
    name = "gpu",
    after_help = "\
Exit status: 0 all checks hold; 1 one does not, or there is no GPU.

Example: gpu --data DIR --torch torch_bench.py --out out"
)]
struct Arguments {
    /// Folder with MNIST's four files and the two of the split; without it, only made-up and
    /// built-in data are used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The comparison with PyTorch, run by python3
    #[arg(long, value_name = "SCRIPT")]
    torch: Option<PathBuf>,
    /// Folder for gpu-bench.md, torch.json and golden files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seconds that it may take: what would not end in time is left out, and said so
    #[arg(long, default_value_t = 560)]
    seconds: u64,
    /// On the host instead, by the same kernels, and only what does not take long there
    #[arg(long, hide = true)]
    emulate: bool,
}

/// The time that is left.
pub(crate) struct Clock {
    began: Instant,
    limit: Duration,
}

impl Clock {
    /// Whether something that takes about so long still fits; if not, the page says that it was
    /// left out.
    pub(crate) fn allows(&self, what: &str, seconds: f64, page: &mut Page) -> bool {
        let left = self.limit.saturating_sub(self.began.elapsed());
        let allows = left.as_secs_f64() > seconds;
        if !allows {
            page.text(&format!(
                "Left out, because it would not have ended in time: {what}."
            ));
        }
        allows
    }
}

/// MNIST as the published split has it.
pub(crate) struct Mnist {
    pub(crate) splits: Splits,
    pub(crate) folder: PathBuf,
}

fn main() -> ExitCode {
    let_runs_overlap();
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{failures} checks do not hold");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<usize> {
    let clock = Clock {
        began: Instant::now(),
        limit: Duration::from_secs(arguments.seconds),
    };
    let engine: Arc<dyn Backend> = match arguments.emulate {
        true => Arc::new(Emulator::new(Order::Forward).engine()),
        false => open_gpu()?,
    };
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let mut page = Page::new(
        arguments.out.join("gpu-bench.md"),
        &match arguments.emulate {
            true => "the host, emulated".to_owned(),
            false => golden::describe("cuda"),
        },
        engine.concurrent_runs(),
    );

    // What is wanted most comes first.
    let mut failures = checks::codes(engine.as_ref(), !arguments.emulate, &mut page)?;
    failures += checks::runs(engine.as_ref(), &mut page)?;
    failures += checks::candle(engine.as_ref(), &mut page)?;
    failures += checks::interruptions(engine.as_ref(), &mut page)?;
    if !arguments.emulate {
        failures += checks::side_by_side(engine.as_ref(), &mut page)?;
        golden::write(
            &arguments.out.join("golden"),
            engine.as_ref(),
            "cuda",
            "cargo xtask gpu",
        )?;
    }
    if let Some(folder) = &arguments.data {
        let mnist = Mnist {
            splits: Config::preset("mnist/vdl")?.data.load(Some(folder), 31)?,
            folder: arguments.out.clone(),
        };
        let patient = !arguments.emulate;
        failures += checks::published_steps(engine.as_ref(), &mnist, patient, &mut page)?;
        if arguments.emulate {
            return finish(failures, &clock, &mut page);
        }
        failures += checks::mnist_epochs(engine.as_ref(), &mnist, &clock, &mut page)?;
        speed::iterations(engine.as_ref(), &clock, &mut page)?;
        speed::epochs(engine.as_ref(), &mnist, &clock, &mut page)?;
        speed::whole_run(engine.as_ref(), &mnist, &clock, &mut page)?;
        speed::several(&engine, &mnist, &clock, &mut page)?;
        if let Some(script) = &arguments.torch {
            speed::torch(engine.as_ref(), script, &mnist, &clock, &mut page)?;
        }
    }
    finish(failures, &clock, &mut page)
}

fn finish(failures: usize, clock: &Clock, page: &mut Page) -> anyhow::Result<usize> {
    page.text(&format!(
        "{failures} checks do not hold. All of it took {:.0} s.",
        clock.began.elapsed().as_secs_f64()
    ));
    page.write()?;
    Ok(failures)
}
