//! All scratch memory of the algorithms, owned by the caller.

use crate::error::DimensionError;
use crate::workspace::workspace;

workspace! {
    /// Scratch memory for encoding, refining and decoding with models of these dimensions, in fixed
    /// memory.
    ///
    /// `INPUT`, `CODE` and `HIDDEN` are `d`, `l` and `m` of the papers. `HIDDEN` is 0 for a linear
    /// decoder, but for a variational model with a dense encoder: there it is what
    /// [`hidden_units`](sparsecode_formats::ModelSpec::hidden_units) says. Nothing is kept in it
    /// from one call to the next: one workspace serves any number of models of the same dimensions.
    ///
    /// ```
    /// use sparsecode_runtime::{SparseCode, Workspace};
    ///
    /// // 28×28 pixels, 128 atoms: encoding, refining and decoding in place need less than 8 KiB.
    /// static WORKSPACE: Workspace<784, 128> = Workspace::new(); // in a cell of your choice
    /// assert_eq!(Workspace::<784, 128>::BYTES, 4160);
    /// assert!(size_of::<[f32; 784]>() + SparseCode::<128>::BYTES + Workspace::<784, 128>::BYTES <= 8192);
    /// ```
    ///
    /// Size in bytes: `4·(INPUT + 2·CODE + HIDDEN)`.
    pub struct Workspace<const INPUT: usize, const CODE: usize, const HIDDEN: usize = 0>;
    /// Scratch memory of a size chosen at run time, for hosts (feature `std`).
    pub struct WorkspaceBuf(input_dim, code_dim, hidden_dim) with batch: [f32];
    /// The four buffers, whatever owns them.
    pub struct Scratch {
        /// `u` of the encoder; the current iterate `z` of FISTA.
        drive: [f32; CODE = code_dim] = 0.0,
        /// `S z` of the encoder; the momentum point `x` of FISTA.
        point: [f32; CODE = code_dim] = 0.0,
        /// `D(x) − y`.
        residual: [f32; INPUT = input_dim] = 0.0,
        /// Activations of the hidden layer, then their gradient; of a dense encoder those of a
        /// layer and of the one before it.
        hidden: [f32; HIDDEN = hidden_dim] = 0.0,
    }
}

impl<'w> Scratch<'w> {
    /// The buffers cut to a model's dimensions; `Err` holds the name and length of one that is too
    /// short, and the length that is needed.
    pub(crate) fn cut(
        self,
        input_dim: usize,
        code_dim: usize,
        hidden_dim: usize,
    ) -> Result<Self, DimensionError> {
        let cut = |buffer: &'w mut [f32], field, expected| {
            let found = buffer.len();
            buffer.get_mut(..expected).ok_or(DimensionError {
                field,
                expected,
                found,
            })
        };
        Ok(Self {
            drive: cut(self.drive, "workspace code_dim", code_dim)?,
            point: cut(self.point, "workspace code_dim", code_dim)?,
            residual: cut(self.residual, "workspace input_dim", input_dim)?,
            hidden: cut(self.hidden, "workspace hidden_dim", hidden_dim)?,
        })
    }
}

// Memory of a program in C.
#[cfg(feature = "capi")]
impl sealed::Parts for Scratch<'_> {
    fn parts(&mut self) -> Scratch<'_> {
        Scratch {
            drive: self.drive,
            point: self.point,
            residual: self.residual,
            hidden: self.hidden,
        }
    }
}

pub(crate) mod sealed {
    /// What a workspace has to do, and nobody else may.
    pub trait Parts {
        /// The buffers.
        fn parts(&mut self) -> super::Scratch<'_>;
    }
}

/// A workspace for [`ModelView`](crate::ModelView): [`Workspace`] or, with feature `std`,
/// `WorkspaceBuf`.
///
/// It may be larger than the model needs, so that one serves every model of a device. Cannot be
/// implemented elsewhere.
pub trait WorkspaceBuffer: sealed::Parts {}

impl<T: sealed::Parts> WorkspaceBuffer for T {}

impl<const INPUT: usize, const CODE: usize, const HIDDEN: usize> sealed::Parts
    for Workspace<INPUT, CODE, HIDDEN>
{
    #[inline]
    fn parts(&mut self) -> Scratch<'_> {
        self.scratch()
    }
}

#[cfg(feature = "std")]
impl sealed::Parts for WorkspaceBuf {
    fn parts(&mut self) -> Scratch<'_> {
        self.scratch()
    }
}

#[cfg(feature = "std")]
impl WorkspaceBuf {
    /// A workspace for one model.
    #[must_use]
    pub fn for_model(spec: &sparsecode_formats::ModelSpec<'_>) -> Self {
        Self::new(spec.input_dim(), spec.code_dim(), spec.hidden_units())
    }
}

/// Bytes of RAM that a device needs for a model of these dimensions, with
/// [`hidden_units`](sparsecode_formats::ModelSpec::hidden_units): a patch (decoded in place), a
/// [`SparseCode`](crate::SparseCode) and a [`Workspace`].
///
/// The stack of the calls comes on top.
///
/// ```
/// assert_eq!(sparsecode_runtime::ram_bytes(784, 128, 0), 3136 + 776 + 4160);
/// ```
#[must_use]
pub const fn ram_bytes(input_dim: usize, code_dim: usize, hidden_units: usize) -> usize {
    let patch = input_dim.saturating_mul(4);
    // Two vectors with lengths of 16 bits, the first padded to the alignment of the second.
    let padding = if code_dim.is_multiple_of(2) { 8 } else { 6 };
    let code = code_dim.saturating_mul(6).saturating_add(padding);
    let workspace = patch
        .saturating_add(code_dim.saturating_mul(8))
        .saturating_add(hidden_units.saturating_mul(4));
    patch.saturating_add(code).saturating_add(workspace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SparseCode;

    fn check<const INPUT: usize, const CODE: usize, const HIDDEN: usize>() {
        let found = size_of::<[f32; INPUT]>()
            + SparseCode::<CODE>::BYTES
            + Workspace::<INPUT, CODE, HIDDEN>::BYTES;
        assert_eq!(ram_bytes(INPUT, CODE, HIDDEN), found);
    }

    #[test]
    fn ram_is_the_size_of_the_types() {
        check::<784, 128, 0>();
        check::<64, 128, 256>();
        check::<5, 7, 3>();
        check::<1, 1, 0>();
        assert_eq!(ram_bytes(usize::MAX, usize::MAX, 1), usize::MAX);
    }
}
