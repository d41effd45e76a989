//! Refinement of a code by means of the dictionary's Gram matrix: an iteration costs what the active atoms cost.
//!
//! For a linear decoder `½ d ∇f(x) = G x − c` with `G = WᵀW`, made once for a model, and `c = Wᵀy`, once for a patch. The
//! rows of `G` that belong to components of `x` that are 0 are not read.

use sparsecode_formats::{Decoder, MatrixRef};

use crate::code::{CodeBuffer as _, SparseCode};
use crate::fista::{self, Change, Momentum, Refine, Refinement, Stop, Update};
use crate::kernels::{self, portable};
use crate::model::Model;
use crate::workspace::Workspace;
use crate::workspace::sealed::Parts as _;

/// Room for the Gram matrix of a dictionary with `CODE` atoms: `4·CODE² + 4·CODE` bytes (66,048 for 128 atoms).
///
/// Belongs to one model once [`Model::gram`] has filled it; put it in a static.
#[derive(Clone, Debug)]
pub struct GramBuffer<const CODE: usize> {
    /// `G`, symmetric.
    matrix: [[f32; CODE]; CODE],
    /// `1/G_kk`; infinite for an atom that is 0, whose component a step then sets to 0.
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

/// Scratch memory of [`Gram`]: `10·CODE` bytes. Nothing is kept in it from one call to the next.
#[derive(Clone, Debug)]
pub struct GramWorkspace<const CODE: usize> {
    correlation: [f32; CODE],
    product: [f32; CODE],
    support: [u16; CODE],
}

impl<const CODE: usize> GramWorkspace<CODE> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// A workspace of zeros, also for statics.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            correlation: [0.0; CODE],
            product: [0.0; CODE],
            support: [0; CODE],
        }
    }
}

impl<const CODE: usize> Default for GramWorkspace<CODE> {
    fn default() -> Self {
        Self::new()
    }
}

/// A model with a linear decoder together with its Gram matrix: what [`Model::gram`] returns.
///
/// Energies, settings and results are those of [`Model::refine`]; the iterates differ from its by rounding, and are the same
/// bits on a host and a microcontroller.
#[derive(Clone, Copy, Debug)]
pub struct Gram<'a, 'g, const INPUT: usize, const CODE: usize> {
    dictionary: MatrixRef<'a>,
    decoder: Decoder<'a>,
    gram: &'g GramBuffer<CODE>,
}

impl<'a, const INPUT: usize, const CODE: usize> Model<'a, INPUT, CODE> {
    /// Computes the Gram matrix of the dictionary into `buffer`, once, for refinements whose cost does not depend on the
    /// size of the patch.
    ///
    /// Pays where `2·CODE < INPUT`, and far below that where codes are sparse: an iteration of [`Gram::refine`] takes
    /// `a·CODE` multiply-adds instead of `(a + CODE)·INPUT`.
    ///
    /// Cost: `CODE²·INPUT/2` multiply-adds.
    pub fn gram<'g>(
        &self,
        buffer: &'g mut GramBuffer<CODE>,
        workspace: &mut Workspace<INPUT, CODE>,
    ) -> Gram<'a, 'g, INPUT, CODE> {
        let decoder = self.file().decoder;
        let dictionary = match decoder {
            Decoder::Linear { dictionary } => dictionary,
            // A model without hidden units in its type has none in its file.
            Decoder::OneHidden { output, .. } => output,
        };
        let atom = workspace.parts().residual;
        for k in 0..CODE {
            kernels::read_row(&dictionary, k, atom);
            kernels::scale_columns(&dictionary, atom);
            // Twice: the product below is of stored numbers.
            kernels::scale_columns(&dictionary, atom);
            kernels::dot_scaled_rows(&dictionary, atom, |j, product| {
                if j <= k {
                    set(&mut buffer.matrix, k, j, product);
                    set(&mut buffer.matrix, j, k, product);
                }
                if let Some(inverse) = buffer.inverse_diagonal.get_mut(k)
                    && j == k
                {
                    *inverse = 1.0 / product;
                }
            });
        }
        Gram {
            dictionary,
            decoder,
            gram: buffer,
        }
    }
}

fn set<const CODE: usize>(matrix: &mut [[f32; CODE]; CODE], row: usize, column: usize, value: f32) {
    if let Some(element) = matrix.get_mut(row).and_then(|row| row.get_mut(column)) {
        *element = value;
    }
}

impl<const INPUT: usize, const CODE: usize> Gram<'_, '_, INPUT, CODE> {
    /// [`Model::refine`] with iterations that read the rows of active atoms only.
    ///
    /// Cost: `CODE·INPUT` multiply-adds for `c`; `a·CODE` for an iteration, with `a` non-zero components of the momentum
    /// point; one decoding for the report.
    pub fn refine(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
        mut deadline: impl FnMut() -> bool,
    ) -> Refinement {
        self.start(input, code, settings, workspace, scratch);
        let (iterations, stopped) = self.fista(settings, workspace, scratch, &mut deadline);
        self.report(input, code, settings, workspace, iterations, stopped)
    }

    /// Refines by coordinate descent instead of FISTA: one component after the other is set to the value that is best
    /// for it as the others stand, `z_k ← (z_k − (G_k·z − c_k + ½dλ)/G_kk)₊` (Friedman, Hastie & Tibshirani 2010).
    ///
    /// An iteration is a pass over all components. The energy never rises, there is no step size (`settings.step_size`
    /// is not looked at), and a component that stays costs nothing but a comparison, so that it usually arrives after
    /// far fewer multiply-adds than FISTA.
    ///
    /// Cost: `CODE·INPUT` multiply-adds for `c` and `a·CODE` for the start; `b·CODE` for a pass in which `b` components
    /// change; one decoding for the report.
    pub fn descend(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
        mut deadline: impl FnMut() -> bool,
    ) -> Refinement {
        self.start(input, code, settings, workspace, scratch);
        let (iterations, stopped) = self.passes(settings, workspace, scratch, &mut deadline);
        self.report(input, code, settings, workspace, iterations, stopped)
    }

    /// `z = x = z_0` and `c`.
    fn start(
        &self,
        input: &[f32; INPUT],
        code: &SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
    ) {
        let parts = workspace.parts();
        fista::start(code, settings.start, parts.drive, parts.point);
        parts.residual.copy_from_slice(input);
        kernels::scale_columns(&self.dictionary, parts.residual);
        kernels::dot_scaled_rows(&self.dictionary, parts.residual, |k, product| {
            if let Some(c) = scratch.correlation.get_mut(k) {
                *c = product;
            }
        });
    }

    fn fista(
        &self,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
        deadline: &mut dyn FnMut() -> bool,
    ) -> (u32, Stop) {
        let parts = workspace.parts();
        let (iterate, point) = (parts.drive, parts.point);
        let mut momentum = Momentum::new();
        for done in 0..settings.max_iterations {
            if deadline() {
                return (done, Stop::Deadline);
            }
            let update = Update::new(settings, INPUT, momentum.next());
            self.multiply(point, scratch);
            let mut change = Change::new();
            let gradients = scratch.product.iter().zip(&scratch.correlation);
            for ((x, z), (product, c)) in point.iter_mut().zip(iterate.iter_mut()).zip(gradients) {
                update.apply(x, z, product - c, &mut change);
            }
            if change.is_below(settings.tolerance) {
                return (done.saturating_add(1), Stop::Converged);
            }
        }
        (settings.max_iterations, Stop::Budget)
    }

    /// `product = G x`.
    fn multiply(&self, x: &[f32], scratch: &mut GramWorkspace<CODE>) {
        let mut active = 0_usize;
        for (k, value) in (0..=u16::MAX).zip(x) {
            // Written in any case: the next one takes its place if the component is 0.
            if let Some(place) = scratch.support.get_mut(active) {
                *place = k;
            }
            active = active.wrapping_add(usize::from(*value != 0.0));
        }
        let support = scratch.support.get(..active).unwrap_or_default();
        portable::multiply_symmetric(&self.gram.matrix, x, support, &mut scratch.product);
    }

    fn passes(
        &self,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        scratch: &mut GramWorkspace<CODE>,
        deadline: &mut dyn FnMut() -> bool,
    ) -> (u32, Stop) {
        let iterate = workspace.parts().drive;
        if settings.max_iterations == 0 {
            return (0, Stop::Budget);
        }
        self.multiply(iterate, scratch);
        let gradient = &mut scratch.product;
        for (g, c) in gradient.iter_mut().zip(&scratch.correlation) {
            *g -= c;
        }
        let threshold = 0.5 * INPUT as f32 * settings.lambda;
        for done in 0..settings.max_iterations {
            if deadline() {
                return (done, Stop::Deadline);
            }
            let mut change = Change::new();
            let rows = self.gram.matrix.iter().zip(&self.gram.inverse_diagonal);
            for (k, (z, (row, inverse))) in iterate.iter_mut().zip(rows).enumerate() {
                let slope = gradient.get(k).copied().unwrap_or(0.0) + threshold;
                let next = portable::relu(*z - slope * inverse);
                change.add(*z, *z, next);
                if next != *z {
                    portable::add_row(row, next - *z, gradient);
                    *z = next;
                }
            }
            if change.is_below(settings.tolerance) {
                return (done.saturating_add(1), Stop::Converged);
            }
        }
        (settings.max_iterations, Stop::Budget)
    }

    fn report(
        &self,
        input: &[f32; INPUT],
        code: &mut SparseCode<CODE>,
        settings: &Refine,
        workspace: &mut Workspace<INPUT, CODE>,
        iterations: u32,
        stopped: Stop,
    ) -> Refinement {
        let parts = workspace.parts();
        code.from_dense(parts.drive);
        fista::report(
            &self.decoder,
            input,
            code,
            settings.lambda,
            parts,
            iterations,
            stopped,
        )
    }
}
