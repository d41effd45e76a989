//! CRC-32 (IEEE 802.3) of results, so that a device and a host can be compared by one number.

use sparsecode_runtime::{CodeBuffer as _, IntegerCode, IntegerCodeBuffer as _, SparseCode};

/// A running CRC-32 over little-endian bytes.
pub struct Checksum(u32);

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl Checksum {
    /// Of no bytes.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 ^= u32::from(byte);
            for _ in 0..8 {
                let carry = self.0 & 1;
                self.0 = (self.0 >> 1) ^ (0xEDB8_8320 * carry);
            }
        }
    }

    /// Adds a code's active components: index, then the bits of the value.
    pub fn add_code<const CODE: usize>(&mut self, code: &SparseCode<CODE>) {
        for (index, value) in code.iter() {
            self.add(&index.to_le_bytes());
            self.add(&value.to_bits().to_le_bytes());
        }
    }

    /// Adds an integer code's active components: index, then level.
    pub fn add_levels_of<const CODE: usize>(&mut self, code: &IntegerCode<CODE>) {
        for (index, level) in code.iter() {
            self.add(&index.to_le_bytes());
            self.add(&level.to_le_bytes());
        }
    }

    /// Adds every level.
    pub fn add_levels(&mut self, levels: &[i16]) {
        for level in levels {
            self.add(&level.to_le_bytes());
        }
    }

    /// Adds the bits of every sample.
    pub fn add_patch(&mut self, patch: &[f32]) {
        for sample in patch {
            self.add(&sample.to_bits().to_le_bytes());
        }
    }

    /// The checksum of everything added.
    pub fn value(&self) -> u32 {
        !self.0
    }
}
