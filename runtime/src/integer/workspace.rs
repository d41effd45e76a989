//! Scratch memory of integer inference.

use crate::kernels::integer::Entry;

/// Scratch memory for integer models with `CODE` components: `18·CODE` bytes (2304 for 128). Nothing is kept in it from one call to
/// the next: one workspace serves any number of models of that code dimension.
#[derive(Clone, Debug)]
pub struct IntegerWorkspace<const CODE: usize> {
    sums: [i32; CODE],
    drive: [i32; CODE],
    previous: [i32; CODE],
    entries: [Entry; CODE],
    levels: [i16; CODE],
}

impl<const CODE: usize> IntegerWorkspace<CODE> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// A workspace of zeros, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sums: [0; CODE],
            drive: [0; CODE],
            previous: [0; CODE],
            entries: [Entry::ZERO; CODE],
            levels: [0; CODE],
        }
    }

    pub(crate) fn parts(&mut self) -> Scratch<'_> {
        Scratch {
            sums: &mut self.sums,
            drive: &mut self.drive,
            previous: &mut self.previous,
            entries: &mut self.entries,
            levels: &mut self.levels,
        }
    }
}

impl<const CODE: usize> Default for IntegerWorkspace<CODE> {
    fn default() -> Self {
        Self::new()
    }
}

/// The buffers, each as long as a code, whoever owns them.
pub(crate) struct Scratch<'w> {
    /// `U n`; `Ĝ z` of refinement.
    pub(crate) sums: &'w mut [i32],
    /// `u` of the encoder; `ĉ` of refinement.
    pub(crate) drive: &'w mut [i32],
    /// The gradient step before, of FISTA.
    pub(crate) previous: &'w mut [i32],
    /// The next code of the encoder; what the decoder adds up; what FISTA changed, or is active.
    pub(crate) entries: &'w mut [Entry],
    /// `z` of refinement.
    pub(crate) levels: &'w mut [i16],
}

impl Scratch<'_> {
    pub(crate) fn reborrow(&mut self) -> Scratch<'_> {
        Scratch {
            sums: self.sums,
            drive: self.drive,
            previous: self.previous,
            entries: self.entries,
            levels: self.levels,
        }
    }
}

/// The same of a size chosen at run time, for hosts.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub(crate) struct WorkspaceBuf {
    sums: std::vec::Vec<i32>,
    drive: std::vec::Vec<i32>,
    previous: std::vec::Vec<i32>,
    entries: std::vec::Vec<Entry>,
    levels: std::vec::Vec<i16>,
}

#[cfg(feature = "std")]
impl WorkspaceBuf {
    pub(crate) fn new(code_dim: usize) -> Self {
        Self {
            sums: std::vec![0; code_dim],
            drive: std::vec![0; code_dim],
            previous: std::vec![0; code_dim],
            entries: std::vec![Entry::ZERO; code_dim],
            levels: std::vec![0; code_dim],
        }
    }

    pub(crate) fn parts(&mut self) -> Scratch<'_> {
        Scratch {
            sums: &mut self.sums,
            drive: &mut self.drive,
            previous: &mut self.previous,
            entries: &mut self.entries,
            levels: &mut self.levels,
        }
    }
}
