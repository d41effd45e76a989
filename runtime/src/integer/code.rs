//! Sparse codes of integer levels.

use sparsecode_formats::CodeSign;

use crate::code::CodeError;
use crate::kernels::integer::Entry;

/// A sparse code in levels of 16 bits, with room for all `CODE` components, without an allocator.
///
/// Holds the active components only, in ascending order: levels of ±1 to ±32767. Models with 8-bit
/// activations cut them to ±127. Whether levels may be negative is a property of the model, its
/// [`CodeSign`](crate::CodeSign); [`check`](Self::check) compares a code with it. A level is worth the
/// `code_scale` of the model file ([`IntegerFile::scales`](sparsecode_formats::IntegerFile::scales)).
///
/// Memory: `4·CODE + 4` bytes (516 for 128 components). With feature `serde` it is written as the list of its components, index and
/// level, which is checked when it is read.
///
/// ```
/// use sparsecode_runtime::IntegerCode;
///
/// let mut code = IntegerCode::<4>::new();
/// code.push(1, 500)?;
/// code.push(3, -20)?;
/// assert!(code.iter().eq([(1, 500), (3, -20)]));
/// assert!(code.push(2, 1).is_err(), "indices ascend");
/// # Ok::<(), sparsecode_runtime::CodeError>(())
/// ```
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

    /// Number of active components, `‖z‖₀`.
    #[must_use]
    pub const fn active(&self) -> usize {
        self.active as usize
    }

    /// The active components and their levels, in ascending order of the index.
    pub fn iter(&self) -> impl Iterator<Item = (u16, i16)> + '_ {
        pairs(self.entries())
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        self.entries.get(..self.active()).unwrap_or(&[])
    }

    /// Makes every component 0.
    pub const fn clear(&mut self) {
        self.active = 0;
    }

    /// Appends one component, for codes that come from elsewhere (a radio packet, a file).
    ///
    /// # Errors
    ///
    /// [`CodeError`] if the index is not below `CODE` or not greater than the last one, or if the level is 0 or −32768. The
    /// code is then as before.
    pub fn push(&mut self, index: u16, level: i16) -> Result<(), CodeError> {
        if usize::from(index) >= CODE {
            return Err(CodeError::Index {
                found: index,
                code_dim: CODE,
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
    pub fn check(&self, codes: CodeSign) -> Result<(), CodeError> {
        match self.iter().find(|(_, level)| *level < 0) {
            Some((index, _)) if codes == CodeSign::NonNegative => {
                Err(CodeError::Negative { index })
            }
            _ => Ok(()),
        }
    }

    /// Writes every component to `dense`, zeros included. Components beyond `dense` are left out, and elements beyond the code
    /// become 0.
    pub fn to_dense(&self, dense: &mut [i16]) {
        write_dense(self.iter(), dense);
    }

    pub(crate) fn list(&mut self) -> List<'_> {
        List {
            entries: &mut self.entries,
            active: &mut self.active,
        }
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
    use super::{CodeError, IntegerCode};

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
    // An index has 12 bits.
    entries
        .iter()
        .map(|entry| (entry.index::<i8>() as u16, entry.value()))
}

pub(crate) fn write_dense(code: impl Iterator<Item = (u16, i16)>, dense: &mut [i16]) {
    dense.fill(0);
    for (index, level) in code {
        if let Some(element) = dense.get_mut(usize::from(index)) {
            *element = level;
        }
    }
}

/// A code, whoever owns it: entries for rows of 8-bit matrices.
pub(crate) struct List<'w> {
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

    /// Appends a component; a full list ignores it.
    #[inline(always)]
    pub(crate) fn push(&mut self, index: usize, level: i16) {
        if let Some(entry) = self.entries.get_mut(usize::from(*self.active)) {
            *entry = Entry::new::<i8>(index, level);
            *self.active = self.active.wrapping_add(1);
        }
    }
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

/// A code of a size chosen at run time, for hosts.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub(crate) struct CodeBuf {
    entries: std::vec::Vec<Entry>,
    active: u16,
}

#[cfg(feature = "std")]
impl CodeBuf {
    pub(crate) fn new(code_dim: usize) -> Self {
        Self {
            entries: std::vec![Entry::ZERO; code_dim],
            active: 0,
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        self.entries.get(..usize::from(self.active)).unwrap_or(&[])
    }

    pub(crate) fn list(&mut self) -> List<'_> {
        List {
            entries: &mut self.entries,
            active: &mut self.active,
        }
    }
}
