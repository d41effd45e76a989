//! Sparse codes of integer levels.

use sparsecode_formats::CodeSign;

use crate::error::CodeError;
use crate::kernels::integer::Entry;

pub(crate) mod sealed {
    use super::{Entry, List};

    /// What a code's storage has to do, and nobody else may.
    pub trait Entries {
        /// The active components.
        fn entries(&self) -> &[Entry];

        /// The storage, to be written.
        fn list(&mut self) -> List<'_>;
    }
}

/// A sparse code (`z` in the papers) in levels of 16 bits, of at most [`capacity`](Self::capacity)
/// components: [`IntegerCode`] or, with feature `std`, `IntegerCodeBuf`. Cannot be implemented
/// elsewhere.
///
/// Holds the active components only, in ascending order: levels of ±1 to ±32767. Models with 8-bit
/// activations cut them to ±127. Whether levels may be negative is a property of the model, its
/// [`CodeSign`](crate::CodeSign); [`check`](Self::check) compares a code with it. A level is worth
/// the `code_scale` of the model file
/// ([`IntegerFile::scales`](sparsecode_formats::IntegerFile::scales)).
///
/// ```
/// use sparsecode_runtime::{IntegerCode, IntegerCodeBuffer};
///
/// let mut code = IntegerCode::<4>::new();
/// code.push(1, 500)?;
/// code.push(3, -20)?;
/// assert!(code.iter().eq([(1, 500), (3, -20)]));
/// assert!(code.push(2, 1).is_err(), "indices ascend");
/// # Ok::<(), sparsecode_runtime::CodeError>(())
/// ```
pub trait IntegerCodeBuffer: sealed::Entries {
    /// The code dimension `l`: indices lie below it, and all components fit.
    fn capacity(&self) -> usize;

    /// Makes every component 0.
    fn clear(&mut self) {
        self.list().clear();
    }

    /// Number of active components, `‖z‖₀`.
    fn active(&self) -> usize {
        self.entries().len()
    }

    /// The active components and their levels, in ascending order of the index.
    fn iter(&self) -> impl Iterator<Item = (u16, i16)> + '_ {
        pairs(self.entries())
    }

    /// Writes every component to `dense`, zeros included. Components beyond `dense` are left out,
    /// and elements beyond the code become 0.
    fn to_dense(&self, dense: &mut [i16]) {
        dense.fill(0);
        for (index, level) in self.iter() {
            if let Some(element) = dense.get_mut(usize::from(index)) {
                *element = level;
            }
        }
    }

    /// Takes the components of `dense` that are not 0; −32768 becomes −32767. Elements beyond the
    /// [`capacity`](Self::capacity) are ignored.
    #[allow(
        clippy::wrong_self_convention,
        reason = "the buffer is reused, which is the point of it"
    )]
    fn from_dense(&mut self, dense: &[i16]) {
        let capacity = self.capacity();
        let mut list = self.list();
        list.clear();
        for (index, &level) in dense.iter().enumerate().take(capacity) {
            if level != 0 {
                list.push(index, level.max(-i16::MAX));
            }
        }
    }

    /// Appends one component, for codes that come from elsewhere (a radio packet, a file).
    ///
    /// # Errors
    ///
    /// [`CodeError`] if the index is not below the capacity or not greater than the last one, or if
    /// the level is 0 or −32768. The code is then as before.
    fn push(&mut self, index: u16, level: i16) -> Result<(), CodeError> {
        let code_dim = self.capacity();
        if usize::from(index) >= code_dim {
            return Err(CodeError::Index {
                found: index,
                code_dim,
            });
        }
        if self.iter().last().is_some_and(|(last, _)| last >= index) {
            return Err(CodeError::Order { found: index });
        }
        if !is_level(level) {
            return Err(CodeError::Value { index });
        }
        self.list().push(usize::from(index), level);
        Ok(())
    }

    /// Whether a model whose codes have these signs may have this code.
    ///
    /// # Errors
    ///
    /// [`CodeError::Negative`] for the first component that is negative where none may be.
    fn check(&self, codes: CodeSign) -> Result<(), CodeError> {
        match self.iter().find(|(_, level)| *level < 0) {
            Some((index, _)) if codes == CodeSign::NonNegative => {
                Err(CodeError::Negative { index })
            }
            _ => Ok(()),
        }
    }
}

/// An [`IntegerCodeBuffer`] with room for all `CODE` components, without an allocator.
///
/// Memory: `4·CODE + 4` bytes (516 for 128 components). With feature `serde` it is written as the
/// list of its components, index and level, which is checked when it is read.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(
        into = "stored::Components<CODE>",
        try_from = "stored::Components<CODE>"
    )
)]
pub struct IntegerCode<const CODE: usize> {
    entries: [Entry; CODE],
    active: u16,
}

impl<const CODE: usize> IntegerCode<CODE> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// An all-zero code.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(CODE > 0, "a code has at least one component");
            assert!(
                CODE <= 4095,
                "codes of integer models have at most 4095 components"
            );
        }
        Self {
            entries: [Entry::ZERO; CODE],
            active: 0,
        }
    }
}

impl<const CODE: usize> sealed::Entries for IntegerCode<CODE> {
    fn entries(&self) -> &[Entry] {
        self.entries.get(..usize::from(self.active)).unwrap_or(&[])
    }

    fn list(&mut self) -> List<'_> {
        List {
            entries: &mut self.entries,
            active: &mut self.active,
        }
    }
}

impl<const CODE: usize> IntegerCodeBuffer for IntegerCode<CODE> {
    fn capacity(&self) -> usize {
        CODE
    }
}

impl<const CODE: usize> Default for IntegerCode<CODE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CODE: usize> PartialEq for IntegerCode<CODE> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(feature = "defmt")]
impl<const CODE: usize> defmt::Format for IntegerCode<CODE> {
    fn format(&self, formatter: defmt::Formatter<'_>) {
        defmt::write!(
            formatter,
            "{=usize} of {=usize} active:",
            self.active(),
            CODE
        );
        for (index, level) in self.iter() {
            defmt::write!(formatter, " {=u16}: {=i16}", index, level);
        }
    }
}

#[cfg(feature = "serde")]
mod stored {
    use super::{CodeError, IntegerCode, IntegerCodeBuffer as _};

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    pub(super) struct Components<const CODE: usize>(heapless::Vec<(u16, i16), CODE, u16>);

    impl<const CODE: usize> From<IntegerCode<CODE>> for Components<CODE> {
        fn from(code: IntegerCode<CODE>) -> Self {
            // Not more than `CODE`.
            Self(code.iter().collect())
        }
    }

    impl<const CODE: usize> TryFrom<Components<CODE>> for IntegerCode<CODE> {
        type Error = CodeError;

        fn try_from(stored: Components<CODE>) -> Result<Self, CodeError> {
            let mut code = Self::new();
            for (index, level) in stored.0 {
                code.push(index, level)?;
            }
            Ok(code)
        }
    }
}

/// Whether a component of a code may have this level.
pub(crate) const fn is_level(level: i16) -> bool {
    level != 0 && level != i16::MIN
}

pub(crate) fn pairs(entries: &[Entry]) -> impl Iterator<Item = (u16, i16)> + '_ {
    entries.iter().map(|entry| component(*entry))
}

/// A code, whoever owns it: entries for rows of 8-bit matrices.
#[derive(Debug)]
pub struct List<'w> {
    pub(crate) entries: &'w mut [Entry],
    pub(crate) active: &'w mut u16,
}

impl List<'_> {
    pub(crate) fn entries(&self) -> &[Entry] {
        self.entries.get(..usize::from(*self.active)).unwrap_or(&[])
    }

    pub(crate) fn clear(&mut self) {
        *self.active = 0;
    }

    /// Makes the code that of entries for rows of 16-bit numbers, as many as it holds.
    #[cfg(feature = "denoise")]
    pub(crate) fn set(&mut self, wide: &[Entry]) {
        for (to, from) in self.entries.iter_mut().zip(wide) {
            *to = from.narrow();
        }
        *self.active = wide.len().min(self.entries.len()) as u16;
    }

    /// Appends a component; a full list ignores it.
    #[inline(always)]
    pub(crate) fn push(&mut self, index: usize, level: i16) {
        if let Some(entry) = self.entries.get_mut(usize::from(*self.active)) {
            *entry = Entry::new::<i8>(index, level);
            *self.active = self.active.wrapping_add(1);
        }
    }
}

// A code of a program in C.
#[cfg(feature = "capi")]
impl sealed::Entries for List<'_> {
    fn entries(&self) -> &[Entry] {
        List::entries(self)
    }

    fn list(&mut self) -> List<'_> {
        List {
            entries: self.entries,
            active: self.active,
        }
    }
}

#[cfg(feature = "capi")]
impl IntegerCodeBuffer for List<'_> {
    fn capacity(&self) -> usize {
        self.entries.len()
    }
}

/// A component of a code; `index` is at most 4094.
#[cfg(feature = "capi")]
pub(crate) const fn entry(index: u16, level: i16) -> Entry {
    Entry::new::<i8>(index as usize, level)
}

/// Index and level of a component.
pub(crate) const fn component(entry: Entry) -> (u16, i16) {
    // An index has 12 bits.
    (entry.index::<i8>() as u16, entry.value())
}

/// Whether entries are a code of a model: indices ascend below its dimension, and levels are not 0,
/// nor negative unless its codes are signed.
#[cfg(feature = "capi")]
pub(crate) fn is_code(entries: &[Entry], code_dim: u16, codes: CodeSign) -> bool {
    let mut least = 0;
    entries.iter().all(|found| {
        let (index, level) = component(*found);
        let sound =
            index >= least && index < code_dim && is_level(level) && *found == entry(index, level);
        let sound = sound && (level > 0 || codes == CodeSign::Signed);
        least = index.wrapping_add(1);
        sound
    })
}

/// Cuts the levels of a list to `limit`, if they have fewer than 16 bits.
#[inline(never)]
pub(crate) fn cut(list: &mut [Entry], active: u16, limit: i16) {
    if limit < i16::MAX {
        for entry in list.iter_mut().take(usize::from(active)) {
            let level = entry.value().min(limit);
            *entry = Entry::new::<i8>(entry.index::<i8>(), level);
        }
    }
}

/// An [`IntegerCodeBuffer`] whose dimension is chosen at run time, for hosts (feature `std`).
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct IntegerCodeBuf {
    entries: std::vec::Vec<Entry>,
    active: u16,
}

#[cfg(feature = "std")]
impl IntegerCodeBuf {
    /// An all-zero code of `code_dim` components, at most 4095.
    #[must_use]
    pub fn new(code_dim: u16) -> Self {
        Self {
            entries: std::vec![Entry::ZERO; code_dim.min(4095).into()],
            active: 0,
        }
    }
}

#[cfg(feature = "std")]
impl PartialEq for IntegerCodeBuf {
    fn eq(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len() && self.iter().eq(other.iter())
    }
}

#[cfg(feature = "std")]
impl sealed::Entries for IntegerCodeBuf {
    fn entries(&self) -> &[Entry] {
        self.entries.get(..usize::from(self.active)).unwrap_or(&[])
    }

    fn list(&mut self) -> List<'_> {
        List {
            entries: &mut self.entries,
            active: &mut self.active,
        }
    }
}

#[cfg(feature = "std")]
impl IntegerCodeBuffer for IntegerCodeBuf {
    fn capacity(&self) -> usize {
        self.entries.len()
    }
}
