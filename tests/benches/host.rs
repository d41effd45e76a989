//! Encoding, refining and decoding on a host, one thread, one patch after the other or a batch of
//! them, beside candle with the same network.
//!
//! `cargo bench -p sparsecode-tests --bench host` takes a random dictionary of local atoms with the
//! encoder that ISTA gives it, and patches of ten atoms each. Environment variables take their
//! place:
//!
//! - `SPARSECODE_MODEL`: an exported model with `f32` weights, an encoder and a linear decoder; it
//!   is quantised here;
//! - `SPARSECODE_PATCHES`: raw patches, 8-bit levels divided by 255, as the rows of a `.npy` file;
//! - `SPARSECODE_BENCH_FILES`: a folder that receives model and patches, for
//!   `docs/results/compare/host_bench.py`.
//!
//! Every figure is for 250 patches, the papers' batch.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;

use candle_core::{Device, Tensor};
use criterion::Criterion;
use rand::{Rng as _, SeedableRng as _};
use sparsecode_formats::{
    ActivationRanges, AlignedBytes, Contrast, InputFacts, InputShape, ModelFile, OwnedDecoder,
    OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Variant, WeightType,
    write, write_integer,
};
use sparsecode_runtime::{
    CodeBuffer as _, GramView, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView,
    IntegerWorkspaceBuf, ModelView, Refine, SparseCodeBuf, Start, WorkspaceBuf,
};
use sparsecode_trainer::data::npy::{read_npy_f32, write_npy_f32};

/// Patches of a batch.
const BATCH: usize = 250;
/// Relative excess over the lowest energy that counts as having arrived.
const GOOD: f64 = 1e-3;
/// What a level of a patch is worth.
const SCALE: f32 = 1.0 / 255.0;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let model = match std::env::var_os("SPARSECODE_MODEL") {
        Some(path) => owned(&AlignedBytes::from_slice(&std::fs::read(path)?))?,
        None => random_model(),
    };
    let levels = match std::env::var_os("SPARSECODE_PATCHES") {
        Some(path) => {
            let (_, values) = read_npy_f32(Path::new(&path))?;
            let level = |x: &f32| (x / SCALE).round() as i16;
            let rows = values.chunks_exact(model.spec.input_shape.input_dim());
            rows.map(|row| row.iter().map(level).collect()).collect()
        }
        None => random_patches(&model),
    };
    let levels: Vec<Vec<i16>> = levels.into_iter().cycle().take(BATCH).collect();
    let files = Files {
        float: AlignedBytes::from_slice(&write(&model, WeightType::F32)?),
        narrow: AlignedBytes::from_slice(&write(&model, WeightType::I8)?),
        integer: AlignedBytes::from_slice(&integer(&model, &levels)?),
    };
    let mut criterion = Criterion::default()
        .sample_size(40)
        .warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(4))
        .without_plots()
        .configure_from_args();
    run(&mut criterion, &files, &levels)?;
    criterion.final_summary();
    Ok(())
}

struct Files {
    float: AlignedBytes,
    narrow: AlignedBytes,
    integer: AlignedBytes,
}

fn run(criterion: &mut Criterion, files: &Files, levels: &[Vec<i16>]) -> Result<()> {
    let float = ModelView::load(&files.float)?;
    let spec = *float.spec();
    let (input_dim, code_dim) = (spec.input_dim(), spec.code_dim());
    let patches: Vec<Vec<f32>> = levels
        .iter()
        .map(|levels| {
            let mut patch: Vec<f32> = levels.iter().map(|x| f32::from(*x) * SCALE).collect();
            float.preprocess(&mut patch).map(|_| patch)
        })
        .collect::<std::result::Result<_, _>>()?;
    if let Some(folder) = std::env::var_os("SPARSECODE_BENCH_FILES") {
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("model.safetensors"), &*files.float)?;
        write_npy_f32(
            &folder.join("patches.npy"),
            &[BATCH, input_dim],
            &patches.concat(),
        )?;
    }

    let mut code = SparseCodeBuf::new(spec.code_dim);
    let mut workspace = WorkspaceBuf::new(input_dim, code_dim, 0);
    let mut group = criterion.benchmark_group("encode");
    for (name, bytes) in [("f32", &files.float), ("i8-weights", &files.narrow)] {
        let model = ModelView::load(bytes)?;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for patch in &patches {
                    let done = model.encode(black_box(patch), &mut code, &mut workspace);
                    assert!(done.is_ok());
                    black_box(code.indices());
                }
            });
        });
    }
    let all = patches.concat();
    group.bench_function("f32-batch", |bencher| {
        bencher.iter(|| {
            let each = |_, code: &mut SparseCodeBuf, _: &mut WorkspaceBuf| {
                black_box(code.indices());
            };
            let done = float.encode_batch(black_box(&all), &mut code, &mut workspace, each);
            assert!(done.is_ok());
        });
    });
    let integer = IntegerView::load(&files.integer)?;
    let mut levels_code = IntegerCodeBuf::new(integer.spec().code_dim);
    let mut integers = IntegerWorkspaceBuf::for_model(integer.spec());
    group.bench_function("integer", |bencher| {
        bencher.iter(|| {
            for patch in levels {
                let done = integer.encode(black_box(patch), &mut levels_code, &mut integers);
                assert!(done.is_ok());
                black_box(levels_code.iter().next());
            }
        });
    });
    let all_levels = levels.concat();
    group.bench_function("integer-batch", |bencher| {
        bencher.iter(|| {
            let each = |_, code: &mut IntegerCodeBuf, _: &mut IntegerWorkspaceBuf| {
                black_box(code.iter().next());
            };
            let (code, all) = (&mut levels_code, black_box(&all_levels));
            let done = integer.encode_batch(all, code, &mut integers, each);
            assert!(done.is_ok());
        });
    });
    let candle = Candle::new(&ModelFile::read(&files.float)?)?;
    let one_by_one: Vec<Tensor> = patches
        .iter()
        .map(|patch| Tensor::from_slice(patch, (1, input_dim), &Device::Cpu))
        .collect::<candle_core::Result<_>>()?;
    group.bench_function("candle", |bencher| {
        bencher.iter(|| {
            for patch in &one_by_one {
                assert!(black_box(candle.encode(black_box(patch))).is_ok());
            }
        });
    });
    let batch = Tensor::cat(&one_by_one, 0)?;
    group.bench_function("candle-batch", |bencher| {
        bencher.iter(|| assert!(black_box(candle.encode(black_box(&batch))).is_ok()));
    });
    group.finish();

    let mut gram = GramView::new(&float)?;
    let work = good_iterations(&float, &mut gram, &patches)?;
    let mean = |pick: fn(&Work) -> u32| {
        work.iter().map(|one| f64::from(pick(one))).sum::<f64>() / BATCH as f64
    };
    let active: usize = work.iter().map(|one| one.start.active()).sum();
    println!(
        "{:.1} atoms active in the encoder's code; to an energy within {GOOD} of the lowest: {:.1} passes of coordinate descent, {:.1} iterations of FISTA",
        active as f64 / BATCH as f64,
        mean(|one| one.passes),
        mean(|one| one.iterations),
    );
    let settings = Refine {
        tolerance: 0.0,
        start: Start::Code,
        ..Refine::for_model(&spec)
    };
    let mut group = criterion.benchmark_group("refine");
    group.bench_function("descent", |bencher| {
        bencher.iter(|| {
            for (patch, work) in patches.iter().zip(&work) {
                code.clone_from(&work.start);
                let settings = Refine {
                    max_iterations: work.passes,
                    ..settings
                };
                let done = gram.descend(patch, &mut code, &settings, &mut workspace, || false);
                assert!(black_box(done).is_ok());
            }
        });
    });
    group.bench_function("fista", |bencher| {
        bencher.iter(|| {
            for (patch, work) in patches.iter().zip(&work) {
                code.clone_from(&work.start);
                let settings = Refine {
                    max_iterations: work.iterations,
                    ..settings
                };
                let done = gram.refine(patch, &mut code, &settings, &mut workspace, || false);
                assert!(black_box(done).is_ok());
            }
        });
    });
    // The integer model's own energy is another one: here with the settings that it comes with.
    let settings = IntegerRefine::for_model(integer.file());
    group.bench_function("integer", |bencher| {
        bencher.iter(|| {
            for patch in levels {
                let (code, workspace) = (&mut levels_code, &mut integers);
                let done = integer.encode(patch, code, workspace);
                assert!(done.is_ok());
                let done = integer.refine(patch, code, &settings, workspace, || false);
                assert!(done.is_ok());
            }
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("decode");
    let mut output = vec![0.0; input_dim];
    group.bench_function("f32", |bencher| {
        bencher.iter(|| {
            for work in &work {
                let done = float.decode(&work.start, &mut output, &mut workspace);
                assert!(done.is_ok());
            }
        });
    });
    let mut output = vec![0; input_dim];
    let mut codes = Vec::new();
    for patch in levels {
        integer.encode(patch, &mut levels_code, &mut integers)?;
        codes.push(levels_code.clone());
    }
    group.bench_function("integer", |bencher| {
        bencher.iter(|| {
            for code in &codes {
                let done = integer.decode(code, &mut output, &mut integers);
                assert!(done.is_ok());
            }
        });
    });
    group.finish();
    Ok(())
}

/// Where the refinement of a patch starts, and what it takes to end within [`GOOD`].
struct Work {
    start: SparseCodeBuf,
    passes: u32,
    iterations: u32,
}

fn good_iterations(
    model: &ModelView<'_>,
    gram: &mut GramView<'_>,
    patches: &[Vec<f32>],
) -> Result<Vec<Work>> {
    let spec = model.spec();
    let mut workspace = WorkspaceBuf::new(spec.input_dim(), spec.code_dim(), 0);
    let settings = Refine {
        tolerance: 0.0,
        start: Start::Code,
        ..Refine::for_model(spec)
    };
    let mut all = Vec::new();
    for patch in patches {
        let mut start = SparseCodeBuf::new(spec.code_dim);
        model.encode(patch, &mut start, &mut workspace)?;
        let mut energy = |fista: bool, max_iterations: u32| -> Result<f64> {
            let mut code = start.clone();
            let settings = Refine {
                max_iterations,
                ..settings
            };
            let refinement = if fista {
                gram.refine(patch, &mut code, &settings, &mut workspace, || false)?
            } else {
                gram.descend(patch, &mut code, &settings, &mut workspace, || false)?
            };
            Ok(f64::from(refinement.energy))
        };
        let lowest = energy(false, 5000)?;
        let mut least = |fista: bool| -> Result<u32> {
            for count in 0..5000 {
                if energy(fista, count)? <= lowest * (1.0 + GOOD) {
                    return Ok(count);
                }
            }
            Err("a refinement did not arrive".into())
        };
        let (passes, iterations) = (least(false)?, least(true)?);
        all.push(Work {
            start,
            passes,
            iterations,
        });
    }
    Ok(all)
}

/// The encoder in candle: `u = U y + b`, then `z = relu(u + S z)`.
struct Candle {
    input: Tensor,
    bias: Tensor,
    recurrent: Tensor,
    iterations: u8,
}

impl Candle {
    fn new(file: &ModelFile<'_>) -> Result<Self> {
        let encoder = file.encoder.as_ref().ok_or("the model has no encoder")?;
        let (input_dim, code_dim) = (file.spec.input_dim(), file.spec.code_dim());
        let tensor = |values: Vec<f32>, shape| Tensor::from_vec(values, shape, &Device::Cpu);
        Ok(Self {
            // Contiguous in the order of the product.
            input: tensor(values(&encoder.input), (code_dim, input_dim))?
                .t()?
                .contiguous()?,
            bias: Tensor::from_slice(encoder.bias, (1, code_dim), &Device::Cpu)?,
            // Stored transposed, as `z S` wants it.
            recurrent: tensor(values(&encoder.recurrent), (code_dim, code_dim))?,
            iterations: file.spec.lista_iterations.unwrap_or(0),
        })
    }

    fn encode(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let drive = input.matmul(&self.input)?.broadcast_add(&self.bias)?;
        let mut code = drive.relu()?;
        for _ in 0..self.iterations {
            code = code.matmul(&self.recurrent)?.add(&drive)?.relu()?;
        }
        Ok(code)
    }
}

/// The stored matrix, row by row.
fn values(matrix: &sparsecode_formats::MatrixRef<'_>) -> Vec<f32> {
    let places = (0..matrix.rows).flat_map(|row| (0..matrix.cols).map(move |col| (row, col)));
    places
        .filter_map(|(row, col)| matrix.weight(row, col))
        .collect()
}

/// A model in a file, to be written in other number types.
fn owned(bytes: &[u8]) -> Result<OwnedModel> {
    let file = ModelFile::read(bytes)?;
    let spec = &file.spec;
    let encoder = file.encoder.as_ref().ok_or("the model has no encoder")?;
    let sparsecode_formats::Decoder::Linear { dictionary } = &file.decoder else {
        return Err("the model's decoder has a hidden layer".into());
    };
    Ok(OwnedModel {
        spec: OwnedSpec {
            variant: spec.variant,
            input_shape: spec.input_shape,
            code_dim: spec.code_dim,
            hidden_dim: 0,
            lista_iterations: spec.lista_iterations,
            codes: spec.codes,
            lambda: spec.lambda,
            preprocessing: spec.preprocessing,
            peak: spec.peak,
            input: InputFacts::default(),
            provenance: OwnedProvenance::default(),
        },
        encoder: Some(OwnedEncoder {
            input: values(&encoder.input),
            bias: encoder.bias.to_vec(),
            recurrent: values(&encoder.recurrent),
        }),
        gram: None,
        variational: None,
        decoder: OwnedDecoder::Linear {
            dictionary: values(dictionary),
        },
    })
}

/// The same model in integers, with room for twice the largest component.
fn integer(model: &OwnedModel, levels: &[Vec<i16>]) -> Result<Vec<u8>> {
    let file = AlignedBytes::from_slice(&write(model, WeightType::F32)?);
    let view = ModelView::load(&file)?;
    let spec = view.spec();
    let mut code = SparseCodeBuf::new(spec.code_dim);
    let mut workspace = WorkspaceBuf::new(spec.input_dim(), spec.code_dim(), 0);
    let mut code_max = f32::MIN_POSITIVE;
    for levels in levels {
        let mut patch: Vec<f32> = levels.iter().map(|x| f32::from(*x) * SCALE).collect();
        let _ = view.preprocess(&mut patch)?;
        view.encode(&patch, &mut code, &mut workspace)?;
        code_max = code.values().iter().copied().fold(code_max, f32::max);
    }
    let ranges = ActivationRanges {
        input_scale: SCALE,
        input_min: -255,
        input_max: 510,
        code_max: 2.0 * code_max,
    };
    Ok(write_integer(model, &ranges)?.bytes)
}

const SIDE: usize = 28;
const ATOMS: usize = 128;

/// Atoms of 7 × 7 pixels somewhere in an image, and the three steps of ISTA as an encoder.
fn random_model() -> OwnedModel {
    let mut random = seeded();
    let mut dictionary = vec![0.0_f32; ATOMS * SIDE * SIDE];
    for atom in dictionary.chunks_mut(SIDE * SIDE) {
        let corner = [0; 2].map(|_| random.random_range(0..SIDE - 7));
        for (row, col) in (0..49).map(|i| (i / 7, i % 7)) {
            atom[(corner[0] + row) * SIDE + corner[1] + col] = random.random_range(-0.2..0.5);
        }
        let norm = atom.iter().map(|w| w * w).sum::<f32>().sqrt();
        atom.iter_mut().for_each(|w| *w /= norm);
    }
    let atoms: Vec<&[f32]> = dictionary.chunks(SIDE * SIDE).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    // Below 1 over the largest eigenvalue of atoms that hardly overlap.
    let step = 0.2;
    let lambda = 0.02 / (SIDE * SIDE) as f32;
    let recurrent = (0..ATOMS * ATOMS).map(|i| (i / ATOMS, i % ATOMS));
    let recurrent =
        recurrent.map(|(k, j)| f32::from(u8::from(k == j)) - step * dot(atoms[k], atoms[j]));
    OwnedModel {
        spec: OwnedSpec {
            variant: Variant::Sdl,
            input_shape: InputShape {
                height: SIDE as u16,
                width: SIDE as u16,
            },
            code_dim: ATOMS as u16,
            hidden_dim: 0,
            lista_iterations: Some(3),
            codes: Default::default(),
            lambda,
            preprocessing: Preprocessing {
                mean: 0.0,
                deviation: 1.0,
                contrast: Contrast::None,
            },
            peak: 1.0,
            input: InputFacts::default(),
            provenance: OwnedProvenance::default(),
        },
        encoder: Some(OwnedEncoder {
            input: dictionary.iter().map(|w| step * w).collect(),
            // A threshold that leaves about as many components as a trained encoder does.
            bias: vec![-0.12; ATOMS],
            recurrent: recurrent.collect(),
        }),
        gram: None,
        variational: None,
        decoder: OwnedDecoder::Linear { dictionary },
    }
}

/// Ten atoms each.
fn random_patches(model: &OwnedModel) -> Vec<Vec<i16>> {
    let mut random = seeded();
    let OwnedDecoder::Linear { dictionary } = &model.decoder else {
        return Vec::new();
    };
    let atoms: Vec<&[f32]> = dictionary
        .chunks(model.spec.input_shape.input_dim())
        .collect();
    let patch = |_| {
        let mut patch = vec![0.0_f32; atoms[0].len()];
        for _ in 0..10 {
            let (atom, value) = (
                atoms[random.random_range(0..atoms.len())],
                random.random_range(1.0..3.0),
            );
            for (x, w) in patch.iter_mut().zip(atom) {
                *x += value * w;
            }
        }
        patch
            .iter()
            .map(|x| (x.clamp(0.0, 1.0) / SCALE).round() as i16)
            .collect()
    };
    (0..BATCH).map(patch).collect()
}

fn seeded() -> rand_chacha::ChaCha8Rng {
    rand_chacha::ChaCha8Rng::seed_from_u64(1)
}
