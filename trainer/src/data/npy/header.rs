//! The header of a `.npy` file: where its values lie, and in which number type and order.

use sparsecode_formats::NumberType;

pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// What is wrong, and what to do.
pub(super) type Reason = (String, String);

pub(super) fn wrong(reason: impl Into<String>) -> Reason {
    (reason.into(), "save it again with numpy.save".to_string())
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Float,
    Signed,
    Unsigned,
    Boolean,
}

/// How an array lies in its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    /// Bytes of a value: 1, 2, 4 or 8.
    pub(super) size: usize,
    pub(super) big_endian: bool,
    /// Column-major: the first axis is the fastest one.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
    /// Where the values begin.
    pub(super) start: usize,
}

impl Layout {
    /// Reads the header of a whole file, and checks that the values fill the rest.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Reason> {
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
        let layout = parse(header, bytes.len() - data.len())?;
        let needed = layout
            .shape
            .iter()
            .try_fold(layout.size, |product, &axis| product.checked_mul(axis));
        if needed != Some(data.len()) {
            return Err(wrong(format!(
                "shape {:?} of {}-byte values does not match the {} bytes that follow the header",
                layout.shape,
                layout.size,
                data.len()
            )));
        }
        Ok(layout)
    }

    /// How many values there are.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn number_type(&self) -> NumberType {
        match (self.kind, self.size) {
            (Kind::Float, 2) => NumberType::F16,
            (Kind::Float, 4) => NumberType::F32,
            (Kind::Float, _) => NumberType::F64,
            (Kind::Signed, 1) => NumberType::I8,
            (Kind::Signed, 2) => NumberType::I16,
            (Kind::Signed, 4) => NumberType::I32,
            (Kind::Signed, _) => NumberType::I64,
            (Kind::Unsigned | Kind::Boolean, 1) => NumberType::U8,
            (Kind::Unsigned, 2) => NumberType::U16,
            (Kind::Unsigned, 4) => NumberType::U32,
            (Kind::Unsigned | Kind::Boolean, _) => NumberType::U64,
        }
    }

    /// The position in the file of the value that is at `index` in row-major order.
    pub(super) fn offset(&self, index: usize) -> usize {
        if !self.fortran {
            return self.start + index * self.size;
        }
        let (mut rest, mut position, mut stride) = (index, 0, self.count());
        for &axis in self.shape.iter().rev() {
            stride /= axis;
            position += rest % axis * stride;
            rest /= axis;
        }
        self.start + position * self.size
    }
}

fn parse(text: &str, start: usize) -> Result<Layout, Reason> {
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
    let (kind, size) = match (kind, chars.as_str()) {
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
                match kind {
                    Some('c') => "save its real part, its imaginary part or its absolute value",
                    Some('O') => "save it as an array of numbers: array.astype(float)",
                    _ => "save it as float32, float64 or an integer type",
                }
                .to_string(),
            ));
        }
    };
    let big_endian = match order {
        Some('<' | '|' | '=') => false,
        Some('>') => true,
        _ => return Err(wrong(format!("number type {descr:?} has no byte order"))),
    };
    Ok(Layout {
        kind,
        size,
        big_endian,
        fortran,
        shape,
        start,
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
