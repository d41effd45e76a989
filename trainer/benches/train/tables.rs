//! The tables.

use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::lista::inference::{CpuEngine, Engine, PlainFista};
use sparsecode_trainer::lista::model::Decoder;
use sparsecode_trainer::run::{EpochRecord, LogError, Observer, RunFolder, Trainer};

use crate::measure::{Effort, fastest, thread_counts, with_threads};
use crate::problems::{Dimensions, MadeUp, Models, Sizes};

/// Milliseconds with as many digits as mean something.
fn milliseconds(seconds: f64) -> String {
    let value = 1e3 * seconds;
    let digits = if value < 1.0 {
        4
    } else if value < 10.0 {
        3
    } else {
        1
    };
    format!("{value:.digits$}")
}

fn gflops(operations: f64, seconds: f64) -> String {
    format!("{:.0}", operations / seconds / 1e9)
}

/// Time of a FISTA iteration as training meets it: real batches, the codes as sparse as they are,
/// converged samples left out.
pub(crate) fn iterations(models: &Models, effort: Effort) -> anyhow::Result<()> {
    let cores = *thread_counts().last().unwrap_or(&1);
    println!("## An iteration of inference in training\n");
    println!(
        "Milliseconds for a batch of 250, by the engine on one thread and on {cores}, and by the plain one (tensor operations, {cores} \
         threads). Models after 60 batches of training (8 for one-hidden decoders).\n"
    );
    println!(
        "| model | iterations | samples still moving | zeros | hidden units active | plain | engine, 1 thread | engine, {cores} | plain / engine |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (sizes, model) in [
        (Sizes::Mnist, "vdl"),
        (Sizes::Mnist, "sdl"),
        (Sizes::Mnist, "do"),
        (Sizes::Patches, "vdl"),
        (Sizes::Mnist, "vdl-nl"),
        (Sizes::Mnist, "sdl-nl"),
        (Sizes::Patches, "vdl-nl"),
    ] {
        let hidden = model.ends_with("-nl");
        let trained = models.train(sizes, model, if hidden { 8 } else { 60 })?;
        let repetitions = effort.of(if hidden { 5 } else { 15 });
        let (one, many) = (CpuEngine::new(1), CpuEngine::new(cores));
        let engines: [&dyn Engine; 3] = [&PlainFista, &one, &many];
        let row = trained.with_inference(100, |infer| -> anyhow::Result<_> {
            let found = infer(&many)?;
            let zeros = found.codes.eq(0.0)?.to_dtype(DType::F32)?.mean_all()?;
            // In turns, so that a slow minute of the machine is every engine's.
            let mut times = [f64::INFINITY; 3];
            for _ in 0..repetitions {
                for (time, engine) in times.iter_mut().zip(engines) {
                    let mut iterations = 0;
                    let seconds = fastest(1, || {
                        infer(engine).map(|inference| iterations = inference.iterations)
                    })?;
                    *time = time.min(seconds / iterations as f64);
                }
            }
            Ok((
                found.iterations,
                found.mean_steps() / found.iterations as f64,
                zeros.to_scalar::<f32>()?,
                active_units(&trained.learner.model.decoder, &found.codes)?,
                times,
            ))
        })??;
        let (iterations, moving, zeros, active, [plain, one, many]) = row;
        println!(
            "| {} | {iterations} | {:.0} % | {:.0} % | {active} | {} | {} | {} | {:.1} |",
            trained.name,
            100.0 * moving,
            100.0 * zeros,
            milliseconds(plain),
            milliseconds(one),
            milliseconds(many),
            plain / many
        );
    }
    println!();
    Ok(())
}

/// The share of hidden units that these codes make positive; nothing for a linear decoder.
fn active_units(decoder: &Decoder, codes: &Tensor) -> candle_core::Result<String> {
    let Decoder::OneHidden {
        hidden,
        hidden_bias,
        ..
    } = decoder
    else {
        return Ok(String::new());
    };
    let units = codes.matmul(&hidden.t()?)?.broadcast_add(hidden_bias)?;
    let active = units.gt(0.0)?.to_dtype(DType::F32)?.mean_all()?;
    Ok(format!("{:.0} %", 100.0 * active.to_scalar::<f32>()?))
}

/// What the reference takes: wall seconds of an epoch of 220 batches on two quiet threads of torch,
/// on this kind of processor. DO was measured on one thread.
const REFERENCE: [(&str, f64); 5] = [
    ("vdl", 35.0),
    ("sdl", 26.0),
    ("do", 106.0),
    ("vdl-nl", 16.0),
    ("sdl-nl", 254.0),
];

/// Keeps the seconds of the shortest epoch that it is told of.
struct Shortest(f64);

impl Observer for Shortest {
    fn batch(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.0 = self.0.min(record.seconds);
        Ok(())
    }
}

/// Time of an epoch: the first one, whole, with validation; the plain engine's from some of its
/// batches.
pub(crate) fn epochs(models: &Models, effort: Effort) -> anyhow::Result<()> {
    println!("## The first epoch\n");
    println!(
        "Seconds of a whole first epoch of 220 batches, validation included, with the hyperparameters for MNIST and seed 31. The \
         plain engine's is 220 times the mean of its first batches. The reference is the papers' code in torch on two quiet threads \
         of this kind of processor (DO: one thread).\n"
    );
    println!("| model | reference | plain | engine | reference / engine |");
    println!("|---|---:|---:|---:|---:|");
    for (model, reference) in REFERENCE {
        let hidden = model.ends_with("-nl");
        let batches = effort.of(if hidden { 3 } else { 20 });
        let mut plain = models.train(Sizes::Mnist, model, 0)?;
        let mut seconds = 0.0;
        for batch in 0..batches {
            seconds += fastest(1, || plain.step(batch, &PlainFista))?;
        }
        let plain_epoch = 220.0 * seconds / batches as f64;

        let settings = ["epochs=1".to_owned(), "seed=31".to_owned()];
        let config = plain.config.with_overrides(None, &settings)?;
        let engine = CpuEngine::default();
        let folder = tempfile::tempdir()?;
        // The shortest of three; of one where it takes a minute.
        let repetitions = if model == "sdl-nl" { 1 } else { effort.of(3) };
        let mut epoch = Shortest(f64::INFINITY);
        for _ in 0..repetitions {
            let splits = models.splits.clone();
            let mut trainer = Trainer::new(config.clone(), splits, &engine)?;
            let stop = std::sync::atomic::AtomicBool::new(false);
            trainer.run(&RunFolder::new(folder.path()), &mut epoch, &stop)?;
        }
        let Shortest(epoch) = epoch;
        // The reference learnt MNIST.
        let (reference, ratio) = if models.is_mnist() {
            (format!("{reference}"), format!("{:.1}", reference / epoch))
        } else {
            Default::default()
        };
        println!(
            "| {} | {reference} | {plain_epoch:.1} | {epoch:.2} | {ratio} |",
            model.to_uppercase(),
        );
    }
    println!();
    Ok(())
}

/// Operations a second, beside what the same product alone reaches.
pub(crate) fn products(effort: Effort) -> anyhow::Result<()> {
    println!("## Operations a second\n");
    println!(
        "GFLOP/s, counting a dense product's operations. *Ceiling*: that product alone, by candle's `matmul` (`gemm` with AVX-512) in each thread on its share of the rows, the best of many. *Engine*: a whole \
         iteration (product, hinge, shrinkage, stopping, momentum) with all atoms in use, and with a tenth. Above the ceiling, zeros \
         are being skipped.\n"
    );
    println!("| product | threads | ceiling | engine, all atoms | engine, a tenth |");
    println!("|---|---:|---:|---:|---:|");
    let repetitions = effort.of(60);
    for threads in thread_counts() {
        let engine = CpuEngine::new(threads);
        let operations = 2.0 * 250.0 * 128.0 * 128.0;
        let ceiling = product(250, 128, 128, threads, repetitions)?;
        let time = |density| -> anyhow::Result<f64> {
            let problem = MadeUp::with_density(density, effort.of(400))?;
            Ok(problem.seconds_per_iteration(&engine, effort.of(9))?)
        };
        println!(
            "| 250×128×128 | {threads} | {} | {} | {} |",
            gflops(operations, ceiling),
            gflops(operations, time(1.0)?),
            gflops(operations, time(0.1)?)
        );
    }
    for threads in thread_counts() {
        let engine = CpuEngine::new(threads);
        let (n, l, m) = (250, 128, 1024);
        let operations = (2 * n * m * m) as f64;
        let ceiling = product(n, m, m, threads, repetitions)?;
        let sizes = Dimensions {
            batch: n,
            input_dim: 784,
            code_dim: l,
            hidden_dim: m,
        };
        let problem = MadeUp::new(sizes, effort.of(80))?;
        let seconds = problem.seconds_per_iteration(&engine, effort.of(3))?;
        let all = operations + (2 * 2 * n * l * m) as f64;
        println!(
            "| 250×1024×1024 (hidden layer, Gram form) | {threads} | {} | {} | |",
            gflops(operations, ceiling),
            gflops(all, seconds)
        );
    }
    println!();

    println!("## An iteration by the atoms in use\n");
    println!("Milliseconds, n = 250, l = 128, one thread, every sample moving.\n");
    println!("| in use | ms |");
    println!("|---:|---:|");
    let engine = CpuEngine::new(1);
    for density in [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0] {
        let problem = MadeUp::with_density(density, effort.of(400))?;
        let seconds = problem.seconds_per_iteration(&engine, effort.of(9))?;
        println!("| {:.0} % | {} |", 100.0 * density, milliseconds(seconds));
    }
    println!();
    Ok(())
}

/// Seconds of a dense product by candle (which is `gemm`'s): each thread does its share of the
/// rows, all at the same time.
fn product(
    m: usize,
    k: usize,
    n: usize,
    threads: usize,
    repetitions: usize,
) -> anyhow::Result<f64> {
    let start = std::sync::Barrier::new(threads);
    let share = || -> anyhow::Result<Vec<f64>> {
        let left = Tensor::ones((m.div_ceil(threads), k), DType::F32, &Device::Cpu)?;
        let right = Tensor::ones((k, n), DType::F32, &Device::Cpu)?;
        with_threads(1, || {
            (0..repetitions.max(1))
                .map(|_| {
                    start.wait();
                    fastest(1, || left.matmul(&right).map(drop))
                })
                .collect::<candle_core::Result<_>>()
        })?
        .map_err(Into::into)
    };
    let seconds = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        shares
            .into_iter()
            .map(|share| share.join().expect("a product does not panic"))
            .collect::<anyhow::Result<Vec<Vec<f64>>>>()
    })?;
    // A repetition takes as long as its slowest thread.
    let slowest = |index: usize| seconds.iter().map(|own| own[index]).fold(0.0, f64::max);
    Ok((0..repetitions.max(1))
        .map(slowest)
        .fold(f64::INFINITY, f64::min))
}

/// How the time of an iteration grows.
pub(crate) fn growth(effort: Effort) -> anyhow::Result<()> {
    println!("## How an iteration grows\n");
    println!(
        "Milliseconds, made-up problems with a tenth of the atoms in use, every sample moving, with hinge for linear decoders; one \
         size changes at a time. n = 250, d = 784, l = 128, m = 0 (linear) or 1024.\n"
    );
    let linear = Dimensions {
        batch: 250,
        input_dim: 784,
        code_dim: 128,
        hidden_dim: 0,
    };
    let hidden = Dimensions {
        hidden_dim: 1024,
        ..linear
    };
    println!("| decoder | size | value | ms, 1 thread |");
    println!("|---|---|---:|---:|");
    let one = CpuEngine::new(1);
    let row = |sizes: Dimensions, size: &str, value: usize| -> anyhow::Result<()> {
        let is_linear = sizes.hidden_dim == 0;
        let iterations = effort.of(if is_linear { 200 } else { 60 });
        let problem = MadeUp::new(sizes, iterations)?;
        let repetitions = effort.of(if is_linear { 7 } else { 2 });
        let seconds = problem.seconds_per_iteration(&one, repetitions)?;
        let decoder = if is_linear { "linear" } else { "one-hidden" };
        println!(
            "| {decoder} | {size} | {value} | {} |",
            milliseconds(seconds)
        );
        Ok(())
    };
    for batch in [50, 125, 250, 500, 1000, 2000] {
        row(Dimensions { batch, ..linear }, "n", batch)?;
    }
    for code_dim in [32, 64, 128, 256, 512] {
        row(Dimensions { code_dim, ..linear }, "l", code_dim)?;
    }
    for input_dim in [64, 256, 784, 1568] {
        row(
            Dimensions {
                input_dim,
                ..linear
            },
            "d",
            input_dim,
        )?;
    }
    for hidden_dim in [128, 512, 1024, 2048] {
        row(
            Dimensions {
                hidden_dim,
                ..hidden
            },
            "m",
            hidden_dim,
        )?;
    }
    for input_dim in [196, 784] {
        row(
            Dimensions {
                input_dim,
                ..hidden
            },
            "d",
            input_dim,
        )?;
    }

    println!("\n| threads | linear, ms | one-hidden, ms |");
    println!("|---:|---:|---:|");
    for threads in thread_counts() {
        let engine = CpuEngine::new(threads);
        let time = |sizes, iterations, repetitions| -> anyhow::Result<f64> {
            let problem = MadeUp::new(sizes, effort.of(iterations))?;
            Ok(problem.seconds_per_iteration(&engine, effort.of(repetitions))?)
        };
        println!(
            "| {threads} | {} | {} |",
            milliseconds(time(linear, 200, 9)?),
            milliseconds(time(hidden, 60, 3)?)
        );
    }
    println!();
    Ok(())
}
