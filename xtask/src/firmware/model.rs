//! `cargo xtask firmware-model`: an exported model and patches for it, into the firmware.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sparsecode_formats::{AlignedBytes, IntegerFile, write_file};
use sparsecode_runtime::{ModelView, Refine};

use super::host;
use super::npy::Patches;

/// Puts an exported model and its patches into the firmware, after checking that they fit each other.
///
/// `sparsecode quickstart` writes all of them: `model.safetensors`, `integer.safetensors` and `patches.npy`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Example:
  cargo run --release -- quickstart --output quickstart
  cargo xtask firmware-model --from quickstart
  cargo xtask firmware")]
pub(crate) struct Arguments {
    /// Folder with model.safetensors, integer.safetensors and patches.npy, of shape (2, n, d): noisy, then clean, in raw samples
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Keep only the first patches (they take flash, too)
    #[arg(long, default_value_t = 4, value_name = "N")]
    patches: usize,
    /// Where to put the files [default: firmware-example/model]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

const MODEL: &str = "model.safetensors";
/// The same model in integer arithmetic.
const INTEGER: &str = "integer.safetensors";
const PATCHES: &str = "patches.npy";

/// Runs `cargo xtask firmware-model`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let output = match &arguments.output {
        Some(folder) => folder.clone(),
        None => super::folder().join("model"),
    };
    ensure!(arguments.patches > 0, "--patches: at least one is wanted");
    let path = arguments.from.join(MODEL);
    let model = AlignedBytes::read(&path).with_context(|| path.display().to_string())?;
    let path = arguments.from.join(INTEGER);
    let integer = AlignedBytes::read(&path).with_context(|| path.display().to_string())?;
    check_pair(&model, &integer).with_context(|| path.display().to_string())?;
    let path = arguments.from.join(PATCHES);
    let patches = fs::read(&path)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| {
            Patches::parse(&bytes, Some(arguments.patches)).map_err(anyhow::Error::msg)
        })
        .with_context(|| path.display().to_string())?;

    // As the firmware will run it; a model or patches that are no use end here.
    let budget = default_budget(&model)?;
    let found = host::reference(&model, &patches, budget)
        .with_context(|| arguments.from.display().to_string())?;
    let [noisy, denoised, refined] = found.psnr;
    ensure!(
        noisy < denoised.max(refined),
        "{}: the model does not denoise these patches: PSNR {noisy:.2} dB noisy, {denoised:.2} dB by the encoder's code, \
         {refined:.2} dB refined",
        arguments.from.display()
    );

    fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    save(&output.join(MODEL), &model)?;
    save(&output.join(INTEGER), &integer)?;
    save(&output.join(PATCHES), &npy(&patches))?;
    println!(
        "{} patches: PSNR {noisy:.2} dB noisy, {denoised:.2} dB by the encoder's code, {refined:.2} dB refined",
        patches.count
    );
    Ok(())
}

/// Whether the integer model is sound, and of the same dimensions.
fn check_pair(model: &[u8], integer: &[u8]) -> Result<()> {
    let sound = |error| anyhow::anyhow!("{error}");
    let file = IntegerFile::read(integer).map_err(sound)?;
    file.verify_checksum().map_err(sound)?;
    file.prove()?;
    let view = ModelView::load(model).map_err(|error| anyhow::anyhow!("{MODEL}: {error}"))?;
    let (spec, other) = (view.spec(), &file.spec);
    ensure!(
        (spec.input_shape, spec.code_dim) == (other.input_shape, other.code_dim),
        "{INTEGER} takes {} and has {} atoms, {MODEL} {} and {}",
        other.input_shape,
        other.code_dim,
        spec.input_shape,
        spec.code_dim
    );
    Ok(())
}

/// The iterations that the file's own settings allow.
fn default_budget(model: &[u8]) -> Result<u32> {
    let view = ModelView::load(model).map_err(|error| anyhow::anyhow!("{MODEL}: {error}"))?;
    Ok(Refine::for_model(view.spec()).max_iterations)
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file(path, bytes).with_context(|| path.display().to_string())?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}

/// An `.npy` file of shape (2, count, d), little-endian f32.
pub(super) fn npy(patches: &Patches) -> Vec<u8> {
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': (2, {}, {}), }}",
        patches.count, patches.input_dim
    );
    // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(header.as_bytes());
    let samples = patches.noisy.iter().chain(&patches.clean);
    bytes.extend(samples.flat_map(|sample| sample.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_patches() -> Patches {
        Patches {
            count: 3,
            input_dim: 2,
            noisy: vec![0.5, 1.5, -2.5, 3.5, 4.5, 5.5],
            clean: vec![0.0, 1.0, -2.0, 3.0, 4.0, 5.0],
        }
    }

    #[test]
    fn the_patches_read_back() {
        let patches = some_patches();
        let bytes = npy(&patches);
        assert_eq!(Patches::parse(&bytes, None).as_ref(), Ok(&patches));
        let first = Patches::parse(&bytes, Some(1)).unwrap();
        assert_eq!((first.count, first.input_dim), (1, 2));
        assert_eq!(
            (&first.noisy[..], &first.clean[..]),
            (&[0.5, 1.5][..], &[0.0, 1.0][..])
        );
    }

    #[test]
    fn damaged_patches_are_refused() {
        let bytes = npy(&some_patches());
        for (damaged, complaint) in [
            (bytes[..bytes.len() - 1].to_vec(), "does not fit"),
            (bytes[1..].to_vec(), "not an .npy"),
            (b"\x93NUMPY".to_vec(), "not an .npy"),
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
    fn files_that_do_not_fit_each_other_are_refused() {
        let folder = std::env::temp_dir().join(format!("sparsecode-model-{}", std::process::id()));
        let from = folder.join("from");
        fs::create_dir_all(&from).unwrap();
        let arguments = Arguments {
            from: from.clone(),
            patches: 4,
            output: Some(folder.join("to")),
        };
        let kept = super::super::folder().join("model");
        fs::copy(kept.join(MODEL), from.join(MODEL)).unwrap();
        fs::copy(kept.join("ecg.safetensors"), from.join(INTEGER)).unwrap();
        fs::write(from.join(PATCHES), npy(&some_patches())).unwrap();
        let error = format!("{:#}", run(&arguments).unwrap_err());
        assert!(error.contains("has 64 atoms"), "{error}");
        fs::copy(kept.join(INTEGER), from.join(INTEGER)).unwrap();
        let error = format!("{:#}", run(&arguments).unwrap_err());
        assert!(error.contains("2 samples"), "{error}");
        assert!(!folder.join("to").exists());

        fs::copy(kept.join(PATCHES), from.join(PATCHES)).unwrap();
        run(&arguments).unwrap();
        let written = fs::read(folder.join("to").join(PATCHES)).unwrap();
        assert_eq!(written, fs::read(kept.join(PATCHES)).unwrap());
        for name in [MODEL, INTEGER] {
            assert_eq!(
                fs::read(folder.join("to").join(name)).unwrap(),
                fs::read(kept.join(name)).unwrap()
            );
        }

        // Patches without noise cannot become better.
        let mut clean = Patches::parse(&written, None).unwrap();
        clean.noisy.clone_from(&clean.clean);
        fs::write(from.join(PATCHES), npy(&clean)).unwrap();
        let error = format!("{:#}", run(&arguments).unwrap_err());
        assert!(error.contains("does not denoise"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
