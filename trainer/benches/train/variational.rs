//! Iterations of variational sparse coding, beside what their products alone take.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rand_distr::{Distribution, StandardNormal};
use sparsecode_trainer::data::{
    DataFacts, Dataset, InputShape, Preprocessing, Restore, Samples, Splits,
};
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::run::{Epoch, Learner as _, Settings as _};
use sparsecode_trainer::variational::{Head, Variational, VariationalConfig, VariationalLearner};

use crate::measure::{Effort, fastest, with_threads};

/// Inputs of a batch.
const BATCH: usize = 100;

/// Presets of the family, all that have an encoder.
const METHODS: [&str; 7] = [
    "gaussian",
    "laplacian",
    "spike-and-slab",
    "gaussian-fixed",
    "gaussian-learned",
    "laplacian-fixed",
    "laplacian-learned",
];

/// A product `m × k · k × n`.
type Product = [usize; 3];

/// One row for each method and size.
pub(crate) fn variational(effort: Effort) -> anyhow::Result<()> {
    println!("## An iteration of variational sparse coding\n");
    println!(
        "P inputs, P atoms, the paper's encoder (512, 1024, 512, 256 for P = 256; 128, 256, 128, 64 \
         for 64), 100 inputs, 20 samples of each, one thread, made-up inputs. *Products*: the \
         encoder's dense products of an iteration alone, forwards and backwards, by candle's \
         `matmul` (`gemm`). *Ceiling*: a product 512×512×512.\n"
    );
    println!("| method | P | iteration, ms | products, ms | share | products, GFLOP/s | ceiling |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for size in [64, 256] {
        for method in METHODS {
            with_threads(1, || row(method, size, effort))??;
        }
    }
    println!();
    Ok(())
}

fn row(method: &str, size: usize, effort: Effort) -> anyhow::Result<()> {
    let config = config(method, size)?;
    let splits = splits(size);
    let train = Samples::new(splits.train.clone())?;
    let facts = DataFacts::of(&splits);
    let mut learner = VariationalLearner::new(&config, &facts, &Device::Cpu)?;
    learner.begin(&train, &train)?;
    let order: Vec<u32> = (0..train.len() as u32).collect();
    let epoch = Epoch {
        set: &train,
        index: 0,
        order: &order,
        batch_size: BATCH,
        batches: train.len() / BATCH,
    };
    // The shortest of all is that of a processor that nobody else used.
    let mut seconds = f64::INFINITY;
    for place in 0..effort.of(60) {
        let started = Instant::now();
        let made = epoch.step(&mut learner, place % epoch.batches)?;
        anyhow::ensure!(made.divergence.is_none(), "{method} diverged");
        seconds = seconds.min(started.elapsed().as_secs_f64());
    }
    let products = products(size, &config.family.model.widths, config.family.heads());
    let mut alone = 0.0;
    for product in &products {
        alone += time(*product, effort)?;
    }
    let all: f64 = products.iter().map(|product| operations(*product)).sum();
    let ceiling = [512; 3];
    println!(
        "| {method} | {size} | {:.2} | {:.2} | {:.0} % | {:.0} | {:.0} |",
        1e3 * seconds,
        1e3 * alone,
        100.0 * alone / seconds,
        all / alone / 1e9,
        operations(ceiling) / time(ceiling, effort)? / 1e9,
    );
    Ok(())
}

fn config(method: &str, size: usize) -> anyhow::Result<VariationalConfig> {
    let widths = [2 * size, 4 * size, 2 * size, size].map(|width| width.to_string());
    let settings = [
        format!("model.code_dim={size}"),
        format!("model.widths=[{}]", widths.join(", ")),
        format!("batch_size={BATCH}"),
        "objective.samples=20".to_owned(),
    ];
    let preset = Variational::preset(&format!("variational/{method}"))?;
    Ok(preset.with_overrides(None, &settings)?)
}

fn splits(size: usize) -> Splits {
    let mut rng = generator(7, Stream::TrainData);
    let samples = (0..20 * BATCH * size).map(|_| StandardNormal.sample(&mut rng));
    let set = Dataset {
        samples: samples.collect(),
        dim: size,
        restore: Restore::Global {
            scale: 1.0,
            offset: 0.0,
        },
        labels: None,
    };
    Splits {
        train: set.clone(),
        validation: set.clone(),
        test: set,
        shape: InputShape::window(size as u16),
        preprocessing: Preprocessing::IDENTITY,
        peak: 1.0,
        input: Default::default(),
        description: "normal numbers".to_owned(),
        read: String::new(),
        notes: Vec::new(),
    }
}

/// Those of an iteration: forwards, for the weights, and for what goes in where that is not the
/// input.
fn products(size: usize, widths: &[usize], heads: &[Head]) -> Vec<Product> {
    let widths = [&[size], widths].concat();
    let feature = widths[widths.len() - 1];
    let trunk = widths.windows(2).map(|pair| (pair[0], pair[1]));
    let heads = heads.iter().map(|_| (feature, size));
    let layers = trunk.chain(heads).enumerate();
    let of_layer = layers.flat_map(|(index, (inputs, outputs))| {
        let forwards = [BATCH, inputs, outputs];
        let by_weight = [outputs, BATCH, inputs];
        let by_input = [BATCH, outputs, inputs];
        [
            Some(forwards),
            Some(by_weight),
            (index > 0).then_some(by_input),
        ]
    });
    of_layer.flatten().collect()
}

fn operations([m, k, n]: Product) -> f64 {
    2.0 * (m * k * n) as f64
}

/// Seconds of a product.
fn time([m, k, n]: Product, effort: Effort) -> anyhow::Result<f64> {
    let left = Tensor::ones((m, k), DType::F32, &Device::Cpu)?;
    let right = Tensor::ones((k, n), DType::F32, &Device::Cpu)?;
    Ok(fastest(effort.of(40), || left.matmul(&right).map(drop))?)
}
