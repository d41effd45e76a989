//! A model that needs no training, and patches for it: cosines as atoms, with the encoder that follows from them.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sparsecode_formats::{
    Contrast, InputShape, OwnedDecoder, OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec,
    Preprocessing, Variant, WeightType, write, write_file,
};

/// Writes a model of cosines, which needs no training, and noisy patches with their clean originals.
///
/// Two files: `model.safetensors` and `patches.npy`, both the same for the same arguments.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "Example: cargo xtask firmware-model --shape 28x28 --output /tmp/large")]
pub(crate) struct Arguments {
    /// Height and width of a patch
    #[arg(long, default_value = "8x8")]
    shape: String,
    /// Components of a code: each cosine takes two, for its two signs
    #[arg(long, default_value_t = 128)]
    code_dim: u16,
    /// Number type of the weights: f32, i16 or i8
    #[arg(long, default_value = "i8")]
    weights: String,
    /// How many patches
    #[arg(long, default_value_t = 4)]
    patches: usize,
    /// Standard deviation of the noise; the samples lie in 0..1
    #[arg(long, default_value_t = 0.1)]
    noise: f64,
    /// Seed of shapes and noise
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// Folder for the two files
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Runs `cargo xtask firmware-model`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (height, width) = arguments
        .shape
        .split_once('x')
        .and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)))
        .with_context(|| {
            format!(
                "--shape {}: HEIGHTxWIDTH is wanted, as in 8x8",
                arguments.shape
            )
        })?;
    let weights: WeightType =
        arguments.weights.parse().ok().with_context(|| {
            format!("--weights {}: f32, i16 or i8 is wanted", arguments.weights)
        })?;
    let output = arguments
        .output
        .clone()
        .unwrap_or_else(|| super::folder().join("model"));
    std::fs::create_dir_all(&output).with_context(|| output.display().to_string())?;

    let shape = InputShape { height, width };
    let model = cosines(shape, arguments.code_dim, arguments.noise, arguments.seed)?;
    let bytes = write(&model, weights)?;
    save(&output.join("model.safetensors"), &bytes)?;

    ensure!(arguments.patches > 0, "--patches: at least one is wanted");
    let patches = scenes(shape, arguments.patches, arguments.noise, arguments.seed);
    save(&output.join("patches.npy"), &patches)
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file(path, bytes).with_context(|| path.display().to_string())?;
    eprintln!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}

const MEAN: f64 = 0.5;
const DEVIATION: f64 = 0.25;

/// The `code_dim/2` slowest cosines of the patch and their negatives, each of norm 1.
///
/// U = η(2/d)Wᵀ, S = I − η(2/d)WᵀW and b = −λη make every LISTA iteration a step of proximal descent (Gregor & LeCun 2010).
fn cosines(shape: InputShape, code_dim: u16, noise: f64, seed: u64) -> Result<OwnedModel> {
    let (height, width) = (usize::from(shape.height), usize::from(shape.width));
    let (input_dim, atoms) = (height * width, usize::from(code_dim) / 2);
    ensure!(
        code_dim.is_multiple_of(2) && code_dim > 0 && atoms <= input_dim,
        "--code-dim {code_dim}: an even number up to {} is wanted, two for each pixel",
        2 * input_dim
    );
    let mut frequencies: Vec<(usize, usize)> = (0..height)
        .flat_map(|u| (0..width).map(move |v| (u, v)))
        .collect();
    let squared = |(u, v): (usize, usize)| {
        (u as f64 / height as f64).powi(2) + (v as f64 / width as f64).powi(2)
    };
    frequencies.sort_by(|&a, &b| squared(a).total_cmp(&squared(b)));

    let mut dictionary: Vec<Vec<f64>> = Vec::with_capacity(2 * atoms);
    for &(u, v) in &frequencies[..atoms] {
        let wave = |index: usize, frequency: usize, length: usize| {
            (PI * (index as f64 + 0.5) * frequency as f64 / length as f64).cos()
        };
        let atom: Vec<f64> = (0..input_dim)
            .map(|pixel| wave(pixel / width, u, height) * wave(pixel % width, v, width))
            .collect();
        let norm = atom.iter().map(|value| value * value).sum::<f64>().sqrt();
        dictionary.push(atom.iter().map(|value| value / norm).collect());
        dictionary.push(atom.iter().map(|value| -value / norm).collect());
    }

    // Pairs of opposite unit vectors: ‖W‖₂² = 2, so that η = d/4 is the largest safe step.
    let step = input_dim as f64 / 4.0;
    let factor = step * 2.0 / input_dim as f64;
    // Shrinks each coefficient by one and a half standard deviations of its noise.
    let lambda = 1.5 * (noise / DEVIATION) * 2.0 / input_dim as f64;
    let flat = |scale: f64| -> Vec<f32> {
        dictionary
            .iter()
            .flatten()
            .map(|value| (value * scale) as f32)
            .collect()
    };
    let mut recurrent = Vec::with_capacity(dictionary.len() * dictionary.len());
    for (i, a) in dictionary.iter().enumerate() {
        for (j, b) in dictionary.iter().enumerate() {
            let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let identity = if i == j { 1.0 } else { 0.0 };
            recurrent.push((identity - factor * product) as f32);
        }
    }
    Ok(OwnedModel {
        spec: OwnedSpec {
            variant: Variant::Sdl,
            input_shape: shape,
            code_dim,
            hidden_dim: 0,
            lista_iterations: Some(3),
            lambda: lambda as f32,
            preprocessing: Preprocessing {
                mean: MEAN as f32,
                deviation: DEVIATION as f32,
                contrast: Contrast::None,
            },
            peak: 1.0,
            provenance: OwnedProvenance {
                data: "cosines".into(),
                seed,
                epoch: 0,
                commit: "untrained".into(),
                config_hash: "none".into(),
            },
        },
        encoder: Some(OwnedEncoder {
            input: flat(factor),
            bias: vec![(-lambda * step) as f32; dictionary.len()],
            recurrent,
        }),
        decoder: OwnedDecoder::Linear {
            dictionary: flat(1.0),
        },
    })
}

/// SplitMix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * PI * self.uniform()).cos()
    }
}

/// An `.npy` file of shape (2, count, d): patches of overlapping soft discs with noise, then without.
fn scenes(shape: InputShape, count: usize, noise: f64, seed: u64) -> Vec<u8> {
    let (height, width) = (usize::from(shape.height), usize::from(shape.width));
    let mut random = Random(seed);
    let mut clean = Vec::with_capacity(count * height * width);
    for _ in 0..count {
        let ground = 0.3 + 0.4 * random.uniform();
        let start = clean.len();
        clean.resize(start + height * width, ground);
        for _ in 0..3 {
            let (y, x) = (
                random.uniform() * height as f64,
                random.uniform() * width as f64,
            );
            let radius = (0.15 + 0.35 * random.uniform()) * height.max(width) as f64;
            let grey = random.uniform();
            for (pixel, value) in clean[start..].iter_mut().enumerate() {
                let (dy, dx) = ((pixel / width) as f64 - y, (pixel % width) as f64 - x);
                // An edge one pixel wide.
                let cover = (radius - (dy * dy + dx * dx).sqrt() + 0.5).clamp(0.0, 1.0);
                *value += cover * (grey - *value);
            }
        }
    }
    let noisy: Vec<f64> = clean
        .iter()
        .map(|value| value + noise * random.normal())
        .collect();
    npy(
        count,
        height * width,
        noisy.iter().chain(&clean).map(|&value| value as f32),
    )
}

fn npy(count: usize, input_dim: usize, samples: impl Iterator<Item = f32>) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (2, {count}, {input_dim}), }}");
    // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(samples.flat_map(f32::to_le_bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{host, npy::Patches};
    use super::*;
    use sparsecode_formats::AlignedBytes;

    const SHAPE: InputShape = InputShape {
        height: 6,
        width: 8,
    };

    #[test]
    fn the_patches_read_back() {
        let bytes = scenes(SHAPE, 3, 0.1, 1);
        let patches = Patches::parse(&bytes, None).unwrap();
        assert_eq!((patches.count, patches.input_dim), (3, 48));
        assert_eq!(patches.noisy.len(), 144);
        assert!(
            patches
                .clean
                .iter()
                .all(|value| (0.0..=1.0).contains(value))
        );
        let error: f32 = patches
            .noisy
            .iter()
            .zip(&patches.clean)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        let deviation = (error / 144.0).sqrt();
        assert!((0.08..0.12).contains(&deviation), "{deviation}");

        let first = Patches::parse(&bytes, Some(1)).unwrap();
        assert_eq!(first.noisy, patches.noisy[..48]);
        assert_eq!(first.clean, patches.clean[..48]);
    }

    #[test]
    fn damaged_patches_are_refused() {
        let bytes = scenes(SHAPE, 3, 0.1, 1);
        for (damaged, complaint) in [
            (bytes[..bytes.len() - 1].to_vec(), "does not fit"),
            (bytes[1..].to_vec(), "not an .npy"),
            (
                String::from_utf8_lossy(b"\x93NUMPY").as_bytes().to_vec(),
                "not an .npy",
            ),
            (
                [&bytes[..10], &[b' '; 118], &bytes[128..]].concat(),
                "little-endian f32",
            ),
        ] {
            let error = Patches::parse(&damaged, None).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn the_model_denoises_on_the_host() {
        let model = cosines(SHAPE, 64, 0.1, 1).unwrap();
        let patches = Patches::parse(&scenes(SHAPE, 8, 0.1, 1), None).unwrap();
        for weights in [WeightType::F32, WeightType::I8] {
            let bytes = AlignedBytes::from_slice(&write(&model, weights).unwrap());
            let found = host::reference(&bytes, &patches, 50).unwrap();
            let [noisy, denoised, refined] = found.psnr;
            assert!(
                denoised > noisy + 1.0 && refined > noisy + 1.0,
                "{weights}: {found:?}"
            );
        }
    }

    #[test]
    fn too_many_components_are_refused() {
        let error = cosines(SHAPE, 98, 0.1, 1).unwrap_err().to_string();
        assert!(error.contains("up to 96"), "{error}");
    }
}
