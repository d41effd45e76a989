//! The same work on the host, by the same crate: what the device has to arrive at, bit for bit.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use sparsecode_patches::Patches;
use sparsecode_runtime::{
    CodeBuffer, ModelView, Refine, SparseCodeBuf, WorkspaceBuf, mean_squared_error, psnr_db,
};

use crate::sound;

/// CRC-32 of a stage's results over all patches. A code counts with its indices and the bits of its
/// values, a patch with the bits of its samples, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checksums {
    /// Of the encoder's codes.
    pub encode: u32,
    /// Of the refined codes.
    pub refine: u32,
    /// Of the refined codes' patches.
    pub decode: u32,
    /// Of the patches denoised in place, by the encoder's code and by the refined code.
    pub denoise: u32,
}

impl Checksums {
    /// One number for all stages.
    pub fn all(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for stage in [self.encode, self.refine, self.decode, self.denoise] {
            hasher.update(&stage.to_le_bytes());
        }
        hasher.finalize()
    }
}

/// What the host found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    pub(crate) checksums: Checksums,
    /// Mean PSNR in dB: noisy, denoised by the encoder's code, by the refined code.
    pub(crate) psnr: [f32; 3],
    /// FISTA iterations over all patches.
    pub(crate) iterations: u64,
}

pub(crate) fn add_code(hasher: &mut crc32fast::Hasher, code: &SparseCodeBuf) {
    for (index, value) in code.iter() {
        hasher.update(&index.to_le_bytes());
        hasher.update(&value.to_bits().to_le_bytes());
    }
}

pub(crate) fn add_patch(hasher: &mut crc32fast::Hasher, patch: &[f32]) {
    for sample in patch {
        hasher.update(&sample.to_bits().to_le_bytes());
    }
}

/// Encodes, refines (at most `budget` iterations), decodes and denoises every patch as the
/// firmware's `main.rs` does.
pub(crate) fn reference(model: &[u8], patches: &Patches, budget: u32) -> Result<Reference> {
    let model = ModelView::load(model).map_err(sound)?;
    model.file().verify_checksum().map_err(sound)?;
    let spec = model.spec();
    ensure!(
        patches.input_dim == spec.input_dim(),
        "the patches have {} samples, the model wants {}",
        patches.input_dim,
        spec.input_dim()
    );
    let code_dim = u16::try_from(spec.code_dim()).context("code_dim")?;
    let mut code = SparseCodeBuf::new(code_dim);
    let mut workspace = WorkspaceBuf::new(spec.input_dim(), spec.code_dim(), spec.hidden_dim());
    let settings = Refine {
        max_iterations: budget,
        ..Refine::for_noise(spec, patches.noise() / spec.preprocessing.deviation)
    };

    let mut stages: [crc32fast::Hasher; 4] = Default::default();
    let [encode, refine, decode, denoise] = &mut stages;
    let mut psnr = [0.0_f32; 3];
    let mut iterations = 0;
    let pairs = patches
        .noisy
        .chunks(patches.input_dim)
        .zip(patches.clean.chunks(patches.input_dim));
    for (noisy, clean) in pairs {
        let quality = |patch: &[f32]| psnr_db(mean_squared_error(patch, clean), spec.peak);

        let mut patch = noisy.to_vec();
        let normalisation = model.preprocess(&mut patch)?;
        model.encode(&patch, &mut code, &mut workspace)?;
        add_code(encode, &code);
        let refinement = model.refine(&patch, &mut code, &settings, &mut workspace, || false)?;
        add_code(refine, &code);
        iterations += u64::from(refinement.iterations);
        model.decode(&code, &mut patch, &mut workspace)?;
        model.restore(&mut patch, normalisation)?;
        add_patch(decode, &patch);
        psnr[0] += quality(noisy);

        for (settings, psnr) in [None, Some(&settings)].into_iter().zip(&mut psnr[1..]) {
            patch.copy_from_slice(noisy);
            model.denoise(&mut patch, settings, &mut code, &mut workspace, || false)?;
            add_patch(denoise, &patch);
            *psnr += quality(&patch);
        }
    }
    let [encode, refine, decode, denoise] = stages.map(crc32fast::Hasher::finalize);
    Ok(Reference {
        checksums: Checksums {
            encode,
            refine,
            decode,
            denoise,
        },
        psnr: psnr.map(|sum| sum / patches.count as f32),
        iterations,
    })
}
