//! Integer models whose dimensions are part of their type.

use sparsecode_formats::IntegerFile;

use super::code::{IntegerCode, List};
use super::preprocess::{self, IntegerNormalisation};
use super::refine::{self, IntegerRefine, IntegerRefinement};
use super::workspace::{IntegerWorkspace, Scratch};
use super::{decode, encode};
use crate::error::{DimensionError, LoadError};
#[cfg(feature = "std")]
use crate::kernels::integer as kernels;
use crate::kernels::integer::Entry;

/// A trained sparse autoencoder in integer arithmetic, over the bytes of its file (`sparsecode export --activations i16`), which may
/// lie in flash. Immutable; copying it copies references.
///
/// `INPUT` and `CODE` are `d` and `l` of the papers, compared with the file once, in [`load`](Self::load). After that nothing can fail,
/// and no step takes a floating-point operation. Samples are raw levels of the sensor, of the range and scale that the file states
/// (8-bit pixels 0 … 255, ADC readings around 0).
///
/// ```
/// use sparsecode_runtime::{IntegerCode, IntegerModel, IntegerRefine, IntegerWorkspace};
/// # use sparsecode_runtime::formats::{self, *};
/// # let preprocessing = Preprocessing { mean: 0.1, ..Preprocessing::IDENTITY };
/// # let trained = formats::example(preprocessing);
/// # let ranges = ActivationRanges { input_scale: 0.01, input_min: -300, input_max: 300, code_max: 4.0 };
/// # let file = AlignedBytes::from_slice(&formats::write_integer(&trained, &ranges).unwrap().bytes);
/// # let bytes: &[u8] = &file;
///
/// // On a device: let bytes: &[u8] = sparsecode_runtime::include_model!("model.safetensors");
/// let model = IntegerModel::<8, 4>::load(bytes)?;
/// let mut workspace = IntegerWorkspace::new();
/// let mut code = IntegerCode::new();
///
/// let mut patch = [10, 10, 110, 110, 10, 10, 15, 5]; // hundredths
/// let normalisation = model.preprocess(&mut patch);
/// model.encode(&patch, &mut code, &mut workspace);
/// model.refine(&patch, &mut code, &IntegerRefine::for_model(model.file()), &mut workspace, || false);
/// model.decode(&code, &mut patch, &mut workspace);
/// model.restore(&mut patch, normalisation);
/// assert_eq!(code.active(), 1);
/// assert!((100..=110).contains(&patch[2]) && (9..=11).contains(&patch[6]));
/// # Ok::<(), sparsecode_runtime::LoadError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IntegerModel<'a, const INPUT: usize, const CODE: usize> {
    file: IntegerFile<'a>,
}

impl<'a, const INPUT: usize, const CODE: usize> IntegerModel<'a, INPUT, CODE> {
    /// Loads a model file in place; `bytes` must start on a 4-byte boundary: [`include_model!`](crate::include_model) sees to that.
    ///
    /// Cost: one pass over the file.
    ///
    /// # Errors
    ///
    /// [`LoadError::Format`] if the bytes are no sound integer model, [`LoadError::Dimension`] if the model has other dimensions than
    /// this type.
    pub fn load(bytes: &'a [u8]) -> Result<Self, LoadError> {
        Self::from_file(IntegerFile::read(bytes)?)
    }

    /// The same for a file that was read before.
    ///
    /// # Errors
    ///
    /// [`LoadError::Dimension`] if the model has other dimensions than this type.
    pub fn from_file(file: IntegerFile<'a>) -> Result<Self, LoadError> {
        const {
            assert!(INPUT > 0, "a model has at least one input");
            assert!(CODE > 0, "a code has at least one component");
            assert!(
                CODE <= 4095,
                "codes of integer models have at most 4095 components"
            );
        }
        DimensionError::check("input_dim", INPUT, file.spec.input_dim())?;
        DimensionError::check("code_dim", CODE, file.spec.code_dim())?;
        Ok(Self { file })
    }

    /// The file, with its dimensions, ranges and matrices.
    #[must_use]
    pub const fn file(&self) -> &IntegerFile<'a> {
        &self.file
    }

    /// Brings raw levels to those that the weights take, in place: cuts them to the file's range, and applies the patch's own contrast if
    /// the model wants that.
    ///
    /// Cost: one pass; up to four with a contrast.
    pub fn preprocess(&self, patch: &mut [i16; INPUT]) -> IntegerNormalisation {
        preprocess::apply(&self.file.spec, patch)
    }

    /// Brings a decoded patch back to raw levels, in place: undoes the contrast of [`preprocess`](Self::preprocess).
    ///
    /// Cost: one pass if there is a contrast, otherwise nothing.
    pub fn restore(&self, patch: &mut [i16; INPUT], normalisation: IntegerNormalisation) {
        preprocess::restore(patch, normalisation);
    }

    /// Writes the sparse code of a preprocessed patch: LISTA, or, without an encoder, refinement
    /// with [`IntegerRefine::for_inference`].
    ///
    /// Cost: `8·l` multiply-adds for each eight adjacent levels that are not all 0, and for each of the `L` iterations `a·l`, where `a` is
    /// the number of active atoms before it.
    pub fn encode(
        &self,
        patch: &[i16; INPUT],
        code: &mut IntegerCode<CODE>,
        workspace: &mut IntegerWorkspace<CODE>,
    ) {
        run_encode(&self.file, patch, &mut code.list(), workspace.parts());
    }

    /// Improves `code` for a preprocessed patch by coordinate descent or FISTA, until it converged, for as many iterations as `settings`
    /// allow, or until `deadline` returns `true`; it is asked before every iteration. Whatever ended it, `code` then holds the last
    /// iterate, or the start if its energy, `½ zᵀĜz − ĉᵀz + θ‖z‖₁`, is lower. A model whose codes are non-negative starts at 0 in place
    /// of a negative component.
    ///
    /// Cost: `8·l` multiply-adds for each eight adjacent levels that are not all 0, `a·l` for the start, and for each iteration `b·l`, where
    /// `b` is the number of components that changed (FISTA: or of active ones if that is smaller); of coordinate descent also `b` divisions.
    pub fn refine(
        &self,
        patch: &[i16; INPUT],
        code: &mut IntegerCode<CODE>,
        settings: &IntegerRefine,
        workspace: &mut IntegerWorkspace<CODE>,
        mut deadline: impl FnMut() -> bool,
    ) -> IntegerRefinement {
        refine::refine(
            &self.file,
            patch,
            &mut code.list(),
            settings,
            workspace.parts(),
            &mut deadline,
        )
    }

    /// Writes the reconstruction of `code`, in raw levels up to the patch's own contrast.
    ///
    /// Cost: `a·d` multiply-adds for `a` active atoms.
    pub fn decode(
        &self,
        code: &IntegerCode<CODE>,
        patch: &mut [i16; INPUT],
        workspace: &mut IntegerWorkspace<CODE>,
    ) {
        run_decode(&self.file, code.entries(), patch, workspace.parts());
    }

    /// Replaces a raw patch by its reconstruction from a sparse code: [`preprocess`](Self::preprocess), [`encode`](Self::encode),
    /// [`refine`](Self::refine) if settings are given, [`decode`](Self::decode), [`restore`](Self::restore). `code` receives the code.
    ///
    /// Under `from_zero` nothing is encoded: [`IntegerRefine::for_inference`] infers a model
    /// without an encoder once, within a budget of your own. `deadline` is only asked while
    /// refining.
    ///
    /// Cost: the sum of the steps.
    pub fn denoise(
        &self,
        patch: &mut [i16; INPUT],
        refine: Option<&IntegerRefine>,
        code: &mut IntegerCode<CODE>,
        workspace: &mut IntegerWorkspace<CODE>,
        mut deadline: impl FnMut() -> bool,
    ) -> Option<IntegerRefinement> {
        run_denoise(
            &self.file,
            patch,
            refine,
            &mut code.list(),
            workspace.parts(),
            &mut deadline,
        )
    }
}

pub(crate) fn run_encode(
    file: &IntegerFile<'_>,
    patch: &[i16],
    code: &mut List<'_>,
    scratch: Scratch<'_>,
) {
    match &file.encoder {
        Some(encoder) => {
            let limit = file.spec.activations.code_limit();
            encode::encode(encoder, limit, patch, code, scratch);
        }
        None => {
            let settings = IntegerRefine::for_inference(file);
            refine::refine(file, patch, code, &settings, scratch, &mut || false);
        }
    }
}

pub(crate) fn run_decode(
    file: &IntegerFile<'_>,
    code: &[Entry],
    patch: &mut [i16],
    scratch: Scratch<'_>,
) {
    let limit = file.spec.activations.code_limit();
    decode::decode(&file.decoder, limit, code, scratch.entries, patch);
}

pub(crate) fn run_denoise(
    file: &IntegerFile<'_>,
    patch: &mut [i16],
    refine: Option<&IntegerRefine>,
    code: &mut List<'_>,
    mut scratch: Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> Option<IntegerRefinement> {
    let normalisation = preprocess::apply(&file.spec, patch);
    if refine.is_none_or(|settings| !settings.from_zero) {
        run_encode(file, patch, code, scratch.reborrow());
    }
    let refinement = refine
        .map(|settings| refine::refine(file, patch, code, settings, scratch.reborrow(), deadline));
    run_decode(file, code.entries(), patch, scratch);
    preprocess::restore(patch, normalisation);
    refinement
}

/// [`IntegerModel`] for files of any dimensions, with memory of run-time size (feature `std`). It holds the last code.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct IntegerView<'a> {
    file: IntegerFile<'a>,
    code: super::code::CodeBuf,
    workspace: super::workspace::WorkspaceBuf,
    /// `U n` of several patches.
    batch: std::vec::Vec<i32>,
}

/// Patches that meet a weight before the next one is read.
#[cfg(feature = "std")]
const BATCH: usize = 128;

#[cfg(feature = "std")]
impl<'a> IntegerView<'a> {
    /// Allocates what [`IntegerCode`] and [`IntegerWorkspace`] hold.
    #[must_use]
    pub fn new(file: IntegerFile<'a>) -> Self {
        let code_dim = file.spec.code_dim();
        Self {
            file,
            code: super::code::CodeBuf::new(code_dim),
            workspace: super::workspace::WorkspaceBuf::new(code_dim),
            batch: std::vec::Vec::new(),
        }
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &IntegerFile<'a> {
        &self.file
    }

    /// The components of the last code that are not 0, and their levels, in ascending order.
    pub fn code(&self) -> impl Iterator<Item = (u16, i16)> + '_ {
        super::code::pairs(self.code.entries())
    }

    /// Replaces the code: components and levels, of which those that are 0, out of the code or out of order are left out, and
    /// those beyond the largest or smallest level of the model's codes cut to it.
    pub fn set_code(&mut self, levels: impl Iterator<Item = (u16, i16)>) {
        let code_dim = self.file.spec.code_dim;
        let limit = self.file.spec.activations.code_limit();
        let least = refine::least_level(self.file.refiner.codes, limit);
        let mut code = self.code.list();
        code.clear();
        let mut next = 0;
        for (index, level) in levels {
            let level = level.min(limit).max(least);
            if index >= next && index < code_dim && level != 0 {
                code.push(usize::from(index), level);
                next = index.saturating_add(1);
            }
        }
    }

    /// See [`IntegerModel::preprocess`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch is not as long as the model's.
    pub fn preprocess(&self, patch: &mut [i16]) -> Result<IntegerNormalisation, DimensionError> {
        self.check(patch)?;
        Ok(preprocess::apply(&self.file.spec, patch))
    }

    /// See [`IntegerModel::restore`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch is not as long as the model's.
    pub fn restore(
        &self,
        patch: &mut [i16],
        normalisation: IntegerNormalisation,
    ) -> Result<(), DimensionError> {
        self.check(patch)?;
        preprocess::restore(patch, normalisation);
        Ok(())
    }

    /// See [`IntegerModel::encode`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch is not as long as the model's.
    pub fn encode(&mut self, patch: &[i16]) -> Result<(), DimensionError> {
        self.check(patch)?;
        let mut code = self.code.list();
        run_encode(&self.file, patch, &mut code, self.workspace.parts());
        Ok(())
    }

    /// [`encode`](Self::encode) for many preprocessed patches, one after the other in `patches`: calls `each(i, view)` for every one, in
    /// order, when the view holds its code, which can be refined and decoded there. The codes are those of one patch at a time.
    ///
    /// On x86-64 several patches share the loads of the weights. The first call allocates `512·l` bytes.
    ///
    /// ```
    /// use sparsecode_runtime::{IntegerView, formats::IntegerFile};
    /// # use sparsecode_runtime::formats::{self, *};
    /// # let trained = formats::example(Preprocessing::IDENTITY);
    /// # let ranges = ActivationRanges { input_scale: 0.01, input_min: -300, input_max: 300, code_max: 4.0 };
    /// # let bytes = AlignedBytes::from_slice(&formats::write_integer(&trained, &ranges).unwrap().bytes);
    ///
    /// // 8 samples in hundredths, 4 atoms.
    /// let mut view = IntegerView::new(IntegerFile::read(&bytes)?);
    /// let patches = [[0, 0, 100, 100, 0, 0, 0, 0], [100, 100, 0, 0, 0, 0, 100, 100]];
    /// let mut atoms = Vec::new();
    /// view.encode_batch(patches.as_flattened(), |_, view| {
    ///     atoms.push(view.code().map(|(index, _)| index).collect::<Vec<_>>());
    /// })?;
    /// assert_eq!(atoms, [vec![1], vec![0, 3]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if there is not a whole number of patches; then `each` was not called.
    pub fn encode_batch(
        &mut self,
        patches: &[i16],
        mut each: impl FnMut(usize, &mut Self),
    ) -> Result<(), DimensionError> {
        let (input_dim, code_dim) = (self.file.spec.input_dim(), self.file.spec.code_dim());
        DimensionError::check_whole("patches", input_dim, patches.len())?;
        let Some(encoder) = self.file.encoder else {
            for (index, patch) in patches.chunks_exact(input_dim.max(1)).enumerate() {
                self.encode(patch)?;
                each(index, self);
            }
            return Ok(());
        };
        let limit = self.file.spec.activations.code_limit();
        // Out of the view while this is lent out.
        let mut batch = core::mem::take(&mut self.batch);
        batch.resize(BATCH.saturating_mul(code_dim), 0);
        let mut index = 0_usize;
        for patches in patches.chunks(BATCH.saturating_mul(input_dim).max(1)) {
            let count = patches.chunks_exact(input_dim.max(1)).len();
            kernels::dot_rows_of_each(&encoder.input, patches, &mut batch);
            for sums in batch.chunks_exact_mut(code_dim.max(1)).take(count) {
                let scratch = Scratch {
                    sums,
                    ..self.workspace.parts()
                };
                encode::infer(&encoder, limit, &mut self.code.list(), scratch);
                each(index, self);
                index = index.wrapping_add(1);
            }
        }
        self.batch = batch;
        Ok(())
    }

    /// See [`IntegerModel::refine`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch is not as long as the model's.
    pub fn refine(
        &mut self,
        patch: &[i16],
        settings: &IntegerRefine,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<IntegerRefinement, DimensionError> {
        self.check(patch)?;
        let mut code = self.code.list();
        Ok(refine::refine(
            &self.file,
            patch,
            &mut code,
            settings,
            self.workspace.parts(),
            &mut deadline,
        ))
    }

    /// See [`IntegerModel::decode`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch is not as long as the model's.
    pub fn decode(&mut self, patch: &mut [i16]) -> Result<(), DimensionError> {
        self.check(patch)?;
        let scratch = self.workspace.parts();
        run_decode(&self.file, self.code.entries(), patch, scratch);
        Ok(())
    }

    /// See [`IntegerModel::denoise`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the patch is not as long as the model's.
    pub fn denoise(
        &mut self,
        patch: &mut [i16],
        refine: Option<&IntegerRefine>,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<Option<IntegerRefinement>, DimensionError> {
        self.check(patch)?;
        let mut code = self.code.list();
        let scratch = self.workspace.parts();
        Ok(run_denoise(
            &self.file,
            patch,
            refine,
            &mut code,
            scratch,
            &mut deadline,
        ))
    }

    fn check(&self, patch: &[i16]) -> Result<(), DimensionError> {
        DimensionError::check("patch", self.file.spec.input_dim(), patch.len())
    }
}
