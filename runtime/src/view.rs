//! Models whose dimensions are known at run time only.

use sparsecode_formats::{ModelFile, ModelSpec, ReadError};

use crate::code::{self, CodeBuffer};
use crate::denoise::{self, Denoised};
use crate::error::DimensionError;
use crate::fista::{self, Refine, Refinement};
use crate::preprocess::{self, Normalisation};
use crate::workspace::{Scratch, WorkspaceBuffer};
use crate::{decoder, workspace};

/// A model of any dimensions, for programs that get to know them from the file; the arithmetic is that of
/// [`Model`](crate::Model), where the operations are described.
///
/// Every call checks the lengths of its arguments: the input must fit exactly, the code and the workspace may be larger
/// than needed. A failed call leaves its arguments as they are.
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
        let scratch = self.scratch(code, workspace)?;
        denoise::encode(&self.file, input, code, scratch);
        Ok(())
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
        let scratch = self.scratch(code, workspace)?;
        let decoder = &self.file.decoder;
        Ok(fista::refine(
            decoder,
            input,
            code,
            settings,
            scratch,
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
        decoder::decode(
            &self.file.decoder,
            &mut code::entries(code),
            scratch.hidden,
            output,
        );
        Ok(())
    }

    /// See [`Model::preprocess`](crate::Model::preprocess).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch has the wrong length.
    pub fn preprocess(&self, patch: &mut [f32]) -> Result<Normalisation, DimensionError> {
        self.check("patch", patch)?;
        Ok(preprocess::apply(&self.file.spec.preprocessing, patch))
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
        preprocess::restore(&self.file.spec.preprocessing, patch, normalisation);
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
        let scratch = self.scratch(code, workspace)?;
        Ok(denoise::denoise(
            &self.file,
            patch,
            refine,
            code,
            scratch,
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
            .cut(spec.input_dim(), spec.code_dim(), spec.hidden_dim())
    }
}
