//! Noisy and clean patches for the firmware, in one file: for its build script, and for the host
//! that has to arrive at the same results.
//!
//! The file is `.npy`, version 1 or 2, little-endian f32, C order, shape (2, n, d): n noisy
//! patches, then the same n clean ones, in raw samples. In Python: `np.save(path, np.stack([noisy,
//! clean]).astype("<f4"))`.
//!
//! A crate that reads every `.npy` file would bring a parser generator to each build of the
//! firmware. This one form needs no more than the few lines below.

use std::fmt;

use sparsecode_runtime::formats::IntegerFile;
use sparsecode_runtime::{ReadError, Refine};

/// The threshold of refinement against noise of a deviation, in raw units; without noise, the
/// file's own.
///
/// # Errors
/// As `IntegerFile::threshold`.
pub fn threshold(file: &IntegerFile<'_>, noise: f32) -> Result<i32, ReadError> {
    if noise == 0.0 {
        return Ok(file.refiner.threshold);
    }
    let spec = file.spec()?;
    let sigma = noise / spec.preprocessing.deviation;
    file.threshold(Refine::for_noise(&spec, sigma).lambda)
}

/// The nearest level of an integer model's sensor.
pub fn level(sample: f32, scale: f32) -> i16 {
    // The conversion saturates.
    (sample / scale).round() as i16
}

/// Noisy and clean patches.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// Number of patches.
    pub count: usize,
    /// Samples of one patch.
    pub input_dim: usize,
    /// `count` noisy patches, one after the other.
    pub noisy: Vec<f32>,
    /// The same patches without noise.
    pub clean: Vec<f32>,
}

impl Patches {
    /// Standard deviation of the noise, in raw samples. A sensor's is known from its data sheet, or
    /// from a still scene.
    pub fn noise(&self) -> f32 {
        let pairs = self.noisy.iter().zip(&self.clean);
        let sum: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (sum / self.noisy.len() as f64).sqrt() as f32
    }

    /// Reads a file's bytes; keeps the first `limit` patches.
    ///
    /// # Errors
    /// [`PatchesError`] if the bytes are no such file.
    pub fn parse(bytes: &[u8], limit: Option<usize>) -> Result<Self, PatchesError> {
        let (header, data) = split(bytes)
            .ok_or_else(|| PatchesError("not an .npy file of version 1 or 2".into()))?;
        if !header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False") {
            return Err(PatchesError(format!(
                "little-endian f32 in C order is wanted, not {}",
                header.trim()
            )));
        }
        let shape: Vec<usize> = header
            .split_once("'shape': (")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(inside, _)| inside.split(','))
            .into_iter()
            .flatten()
            .filter_map(|number| number.trim().parse().ok())
            .collect();
        let [2, count, input_dim] = shape[..] else {
            return Err(PatchesError(format!(
                "shape (2, patches, samples) is wanted, not {shape:?}"
            )));
        };
        let length = count
            .checked_mul(input_dim)
            .filter(|&length| length > 0)
            .ok_or_else(|| PatchesError(format!("shape {shape:?} has no patches")))?;
        if Some(data.len()) != length.checked_mul(8) {
            return Err(PatchesError(format!(
                "shape {shape:?} does not fit {} bytes of data",
                data.len()
            )));
        }
        let mut samples = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut noisy: Vec<f32> = samples.by_ref().take(length).collect();
        let mut clean: Vec<f32> = samples.collect();
        let count = count.min(limit.unwrap_or(count)).max(1);
        noisy.truncate(count * input_dim);
        clean.truncate(count * input_dim);
        Ok(Self {
            count,
            input_dim,
            noisy,
            clean,
        })
    }

    /// The file's bytes.
    pub fn to_npy(&self) -> Vec<u8> {
        let mut header = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': (2, {}, {}), }}",
            self.count, self.input_dim
        );
        // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
        let padding = (64 - (10 + header.len() + 1) % 64) % 64;
        header.push_str(&" ".repeat(padding));
        header.push('\n');
        let length = u16::try_from(header.len()).unwrap_or(u16::MAX);
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(header.as_bytes());
        let samples = self.noisy.iter().chain(&self.clean);
        bytes.extend(samples.flat_map(|sample| sample.to_le_bytes()));
        bytes
    }
}

/// Why bytes are no patches; the message says what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchesError(String);

impl fmt::Display for PatchesError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for PatchesError {}

/// Header text and data.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (&[major, _minor], rest) = rest.split_first_chunk()?;
    let (length, rest) = match major {
        1 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(length)), rest)
        }
        2 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u32::from_le_bytes(length)).ok()?, rest)
        }
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_patches() -> Patches {
        Patches {
            count: 3,
            input_dim: 2,
            noisy: vec![0.5, 1.5, -2.5, 3.5, 4.5, 5.5],
            clean: vec![0.0, 1.0, -2.0, 3.0, 4.0, 5.0],
        }
    }

    #[test]
    fn the_patches_read_back() {
        let patches = some_patches();
        let bytes = patches.to_npy();
        assert_eq!(Patches::parse(&bytes, None).as_ref(), Ok(&patches));
        let first = Patches::parse(&bytes, Some(1)).unwrap();
        assert_eq!((first.count, first.input_dim), (1, 2));
        assert_eq!(
            (&first.noisy[..], &first.clean[..]),
            (&[0.5, 1.5][..], &[0.0, 1.0][..])
        );
    }

    #[test]
    fn damaged_patches_are_refused() {
        let bytes = some_patches().to_npy();
        for (damaged, complaint) in [
            (bytes[..bytes.len() - 1].to_vec(), "does not fit"),
            (bytes[1..].to_vec(), "not an .npy"),
            (b"\x93NUMPY".to_vec(), "not an .npy"),
            (
                [&bytes[..10], &[b' '; 118], &bytes[128..]].concat(),
                "little-endian f32",
            ),
        ] {
            let error = Patches::parse(&damaged, None).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
