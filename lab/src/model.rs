//! An exported model and patches for it, into the firmware.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sparsecode_formats::{AlignedBytes, IntegerFile, write_file};
use sparsecode_patches::Patches;
use sparsecode_runtime::{ModelView, Refine};

use crate::{host, sound};

const MODEL: &str = "model.safetensors";
/// The same model in integer arithmetic.
const INTEGER: &str = "integer.safetensors";
const PATCHES: &str = "patches.npy";

/// What was put into the firmware.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Names and sizes in bytes of the files.
    pub files: Vec<(&'static str, usize)>,
    /// How many patches.
    pub patches: usize,
    /// Their mean PSNR in dB: noisy, by the encoder's code, by the refined code.
    pub psnr: [f32; 3],
}

/// Copies `model.safetensors`, `integer.safetensors` and the first `count` patches of `patches.npy`
/// from one folder into another, after checking that they fit each other: the integer model is
/// sound and of the same dimensions, and the model denoises the patches.
///
/// # Errors
/// If a file cannot be read or written, or the files do not fit each other; then nothing is
/// written.
pub fn install(from: &Path, count: usize, to: &Path) -> Result<Installed> {
    ensure!(count > 0, "at least one patch is wanted");
    let path = from.join(MODEL);
    let model = AlignedBytes::read(&path).with_context(|| path.display().to_string())?;
    let path = from.join(INTEGER);
    let integer = AlignedBytes::read(&path).with_context(|| path.display().to_string())?;
    check_pair(&model, &integer).with_context(|| path.display().to_string())?;
    let path = from.join(PATCHES);
    let patches = fs::read(&path)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(Patches::parse(&bytes, Some(count))?))
        .with_context(|| path.display().to_string())?;

    // As the firmware will run it; a model or patches that are no use end here.
    let budget = default_budget(&model)?;
    let found =
        host::reference(&model, &patches, budget).with_context(|| from.display().to_string())?;
    let [noisy, denoised, refined] = found.psnr;
    ensure!(
        noisy < denoised.max(refined),
        "{}: the model does not denoise these patches: PSNR {noisy:.2} dB noisy, {denoised:.2} dB \
         by the encoder's code, {refined:.2} dB refined",
        from.display()
    );

    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    let mut files = Vec::new();
    for (name, bytes) in [
        (MODEL, &model[..]),
        (INTEGER, &integer[..]),
        (PATCHES, &patches.to_npy()[..]),
    ] {
        let path = to.join(name);
        write_file(&path, bytes).with_context(|| path.display().to_string())?;
        files.push((name, bytes.len()));
    }
    Ok(Installed {
        files,
        patches: patches.count,
        psnr: found.psnr,
    })
}

/// Whether the integer model is sound, and of the same dimensions.
fn check_pair(model: &[u8], integer: &[u8]) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_do_not_fit_each_other_are_refused() {
        let folder = std::env::temp_dir().join(format!("sparsecode-model-{}", std::process::id()));
        let from = folder.join("from");
        fs::create_dir_all(&from).unwrap();
        let install = || install(&from, 4, &folder.join("to"));
        let kept = crate::firmware::folder().join("model");
        fs::copy(kept.join(MODEL), from.join(MODEL)).unwrap();
        fs::copy(kept.join("ecg.safetensors"), from.join(INTEGER)).unwrap();
        let some = Patches {
            count: 3,
            input_dim: 2,
            noisy: vec![0.5, 1.5, -2.5, 3.5, 4.5, 5.5],
            clean: vec![0.0, 1.0, -2.0, 3.0, 4.0, 5.0],
        };
        fs::write(from.join(PATCHES), some.to_npy()).unwrap();
        let error = format!("{:#}", install().unwrap_err());
        assert!(error.contains("has 64 atoms"), "{error}");
        fs::copy(kept.join(INTEGER), from.join(INTEGER)).unwrap();
        let error = format!("{:#}", install().unwrap_err());
        assert!(error.contains("2 samples"), "{error}");
        assert!(!folder.join("to").exists());

        fs::copy(kept.join(PATCHES), from.join(PATCHES)).unwrap();
        install().unwrap();
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
        fs::write(from.join(PATCHES), clean.to_npy()).unwrap();
        let error = format!("{:#}", install().unwrap_err());
        assert!(error.contains("does not denoise"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
