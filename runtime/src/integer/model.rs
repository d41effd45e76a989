//! Integer models whose dimensions are part of their type.

use sparsecode_formats::{IntegerFile, IntegerSpec};

use super::code::IntegerCode;
use super::code::sealed::Entries as _;
use super::denoise;
use super::preprocess::{self, IntegerNormalisation};
use super::refine::{self, IntegerRefine, IntegerRefinement};
use super::view::IntegerView;
use super::workspace::IntegerWorkspace;
use crate::error::{DimensionError, LoadError};

/// A trained sparse autoencoder in integer arithmetic, over the bytes of its file (`sparsecode
/// export --activations i16`), which may lie in flash. Immutable; copying it copies references.
///
/// `INPUT` and `CODE` are `d` and `l` of the papers. `HIDDEN` is 0, but for a variational model
/// with a dense encoder: there it is the outputs of its widest hidden layer,
/// [`hidden_units`](IntegerSpec::hidden_units). They are compared with the file once, in
/// [`load`](Self::load). After that nothing can fail, and no step takes a floating-point operation.
/// Samples are raw levels of the sensor, of the range and scale that the file states (8-bit pixels
/// 0 … 255, ADC readings around 0).
///
/// ```
/// use sparsecode_runtime::{
///     IntegerCode, IntegerCodeBuffer, IntegerModel, IntegerRefine, IntegerWorkspace,
/// };
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
pub struct IntegerModel<'a, const INPUT: usize, const CODE: usize, const HIDDEN: usize = 0> {
    file: IntegerFile<'a>,
}

impl<'a, const INPUT: usize, const CODE: usize, const HIDDEN: usize>
    IntegerModel<'a, INPUT, CODE, HIDDEN>
{
    /// Loads a model file in place; `bytes` must start on a 4-byte boundary:
    /// [`include_model!`](crate::include_model) sees to that.
    ///
    /// Cost: one pass over the file.
    ///
    /// # Errors
    ///
    /// [`LoadError::Format`] if the bytes are no sound integer model, [`LoadError::Dimension`] if
    /// the model has other dimensions than this type.
    pub fn load(bytes: &'a [u8]) -> Result<Self, LoadError> {
        Self::from_file(IntegerFile::read(bytes)?)
    }

    /// [`load`](Self::load) for a file that need not store its Gram matrix, which is then built in
    /// `memory`: `CODE` times `CODE` rounded up to eights numbers.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load); and if `memory` is too short.
    #[cfg(feature = "denoise")]
    pub fn load_into(bytes: &'a [u8], memory: &'a mut [i16]) -> Result<Self, LoadError> {
        Self::from_file(IntegerFile::read_into(bytes, memory)?)
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
        DimensionError::check("hidden_units", HIDDEN, file.spec.hidden_units())?;
        Ok(Self { file })
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

    /// The same model without its dimensions in the type.
    #[must_use]
    pub fn view(&self) -> IntegerView<'a> {
        IntegerView::from(self.file)
    }

    /// Brings raw levels to those that the weights take, in place: cuts them to the file's range,
    /// and applies the patch's own contrast if the model wants that.
    ///
    /// Cost: one pass; up to four with a contrast.
    pub fn preprocess(&self, patch: &mut [i16; INPUT]) -> IntegerNormalisation {
        preprocess::apply(&self.file, patch)
    }

    /// Brings a decoded patch back to raw levels, in place: undoes the contrast of
    /// [`preprocess`](Self::preprocess).
    ///
    /// Cost: one pass if there is a contrast, otherwise nothing.
    pub fn restore(&self, patch: &mut [i16; INPUT], normalisation: IntegerNormalisation) {
        preprocess::restore(&self.file, patch, normalisation);
    }

    /// Writes the sparse code of a preprocessed patch: LISTA, the encoder of a variational model
    /// ([`IntegerVariational`](sparsecode_formats::IntegerVariational)), or, without an encoder,
    /// refinement with [`IntegerRefine::for_inference`].
    ///
    /// Cost: `8·l` multiply-adds for each eight adjacent levels that are not all 0, and for each of
    /// the `L` iterations `a·l`, where `a` is the number of active atoms before it.
    pub fn encode(
        &self,
        patch: &[i16; INPUT],
        code: &mut IntegerCode<CODE>,
        workspace: &mut IntegerWorkspace<CODE, HIDDEN>,
    ) {
        denoise::encode(
            &self.file,
            patch,
            &mut code.list(),
            &mut workspace.scratch(),
        );
    }

    /// Improves `code` for a preprocessed patch by coordinate descent or FISTA, until it converged,
    /// for as many iterations as `settings` allow, or until `deadline` returns `true`; it is asked
    /// before every iteration. Whatever ended it, `code` then holds the last iterate, or the start
    /// if its energy, `½ zᵀĜz − ĉᵀz + θ‖z‖₁`, is lower. A model whose codes are non-negative starts
    /// at 0 in place of a negative component.
    ///
    /// Cost: `8·l` multiply-adds for each eight adjacent levels that are not all 0, `a·l` for the
    /// start, and for each iteration `b·l`, where `b` is the number of components that changed
    /// (FISTA: or of active ones if that is smaller); of coordinate descent also `b` divisions.
    pub fn refine(
        &self,
        patch: &[i16; INPUT],
        code: &mut IntegerCode<CODE>,
        settings: &IntegerRefine,
        workspace: &mut IntegerWorkspace<CODE, HIDDEN>,
        mut deadline: impl FnMut() -> bool,
    ) -> IntegerRefinement {
        refine::refine(
            &self.file,
            patch,
            &mut code.list(),
            settings,
            &mut workspace.scratch(),
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
        workspace: &mut IntegerWorkspace<CODE, HIDDEN>,
    ) {
        denoise::decode(&self.file, code.entries(), patch, &mut workspace.scratch());
    }

    /// Replaces a raw patch by its reconstruction from a sparse code:
    /// [`preprocess`](Self::preprocess), [`encode`](Self::encode), [`refine`](Self::refine) if
    /// settings are given, [`decode`](Self::decode), [`restore`](Self::restore). `code` receives
    /// the code.
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
        workspace: &mut IntegerWorkspace<CODE, HIDDEN>,
        mut deadline: impl FnMut() -> bool,
    ) -> Option<IntegerRefinement> {
        denoise::denoise(
            &self.file,
            patch,
            refine,
            &mut code.list(),
            &mut workspace.scratch(),
            &mut deadline,
        )
    }
}
