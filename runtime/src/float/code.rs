//! Sparse codes: the components that are not 0, in fixed memory.

use sparsecode_formats::CodeSign;

use crate::error::CodeError;
use crate::kernels::float::portable;

pub(crate) mod sealed {
    /// What a code's storage has to do, and nobody else may.
    pub trait Storage {
        /// Appends a component. The caller sees to it that indices ascend; a full buffer ignores
        /// it.
        fn append(&mut self, index: u16, value: f32);

        /// Appends as many components as there are indices and values.
        fn append_all(&mut self, indices: &[u16], values: &[f32]) {
            for (&index, &value) in indices.iter().zip(values) {
                self.append(index, value);
            }
        }
    }
}

/// A sparse code (`z` in the papers) of at most [`capacity`](Self::capacity) components.
///
/// Holds the indices of the active components, ascending, and their values, which are finite and
/// not
/// 0. Whether values may be negative is a property of the model, its
/// [`CodeSign`](crate::CodeSign); [`check`](Self::check) compares a code with it.
///
/// Implemented by [`SparseCode`] and, with feature `std`, by `SparseCodeBuf`; it cannot be
/// implemented elsewhere.
///
/// ```
/// use sparsecode_runtime::{CodeBuffer, SparseCode};
///
/// let mut code = SparseCode::<4>::new();
/// code.from_dense(&[0.0, 0.5, 0.0, -2.0]);
/// assert!(code.iter().eq([(1, 0.5), (3, -2.0)]));
/// assert_eq!(code.l1_norm(), 2.5);
/// ```
pub trait CodeBuffer: sealed::Storage {
    /// The code dimension `l`: indices lie below it, and all components fit.
    fn capacity(&self) -> usize;

    /// Indices of the active components, ascending.
    fn indices(&self) -> &[u16];

    /// Values of the active components, in the order of [`indices`](Self::indices); none is 0.
    fn values(&self) -> &[f32];

    /// Makes every component 0.
    fn clear(&mut self);

    /// Number of active components, `‖z‖₀`.
    fn active(&self) -> usize {
        self.indices().len()
    }

    /// `‖z‖₁`, the sum of the values' magnitudes.
    fn l1_norm(&self) -> f32 {
        portable::sum_of_magnitudes(self.values())
    }

    /// Whether a model whose codes have these signs may have this code.
    ///
    /// # Errors
    ///
    /// [`CodeError::Negative`] for the first component that is negative where none may be.
    fn check(&self, codes: CodeSign) -> Result<(), CodeError> {
        let mut negative = self.iter().filter(|(_, value)| *value < 0.0);
        match negative.next() {
            Some((index, _)) if codes == CodeSign::NonNegative => {
                Err(CodeError::Negative { index })
            }
            _ => Ok(()),
        }
    }

    /// The active components, in ascending order of their index.
    fn iter(&self) -> impl Iterator<Item = (u16, f32)> + '_ {
        let values = self.values().iter().copied();
        self.indices().iter().copied().zip(values)
    }

    /// Writes all components to `dense`, zeros included. Components beyond `dense` are left out,
    /// and elements beyond the code become 0.
    fn to_dense(&self, dense: &mut [f32]) {
        dense.fill(0.0);
        for (index, value) in self.iter() {
            if let Some(element) = dense.get_mut(usize::from(index)) {
                *element = value;
            }
        }
    }

    /// Takes the components of `dense` that are not 0, of either sign; NaN becomes 0.
    /// Elements beyond the [`capacity`](Self::capacity) are ignored.
    #[allow(
        clippy::wrong_self_convention,
        reason = "the buffer is reused, which is the point of it"
    )]
    fn from_dense(&mut self, dense: &[f32]) {
        take_dense(self, CodeSign::Signed, dense);
    }

    /// Appends one component, for codes that come from elsewhere (a radio packet, a file).
    ///
    /// # Errors
    ///
    /// [`CodeError`] if the index is not below the capacity or not greater than the last one, or if
    /// the value is 0 or not finite. The code is then as before.
    fn push(&mut self, index: u16, value: f32) -> Result<(), CodeError> {
        let code_dim = self.capacity();
        if usize::from(index) >= code_dim {
            return Err(CodeError::Index {
                found: index,
                code_dim,
            });
        }
        if self.indices().last().is_some_and(|&last| last >= index) {
            return Err(CodeError::Order { found: index });
        }
        if value == 0.0 || !value.is_finite() {
            return Err(CodeError::Value { index });
        }
        self.append(index, value);
        Ok(())
    }
}

/// The code of a dense vector: of its components that are not 0 or NaN, or, where codes are
/// non-negative, of those that are greater than 0.
pub(crate) fn take_dense<C: CodeBuffer + ?Sized>(code: &mut C, codes: CodeSign, dense: &[f32]) {
    code.clear();
    let capacity = code.capacity();
    let dense = dense.get(..capacity).unwrap_or(dense);
    #[cfg(target_arch = "x86_64")]
    if match codes {
        CodeSign::NonNegative => append_active::<false, _>(code, dense),
        CodeSign::Signed => append_active::<true, _>(code, dense),
    } {
        return;
    }
    // Numbers above 0 have the bits of integers up to those of infinity, negative ones the highest
    // bit beside. Cores without floating point compare integers in a fraction of the time.
    let mask = match codes {
        CodeSign::NonNegative => u32::MAX,
        CodeSign::Signed => i32::MAX.cast_unsigned(),
    };
    for (index, &value) in (0..=u16::MAX).zip(dense) {
        if (value.to_bits() & mask).wrapping_sub(1) < f32::INFINITY.to_bits() {
            code.append(index, value);
        }
    }
}

/// [`take_dense`] for an empty code. `false` if nothing was done.
#[cfg(target_arch = "x86_64")]
fn append_active<const SIGNED: bool, C: CodeBuffer + ?Sized>(code: &mut C, dense: &[f32]) -> bool {
    use crate::kernels::float::x86::{Active, PART, active};
    let mut found = Active::EMPTY;
    let firsts = (0..=u16::MAX).step_by(PART);
    for (first, part) in firsts.zip(dense.chunks(PART)) {
        if !active::<SIGNED>(part, first, &mut found) {
            return false;
        }
        code.append_all(found.indices(), found.values());
    }
    true
}

/// The active components as the products want them.
pub(crate) fn entries<C: CodeBuffer>(code: &C) -> impl Iterator<Item = (usize, f32)> + '_ {
    code.iter()
        .map(|(index, value)| (usize::from(index), value))
}

/// A sparse code with room for all `CODE` components, without an allocator.
///
/// Memory: `6·CODE + 8` bytes at most (776 for 128 components), on every target. With feature
/// `serde` it is written as its two lists, which are checked when they are read.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "stored::Fixed<CODE>"))]
pub struct SparseCode<const CODE: usize> {
    // A length of 16 bits makes the size the same on hosts and microcontrollers.
    indices: heapless::Vec<u16, CODE, u16>,
    values: heapless::Vec<f32, CODE, u16>,
}

impl<const CODE: usize> SparseCode<CODE> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// An all-zero code.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(CODE > 0, "a code has at least one component");
            assert!(CODE <= u16::MAX as usize, "code indices have 16 bits");
        }
        Self {
            indices: heapless::Vec::new(),
            values: heapless::Vec::new(),
        }
    }
}

impl<const CODE: usize> Default for SparseCode<CODE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CODE: usize> sealed::Storage for SparseCode<CODE> {
    #[inline]
    fn append(&mut self, index: u16, value: f32) {
        // Both vectors have the same capacity and length, so that they take or refuse together.
        if self.indices.push(index).is_ok() {
            let _ = self.values.push(value);
        }
    }
}

impl<const CODE: usize> CodeBuffer for SparseCode<CODE> {
    fn capacity(&self) -> usize {
        CODE
    }

    fn indices(&self) -> &[u16] {
        &self.indices
    }

    fn values(&self) -> &[f32] {
        &self.values
    }

    fn clear(&mut self) {
        self.indices.clear();
        self.values.clear();
    }
}

/// A sparse code whose dimension is chosen at run time, for hosts (feature `std`).
#[cfg(feature = "std")]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "stored::Buf"))]
pub struct SparseCodeBuf {
    code_dim: u16,
    indices: std::vec::Vec<u16>,
    values: std::vec::Vec<f32>,
}

#[cfg(feature = "std")]
impl SparseCodeBuf {
    /// An all-zero code of `code_dim` components.
    #[must_use]
    pub fn new(code_dim: u16) -> Self {
        Self {
            code_dim,
            indices: std::vec::Vec::with_capacity(usize::from(code_dim)),
            values: std::vec::Vec::with_capacity(usize::from(code_dim)),
        }
    }
}

#[cfg(feature = "std")]
impl sealed::Storage for SparseCodeBuf {
    fn append(&mut self, index: u16, value: f32) {
        self.indices.push(index);
        self.values.push(value);
    }

    fn append_all(&mut self, indices: &[u16], values: &[f32]) {
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
    }
}

#[cfg(feature = "std")]
impl CodeBuffer for SparseCodeBuf {
    fn capacity(&self) -> usize {
        usize::from(self.code_dim)
    }

    fn indices(&self) -> &[u16] {
        &self.indices
    }

    fn values(&self) -> &[f32] {
        &self.values
    }

    fn clear(&mut self) {
        self.indices.clear();
        self.values.clear();
    }
}

/// Codes as they come from elsewhere, to be checked.
#[cfg(feature = "serde")]
mod stored {
    use super::{CodeBuffer, CodeError, SparseCode};

    #[derive(serde::Deserialize)]
    pub(super) struct Fixed<const CODE: usize> {
        indices: heapless::Vec<u16, CODE, u16>,
        values: heapless::Vec<f32, CODE, u16>,
    }

    impl<const CODE: usize> TryFrom<Fixed<CODE>> for SparseCode<CODE> {
        type Error = CodeError;

        fn try_from(stored: Fixed<CODE>) -> Result<Self, CodeError> {
            fill(Self::new(), &stored.indices, &stored.values)
        }
    }

    #[cfg(feature = "std")]
    #[derive(serde::Deserialize)]
    pub(super) struct Buf {
        code_dim: u16,
        indices: std::vec::Vec<u16>,
        values: std::vec::Vec<f32>,
    }

    #[cfg(feature = "std")]
    impl TryFrom<Buf> for super::SparseCodeBuf {
        type Error = CodeError;

        fn try_from(stored: Buf) -> Result<Self, CodeError> {
            fill(Self::new(stored.code_dim), &stored.indices, &stored.values)
        }
    }

    fn fill<C: CodeBuffer>(mut code: C, indices: &[u16], values: &[f32]) -> Result<C, CodeError> {
        if indices.len() != values.len() {
            return Err(CodeError::Lengths {
                indices: indices.len(),
                values: values.len(),
            });
        }
        for (&index, &value) in indices.iter().zip(values) {
            code.push(index, value)?;
        }
        Ok(code)
    }
}
