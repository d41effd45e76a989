//! NumPy's `.npy` files: one array, read whatever its number type, written as little-endian f32,
//! or as it was with other values.
//!
//! The format is NumPy's NEP 1: magic, version, header length, a Python dictionary with `descr`,
//! `fortran_order` and `shape`, then the values. candle reads only some of the number types (16-bit
//! integers are missing, for one), and trusts the header; this reader takes every real number type
//! in either byte order and trusts nothing.

mod header;

use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use sparsecode_formats::NumberType;

use self::header::{Kind, Layout, MAGIC, Reason};
use super::error::DataError;
use crate::storage::write_atomic_with;

/// An array as the file has it: shape, and values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of each axis, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, as many as the product of `shape`.
    pub values: Values,
    /// The type of the values in the file; booleans are `u8`.
    pub number_type: NumberType,
}

/// The values of an [`Array`] in a type that holds them without loss.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floating point of 16, 32 or 64 bits.
    Float(Vec<f64>),
    /// Booleans and signed or unsigned integers of up to 64 bits.
    Integer(Vec<i64>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.len(),
            Self::Integer(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each value rounded to f32.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::Float(values) => values.into_iter().map(|v| v as f32).collect(),
            Self::Integer(values) => values.into_iter().map(|v| v as f32).collect(),
        }
    }
}

/// Reads an array of any real number type, in C's or Fortran's order.
///
/// # Errors
/// The file cannot be read; its header is not NumPy's or disagrees with its length; its type is
/// complex, structured, text or an object; a 64-bit unsigned value exceeds `i64::MAX`.
pub fn read_npy(path: &Path) -> Result<Array, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    let parsed = parse(&bytes);
    let (_, array) =
        parsed.map_err(|(reason, remedy)| DataError::malformed(path, reason, remedy))?;
    Ok(array)
}

/// Reads an array of any real number type as f32: shape, and values in row-major order.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sparsecode_trainer::data::npy::{read_npy_f32, write_npy_f32};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("samples.npy");
/// write_npy_f32(&path, &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// let (shape, values) = read_npy_f32(&path)?;
/// assert_eq!(shape, [2, 3]);
/// assert_eq!(values[4], 4.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`read_npy`].
pub fn read_npy_f32(path: &Path) -> Result<(Vec<usize>, Vec<f32>), DataError> {
    let array = read_npy(path)?;
    Ok((array.shape, array.values.into_f32()))
}

/// Writes an f32 array (little-endian, row-major, format version 1.0) under a temporary name and
/// renames it.
///
/// # Errors
/// The file cannot be written.
///
/// # Panics
/// If the product of `shape` is not the number of `values`.
pub fn write_npy_f32(path: &Path, shape: &[usize], values: &[f32]) -> Result<(), DataError> {
    assert_eq!(
        shape.iter().product::<usize>(),
        values.len(),
        "shape {shape:?} does not hold {} values",
        values.len()
    );
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    // Python writes a tuple of one as `(3,)` and longer ones without the last comma; both spellings
    // are read.
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}").into_bytes();
    // The values start at a multiple of 64 bytes, the header ends in a line feed.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.resize(
        header.len() + unpadded.next_multiple_of(64) - unpadded,
        b' ',
    );
    header.push(b'\n');
    let length = u16::try_from(header.len()).expect("a shape has few axes");
    write_atomic_with(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(MAGIC)?;
        file.write_all(&[1, 0])?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&header)?;
        for value in values {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()
    })?;
    Ok(())
}

/// An array together with the bytes of its file, so that the file can be written again with some
/// values replaced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    bytes: Vec<u8>,
    layout: Layout,
}

impl Stored {
    /// Reads a file as [`read_npy`] does.
    pub(crate) fn read(path: &Path) -> Result<(Self, Array), DataError> {
        let bytes = std::fs::read(path).map_err(DataError::read(path))?;
        let (layout, array) =
            parse(&bytes).map_err(|(reason, remedy)| DataError::malformed(path, reason, remedy))?;
        Ok((Self { bytes, layout }, array))
    }

    /// The bytes of the same file with other `values` at these positions in row-major order, and
    /// how many of them were cut to the range of the number type. Integers are rounded.
    pub(crate) fn with(&self, values: impl Iterator<Item = (usize, f32)>) -> (Vec<u8>, usize) {
        let (mut bytes, mut clipped) = (self.bytes.clone(), 0);
        for (index, value) in values {
            let place = self.layout.offset(index);
            let (mut word, cut) = encode(&self.layout, value);
            clipped += usize::from(cut);
            let word = &mut word[..self.layout.size];
            if self.layout.big_endian {
                word.reverse();
            }
            bytes[place..place + word.len()].copy_from_slice(word);
        }
        (bytes, clipped)
    }
}

/// A value in little-endian order, and whether it was cut to the range of its type.
fn encode(layout: &Layout, value: f32) -> ([u8; 8], bool) {
    let exact = f64::from(value);
    let bits = 8 * layout.size as i32;
    let (low, high) = match layout.kind {
        Kind::Float => {
            let word = match layout.size {
                2 => u64::from(f16::from_f32(value).to_bits()),
                4 => u64::from(value.to_bits()),
                _ => exact.to_bits(),
            };
            return (word.to_le_bytes(), false);
        }
        Kind::Boolean => (0.0, 1.0),
        Kind::Unsigned => (0.0, 2f64.powi(bits) - 1.0),
        Kind::Signed => (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0),
    };
    let rounded = exact.round();
    let kept = rounded.clamp(low, high);
    let word = match layout.kind {
        Kind::Signed => (kept as i64).cast_unsigned(),
        _ => kept as u64,
    };
    (word.to_le_bytes(), kept != rounded)
}

fn parse(bytes: &[u8]) -> Result<(Layout, Array), Reason> {
    let layout = Layout::of(bytes)?;
    let array = Array {
        shape: layout.shape.clone(),
        values: decode(&layout, bytes)?,
        number_type: layout.number_type(),
    };
    Ok((layout, array))
}

fn decode(layout: &Layout, bytes: &[u8]) -> Result<Values, Reason> {
    let size = layout.size;
    // The bit pattern of each value, zero-extended.
    let patterns = (0..layout.count()).map(|index| {
        let mut word = [0u8; 8];
        word[..size].copy_from_slice(&bytes[layout.offset(index)..][..size]);
        if layout.big_endian {
            word[..size].reverse();
        }
        u64::from_le_bytes(word)
    });
    let shift = 64 - 8 * size as u32;
    Ok(match (layout.kind, size) {
        (Kind::Float, 8) => Values::Float(patterns.map(f64::from_bits).collect()),
        (Kind::Float, 4) => Values::Float(
            patterns
                .map(|bits| f64::from(f32::from_bits(bits as u32)))
                .collect(),
        ),
        (Kind::Float, _) => Values::Float(
            patterns
                .map(|bits| f16::from_bits(bits as u16).to_f64())
                .collect(),
        ),
        (Kind::Signed, _) => Values::Integer(
            patterns
                .map(|bits| ((bits << shift) as i64) >> shift)
                .collect(),
        ),
        (Kind::Unsigned | Kind::Boolean, _) => Values::Integer(
            patterns
                .enumerate()
                .map(|(index, bits)| {
                    i64::try_from(bits).map_err(|_| {
                        (
                            format!("value {index} ({bits}) does not fit a signed 64-bit integer"),
                            "save it as float64".to_string(),
                        )
                    })
                })
                .collect::<Result<_, _>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn header(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn every_number_type_in_either_order() {
        let cases: [(&str, &[u8], Values); 10] = [
            ("<f4", &[0, 0, 0xc0, 0x3f], Values::Float(vec![1.5])),
            (">f4", &[0x3f, 0xc0, 0, 0], Values::Float(vec![1.5])),
            (
                "<f8",
                &[0, 0, 0, 0, 0, 0, 0x04, 0xc0],
                Values::Float(vec![-2.5]),
            ),
            ("<f2", &[0x00, 0x3e], Values::Float(vec![1.5])),
            ("<i2", &[0xfe, 0xff], Values::Integer(vec![-2])),
            (">i2", &[0xff, 0xfe], Values::Integer(vec![-2])),
            ("<u2", &[0xfe, 0xff], Values::Integer(vec![65534])),
            ("|u1", &[200], Values::Integer(vec![200])),
            ("|b1", &[1], Values::Integer(vec![1])),
            (
                "<i8",
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Values::Integer(vec![-1]),
            ),
        ];
        for (descr, data, expected) in cases {
            let (_, array) = parse(&file(&header(descr, "False", "(1,)"), data)).unwrap();
            assert_eq!((array.shape, array.values), (vec![1], expected), "{descr}");
        }
    }

    #[test]
    fn hostile_headers_are_refused_with_a_reason() {
        let four = [0u8; 4];
        let long = "9".repeat(40);
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"PK\x03\x04".to_vec(), "not a .npy"),
            (MAGIC.to_vec(), "version"),
            (b"\x93NUMPY\x07\x00\x00\x00".to_vec(), "version 7"),
            (b"\x93NUMPY\x01\x00\xff\xff{".to_vec(), "longer than"),
            (
                b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(),
                "longer than",
            ),
            (
                file(
                    &header("<f4", "False", "(4294967296, 4294967296, 16)"),
                    &four,
                ),
                "does not match",
            ),
            (
                file(&header("<f4", "False", &format!("({long},)")), &four),
                "tuple of lengths",
            ),
            (file(&header("<f4", "False", "(-1,)"), &four), "tuple of"),
            (
                file(&header("<f4", "False", "(2,)"), &four),
                "does not match",
            ),
            (file(&header("<f4", "False", "()"), &[]), "does not match"),
            (file(&header("<c8", "False", "(1,)"), &four), "<c8"),
            (file(&header("|O", "False", "(1,)"), &four), "|O"),
            (file(&header("f4", "False", "(1,)"), &four), "f4"),
            (file("{'descr': '<f4'}", &four), "fortran_order"),
            (file("{'descr': '<f4", &four), "unfinished"),
            (file("{'descr': '<f4', 'descr': '<f4'}", &four), "twice"),
            (file("{'evil': '<f4'}", &four), "evil"),
            (
                file(&header("<f4", "Perhaps", "(1,)"), &four),
                "neither True",
            ),
            (
                file(&header("<u8", "False", "(1,)"), &[0xff; 8]),
                "does not fit",
            ),
        ];
        for (bytes, needle) in cases {
            let (reason, remedy) = parse(&bytes).unwrap_err();
            assert!(reason.contains(needle), "{reason:?} lacks {needle:?}");
            assert!(!remedy.is_empty());
        }
    }

    #[test]
    fn every_truncation_of_a_file_is_an_error() {
        let whole = file(
            &header("<f4", "False", "(2, 3)"),
            &[0, 0, 0xc0, 0x3f].repeat(6),
        );
        assert_eq!(parse(&whole).unwrap().1.shape, [2, 3]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn written_files_are_aligned_and_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/array.npy");
        let values = [1.0, -0.0, f32::MIN_POSITIVE, f32::NAN];
        for shape in [vec![4], vec![2, 2], vec![1, 2, 2]] {
            write_npy_f32(&path, &shape, &values).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() % 64, 16);
            let (read_shape, read) = read_npy_f32(&path).unwrap();
            assert_eq!(read_shape, shape);
            assert_eq!(read.map_bits(), values.map_bits());
        }
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl<T: AsRef<[f32]>> Bits for T {
        fn map_bits(&self) -> Vec<u32> {
            self.as_ref().iter().map(|v| v.to_bits()).collect()
        }
    }
}
