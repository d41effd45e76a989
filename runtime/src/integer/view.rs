//! Integer models whose dimensions are known at run time only.

use sparsecode_formats::{IntegerFile, IntegerSpec, ReadError};

use super::code::IntegerCodeBuffer;
#[cfg(feature = "std")]
use super::encoder;
use super::preprocess::{self, IntegerNormalisation};
use super::refine::{self, IntegerRefine, IntegerRefinement};
#[cfg(feature = "std")]
use super::workspace::IntegerWorkspaceBuf;
use super::workspace::{IntegerWorkspaceBuffer, Scratch};
use super::{denoise, workspace};
use crate::error::DimensionError;
#[cfg(feature = "std")]
use crate::kernels::integer as kernels;

/// Patches that meet a weight before the next one is read.
#[cfg(feature = "std")]
const BATCH: usize = 128;

/// An integer model of any dimensions, for programs that get to know them from the file; the
/// arithmetic is that of [`IntegerModel`](crate::IntegerModel), where the operations are described.
///
/// Every call checks the lengths of its arguments: the patch must fit exactly, the code and the
/// workspace may be larger than needed. A failed call leaves its arguments as they are.
#[derive(Clone, Copy, Debug)]
pub struct IntegerView<'a> {
    file: IntegerFile<'a>,
}

impl<'a> From<IntegerFile<'a>> for IntegerView<'a> {
    fn from(file: IntegerFile<'a>) -> Self {
        Self { file }
    }
}

impl<'a> IntegerView<'a> {
    /// Loads a model file in place; see [`IntegerFile::read`].
    ///
    /// # Errors
    ///
    /// [`ReadError`], which names the field.
    pub fn load(bytes: &'a [u8]) -> Result<Self, ReadError> {
        IntegerFile::read(bytes).map(Self::from)
    }

    /// The file, with its dimensions, ranges and matrices.
    #[must_use]
    pub const fn file(&self) -> &IntegerFile<'a> {
        &self.file
    }

    /// The same model for noise of deviation `sigma`, in sixteenths of a raw level. A model that
    /// denoises scales its thresholds with it, and without it takes the `noise_level` of its file;
    /// to others it means nothing.
    #[cfg(feature = "denoise")]
    #[must_use]
    pub const fn at_noise_level(mut self, sigma: u16) -> Self {
        self.set_noise_level(sigma);
        self
    }

    /// [`at_noise_level`](Self::at_noise_level) in place: what a stream calls for every window.
    #[cfg(feature = "denoise")]
    pub const fn set_noise_level(&mut self, sigma: u16) {
        if let Some(gram) = &mut self.file.gram {
            gram.noise_level = sigma;
        }
    }

    /// What a device needs of the file's metadata: dimensions, levels, contrast.
    #[must_use]
    pub const fn spec(&self) -> &IntegerSpec {
        &self.file.spec
    }

    /// See [`IntegerModel::encode`](crate::IntegerModel::encode).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn encode(
        &self,
        patch: &[i16],
        code: &mut impl IntegerCodeBuffer,
        workspace: &mut impl IntegerWorkspaceBuffer,
    ) -> Result<(), DimensionError> {
        self.check(patch)?;
        let mut scratch = self.scratch(code, workspace)?;
        denoise::encode(&self.file, patch, &mut code.list(), &mut scratch);
        Ok(())
    }

    /// [`encode`](Self::encode) for many preprocessed patches, one after the other in `patches`:
    /// calls `each(i, code, workspace)` for every one, in order, when `code` is its own, which can
    /// be refined and decoded there. The codes are those of one patch at a time.
    ///
    /// On x86-64 several patches share the loads of the weights. The first call allocates `512·l`
    /// bytes in the workspace.
    ///
    /// ```
    /// use sparsecode_runtime::{
    ///     IntegerCodeBuf, IntegerCodeBuffer as _, IntegerView, IntegerWorkspaceBuf,
    /// };
    /// # use sparsecode_runtime::formats::{self, *};
    /// # let trained = formats::example(Preprocessing::IDENTITY);
    /// # let ranges = ActivationRanges { input_scale: 0.01, input_min: -300, input_max: 300, code_max: 4.0 };
    /// # let bytes = AlignedBytes::from_slice(&formats::write_integer(&trained, &ranges).unwrap().bytes);
    ///
    /// // 8 samples in hundredths, 4 atoms.
    /// let model = IntegerView::load(&bytes)?;
    /// let mut code = IntegerCodeBuf::new(model.spec().code_dim);
    /// let mut workspace = IntegerWorkspaceBuf::for_model(model.spec());
    /// let patches = [[0, 0, 100, 100, 0, 0, 0, 0], [100, 100, 0, 0, 0, 0, 100, 100]];
    /// let mut atoms = Vec::new();
    /// model.encode_batch(patches.as_flattened(), &mut code, &mut workspace, |_, code, _| {
    ///     atoms.push(code.iter().map(|(index, _)| index).collect::<Vec<_>>());
    /// })?;
    /// assert_eq!(atoms, [vec![1], vec![0, 3]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit, or there is not a whole number of patches; then
    /// `each` was not called.
    #[cfg(feature = "std")]
    pub fn encode_batch<C: IntegerCodeBuffer>(
        &self,
        patches: &[i16],
        code: &mut C,
        workspace: &mut IntegerWorkspaceBuf,
        mut each: impl FnMut(usize, &mut C, &mut IntegerWorkspaceBuf),
    ) -> Result<(), DimensionError> {
        let (input_dim, code_dim) = (self.spec().input_dim(), self.spec().code_dim());
        DimensionError::check_whole("patches", input_dim, patches.len())?;
        self.scratch(code, workspace)?;
        let Some(encoder) = &self.file.encoder else {
            for (index, patch) in patches.chunks_exact(input_dim.max(1)).enumerate() {
                self.encode(patch, code, workspace)?;
                each(index, code, workspace);
            }
            return Ok(());
        };
        let limit = self.spec().activations.code_limit();
        // Out of the workspace while this is lent out.
        let mut batch = core::mem::take(&mut workspace.batch);
        batch.resize(BATCH.saturating_mul(code_dim), 0);
        let mut index = 0_usize;
        for patches in patches.chunks(BATCH.saturating_mul(input_dim).max(1)) {
            let count = patches.chunks_exact(input_dim.max(1)).len();
            kernels::dot_rows_of_each(&encoder.input, patches, &mut batch);
            for sums in batch.chunks_exact_mut(code_dim.max(1)).take(count) {
                let mut scratch = Scratch {
                    sums,
                    ..self.scratch(code, workspace)?
                };
                encoder::infer(encoder, limit, &mut code.list(), &mut scratch);
                each(index, code, workspace);
                index = index.wrapping_add(1);
            }
        }
        workspace.batch = batch;
        Ok(())
    }

    /// See [`IntegerModel::refine`](crate::IntegerModel::refine).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn refine(
        &self,
        patch: &[i16],
        code: &mut impl IntegerCodeBuffer,
        settings: &IntegerRefine,
        workspace: &mut impl IntegerWorkspaceBuffer,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<IntegerRefinement, DimensionError> {
        self.check(patch)?;
        let mut scratch = self.scratch(code, workspace)?;
        Ok(refine::refine(
            &self.file,
            patch,
            &mut code.list(),
            settings,
            &mut scratch,
            &mut deadline,
        ))
    }

    /// See [`IntegerModel::decode`](crate::IntegerModel::decode).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn decode(
        &self,
        code: &impl IntegerCodeBuffer,
        patch: &mut [i16],
        workspace: &mut impl IntegerWorkspaceBuffer,
    ) -> Result<(), DimensionError> {
        self.check(patch)?;
        let mut scratch = self.scratch(code, workspace)?;
        denoise::decode(&self.file, code.entries(), patch, &mut scratch);
        Ok(())
    }

    /// See [`IntegerModel::preprocess`](crate::IntegerModel::preprocess).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch has the wrong length.
    pub fn preprocess(&self, patch: &mut [i16]) -> Result<IntegerNormalisation, DimensionError> {
        self.check(patch)?;
        Ok(preprocess::apply(&self.file, patch))
    }

    /// See [`IntegerModel::restore`](crate::IntegerModel::restore).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch has the wrong length.
    pub fn restore(
        &self,
        patch: &mut [i16],
        normalisation: IntegerNormalisation,
    ) -> Result<(), DimensionError> {
        self.check(patch)?;
        preprocess::restore(&self.file, patch, normalisation);
        Ok(())
    }

    /// See [`IntegerModel::denoise`](crate::IntegerModel::denoise).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn denoise(
        &self,
        patch: &mut [i16],
        refine: Option<&IntegerRefine>,
        code: &mut impl IntegerCodeBuffer,
        workspace: &mut impl IntegerWorkspaceBuffer,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<Option<IntegerRefinement>, DimensionError> {
        self.check(patch)?;
        let mut scratch = self.scratch(code, workspace)?;
        Ok(denoise::denoise(
            &self.file,
            patch,
            refine,
            &mut code.list(),
            &mut scratch,
            &mut deadline,
        ))
    }

    fn check(&self, patch: &[i16]) -> Result<(), DimensionError> {
        DimensionError::check("patch", self.spec().input_dim(), patch.len())
    }

    /// The workspace, cut to the model, after a look at the code's capacity.
    fn scratch<'w>(
        &self,
        code: &impl IntegerCodeBuffer,
        workspace: &'w mut impl workspace::sealed::Parts,
    ) -> Result<Scratch<'w>, DimensionError> {
        let code_dim = self.spec().code_dim();
        if code.capacity() < code_dim {
            return Err(DimensionError {
                field: "code",
                expected: code_dim,
                found: code.capacity(),
            });
        }
        workspace.parts().cut(code_dim, self.spec().hidden_units())
    }
}
