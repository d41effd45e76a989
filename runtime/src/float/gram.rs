//! Refinement of a code by means of the dictionary's Gram matrix: an iteration costs what the
//! active atoms cost.
//!
//! For a linear decoder `½ d ∇f(x) = G x − c` with `G = WᵀW`, made once for a model, and `c = Wᵀy`,
//! once for a patch. The rows of `G` that belong to components of `x` that are 0 are not read.

use sparsecode_formats::{CodeSign, Decoder, MatrixRef};

use super::code::{CodeBuffer, SparseCode};
use super::model::Model;
use super::refine::{self, Change, Momentum, Refine, Refinement, Update};
use super::view::ModelView;
#[cfg(feature = "std")]
use super::workspace::WorkspaceBuffer;
use super::workspace::sealed::Parts as _;
use super::workspace::{Scratch, Workspace};
#[cfg(feature = "std")]
use crate::error::DimensionError;
use crate::kernels::float::{self as kernels, portable};
use crate::quality::mean_square;
use crate::refinement::{Method, Stop};
use crate::shrink::shrink;
use crate::workspace::workspace;

/// Room for the Gram matrix of a dictionary with `CODE` atoms: `4·CODE² + 4·CODE` bytes (66,048 for
/// 128 atoms).
///
/// Belongs to one model once [`Model::gram`] has filled it; put it in a static.
#[derive(Clone, Debug)]
pub struct GramBuffer<const CODE: usize> {
    matrix: [[f32; CODE]; CODE],
    inverse_diagonal: [f32; CODE],
}

impl<const CODE: usize> GramBuffer<CODE> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// A buffer of zeros, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            matrix: [[0.0; CODE]; CODE],
            inverse_diagonal: [0.0; CODE],
        }
    }
}

impl<const CODE: usize> Default for GramBuffer<CODE> {
    fn default() -> Self {
        Self::new()
    }
}

workspace! {
    /// Scratch memory of refinement by the Gram matrix: `10·CODE` bytes. Nothing is kept in it from
    /// one call to the next.
    pub struct GramWorkspace<const CODE: usize>;
    /// The same of a size chosen at run time.
    struct GramWorkspaceBuf(code_dim);
    /// The buffers, whatever owns them.
    pub(crate) struct GramScratch {
        /// `c`.
        correlation: [f32; CODE = code_dim] = 0.0,
        /// `G x` of FISTA; `G z − c` of coordinate descent.
        product: [f32; CODE = code_dim] = 0.0,
        /// Components that are not 0.
        support: [u16; CODE = code_dim] = 0,
    }
}

/// A model with a linear decoder together with its Gram matrix: what [`Model::gram`] returns.
///
/// Energies, settings and results are those of [`Model::refine`]; the iterates differ from its by
/// rounding, and are the same bits on a host and a microcontroller.
///
/// ```
/// use sparsecode_runtime::{GramBuffer, GramWorkspace, Model, Refine, SparseCode, Workspace};
/// # use sparsecode_runtime::formats::{self, *};
/// # let dictionary = (0..32).map(|i| if i / 8 <= i % 8 / 2 { 0.4 } else { 0.0 }).collect();
/// # let preprocessing = Preprocessing { mean: 0.1, ..Preprocessing::IDENTITY };
/// # let trained = formats::example_decoder(InputShape::window(8), preprocessing, dictionary);
/// # let file = AlignedBytes::from_slice(&formats::write(&trained, WeightType::I8).unwrap());
/// # let bytes: &[u8] = &file;
///
/// let model = Model::<8, 4>::load(bytes)?;
/// let (mut buffer, mut scratch, mut workspace) = (GramBuffer::new(), GramWorkspace::new(), Workspace::new());
/// let gram = model.gram(&mut buffer, &mut workspace); // once
///
/// let patch = [0.1, 0.2, 0.9, 1.1, 1.0, 1.2, 0.8, 0.9];
/// let settings = Refine::for_model(model.spec());
/// let (mut code, mut other) = (SparseCode::new(), SparseCode::new());
/// let fista = gram.refine(&patch, &mut code, &settings, &mut workspace, &mut scratch, || false);
/// let descent = gram.descend(&patch, &mut other, &settings, &mut workspace, &mut scratch, || false);
/// assert!(descent.energy <= fista.energy + 1e-4);
/// assert!(descent.iterations < fista.iterations);
/// # Ok::<(), sparsecode_runtime::LoadError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Gram<'a, 'g, const INPUT: usize, const CODE: usize> {
    dictionary: Dictionary<'a>,
    gram: &'g GramBuffer<CODE>,
}

impl<'a, const INPUT: usize, const CODE: usize> Model<'a, INPUT, CODE> {
    /// Computes the Gram matrix of the dictionary into `buffer`, once for a model, for refinements
    /// whose cost does not depend on the size of the patch.
    ///
    /// An iteration of [`Gram::refine`] takes `a·CODE` multiply-adds instead of `(a + CODE)·INPUT`,
    /// after `CODE·INPUT` for each patch.
    ///
    /// Cost: `CODE²·INPUT` multiply-adds.
    pub fn gram<'g>(
        &self,
        buffer: &'g mut GramBuffer<CODE>,
        workspace: &mut Workspace<INPUT, CODE>,
    ) -> Gram<'a, 'g, INPUT, CODE> {
        let dictionary = Dictionary::of(&self.view());
        dictionary.multiply_by_itself(
            buffer.matrix.as_flattened_mut(),
            &mut buffer.inverse_diagonal,
            workspace.parts().residual,
        );
        Gram {
            dictionary,
            gram: buffer,
        }
    }
}

impl<const INPUT: usize, const CODE: usize> Gram<'_, '_, INPUT, CODE> {
    /// [`Model::refine`] with iterations that read the rows of active atoms only.
    ///
    /// Cost: `CODE·INPUT` multiply-adds for `c`; `a·CODE` for an iteration, with `a` non-zero
    /// components of the momentum point; two decodings, to compare the last iterate with the start.
    pub fn refine(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
        mut deadline: impl FnMut() -> bool,
    ) -> Refinement {
        self.run(
            Method::Fista,
            input,
            code,
            settings,
            (workspace, scratch),
            &mut deadline,
        )
    }

    /// Refines by coordinate descent instead of FISTA: one component after the other is set to the
    /// value that is best for it as the others stand, `z_k ← shrink(z_k − (G_k·z − c_k)/G_kk,
    /// ½dλ/G_kk)` (Friedman, Hastie & Tibshirani 2010), which is `(z_k − (G_k·z − c_k +
    /// ½dλ)/G_kk)₊` where codes are non-negative.
    ///
    /// An iteration is a pass over the components that are active, or, every second one, over all;
    /// it converges on one of the latter. The energy never rises (but for rounding), there is no
    /// step size (`settings.step_size` is not looked at), and a component that stays costs nothing
    /// but a comparison.
    ///
    /// Cost: `CODE·INPUT` multiply-adds for `c` and `a·CODE` for the start and every 32nd pass,
    /// against drift; `b·CODE` for a pass in which `b` components change; one decoding for the
    /// report.
    pub fn descend(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
        mut deadline: impl FnMut() -> bool,
    ) -> Refinement {
        self.run(
            Method::CoordinateDescent,
            input,
            code,
            settings,
            (workspace, scratch),
            &mut deadline,
        )
    }

    fn run(
        &self,
        method: Method,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        (workspace, scratch): (&mut Workspace<INPUT, CODE>, &mut GramWorkspace<CODE>),
        deadline: &mut dyn FnMut() -> bool,
    ) -> Refinement {
        let gram = GramRef {
            matrix: self.gram.matrix.as_flattened(),
            inverse_diagonal: &self.gram.inverse_diagonal,
        };
        let (mut parts, scratch) = (workspace.parts(), scratch.scratch());
        self.dictionary.refine(
            method, gram, input, code, settings, &mut parts, scratch, deadline,
        )
    }
}

/// [`Gram`] for a [`ModelView`], with memory of run-time size (feature `std`).
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct GramView<'a> {
    model: ModelView<'a>,
    matrix: std::vec::Vec<f32>,
    inverse_diagonal: std::vec::Vec<f32>,
    workspace: GramWorkspaceBuf,
}

#[cfg(feature = "std")]
impl<'a> GramView<'a> {
    /// See [`Model::gram`]; allocates what [`GramBuffer`] and [`GramWorkspace`] hold.
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if the decoder has a hidden layer.
    pub fn new(model: &ModelView<'a>) -> Result<Self, DimensionError> {
        let spec = model.spec();
        DimensionError::check("hidden_dim", 0, spec.hidden_dim())?;
        let (input_dim, code_dim) = (spec.input_dim(), spec.code_dim());
        let mut gram = Self {
            model: *model,
            matrix: std::vec![0.0; code_dim.saturating_mul(code_dim)],
            inverse_diagonal: std::vec![0.0; code_dim],
            workspace: GramWorkspaceBuf::new(code_dim),
        };
        Dictionary::of(model).multiply_by_itself(
            &mut gram.matrix,
            &mut gram.inverse_diagonal,
            &mut std::vec![0.0; input_dim],
        );
        Ok(gram)
    }

    /// See [`Gram::refine`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn refine(
        &mut self,
        input: &[f32],
        code: &mut impl CodeBuffer,
        settings: &Refine,
        workspace: &mut impl WorkspaceBuffer,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<Refinement, DimensionError> {
        self.run(
            Method::Fista,
            input,
            code,
            settings,
            workspace,
            &mut deadline,
        )
    }

    /// See [`Gram::descend`].
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a length does not fit.
    pub fn descend(
        &mut self,
        input: &[f32],
        code: &mut impl CodeBuffer,
        settings: &Refine,
        workspace: &mut impl WorkspaceBuffer,
        mut deadline: impl FnMut() -> bool,
    ) -> Result<Refinement, DimensionError> {
        self.run(
            Method::CoordinateDescent,
            input,
            code,
            settings,
            workspace,
            &mut deadline,
        )
    }

    fn run(
        &mut self,
        method: Method,
        input: &[f32],
        code: &mut impl CodeBuffer,
        settings: &Refine,
        workspace: &mut impl WorkspaceBuffer,
        deadline: &mut dyn FnMut() -> bool,
    ) -> Result<Refinement, DimensionError> {
        self.model.check("input", input)?;
        let mut parts = self.model.scratch(code, workspace)?;
        let gram = GramRef {
            matrix: &self.matrix,
            inverse_diagonal: &self.inverse_diagonal,
        };
        let scratch = self.workspace.scratch();
        Ok(Dictionary::of(&self.model).refine(
            method, gram, input, code, settings, &mut parts, scratch, deadline,
        ))
    }
}

/// A Gram matrix, wherever it lies.
#[derive(Clone, Copy)]
struct GramRef<'g> {
    /// `G`, row by row.
    matrix: &'g [f32],
    /// `1/G_kk`, or NaN.
    inverse_diagonal: &'g [f32],
}

/// A linear decoder, and which codes it is for.
#[derive(Clone, Copy, Debug)]
struct Dictionary<'a> {
    codes: CodeSign,
    decoder: Decoder<'a>,
    atoms: MatrixRef<'a>,
}

/// `z`, `x` and what belongs to them.
struct State<'w> {
    iterate: &'w mut [f32],
    point: &'w mut [f32],
    scratch: GramScratch<'w>,
}

impl<'a> Dictionary<'a> {
    fn of(model: &ModelView<'a>) -> Self {
        let decoder = model.file().decoder;
        let atoms = match decoder {
            Decoder::Linear { dictionary } => dictionary,
            // Does not happen: a `Model` without hidden units in its type has none in its file, and
            // `GramView` looks.
            Decoder::OneHidden { hidden, .. } => hidden,
        };
        let codes = model.spec().codes;
        Self {
            codes,
            decoder,
            atoms,
        }
    }

    /// `matrix = WᵀW`, and 1 over its diagonal: NaN for an atom that is 0, or so small that its
    /// square is, so that a step sets its component to 0.
    fn multiply_by_itself(
        &self,
        matrix: &mut [f32],
        inverse_diagonal: &mut [f32],
        atom: &mut [f32],
    ) {
        let code_dim = inverse_diagonal.len();
        for (k, inverse) in inverse_diagonal.iter_mut().enumerate() {
            kernels::read_row(&self.atoms, k, atom);
            // Twice: the other factor of the product is as it is stored.
            kernels::scale_columns(&self.atoms, atom);
            kernels::scale_columns(&self.atoms, atom);
            kernels::dot_scaled_rows(&self.atoms, atom, &mut |j, product| {
                // The lower triangle, twice: rounding must not make the matrix asymmetric.
                if j <= k {
                    for (row, column) in [(j, k), (k, j)] {
                        let row = portable::row_mut(matrix, code_dim, row);
                        if let Some(element) = row.get_mut(column) {
                            *element = product;
                        }
                    }
                }
                if j == k {
                    let quotient = 1.0 / product;
                    *inverse = if quotient.is_finite() {
                        quotient
                    } else {
                        f32::NAN
                    };
                }
            });
        }
    }

    /// Starts, iterates, and reports.
    #[expect(
        clippy::too_many_arguments,
        reason = "the memory comes from three owners"
    )]
    fn refine<C: CodeBuffer>(
        &self,
        method: Method,
        gram: GramRef<'_>,
        input: &[f32],
        code: &mut C,
        settings: &Refine,
        parts: &mut Scratch<'_>,
        scratch: GramScratch<'_>,
        deadline: &mut dyn FnMut() -> bool,
    ) -> Refinement {
        refine::start(code, self.codes, settings.start, parts.drive, parts.point);
        let before = match method {
            Method::Fista if settings.max_iterations > 0 => {
                let Scratch {
                    drive,
                    residual,
                    hidden,
                    ..
                } = &mut *parts;
                refine::residual_at(&self.decoder, input, drive, hidden, residual);
                Some(mean_square(residual))
            }
            // Coordinate descent only ever goes down.
            _ => None,
        };
        for (element, sample) in parts.residual.iter_mut().zip(input) {
            *element = *sample;
        }
        kernels::scale_columns(&self.atoms, parts.residual);
        kernels::dot_scaled_rows(&self.atoms, parts.residual, &mut |k, product| {
            if let Some(c) = scratch.correlation.get_mut(k) {
                *c = product;
            }
        });
        let state = State {
            iterate: &mut *parts.drive,
            point: &mut *parts.point,
            scratch,
        };
        let (codes, samples) = (self.codes, input.len());
        let ended = match method {
            Method::Fista => fista(gram.matrix, codes, samples, settings, state, deadline),
            // A function each: it is nearly all that a pass does.
            Method::CoordinateDescent => match codes {
                CodeSign::NonNegative => {
                    coordinate_descent::<false>(gram, samples, settings, state, deadline)
                }
                CodeSign::Signed => {
                    coordinate_descent::<true>(gram, samples, settings, state, deadline)
                }
            },
        };
        let lambda = settings.lambda;
        refine::report(&self.decoder, input, code, lambda, parts, before, ended)
    }
}

/// FISTA with `G`.
#[inline]
fn fista(
    matrix: &[f32],
    codes: CodeSign,
    input_dim: usize,
    settings: &Refine,
    state: State<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> (u32, Stop) {
    let State {
        iterate,
        point,
        scratch,
    } = state;
    let mut momentum = Momentum::new();
    for done in 0..settings.max_iterations {
        if deadline() {
            return (done, Stop::Deadline);
        }
        let update = Update::new(settings, input_dim, momentum.next());
        let _ = multiply(matrix, point, scratch.support, scratch.product);
        let mut change = Change::new();
        let gradients = scratch.product.iter().zip(scratch.correlation.iter());
        let components = point.iter_mut().zip(iterate.iter_mut()).zip(gradients);
        // A loop each: this is all that an iteration does beside the product.
        match codes {
            CodeSign::NonNegative => components.for_each(|((x, z), (product, c))| {
                update.apply(CodeSign::NonNegative, x, z, product - c, &mut change);
            }),
            CodeSign::Signed => components.for_each(|((x, z), (product, c))| {
                update.apply(CodeSign::Signed, x, z, product - c, &mut change);
            }),
        }
        if change.is_below(settings.tolerance) {
            return (done.saturating_add(1), Stop::Converged);
        }
    }
    (settings.max_iterations, Stop::Budget)
}

/// Iterations after which coordinate descent computes `G z` anew: the sum of its changes drifts
/// from it.
const RENEWAL: u32 = 32;

/// Coordinate descent with `G` and 1 over its diagonal.
#[inline]
fn coordinate_descent<const SIGNED: bool>(
    gram: GramRef<'_>,
    input_dim: usize,
    settings: &Refine,
    state: State<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> (u32, Stop) {
    let State {
        iterate, scratch, ..
    } = state;
    let (gradient, support) = (scratch.product, scratch.support);
    let correlation = &*scratch.correlation;
    let renew = |iterate: &[f32], support: &mut [u16], gradient: &mut [f32]| {
        let active = multiply(gram.matrix, iterate, support, gradient);
        for (g, c) in gradient.iter_mut().zip(correlation) {
            *g -= c;
        }
        active
    };
    let mut active = 0;
    if settings.max_iterations > 0 {
        active = renew(iterate, support, gradient);
    }
    let mut age = 0;
    let threshold = 0.5 * input_dim as f32 * settings.lambda;
    let codes = if SIGNED {
        CodeSign::Signed
    } else {
        CodeSign::NonNegative
    };
    let best = |z: f32, slope: f32, inverse: f32| {
        let moved = |slope: f32| z - slope * inverse;
        shrink(codes, moved(slope + threshold), moved(slope - threshold))
    };
    let mut all = active == 0;
    for done in 0..settings.max_iterations {
        if deadline() {
            return (done, Stop::Deadline);
        }
        if age == RENEWAL {
            active = renew(iterate, support, gradient);
            age = 0;
        }
        age = age.wrapping_add(1);
        if !all {
            for &k in support.iter().take(active) {
                let k = usize::from(k);
                let place = (iterate.get_mut(k), gram.inverse_diagonal.get(k));
                if let ((Some(z), Some(inverse)), Some(slope)) = (place, gradient.get(k)) {
                    let next = best(*z, *slope, *inverse);
                    if next != *z {
                        kernels::add_row(gram.matrix, k, next - *z, gradient);
                        *z = next;
                    }
                }
            }
            all = true;
            continue;
        }
        let mut change = Change::new();
        active = 0;
        for (k, (z, inverse)) in iterate.iter_mut().zip(gram.inverse_diagonal).enumerate() {
            let slope = gradient.get(k).copied().unwrap_or(0.0);
            let next = best(*z, slope, *inverse);
            if next != *z {
                change.add(*z, *z, next);
                kernels::add_row(gram.matrix, k, next - *z, gradient);
                *z = next;
            } else {
                change.stay(next);
            }
            active = list(support, active, k as u16, next);
        }
        if change.is_below(settings.tolerance) {
            return (done.saturating_add(1), Stop::Converged);
        }
        all = active == 0;
    }
    (settings.max_iterations, Stop::Budget)
}

/// `product = G x`. Returns how many components are active; `support` lists them.
#[inline]
fn multiply(matrix: &[f32], x: &[f32], support: &mut [u16], product: &mut [f32]) -> usize {
    let mut active = 0_usize;
    for (k, value) in (0..=u16::MAX).zip(x) {
        active = list(support, active, k, *value);
    }
    let listed = support.get(..active).unwrap_or_default();
    kernels::multiply_symmetric(matrix, x, listed, product);
    active
}

/// Component `k` in place `active` of the list, and how many are on it then.
#[inline(always)]
fn list(support: &mut [u16], active: usize, k: u16, value: f32) -> usize {
    // Written in any case: the next one takes its place if the component is 0.
    if let Some(place) = support.get_mut(active) {
        *place = k;
    }
    active.wrapping_add(usize::from(value != 0.0))
}
