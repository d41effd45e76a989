//! Scratch memory of integer inference, owned by the caller.

use crate::error::DimensionError;
use crate::kernels::integer::Entry;
use crate::workspace::workspace;

workspace! {
    /// Scratch memory for integer models with `CODE` components: `18·CODE + 6·HIDDEN` bytes (2304
    /// for 128). `HIDDEN` is 0, but for a variational model with a dense encoder: there it is what
    /// [`hidden_units`](sparsecode_formats::IntegerSpec::hidden_units) says. Nothing is kept in it
    /// from one call to the next: one workspace serves any number of models of these dimensions.
    pub struct IntegerWorkspace<const CODE: usize, const HIDDEN: usize = 0>;
    /// Scratch memory of a size chosen at run time, for hosts (feature `std`).
    pub struct IntegerWorkspaceBuf(code_dim, hidden_units) with batch: [i32];
    /// The buffers, each as long as a code, or as the widest layer of a dense encoder, whoever owns
    /// them.
    pub struct Scratch {
        /// `U n`; `Ĝ z` of refinement.
        sums: [i32; CODE = code_dim] = 0,
        /// `u` of the encoder; `ĉ` of refinement.
        drive: [i32; CODE = code_dim] = 0,
        /// The gradient step before, of FISTA.
        previous: [i32; CODE = code_dim] = 0,
        /// The next code of the encoder; what the decoder adds up; what FISTA changed, or is
        /// active.
        entries: [Entry; CODE = code_dim] = Entry::ZERO,
        /// `z` of refinement.
        levels: [i16; CODE = code_dim] = 0,
        /// Sums of a layer of a dense encoder.
        hidden_sums: [i32; HIDDEN = hidden_units] = 0,
        /// Its levels.
        hidden: [i16; HIDDEN = hidden_units] = 0,
    }
}

impl Scratch<'_> {
    /// The buffers cut to a model's dimensions.
    pub(crate) fn cut(self, code_dim: usize, hidden_units: usize) -> Result<Self, DimensionError> {
        fn cut_to<'w, T>(
            buffer: &'w mut [T],
            field: &'static str,
            expected: usize,
        ) -> Result<&'w mut [T], DimensionError> {
            let found = buffer.len();
            buffer.get_mut(..expected).ok_or(DimensionError {
                field,
                expected,
                found,
            })
        }
        fn cut<T>(buffer: &mut [T], expected: usize) -> Result<&mut [T], DimensionError> {
            cut_to(buffer, "workspace code_dim", expected)
        }
        let field = "workspace hidden_units";
        Ok(Self {
            sums: cut(self.sums, code_dim)?,
            drive: cut(self.drive, code_dim)?,
            previous: cut(self.previous, code_dim)?,
            entries: cut(self.entries, code_dim)?,
            levels: cut(self.levels, code_dim)?,
            hidden_sums: cut_to(self.hidden_sums, field, hidden_units)?,
            hidden: cut_to(self.hidden, field, hidden_units)?,
        })
    }
}

// Memory of a program in C.
#[cfg(feature = "capi")]
impl sealed::Parts for Scratch<'_> {
    fn parts(&mut self) -> Scratch<'_> {
        Scratch {
            sums: self.sums,
            drive: self.drive,
            previous: self.previous,
            entries: self.entries,
            levels: self.levels,
            hidden_sums: self.hidden_sums,
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

/// A workspace for [`IntegerView`](crate::IntegerView): [`IntegerWorkspace`] or, with feature
/// `std`, `IntegerWorkspaceBuf`.
///
/// It may be larger than the model needs, so that one serves every model of a device. Cannot be
/// implemented elsewhere.
pub trait IntegerWorkspaceBuffer: sealed::Parts {}

impl<T: sealed::Parts> IntegerWorkspaceBuffer for T {}

impl<const CODE: usize, const HIDDEN: usize> sealed::Parts for IntegerWorkspace<CODE, HIDDEN> {
    #[inline]
    fn parts(&mut self) -> Scratch<'_> {
        self.scratch()
    }
}

#[cfg(feature = "std")]
impl sealed::Parts for IntegerWorkspaceBuf {
    fn parts(&mut self) -> Scratch<'_> {
        self.scratch()
    }
}

#[cfg(feature = "std")]
impl IntegerWorkspaceBuf {
    /// A workspace for one model.
    #[must_use]
    pub fn for_model(spec: &sparsecode_formats::IntegerSpec) -> Self {
        Self::new(spec.code_dim(), spec.hidden_units())
    }
}
