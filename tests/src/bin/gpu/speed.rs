//! How long it takes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use sparsecode_tests::kernels::{Problem, train_on};
use sparsecode_trainer::data::Samples;
use sparsecode_trainer::data::npy::write_npy_f32;
use sparsecode_trainer::deploy::TrainedRun;
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::evaluate::{CodeSource, evaluate};
use sparsecode_trainer::lista::inference::Energy;
use sparsecode_trainer::report::table::Table;
use sparsecode_trainer::run::RunFolder;
use sparsecode_trainer::storage::write_atomic;

use crate::page::Page;
use crate::{Clock, Mnist};

/// The grid of the published linear models on MNIST: variants, and λ and seeds of each.
const GRID: usize = 4 * 6 * 5;

/// Trains on MNIST; returns the seconds of each epoch.
fn epochs_of(
    engine: &(dyn Backend + 'static),
    mnist: &Mnist,
    preset: &str,
    epochs: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let settings = [format!("epochs={epochs}"), format!("seed={seed}")];
    let config = Config::preset(preset)?.with_overrides(None, &settings)?;
    let folder = tempfile::tempdir()?;
    let run = RunFolder::new(folder.path());
    let trained = train_on(engine, &config, mnist.splits.clone(), &run, None)?;
    Ok(trained.epochs.iter().map(|epoch| epoch.seconds).collect())
}

/// An iteration of the loop: the slope between few and many, which leaves out all that is done
/// once.
pub(crate) fn iterations(
    engine: &(dyn Backend + 'static),
    clock: &Clock,
    page: &mut Page,
) -> anyhow::Result<()> {
    page.part(
        "An iteration of inference",
        "n = 250, d = 784, every sample moving: the difference between long and short loops over the difference in iterations. Made-up \
         problems, whose codes use the fraction of atoms that is given.",
    );
    let mut table = Table::new(["decoder", "l", "m", "hinge", "in use", "µs"]);
    for (l, m, preset, lambda) in [
        (128, 0, "mnist/vdl", 0.3),
        (128, 0, "mnist/vdl", 0.02),
        (128, 0, "mnist/sdl", 0.3),
        (128, 0, "mnist/sdl", 0.0),
        (256, 0, "mnist/sdl", 0.3),
        (128, 1024, "mnist/sdl-nl", 0.3),
    ] {
        if !clock.allows(preset, 10.0, page) {
            continue;
        }
        let mut problem = Problem::new(250, 784, l, m, preset);
        problem.config.tolerance = 0.0;
        problem.config.lambda = lambda;
        problem.config.step_size = 0.05;
        let mut seconds = |iterations: usize| -> anyhow::Result<(f64, f64)> {
            problem.config.max_iterations = iterations;
            let mut best = f64::INFINITY;
            let mut used = 0.0;
            for _ in 0..5 {
                let began = Instant::now();
                let codes = problem.infer(engine)?.codes;
                best = best.min(began.elapsed().as_secs_f64());
                let values = codes.flatten_all()?.to_vec1::<f32>()?;
                let active = values.iter().filter(|z| **z != 0.0).count();
                used = active as f64 / values.len() as f64;
            }
            Ok((best, used))
        };
        let many = if m == 0 { 4000 } else { 800 };
        let (short, _) = seconds(many / 4)?;
        let (long, used) = seconds(many)?;
        table.push([
            if m == 0 { "linear" } else { "one-hidden" }.to_owned(),
            l.to_string(),
            m.to_string(),
            if problem.config.variance_weight == 0.0 {
                "no"
            } else {
                "yes"
            }
            .to_owned(),
            format!("{:.0} %", 100.0 * used),
            format!("{:.2}", 1e6 * (long - short) / (many - many / 4) as f64),
        ]);
    }
    page.table(&table);
    Ok(())
}

/// The first epochs of each variant.
pub(crate) fn epochs(
    engine: &(dyn Backend + 'static),
    mnist: &Mnist,
    clock: &Clock,
    page: &mut Page,
) -> anyhow::Result<()> {
    page.part(
        "An epoch of MNIST",
        "220 batches of 250, validation included: the first epoch and the second.",
    );
    let mut table = Table::new(["run", "first, s", "second, s"]);
    for (preset, seconds) in [
        ("mnist/vdl", 5.0),
        ("mnist/sdl", 5.0),
        ("mnist/wdl", 5.0),
        ("mnist/do", 5.0),
        ("mnist/vdl-nl", 15.0),
        ("mnist/sdl-nl", 30.0),
    ] {
        if clock.allows(preset, seconds, page) {
            let seconds = epochs_of(engine, mnist, preset, 2, 31)?;
            table.push([
                preset.to_owned(),
                format!("{:.3}", seconds[0]),
                format!("{:.3}", seconds[1]),
            ]);
        }
    }
    page.table(&table);
    Ok(())
}

/// A published run from beginning to end.
pub(crate) fn whole_run(
    engine: &(dyn Backend + 'static),
    mnist: &Mnist,
    clock: &Clock,
    page: &mut Page,
) -> anyhow::Result<()> {
    if !clock.allows("200 epochs of VDL", 180.0, page) {
        return Ok(());
    }
    let settings = ["epochs=200", "seed=31", "inference.lambda=0.02"].map(str::to_owned);
    let config = Config::preset("mnist/vdl")?.with_overrides(None, &settings)?;
    let folder = tempfile::tempdir()?;
    let run = RunFolder::new(folder.path());
    write_atomic(run.config(), config.to_toml().as_bytes())?;
    let began = Instant::now();
    train_on(engine, &config, mnist.splits.clone(), &run, None)?;
    let seconds = began.elapsed().as_secs_f64();
    let best = TrainedRun::open(&run)?;
    let test = Samples::new(mnist.splits.test.clone())?;
    let peak = f64::from(mnist.splits.peak);
    let source = CodeSource::Encoder;
    let figures = evaluate(&best.model, &test, &config, peak, engine, source, None)?;
    page.part(
        "A published run",
        &format!(
            "VDL, λ = 0.02, 200 epochs, seed 31: **{seconds:.1} s**. Test set: {:.2} dB, {:.1} % zeros (published: 17.7 dB, 91.8 %).",
            figures.psnr,
            100.0 * figures.sparsity
        ),
    );
    Ok(())
}

/// Runs side by side.
pub(crate) fn several(
    engine: &Arc<dyn Backend>,
    mnist: &Mnist,
    clock: &Clock,
    page: &mut Page,
) -> anyhow::Result<()> {
    if !clock.allows("runs side by side", 60.0, page) {
        return Ok(());
    }
    page.part(
        "Runs side by side",
        "VDL on MNIST, 20 epochs each, one and several at a time: the epochs of the slowest run, without the time that its data take to \
         the device.",
    );
    let mut table = Table::new(["runs", "s", "to one"]);
    let mut one = 0.0;
    let mut sixteen = 0.0;
    for runs in [1, 8, 16, 32] {
        let shared = engine.shared_by(runs).unwrap_or_else(|| Arc::clone(engine));
        let times: Vec<anyhow::Result<Vec<f64>>> = thread::scope(|scope| {
            let work = |seed| {
                let engine = shared.as_ref();
                scope.spawn(move || epochs_of(engine, mnist, "mnist/vdl", 20, seed))
            };
            let workers: Vec<_> = (0..runs as u64).map(work).collect();
            let ended = workers.into_iter().map(|worker| worker.join());
            ended
                .map(|ended| ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a run panicked"))))
                .collect()
        });
        let mut seconds = 0.0f64;
        for times in times {
            seconds = seconds.max(times?.iter().sum());
        }
        if runs == 1 {
            one = seconds;
        }
        if runs == 16 {
            sixteen = seconds;
        }
        table.push([
            runs.to_string(),
            format!("{seconds:.2}"),
            format!("{:.2}", seconds / one),
        ]);
    }
    page.table(&table);
    page.text(&format!(
        "The grid of linear models ({GRID} runs of 200 epochs) at the rate of sixteen at a time: about {:.1} minutes, if all variants \
         took as long as this one.",
        sixteen * 10.0 * GRID as f64 / 16.0 / 60.0
    ));
    Ok(())
}

/// An iteration on MNIST after 60 steps of training, every sample moving: what `torch_bench.py`
/// measures, too.
fn trained_iteration(
    engine: &(dyn Backend + 'static),
    mnist: &Mnist,
    variant: &str,
) -> anyhow::Result<f64> {
    let lambda = if variant == "vdl" { 0.02 } else { 0.005 };
    let settings = ["epochs=1".to_owned(), format!("inference.lambda={lambda}")];
    let config = Config::preset(&format!("mnist/{variant}"))?.with_overrides(None, &settings)?;
    let mut splits = mnist.splits.clone();
    let d = splits.train.dim;
    splits.train.samples.truncate(60 * config.batch_size * d);
    let inputs = splits.train.samples[..config.batch_size * d].to_vec();
    let inputs = Tensor::from_vec(inputs, (config.batch_size, d), &Device::Cpu)?;
    let folder = tempfile::tempdir()?;
    let run = RunFolder::new(folder.path());
    write_atomic(run.config(), config.to_toml().as_bytes())?;
    train_on(engine, &config, splits, &run, None)?;
    let model = TrainedRun::open(&run)?.model;
    let codes = model
        .encoder
        .as_ref()
        .map(|e| e.forward(&inputs))
        .transpose()?;
    let start = match &codes {
        Some(codes) => codes.clone(),
        None => Tensor::zeros(
            (config.batch_size, config.family.model.code_dim),
            DType::F32,
            &Device::Cpu,
        )?,
    };
    let mut inference = config.family.inference.clone();
    inference.tolerance = 0.0;
    let mut seconds = |iterations: usize| -> anyhow::Result<f64> {
        inference.max_iterations = iterations;
        let energy = Energy::new(&model.decoder, &inputs, codes.as_ref(), &inference);
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let began = Instant::now();
            engine.infer(&energy, &start)?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let (few, many) = (400, 4000);
    let short = seconds(few)?;
    Ok(1e3 * (seconds(many)? - short) / (many - few) as f64)
}

/// Our time beside PyTorch's, for each of its rows.
fn beside(engine: &(dyn Backend + 'static), mnist: &Mnist, page: &mut Page) -> anyhow::Result<()> {
    let text = std::fs::read(mnist.folder.join("torch.json"))?;
    let report: serde_json::Value = serde_json::from_slice(&text)?;
    let rows = report["rows"].as_array().context("rows in torch.json")?;
    let mut table = Table::new([
        "loop",
        "PyTorch's form",
        "PyTorch, ms",
        "ours, ms",
        "PyTorch / ours",
    ]);
    let mut ours: Option<(String, f64)> = None;
    for row in rows {
        let variant = row["variant"].as_str().unwrap_or_default().to_owned();
        let Some(theirs) = row["iteration_no_stopping_ms"]["median"].as_f64() else {
            continue;
        };
        let ms = match &ours {
            Some((name, ms)) if *name == variant => *ms,
            _ => trained_iteration(engine, mnist, &variant)?,
        };
        table.push([
            variant.clone(),
            row["form"].as_str().unwrap_or_default().to_owned(),
            format!("{theirs:.4}"),
            format!("{ms:.4}"),
            format!("{:.1}", theirs / ms),
        ]);
        ours = Some((variant, ms));
    }
    page.text("An iteration of inference on MNIST, n = 250, after 60 steps, no sample stopping:");
    page.table(&table);
    Ok(())
}

/// The same loop and the same step in PyTorch.
pub(crate) fn torch(
    engine: &(dyn Backend + 'static),
    script: &Path,
    mnist: &Mnist,
    clock: &Clock,
    page: &mut Page,
) -> anyhow::Result<()> {
    if !clock.allows("the comparison with PyTorch", 90.0, page) {
        return Ok(());
    }
    let temporary = tempfile::tempdir()?;
    let digits = temporary.path().join("digits.npy");
    let (d, rows) = (mnist.splits.train.dim, 60 * 250);
    let samples = &mnist.splits.train.samples[..rows * d];
    write_npy_f32(&digits, &[rows, d], samples)?;
    let output = Command::new("python3")
        .arg(script)
        .arg("--data")
        .arg(&digits)
        .args(["--device", "cuda", "--variant", "vdl,sdl,do", "--graphs"])
        .args(["--repetitions", "5", "--json"])
        .arg(mnist.folder.join("torch.json"))
        .output()
        .context("python3")?;
    page.part(
        "The same in PyTorch",
        &match output.status.success() {
            true => String::from_utf8_lossy(&output.stdout).into_owned(),
            false => format!(
                "It failed:\n\n```text\n{}\n```",
                String::from_utf8_lossy(&output.stderr)
            ),
        },
    );
    if output.status.success() {
        beside(engine, mnist, page)?;
    }
    Ok(())
}
