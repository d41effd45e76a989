//! The subset of JSON that a safetensors header is: no recursion, no escapes, no floating point.

use crate::error::ReadError;

/// Walks over a header. Every method skips white space first and consumes what it returns.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The error for what is at the current position.
    pub(crate) fn error(&self, expected: &'static str) -> ReadError {
        ReadError::HeaderJson {
            position: self.position,
            expected,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.position += 1;
        }
    }

    /// Consumes `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_white_space();
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// Demands `byte`; `expected` is for the error.
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ReadError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(expected))
        }
    }

    /// Calls `member` with each key of an object; `member` reads the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.expect(b'{', "an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':', "a colon")?;
            member(self, key)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the object's end")?;
        }
    }

    /// Calls `element` with each number of an array of unsigned integers.
    pub(crate) fn integers(&mut self, mut element: impl FnMut(u64)) -> Result<(), ReadError> {
        self.expect(b'[', "an array of integers")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self.integer()?);
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or the array's end")?;
        }
    }

    /// A string, borrowed: escapes and control characters are refused.
    pub(crate) fn string(&mut self) -> Result<&'a str, ReadError> {
        self.expect(b'"', "a string")?;
        let rest = self.text.get(self.position..).unwrap_or_default();
        let stop = |byte: u8| byte == b'"' || byte == b'\\' || byte < b' ';
        let length = rest.bytes().position(stop).unwrap_or(rest.len());
        self.position += length;
        if self.peek() == Some(b'"') {
            self.position += 1;
            // The closing quotation mark is one byte, so `length` is a character boundary.
            Ok(rest.get(..length).unwrap_or_default())
        } else {
            Err(self.error("the end of a string without escapes"))
        }
    }

    /// An unsigned integer of up to 64 bits, without leading zeros, fraction or exponent.
    fn integer(&mut self) -> Result<u64, ReadError> {
        const EXPECTED: &str = "an unsigned integer below 2^64";
        self.skip_white_space();
        let rest = self.text.get(self.position..).unwrap_or_default();
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = rest.get(..length).unwrap_or_default();
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(self.error(EXPECTED));
        }
        let value = digits.parse().map_err(|_| self.error(EXPECTED))?;
        self.position += length;
        Ok(value)
    }

    /// Demands that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), ReadError> {
        self.skip_white_space();
        if self.position == self.text.len() {
            Ok(())
        } else {
            Err(self.error("the end of the header"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;
    use std::vec::Vec;

    #[test]
    fn integers_are_json_integers() {
        let read = |text| {
            let mut found = Vec::new();
            Scanner::new(text)
                .integers(|x| found.push(x))
                .map(|()| found)
        };
        assert_eq!(
            read(" [ 0 , 18446744073709551615 ]").unwrap(),
            [0, u64::MAX]
        );
        assert_eq!(read("[]").unwrap(), []);
        for bad in [
            "[01]",
            "[-1]",
            "[1.5]",
            "[1e3]",
            "[18446744073709551616]",
            "[1,]",
            "[1",
            "[,1]",
            "[+1]",
            "[[1]]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strings_are_borrowed_and_plain() {
        assert_eq!(Scanner::new(" \"σ = 5\" ").string(), Ok("σ = 5"));
        for bad in ["\"a\\\"b\"", "\"a\nb\"", "\"a", "a\"", ""] {
            assert!(Scanner::new(bad).string().is_err(), "{bad}");
        }
    }
}
