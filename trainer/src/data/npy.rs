//! NumPy's `.npy` files: one array, read whatever its number type, written as little-endian f32.
//!
//! The format is NumPy's NEP 1: magic, version, header length, a Python dictionary with `descr`, `fortran_order` and
//! `shape`, then the values. candle reads only some of the number types (16-bit integers are missing, for one), and
//! trusts the header; this reader takes every real number type in either byte order and trusts nothing.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::error::DataError;
use crate::storage::write_atomic_with;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const REMEDY: &str = "save it again with numpy.save";

/// An array as the file has it: shape, and values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of each axis, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, as many as the product of `shape`.
    pub values: Values,
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

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    Boolean,
}

struct Header {
    kind: Kind,
    bytes: usize,
    big_endian: bool,
    shape: Vec<usize>,
}

/// Reads an array of any real number type in row-major order.
///
/// # Errors
/// The file cannot be read; its header is not NumPy's or disagrees with its length; its order is Fortran's (unless it has
/// one axis); its type is complex, structured, text or an object; a 64-bit unsigned value exceeds `i64::MAX`.
pub fn read_npy(path: &Path) -> Result<Array, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    parse(&bytes).map_err(|(reason, remedy)| DataError::malformed(path, reason, remedy))
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

/// Writes an f32 array (little-endian, row-major, format version 1.0) under a temporary name and renames it.
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
    // Python writes a tuple of one as `(3,)` and longer ones without the last comma; both spellings are read.
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

type Reason = (String, String);

fn wrong(reason: impl Into<String>) -> Reason {
    (reason.into(), REMEDY.to_string())
}

fn parse(bytes: &[u8]) -> Result<Array, Reason> {
    let rest = bytes
        .strip_prefix(MAGIC.as_slice())
        .ok_or_else(|| wrong("not a .npy file (its first six bytes are not \\x93NUMPY)"))?;
    let (version, rest) = rest
        .split_first_chunk::<2>()
        .ok_or_else(|| wrong("truncated in the version"))?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest
                .split_first_chunk::<2>()
                .ok_or_else(|| wrong("truncated in the header length"))?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| wrong("truncated in the header length"))?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => return Err(wrong(format!("format version {other} is not known"))),
    };
    if length > rest.len() {
        return Err(wrong(format!(
            "header of {length} bytes is longer than the file"
        )));
    }
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).map_err(|_| wrong("header is not text"))?;
    let header = parse_header(header)?;
    let count = header
        .shape
        .iter()
        .try_fold(1usize, |product, &axis| product.checked_mul(axis))
        .filter(|count| count.checked_mul(header.bytes) == Some(data.len()))
        .ok_or_else(|| {
            wrong(format!(
                "shape {:?} of {}-byte values does not match the {} bytes that follow the header",
                header.shape,
                header.bytes,
                data.len()
            ))
        })?;
    let values = decode(&header, data)?;
    debug_assert_eq!(values.len(), count);
    Ok(Array {
        shape: header.shape,
        values,
    })
}

fn decode(header: &Header, data: &[u8]) -> Result<Values, Reason> {
    let size = header.bytes;
    // The bit pattern of each value, zero-extended.
    let patterns = data.chunks_exact(size).map(|chunk| {
        let mut word = [0u8; 8];
        word[..size].copy_from_slice(chunk);
        if header.big_endian {
            word[..size].reverse();
        }
        u64::from_le_bytes(word)
    });
    let shift = 64 - 8 * size as u32;
    Ok(match (header.kind, size) {
        (Kind::Float, 8) => Values::Float(patterns.map(f64::from_bits).collect()),
        (Kind::Float, 4) => Values::Float(
            patterns
                .map(|bits| f64::from(f32::from_bits(bits as u32)))
                .collect(),
        ),
        (Kind::Float, _) => {
            Values::Float(patterns.map(|bits| f64_from_half(bits as u16)).collect())
        }
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

/// IEEE 754 half precision, exactly.
fn f64_from_half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    match exponent {
        0 => sign * fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction) * 2f64.powi(exponent - 15),
    }
}

fn parse_header(text: &str) -> Result<Header, Reason> {
    let mut parser = Parser { rest: text };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    parser.expect('{')?;
    while !parser.take('}') {
        let key = parser.string()?;
        parser.expect(':')?;
        let fresh = match key {
            "descr" => descr.replace(parser.string()?).is_none(),
            "fortran_order" => fortran.replace(parser.boolean()?).is_none(),
            "shape" => shape.replace(parser.tuple()?).is_none(),
            other => return Err(wrong(format!("header has an unknown field {other:?}"))),
        };
        if !fresh {
            return Err(wrong(format!("header has {key:?} twice")));
        }
        if !parser.take(',') {
            parser.expect('}')?;
            break;
        }
    }
    if !parser.rest.trim().is_empty() {
        return Err(wrong("text follows the header's dictionary"));
    }
    let missing = |field: &str| wrong(format!("header has no {field:?}"));
    let descr = descr.ok_or_else(|| missing("descr"))?;
    let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
    let shape = shape.ok_or_else(|| missing("shape"))?;
    let mut chars = descr.chars();
    let (order, kind) = (chars.next(), chars.next());
    let (kind, bytes) = match (kind, chars.as_str()) {
        (Some('f'), "2") => (Kind::Float, 2),
        (Some('f'), "4") => (Kind::Float, 4),
        (Some('f'), "8") => (Kind::Float, 8),
        (Some('i'), "1") => (Kind::Signed, 1),
        (Some('i'), "2") => (Kind::Signed, 2),
        (Some('i'), "4") => (Kind::Signed, 4),
        (Some('i'), "8") => (Kind::Signed, 8),
        (Some('u'), "1") => (Kind::Unsigned, 1),
        (Some('u'), "2") => (Kind::Unsigned, 2),
        (Some('u'), "4") => (Kind::Unsigned, 4),
        (Some('u'), "8") => (Kind::Unsigned, 8),
        (Some('b'), "1") => (Kind::Boolean, 1),
        _ => {
            return Err((
                format!("number type {descr:?} is not supported"),
                "save it as float32, float64 or an integer type".to_string(),
            ));
        }
    };
    let big_endian = match order {
        Some('<' | '|' | '=') => false,
        Some('>') => true,
        _ => return Err(wrong(format!("number type {descr:?} has no byte order"))),
    };
    if fortran && shape.len() > 1 {
        return Err((
            "array is in Fortran (column-major) order".to_string(),
            "save numpy.ascontiguousarray(array)".to_string(),
        ));
    }
    Ok(Header {
        kind,
        bytes,
        big_endian,
        shape,
    })
}

/// Reads the few Python literals that a header is made of.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take(&mut self, symbol: char) -> bool {
        match self.rest.trim_start().strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, symbol: char) -> Result<(), Reason> {
        if self.take(symbol) {
            Ok(())
        } else {
            let found: String = self.rest.trim_start().chars().take(12).collect();
            Err(wrong(format!(
                "header wants {symbol:?} where it has {found:?}"
            )))
        }
    }

    fn string(&mut self) -> Result<&'a str, Reason> {
        let quote = if self.take('"') {
            '"'
        } else {
            self.expect('\'')?;
            '\''
        };
        let (text, rest) = self
            .rest
            .split_once(quote)
            .ok_or_else(|| wrong("header has an unfinished string"))?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, Reason> {
        let text = self.rest.trim_start();
        for (name, value) in [("True", true), ("False", false)] {
            if let Some(rest) = text.strip_prefix(name) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(wrong("header's fortran_order is neither True nor False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, Reason> {
        let mut axes = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let text = self.rest.trim_start();
            let digits = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let axis = text[..digits]
                .parse()
                .map_err(|_| wrong("header's shape is not a tuple of lengths"))?;
            axes.push(axis);
            self.rest = &text[digits..];
            // NumPy itself stops at 32 axes.
            if axes.len() > 32 {
                return Err(wrong("header's shape has more than 32 axes"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(axes)
    }
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
            let array = parse(&file(&header(descr, "False", "(1,)"), data)).unwrap();
            assert_eq!((array.shape, array.values), (vec![1], expected), "{descr}");
        }
        assert_eq!(f64_from_half(0x0001), 2f64.powi(-24));
        assert_eq!(f64_from_half(0xfc00), f64::NEG_INFINITY);
        assert!(f64_from_half(0x7e00).is_nan());
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
            (file(&header("<f4", "True", "(1, 1)"), &four), "Fortran"),
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
        assert_eq!(parse(&whole).unwrap().shape, [2, 3]);
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
