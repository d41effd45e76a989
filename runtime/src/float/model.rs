//! Models whose dimensions are part of their type.

use sparsecode_formats::{ModelFile, ModelSpec};

use super::code::SparseCode;
use super::denoise::{self, Denoised};
use super::preprocess::{self, Normalisation};
use super::refine::{self, Refine, Refinement};
#[cfg(feature = "variational")]
use super::sampling::{self, BestOf, Samples};
use super::view::ModelView;
use super::workspace::Workspace;
use super::workspace::sealed::Parts as _;
#[cfg(feature = "variational")]
use crate::error::SampleError;
use crate::error::{DimensionError, LoadError};

/// A trained sparse autoencoder over the bytes of its file, which may lie in flash. Immutable;
/// copying it copies references.
///
/// `INPUT`, `CODE` and `HIDDEN` are `d`, `l` and `m` of the papers. `HIDDEN` is 0 for a linear
/// decoder, but for a variational model with a dense encoder: there it is what
/// [`hidden_units`](ModelSpec::hidden_units) says, the outputs of two layers that follow one
/// another. They are compared with the file once, in [`load`](Self::load). After that nothing can
/// fail: patches, codes and workspaces of the wrong size do not compile,
///
/// ```compile_fail,E0308
/// use sparsecode_runtime::{Model, SparseCode, Workspace};
///
/// fn encode(model: &Model<'_, 64, 32>, code: &mut SparseCode<32>, workspace: &mut Workspace<64, 32>) {
///     model.encode(&[0.0; 63], code, workspace); // 63 samples for a model of 64
/// }
/// ```
///
/// and neither do impossible models:
///
/// ```compile_fail,E0080
/// let model = sparsecode_runtime::Model::<64, 0>::load(&[]); // a code without components
/// ```
///
/// Numbers that are not finite do no harm beyond the patch they are in: NaN never enters a code (a
/// component whose value would be NaN is inactive), and what is computed from infinite samples is
/// unspecified.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a, const INPUT: usize, const CODE: usize, const HIDDEN: usize = 0> {
    file: ModelFile<'a>,
}

impl<'a, const INPUT: usize, const CODE: usize, const HIDDEN: usize>
    Model<'a, INPUT, CODE, HIDDEN>
{
    /// Loads a model file in place, from anywhere: included in the program, or a flash slot that
    /// holds nothing else.
    ///
    /// `bytes` must start on a 4-byte boundary; [`include_model!`](crate::include_model) sees to
    /// that. The checksum is not looked at: see [`verify_checksum`](ModelFile::verify_checksum) of
    /// [`file`](Self::file) for files that travelled, and [`ModelFile::read_slot`] for slots larger
    /// than the file.
    ///
    /// Cost: one pass over the file.
    ///
    /// # Errors
    ///
    /// [`LoadError::Format`] if the bytes are no sound model file, [`LoadError::Dimension`] if the
    /// model has other dimensions than this type.
    pub fn load(bytes: &'a [u8]) -> Result<Self, LoadError> {
        Self::from_file(ModelFile::read(bytes)?)
    }

    /// The same for a file that was read before.
    ///
    /// # Errors
    ///
    /// [`LoadError::Dimension`] if the model has other dimensions than this type.
    pub fn from_file(file: ModelFile<'a>) -> Result<Self, LoadError> {
        const {
            assert!(INPUT > 0, "a model has at least one input");
            assert!(CODE > 0, "a code has at least one component");
            assert!(CODE <= u16::MAX as usize, "code indices have 16 bits");
            assert!(
                HIDDEN <= u16::MAX as usize,
                "model files count hidden units with 16 bits"
            );
        }
        let spec = &file.spec;
        DimensionError::check("input_dim", INPUT, spec.input_dim())?;
        DimensionError::check("code_dim", CODE, spec.code_dim())?;
        DimensionError::check("hidden_dim", HIDDEN, spec.hidden_units())?;
        Ok(Self { file })
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

    /// The same model without its dimensions in the type.
    #[must_use]
    pub fn view(&self) -> ModelView<'a> {
        ModelView::from(self.file)
    }

    /// Writes the sparse code of a preprocessed `input` (`y`).
    ///
    /// With an encoder this is LISTA: `u = U y + b`, `z_0 = relu(u)`, `z_i = relu(u + S z_{i−1})`
    /// (Gregor & LeCun 2010). A variational model has an encoder of its own, dense or LISTA, and a
    /// rule that selects components ([`Variational`](sparsecode_formats::Variational)). Without one
    /// (DO models) it is FISTA with [`Refine::for_inference`],
    /// up to 200 iterations; call [`refine`](Self::refine) with these settings and fewer iterations
    /// where that is too long.
    ///
    /// Cost: `l·d` multiply-adds for `U`, and for each of the `L` iterations `a·l`, where `a` is
    /// the number of active atoms of `z_{i−1}`: rows of inactive ones are not read. A dense encoder
    /// takes a multiply-add for each of its weights.
    pub fn encode(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        workspace: &mut Workspace<INPUT, CODE, HIDDEN>,
    ) {
        denoise::encode(&self.file, input, code, &mut workspace.parts());
    }

    /// Draws J = `samples.count` codes of a preprocessed `input` from the posterior of a
    /// variational model, and writes the one with the smallest square error to `code`; of equal
    /// ones the first. Returns its number and its error.
    ///
    /// A host and a device draw the same bits for the same [`Samples`]. More samples are never
    /// worse. Needs no memory beyond that of [`encode`](Self::encode), of which it does not take
    /// the rule and the gain: a component is `μ + sign(e)(|e| − λ)` where its noise e exceeds the
    /// threshold λ ([`Posterior`](sparsecode_formats::Posterior)).
    ///
    /// Cost: the encoder with its heads, once, and an exponential for each component; for each
    /// sample `a·d` multiply-adds, a logarithm for each of its `a` active components, and a
    /// comparison and a random word for each of `l`, about 40 instructions on Cortex-M4. One more
    /// drawing follows for the best one. Without a threshold every component is active.
    ///
    /// ```
    /// use sparsecode_runtime::{CodeBuffer, Model, SampleError, Samples, SparseCode, Workspace};
    /// # use sparsecode_runtime::formats::{self, *};
    /// # let trained = formats::example_variational(8, 16, &[], false);
    /// # let trained = formats::example_posterior(trained, PosteriorBase::Laplacian, Some(1.0), false);
    /// # let file = AlignedBytes::from_slice(&formats::write(&trained, WeightType::I8).unwrap());
    /// # let bytes: &[u8] = &file;
    ///
    /// let model = Model::<8, 16>::load(bytes)?; // exported with --posterior
    /// let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    /// let input = [0.1, 0.4, 0.9, 0.4, 0.1, -0.2, -0.4, -0.2];
    /// let one = model.encode_best_of(&input, &mut code, &Samples::new(7, 1), &mut workspace)?;
    /// let best = model.encode_best_of(&input, &mut code, &Samples::new(7, 20), &mut workspace)?;
    /// assert!(best.error <= one.error && code.active() < 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SampleError::Posterior`] if the file holds no posterior, [`SampleError::Count`] if no
    /// sample is asked for. `code` then stays as it is.
    #[cfg(feature = "variational")]
    pub fn encode_best_of(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        samples: &Samples,
        workspace: &mut Workspace<INPUT, CODE, HIDDEN>,
    ) -> Result<BestOf, SampleError> {
        sampling::best_of(&self.file, samples, input, code, &mut workspace.parts())
    }

    /// Improves `code` for a preprocessed `input` by FISTA on the energy `(1/d)·‖y − D(z)‖² +
    /// λ·‖z‖₁` (Beck & Teboulle 2009), for as long as there is time. Under `z ≥ 0`, unless the
    /// model's [`codes`](sparsecode_formats::ModelSpec::codes) are signed.
    ///
    /// Ends at the first iterate that meets `settings.tolerance`, after `settings.max_iterations`,
    /// or when `deadline` returns `true`; it is asked before every iteration. Whatever ended it,
    /// `code` then holds the last iterate, or the start if the energy of the start is lower, and
    /// the result describes just this code. With 0 iterations that measures a code without changing
    /// it (under [`Start::Code`](crate::Start::Code)).
    ///
    /// A code that is exactly zero and would stay so counts as converged. Otherwise the change of
    /// the code is compared with the code before it, and nothing is below a tolerance relative to
    /// zero.
    ///
    /// FISTA is not monotone: between two iterations the energy may rise, but what is returned
    /// never has a higher energy than the start. Above the model's `step_size` the iterates may
    /// diverge.
    ///
    /// Cost of an iteration, in multiply-adds, with `a` non-zero components of the momentum point:
    /// `(a + l)·d` for a linear decoder; `(a + l)·m + 2·h·d` with `m` hidden units, `h` of them
    /// active. One more decoding follows for the report.
    pub fn refine(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE, HIDDEN>,
        mut deadline: impl FnMut() -> bool,
    ) -> Refinement {
        let decoder = &self.file.decoder;
        refine::refine(
            decoder,
            self.file.spec.codes,
            input,
            code,
            settings,
            &mut workspace.parts(),
            &mut deadline,
        )
    }

    /// Writes the reconstruction `ŷ = D(z)` of `code` to `output`, in the unit of the preprocessed
    /// input.
    ///
    /// Cost: `a·d` multiply-adds for `a` active atoms and a linear decoder; `a·m + h·d` with `m`
    /// hidden units, `h` of them active.
    pub fn decode(
        &self,
        code: &SparseCode<CODE>,
        output: &mut [f32; INPUT],
        workspace: &mut Workspace<INPUT, CODE, HIDDEN>,
    ) {
        denoise::decode(&self.file, code, workspace.parts().hidden, output);
    }

    /// Brings raw samples to the unit in which the model was trained, in place: `(x −
    /// mean)/deviation`, then the patch's own mean and deviation if the model wants that.
    ///
    /// Patches for models with *local* contrast normalisation must come normalised; they are left
    /// as they are, and the result is [`Normalisation::External`].
    ///
    /// Cost: up to five passes over the patch, with two divisions an element.
    pub fn preprocess(&self, patch: &mut [f32; INPUT]) -> Normalisation {
        preprocess::apply(&self.file, patch)
    }

    /// Brings a patch back to raw samples, in place: undoes [`preprocess`](Self::preprocess).
    ///
    /// Cost: one pass, two multiply-adds an element.
    pub fn restore(&self, patch: &mut [f32; INPUT], normalisation: Normalisation) {
        preprocess::restore(&self.file, patch, normalisation);
    }

    /// Replaces a raw patch by its reconstruction from a sparse code:
    /// [`preprocess`](Self::preprocess), [`encode`](Self::encode), [`refine`](Self::refine) if
    /// settings are given, [`decode`](Self::decode), [`restore`](Self::restore). `code` receives
    /// the code.
    ///
    /// [`Refine::for_noise`] gives settings for a known level of noise. Under another start than
    /// [`Start::Code`](crate::Start::Code) nothing is encoded: [`Refine::for_inference`] infers a
    /// model without an encoder once, within a budget of your own. `deadline` is only asked while
    /// refining.
    ///
    /// Cost: the sum of the steps.
    pub fn denoise(
        &self,
        patch: &mut [f32; INPUT],
        refine: Option<&Refine>,
        code: &mut SparseCode<CODE>,
        workspace: &mut Workspace<INPUT, CODE, HIDDEN>,
        mut deadline: impl FnMut() -> bool,
    ) -> Denoised {
        denoise::denoise(
            &self.file,
            patch,
            refine,
            code,
            &mut workspace.parts(),
            &mut deadline,
        )
    }
}
