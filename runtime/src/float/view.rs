//! Models whose dimensions are known at run time only.

use sparsecode_formats::{ModelFile, ModelSpec, ReadError};

use super::code::CodeBuffer;
use super::denoise::{self, Denoised};
#[cfg(feature = "std")]
use super::encoder;
use super::preprocess::{self, Normalisation};
use super::refine::{self, Refine, Refinement};
#[cfg(feature = "variational")]
use super::sampling::{self, BestOf, Samples};
use super::workspace;
#[cfg(feature = "std")]
use super::workspace::WorkspaceBuf;
use super::workspace::{Scratch, WorkspaceBuffer};
use crate::error::DimensionError;
#[cfg(feature = "variational")]
use crate::error::SampleError;
#[cfg(feature = "std")]
use crate::kernels;

/// Patches that are multiplied before the first of them gets its code.
#[cfg(feature = "std")]
const BATCH: usize = 96;

/// A model of any dimensions, for programs that get to know them from the file; the arithmetic is
/// that of [`Model`](crate::Model), where the operations are described.
///
/// Every call checks the lengths of its arguments: the input must fit exactly, the code and the
/// workspace may be larger than needed. A failed call leaves its arguments as they are.
#[derive(Clone, Copy, Debug)]
pub struct ModelView<'a> {
    file: ModelFile<'a>,
}

impl<'a> From<ModelFile<'a>> for ModelView<'a> {
    fn from(file: ModelFile<'a>) -> Self {
        Self { file }
    }
}

impl<'a> ModelView<'a> {
    /// Loads a model file in place; see [`ModelFile::read`].
    ///
    /// # Errors
    ///
    /// [`ReadError`], which names the field.
    pub fn load(bytes: &'a [u8]) -> Result<Self, ReadError> {
        ModelFile::read(bytes).map(Self::from)
    }

    /// The file, with its metadata, matrices and checksum.
    #[must_use]
    pub fn file(&self) -> &ModelFile<'a> {
        &self.file
    }

    /// The same model for noise of deviation `sigma`, in the unit of raw samples (of normalised
    /// ones with local contrast), above 0. A model that denoises scales its thresholds with it, and
    /// without it takes the `noise_level` of its file; to others it means nothing.
    #[cfg(feature = "denoise")]
    #[must_use]
    pub fn at_noise_level(mut self, sigma: f32) -> Self {
        self.file = denoise::at_noise_level(self.file, sigma);
        self
    }

    /// What the file's metadata says: dimensions, `lambda`, `step_size`, preprocessing.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec<'a> {
        &self.file.spec
    }

    /// See [`Model::encode`](crate::Model::encode).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn encode(
        &self,
        input: &[f32],
        code: &mut impl CodeBuffer,
        workspace: &mut impl WorkspaceBuffer,
    ) -> Result<(), DimensionError> {
        self.check("input", input)?;
        let mut scratch = self.scratch(code, workspace)?;
        denoise::encode(&self.file, input, code, &mut scratch);
        Ok(())
    }

    /// [`encode`](Self::encode) for many preprocessed patches, one after the other in `inputs`:
    /// calls `each(i, code, workspace)` for every one, in order, when `code` is its own, which can
    /// be refined and decoded there.
    ///
    /// On x86-64 with AVX-512 several patches share the loads of `U`, and sums of `U y` are fused
    /// multiply-adds, which no order of separate ones keeps up with: their last bits may differ
    /// from those of [`encode`](Self::encode), by `(d/5 + 9)·2⁻²⁴·Σ|w·y|` at most (first order). A
    /// patch's code does not depend on the others. Elsewhere, the codes are those of one patch at a
    /// time.
    ///
    /// The first call allocates `384·l` bytes in the workspace; with AVX-512, each one `24·d` bytes
    /// for a while.
    ///
    /// ```
    /// use sparsecode_runtime::{CodeBuffer as _, ModelView, SparseCodeBuf, WorkspaceBuf};
    /// # use sparsecode_runtime::formats::{self, *};
    /// # let trained = formats::example(Preprocessing::IDENTITY);
    /// # let bytes = AlignedBytes::from_slice(&formats::write(&trained, WeightType::F32).unwrap());
    ///
    /// // 8 samples, 4 atoms.
    /// let model = ModelView::load(&bytes)?;
    /// let mut code = SparseCodeBuf::new(model.spec().code_dim);
    /// let mut workspace = WorkspaceBuf::for_model(model.spec());
    /// let patches = [[0., 0., 1., 1., 0., 0., 0., 0.], [1., 1., 0., 0., 0., 0., 1., 1.]];
    /// let mut codes = Vec::new();
    /// model.encode_batch(patches.as_flattened(), &mut code, &mut workspace, |_, code, _| {
    ///     codes.push(code.indices().to_vec());
    /// })?;
    /// assert_eq!(codes, [vec![1], vec![0, 3]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit, or there is not a whole number of patches; then
    /// `each` was not called.
    #[cfg(feature = "std")]
    pub fn encode_batch<C: CodeBuffer>(
        &self,
        inputs: &[f32],
        code: &mut C,
        workspace: &mut WorkspaceBuf,
        mut each: impl FnMut(usize, &mut C, &mut WorkspaceBuf),
    ) -> Result<(), DimensionError> {
        let (input_dim, code_dim) = (self.spec().input_dim(), self.spec().code_dim());
        DimensionError::check_whole("inputs", input_dim, inputs.len())?;
        self.scratch(code, workspace)?;
        let patches = inputs.chunks_exact(input_dim.max(1));
        let Some(encoder) = &self.file.encoder else {
            for (index, input) in patches.enumerate() {
                self.encode(input, code, workspace)?;
                each(index, code, workspace);
            }
            return Ok(());
        };
        let iterations = self.spec().lista_iterations.unwrap_or(0);
        // Out of the workspace while this is lent out.
        let mut batch = core::mem::take(&mut workspace.batch);
        batch.resize(BATCH.saturating_mul(code_dim), 0.0);
        let mut index = 0_usize;
        for inputs in inputs.chunks(BATCH.saturating_mul(input_dim).max(1)) {
            let count = inputs.chunks_exact(input_dim.max(1)).len();
            kernels::float::multiply_dense_each(&encoder.input, inputs, &mut batch);
            for drive in batch.chunks_exact_mut(code_dim.max(1)).take(count) {
                let point = self.scratch(code, workspace)?.point;
                encoder::infer(encoder, iterations, code, drive, point);
                each(index, code, workspace);
                index = index.wrapping_add(1);
            }
        }
        workspace.batch = batch;
        Ok(())
    }

    /// See [`Model::encode_best_of`](crate::Model::encode_best_of).
    ///
    /// # Errors
    ///
    /// [`SampleError`]: a length does not fit, the file holds no posterior, or no sample is asked
    /// for.
    #[cfg(feature = "variational")]
    pub fn encode_best_of(
        &self,
        input: &[f32],
        code: &mut impl CodeBuffer,
        samples: &Samples,
        workspace: &mut impl WorkspaceBuffer,
    ) -> Result<BestOf, SampleError> {
        self.check("input", input)?;
        let mut scratch = self.scratch(code, workspace)?;
        sampling::best_of(&self.file, samples, input, code, &mut scratch)
    }

    /// See [`Model::refine`](crate::Model::refine).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn refine(
        &self,
        input: &[f32],
        code: &mut impl CodeBuffer,
        settings: &Refine,
        workspace: &mut impl WorkspaceBuffer,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<Refinement, DimensionError> {
        self.check("input", input)?;
        let mut scratch = self.scratch(code, workspace)?;
        let decoder = &self.file.decoder;
        Ok(refine::refine(
            decoder,
            self.file.spec.codes,
            input,
            code,
            settings,
            &mut scratch,
            &mut deadline,
        ))
    }

    /// See [`Model::decode`](crate::Model::decode).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn decode(
        &self,
        code: &impl CodeBuffer,
        output: &mut [f32],
        workspace: &mut impl WorkspaceBuffer,
    ) -> Result<(), DimensionError> {
        self.check("output", output)?;
        let scratch = self.scratch(code, workspace)?;
        denoise::decode(&self.file, code, scratch.hidden, output);
        Ok(())
    }

    /// See [`Model::preprocess`](crate::Model::preprocess).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch has the wrong length.
    pub fn preprocess(&self, patch: &mut [f32]) -> Result<Normalisation, DimensionError> {
        self.check("patch", patch)?;
        Ok(preprocess::apply(&self.file, patch))
    }

    /// See [`Model::restore`](crate::Model::restore).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch has the wrong length.
    pub fn restore(
        &self,
        patch: &mut [f32],
        normalisation: Normalisation,
    ) -> Result<(), DimensionError> {
        self.check("patch", patch)?;
        preprocess::restore(&self.file, patch, normalisation);
        Ok(())
    }

    /// See [`Model::denoise`](crate::Model::denoise).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn denoise(
        &self,
        patch: &mut [f32],
        refine: Option<&Refine>,
        code: &mut impl CodeBuffer,
        workspace: &mut impl WorkspaceBuffer,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<Denoised, DimensionError> {
        self.check("patch", patch)?;
        let mut scratch = self.scratch(code, workspace)?;
        Ok(denoise::denoise(
            &self.file,
            patch,
            refine,
            code,
            &mut scratch,
            &mut deadline,
        ))
    }

    pub(crate) fn check(&self, field: &'static str, patch: &[f32]) -> Result<(), DimensionError> {
        DimensionError::check(field, self.spec().input_dim(), patch.len())
    }

    /// The workspace, cut to the model, after a look at the code's capacity.
    pub(crate) fn scratch<'w>(
        &self,
        code: &impl CodeBuffer,
        workspace: &'w mut impl workspace::sealed::Parts,
    ) -> Result<Scratch<'w>, DimensionError> {
        let spec = self.spec();
        if code.capacity() < spec.code_dim() {
            return Err(DimensionError {
                field: "code",
                expected: spec.code_dim(),
                found: code.capacity(),
            });
        }
        workspace
            .parts()
            .cut(spec.input_dim(), spec.code_dim(), spec.hidden_units())
    }
}
