//! Models whose codes are signed: what `self_test` and `samples` of the firmware compute with them,
//! on the host.

use std::path::Path;

use anyhow::{Result, ensure};
use sparsecode_formats::{AlignedBytes, IntegerFile};
use sparsecode_runtime::{
    GramView, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView,
    IntegerWorkspaceBuf, Method, ModelView, Refine, Samples, SparseCodeBuf, WorkspaceBuf,
};

use crate::host::{add_code, add_patch};
use crate::log::Log;

/// Patches of the program, and iterations of each refinement.
const PATCHES: u32 = 3;
const ITERATIONS: u32 = 12;
/// Samples of each code of a variational model.
const SAMPLES: u32 = 8;

/// Levels within ±1023 that the device makes as well.
struct Levels(u32);

impl Levels {
    fn patch(&mut self, length: usize) -> Vec<i16> {
        let level = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((self.0 >> 16) as u16).cast_signed() >> 5
        };
        std::iter::repeat_with(level).take(length).collect()
    }
}

/// CRC-32 of codes and reconstructions.
#[derive(Debug, PartialEq, Eq)]
struct Checksums {
    floats: u32,
    integers: u32,
    variational: u32,
}

fn floats(bytes: &[u8]) -> Result<u32> {
    let view = ModelView::load(bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    let spec = view.spec();
    let mut gram = GramView::new(&view)?;
    let mut workspace = WorkspaceBuf::for_model(spec);
    let settings = Refine {
        max_iterations: ITERATIONS,
        ..Refine::for_inference(spec)
    };
    let (mut hasher, mut levels) = (crc32fast::Hasher::new(), Levels(31));
    let mut code = SparseCodeBuf::new(spec.code_dim);
    for _ in 0..PATCHES {
        let patch = levels.patch(spec.input_dim());
        let mut patch: Vec<f32> = patch.iter().map(|x| f32::from(*x) / 1024.0).collect();
        let workspace = &mut workspace;
        view.refine(&patch, &mut code, &settings, workspace, || false)?;
        add_code(&mut hasher, &code);
        gram.refine(&patch, &mut code, &settings, workspace, || false)?;
        add_code(&mut hasher, &code);
        gram.descend(&patch, &mut code, &settings, workspace, || false)?;
        add_code(&mut hasher, &code);
        view.decode(&code, &mut patch, workspace)?;
        add_patch(&mut hasher, &patch);
    }
    Ok(hasher.finalize())
}

fn variational(bytes: &[u8]) -> Result<u32> {
    let view = ModelView::load(bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    let spec = view.spec();
    let mut workspace = WorkspaceBuf::for_model(spec);
    let mut code = SparseCodeBuf::new(spec.code_dim);
    let (mut hasher, mut levels) = (crc32fast::Hasher::new(), Levels(31));
    for _ in 0..PATCHES {
        let patch = levels.patch(spec.input_dim());
        let mut patch: Vec<f32> = patch.iter().map(|x| f32::from(*x) / 1024.0).collect();
        view.denoise(&mut patch, None, &mut code, &mut workspace, || false)?;
        add_code(&mut hasher, &code);
        add_patch(&mut hasher, &patch);
    }
    Ok(hasher.finalize())
}

/// The best samples of a variational model's codes, with their numbers and errors.
fn samples(bytes: &[u8]) -> Result<u32> {
    let view = ModelView::load(bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    let spec = view.spec();
    let mut workspace = WorkspaceBuf::for_model(spec);
    let mut code = SparseCodeBuf::new(spec.code_dim);
    let (mut hasher, mut levels) = (crc32fast::Hasher::new(), Levels(31));
    for input in 0..PATCHES {
        let patch = levels.patch(spec.input_dim());
        let patch: Vec<f32> = patch.iter().map(|x| f32::from(*x) / 1024.0).collect();
        let samples = Samples {
            input: input.into(),
            ..Samples::new(31, SAMPLES)
        };
        let best = view.encode_best_of(&patch, &mut code, &samples, &mut workspace)?;
        add_patch(&mut hasher, &[best.error, best.sample as f32]);
        add_code(&mut hasher, &code);
    }
    Ok(hasher.finalize())
}

fn integers(bytes: &[u8]) -> Result<u32> {
    let file = IntegerFile::read(bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    let view = IntegerView::from(file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let workspace = &mut workspace;
    let (mut hasher, mut levels) = (crc32fast::Hasher::new(), Levels(31));
    for _ in 0..PATCHES {
        let mut patch = levels.patch(file.spec.input_dim());
        for method in [Method::Fista, Method::CoordinateDescent] {
            let settings = IntegerRefine {
                method,
                max_iterations: ITERATIONS,
                ..IntegerRefine::for_inference(&file)
            };
            view.refine(&patch, &mut code, &settings, workspace, || false)?;
            for (index, level) in code.iter() {
                hasher.update(&index.to_le_bytes());
                hasher.update(&level.to_le_bytes());
            }
        }
        view.decode(&code, &mut patch, workspace)?;
        for level in patch {
            hasher.update(&level.to_le_bytes());
        }
    }
    Ok(hasher.finalize())
}

/// Holds what `self_test` printed to what the host finds with the models in a folder.
pub(crate) fn check(log: &Log, models: &Path) -> Result<()> {
    let read = |name: &str| AlignedBytes::read(models.join(name));
    let expected = Checksums {
        floats: floats(&read("signed.safetensors")?)?,
        integers: integers(&read("signed-integer.safetensors")?)?,
        variational: variational(&read("variational.safetensors")?)?,
    };
    let found = Checksums {
        floats: log.value("signed floats checksum")?,
        integers: log.value("signed integers checksum")?,
        variational: log.value("variational checksum")?,
    };
    ensure!(
        found == expected,
        "signed codes differ from the host's: {found:x?}, {expected:x?}"
    );
    Ok(())
}

/// Holds what `samples` printed to what the host finds with the models in a folder.
pub(crate) fn check_samples(log: &Log, models: &Path) -> Result<()> {
    for (noise, file) in [("laplacian", "variational"), ("gaussian", "sampled")] {
        let bytes = AlignedBytes::read(models.join(format!("{file}.safetensors")))?;
        let (found, expected) = (
            log.value::<u32>(&format!("{noise} samples checksum"))?,
            samples(&bytes)?,
        );
        ensure!(
            found == expected,
            "the best samples of {file}.safetensors differ from the host's: {found:x}, \
             {expected:x}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sparsecode_formats::{
        ActivationRanges, CodeSign, InputShape, OwnedModel, PosteriorBase, Preprocessing,
        WeightType, example_decoder, example_posterior, example_variational, write, write_file,
        write_integer,
    };

    use super::*;
    use crate::firmware::folder;

    /// 24 samples, 32 atoms: half as many again as there are samples.
    fn model() -> OwnedModel {
        let weights = Levels(7).patch(24 * 32);
        let mut model = example_decoder(
            InputShape::window(24),
            Preprocessing::IDENTITY,
            weights.iter().map(|w| f32::from(*w) / 4096.0).collect(),
        );
        model.spec.codes = CodeSign::Signed;
        model.spec.provenance.data = "none".into();
        model
    }

    /// `SPARSECODE_WRITE` writes them instead.
    #[test]
    fn the_files_are_what_the_writer_makes_of_them() {
        let model = model();
        let ranges = ActivationRanges {
            input_scale: 1.0 / 1024.0,
            input_min: -1024,
            input_max: 1023,
            code_max: 8.0,
        };
        let floats = write(&model, WeightType::I8).unwrap();
        let integers = write_integer(&model, &ranges).unwrap().bytes;
        let mut other = example_variational(24, 32, &[20, 12], true);
        other.spec.provenance.data = "none".into();
        let other = example_posterior(other, PosteriorBase::Laplacian, Some(1.0), true);
        let variational = write(&other, WeightType::I8).unwrap();
        let mut other = example_variational(24, 32, &[], false);
        other.spec.provenance.data = "none".into();
        let other = example_posterior(other, PosteriorBase::Gaussian, Some(1.0), false);
        let sampled = write(&other, WeightType::I8).unwrap();
        let files = [
            ("signed", floats),
            ("signed-integer", integers),
            ("variational", variational),
            ("sampled", sampled),
        ];
        for (name, bytes) in files {
            let path = folder().join(format!("model/{name}.safetensors"));
            if std::env::var_os("SPARSECODE_WRITE").is_some() {
                write_file(&path, &bytes).unwrap();
            }
            assert!(std::fs::read(&path).unwrap() == bytes, "{}", path.display());
        }
    }

    #[test]
    fn other_results_than_the_hosts_are_refused() {
        let models = folder().join("model");
        let read = |name: &str| AlignedBytes::read(models.join(name)).unwrap();
        let a = floats(&read("signed.safetensors")).unwrap();
        let b = integers(&read("signed-integer.safetensors")).unwrap();
        let c = variational(&read("variational.safetensors")).unwrap();
        let d = samples(&read("variational.safetensors")).unwrap();
        let e = samples(&read("sampled.safetensors")).unwrap();
        let log = |a: u32, b: u32, c: u32| {
            Log::from_lines(vec![
                format!("info  signed floats checksum = {a}"),
                format!("info  signed integers checksum = {b}"),
                format!("info  variational checksum = {c}"),
            ])
        };
        check(&log(a, b, c), &models).unwrap();
        assert!(check(&log(a ^ 1, b, c), &models).is_err());
        assert!(check(&log(a, b ^ 1, c), &models).is_err());
        assert!(check(&log(a, b, c ^ 1), &models).is_err());
        let log = |d: u32, e: u32| {
            Log::from_lines(vec![
                format!("info  laplacian samples checksum = {d}"),
                format!("info  gaussian samples checksum = {e}"),
            ])
        };
        check_samples(&log(d, e), &models).unwrap();
        assert!(check_samples(&log(d ^ 1, e), &models).is_err());
        assert!(check_samples(&log(d, e ^ 1), &models).is_err());
    }

    /// Codes of both signs occur in both arithmetics.
    #[test]
    fn codes_have_both_signs() {
        let models = folder().join("model");
        let bytes = AlignedBytes::read(models.join("signed-integer.safetensors")).unwrap();
        let view = IntegerView::load(&bytes).unwrap();
        let mut code = IntegerCodeBuf::new(32);
        let mut workspace = IntegerWorkspaceBuf::new(32, 0);
        let patch = Levels(31).patch(24);
        view.encode(&patch, &mut code, &mut workspace).unwrap();
        let levels: Vec<i16> = code.iter().map(|(_, level)| level).collect();
        assert!(levels.iter().any(|z| *z < 0) && levels.iter().any(|z| *z > 0));
    }
}
