//! What must hold.

use std::thread;

use sparsecode_tests::kernels::{
    Problem, SIZES, Trained, VARIANTS, compare, distance, short_run, train, train_on, values,
};
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::inference::{CpuEngine, Stopping};
use sparsecode_trainer::lista::{Config, open_plain_gpu};
use sparsecode_trainer::report::table::Table;
use sparsecode_trainer::run::{RunFolder, TrainError};

use crate::page::Page;
use crate::{Clock, Mnist};

/// How far codes and parameters may be off, relative to the largest.
const TOLERANCE: f64 = 1e-4;

fn mark(holds: bool) -> String {
    if holds { "yes" } else { "**no**" }.to_owned()
}

/// Codes against the definition in f64; of the published sizes too, if asked.
pub(crate) fn codes(
    engine: &(dyn Backend + 'static),
    published: bool,
    page: &mut Page,
) -> anyhow::Result<usize> {
    page.part(
        "Codes against the definition in f64",
        "Largest difference of a code, relative to the largest; whether the same samples stop in the same iterations.",
    );
    let mut table = Table::new([
        "settings",
        "n",
        "d",
        "l",
        "m",
        "stopping",
        "iterations",
        "apart",
        "holds",
    ]);
    let mut failures = 0;
    let published_sizes = [
        (250, 784, 128, 0, "mnist/vdl"),
        (250, 784, 256, 0, "mnist/sdl"),
        (250, 784, 128, 1024, "mnist/vdl-nl"),
    ];
    for (n, d, l, m, preset) in SIZES
        .into_iter()
        .chain(published_sizes.into_iter().filter(|_| published))
    {
        for stopping in [Stopping::Sliding, Stopping::Freeze] {
            let mut problem = Problem::new(n, d, l, m, preset);
            problem.config.stopping = stopping;
            problem.config.tolerance = 0.03;
            let (ours, theirs) = (problem.infer(engine)?, problem.reference()?);
            let apart = distance(&values(&ours.codes), &values(&theirs.codes));
            let holds = apart < TOLERANCE && ours.steps == theirs.steps;
            failures += usize::from(!holds);
            table.push([
                preset.to_owned(),
                n.to_string(),
                d.to_string(),
                l.to_string(),
                m.to_string(),
                format!("{stopping:?}"),
                ours.iterations.to_string(),
                format!("{apart:.1e}"),
                mark(holds),
            ]);
        }
    }
    page.table(&table);
    Ok(failures)
}

fn short(engine: &(dyn Backend + 'static), config: &Config) -> anyhow::Result<Trained> {
    let folder = tempfile::tempdir()?;
    Ok(train(engine, config, &RunFolder::new(folder.path()), None)?)
}

/// Short runs of every variant against the processor's, and against themselves.
pub(crate) fn runs(engine: &(dyn Backend + 'static), page: &mut Page) -> anyhow::Result<usize> {
    page.part(
        "Short runs against the processor's",
        "Four steps and two validations on built-in data, by the device and by `CpuEngine`: the farthest parameter and the farthest \
         figure of an epoch, relative; and whether a second run gives the same bits.",
    );
    let mut table = Table::new([
        "run",
        "parameters apart",
        "figures apart",
        "same bits",
        "holds",
    ]);
    let mut failures = 0;
    for preset in VARIANTS {
        let config = short_run(preset, &[]);
        let ours = short(engine, &config)?;
        let apart = compare(&ours, &short(&CpuEngine::new(1), &config)?);
        let same = short(engine, &config)?.parameters == ours.parameters;
        let holds = same && apart.parameters < TOLERANCE && apart.figures < TOLERANCE;
        failures += usize::from(!holds);
        table.push([
            preset.to_owned(),
            format!("{:.1e}", apart.parameters),
            format!("{:.1e}", apart.figures),
            mark(same),
            mark(holds),
        ]);
    }
    page.table(&table);
    Ok(failures)
}

/// Short runs of every variant by the kernels against candle's own tensors on the same GPU.
pub(crate) fn candle(engine: &(dyn Backend + 'static), page: &mut Page) -> anyhow::Result<usize> {
    let title = "Short runs against candle's tensors on the same GPU";
    let plain = match open_plain_gpu() {
        Ok(plain) => plain,
        Err(error) => {
            page.part(title, &format!("Not compared: {error}."));
            // A program that was built for the comparison fails without it.
            return Ok(usize::from(cfg!(feature = "candle-cuda")));
        }
    };
    page.part(
        title,
        "The same runs with `--engine plain`: the farthest parameter and the farthest figure of an \
         epoch, relative.",
    );
    let mut table = Table::new(["run", "parameters apart", "figures apart", "holds"]);
    let mut failures = 0;
    for preset in VARIANTS {
        let config = short_run(preset, &[]);
        let apart = compare(&short(engine, &config)?, &short(plain.as_ref(), &config)?);
        let holds = apart.parameters < TOLERANCE && apart.figures < TOLERANCE;
        failures += usize::from(!holds);
        table.push([
            preset.to_owned(),
            format!("{:.1e}", apart.parameters),
            format!("{:.1e}", apart.figures),
            mark(holds),
        ]);
    }
    page.table(&table);
    Ok(failures)
}

/// A run that is stopped and resumed, one that diverges, and a loop that leaves the floats.
pub(crate) fn interruptions(
    engine: &(dyn Backend + 'static),
    page: &mut Page,
) -> anyhow::Result<usize> {
    let config = short_run("dead-leaves/vdl", &["data.train=200"]);
    let whole = short(engine, &config)?;
    let folder = tempfile::tempdir()?;
    let folder = RunFolder::new(folder.path());
    train(engine, &config, &folder, Some((1, 1)))?;
    let resumes = train(engine, &config, &folder, None)?.parameters == whole.parameters;

    let wild = short_run("dead-leaves/vdl-nl", &["inference.step_size=3000"]);
    let where_found =
        |engine: &(dyn Backend + 'static)| -> anyhow::Result<Option<(u32, usize, String)>> {
            let folder = tempfile::tempdir()?;
            match train(engine, &wild, &RunFolder::new(folder.path()), None) {
                Err(TrainError::Diverged {
                    epoch,
                    batch,
                    divergence,
                    ..
                }) => Ok(Some((epoch, batch, divergence.tensor))),
                _ => Ok(None),
            }
        };
    let found = where_found(engine)?;
    let diverges = found.is_some() && found == where_found(&CpuEngine::new(1))?;

    let mut problem = Problem::new(20, 30, 24, 0, "mnist/sdl");
    problem.config.step_size = 1e20;
    let overflows = problem.infer(engine)?.iterations < problem.config.max_iterations;
    page.part(
        "What interrupts a run",
        &format!(
            "A resumed run ends with the bits of a whole one: {}. Divergence is found in the same batch and place as by the processor: {}. A \
             loop that overflows ends: {}.",
            mark(resumes),
            mark(diverges),
            mark(overflows)
        ),
    );
    Ok([resumes, diverges, overflows]
        .iter()
        .filter(|holds| !**holds)
        .count())
}

/// Runs side by side against the same runs alone.
pub(crate) fn side_by_side(
    engine: &(dyn Backend + 'static),
    page: &mut Page,
) -> anyhow::Result<usize> {
    let configs: Vec<Config> = VARIANTS
        .into_iter()
        .map(|preset| short_run(preset, &["epochs=4"]))
        .collect();
    let together: Vec<anyhow::Result<Trained>> = thread::scope(|scope| {
        let work = |config| scope.spawn(move || short(engine, config));
        let workers: Vec<_> = configs.iter().map(work).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .map(|ended| ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a run panicked"))))
            .collect()
    });
    let mut different = Vec::new();
    for (config, together) in configs.iter().zip(together) {
        if together?.parameters != short(engine, config)?.parameters {
            different.push(config.model_name());
        }
    }
    page.part(
        "Side by side",
        &match different.as_slice() {
            [] => format!(
                "{} runs at the same time end with the bits of the same runs alone.",
                configs.len()
            ),
            different => format!("**Other bits than alone: {}.**", different.join(", ")),
        },
    );
    Ok(different.len())
}

/// Three steps and a validation at MNIST's sizes by the device and by the processor. A one-hidden
/// decoder's loop is cut short where `patient` is not set.
pub(crate) fn published_steps(
    engine: &(dyn Backend + 'static),
    mnist: &Mnist,
    patient: bool,
    page: &mut Page,
) -> anyhow::Result<usize> {
    page.part(
        "Three steps on MNIST against the processor's",
        "The first 750 digits, validated on 300: the farthest parameter and the farthest figure, relative.",
    );
    let mut splits = mnist.splits.clone();
    let d = splits.train.dim;
    splits.train.samples.truncate(750 * d);
    splits.validation.samples.truncate(300 * d);
    let mut table = Table::new([
        "run",
        "iterations",
        "the processor's",
        "parameters apart",
        "figures apart",
        "holds",
    ]);
    let mut failures = 0;
    for preset in ["sdl", "vdl", "wdl", "do", "sdl-nl", "vdl-nl"] {
        let mut settings = vec!["epochs=1".to_owned()];
        // 200 iterations of one that is sensitive to rounding part; see the golden files of the
        // papers' code.
        if preset.ends_with("-nl") {
            let iterations = if patient { 20 } else { 4 };
            settings.push(format!("inference.max_iterations={iterations}"));
        }
        let preset = format!("mnist/{preset}");
        let config = Config::preset(&preset)?.with_overrides(None, &settings)?;
        let run = |engine: &(dyn Backend + 'static)| -> anyhow::Result<Trained> {
            let folder = tempfile::tempdir()?;
            let run = RunFolder::new(folder.path());
            Ok(train_on(engine, &config, splits.clone(), &run, None)?)
        };
        let (ours, theirs) = (run(engine)?, run(&CpuEngine::new(1))?);
        let apart = compare(&ours, &theirs);
        let holds = apart.parameters < TOLERANCE && apart.figures < TOLERANCE;
        failures += usize::from(!holds);
        let iterations = |run: &Trained| format!("{:.1}", run.epochs[0].train["fista_iterations"]);
        table.push([
            preset.clone(),
            iterations(&ours),
            iterations(&theirs),
            format!("{:.1e}", apart.parameters),
            format!("{:.1e}", apart.figures),
            mark(holds),
        ]);
    }
    page.table(&table);
    Ok(failures)
}

/// Epochs on MNIST by the device and by the processor.
pub(crate) fn mnist_epochs(
    engine: &(dyn Backend + 'static),
    mnist: &Mnist,
    clock: &Clock,
    page: &mut Page,
) -> anyhow::Result<usize> {
    page.part(
        "MNIST's first epochs against the processor's",
        "Validation PSNR and zeros by the device and by the processor, and by the processor with another seed; how far an update \
         that rounding turned may lead is seen from the last. To hold, the device must be within a tenth of a decibel and half a \
         point, or nearer than the other seed.",
    );
    let mut table = Table::new([
        "run",
        "epochs",
        "device",
        "processor",
        "another seed",
        "holds",
    ]);
    let mut failures = 0;
    for (preset, epochs, seconds) in [
        ("mnist/vdl", 3, 15.0),
        ("mnist/sdl", 3, 15.0),
        ("mnist/do", 1, 15.0),
        ("mnist/vdl-nl", 1, 25.0),
    ] {
        if !clock.allows(preset, seconds, page) {
            continue;
        }
        let last = |engine: &(dyn Backend + 'static), seed: u64| -> anyhow::Result<(f64, f64)> {
            let settings = [format!("epochs={epochs}"), format!("seed={seed}")];
            let config = Config::preset(preset)?.with_overrides(None, &settings)?;
            let folder = tempfile::tempdir()?;
            let run = RunFolder::new(folder.path());
            let trained = train_on(engine, &config, mnist.splits.clone(), &run, None)?;
            let last = &trained.epochs[trained.epochs.len() - 1].validation;
            Ok((last["psnr"], 100.0 * last["sparsity"]))
        };
        let processor = CpuEngine::default();
        let (ours, theirs) = (last(engine, 31)?, last(&processor, 31)?);
        let other = last(&processor, 32)?;
        let near = |a: f64, b: f64, c: f64, limit: f64| (a - b).abs() <= limit.max((b - c).abs());
        let holds = near(ours.0, theirs.0, other.0, 0.1) && near(ours.1, theirs.1, other.1, 0.5);
        failures += usize::from(!holds);
        let told = |(psnr, zeros): (f64, f64)| format!("{psnr:.3} dB, {zeros:.2} %");
        table.push([
            preset.to_owned(),
            epochs.to_string(),
            told(ours),
            told(theirs),
            told(other),
            mark(holds),
        ]);
    }
    page.table(&table);
    Ok(failures)
}
