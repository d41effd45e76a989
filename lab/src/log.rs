//! The firmware's log: defmt frames → lines → named values.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use defmt_decoder::{DecodeError, Table};

/// The lines of a log, in order.
#[derive(Debug, Default)]
pub struct Log {
    /// The lines, each with its level.
    pub lines: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Log {
    /// Decodes the frames that `elf` wrote.
    ///
    /// # Errors
    /// If `elf` is no ELF with defmt's table, or a frame does not decode.
    pub fn decode(elf: &[u8], frames: &[u8]) -> Result<Self> {
        let table = Table::parse(elf)?.context("the ELF has no .defmt section")?;
        let mut decoder = table.new_stream_decoder();
        decoder.received(frames);
        let mut lines = Vec::new();
        loop {
            match decoder.decode() {
                Ok(frame) => {
                    let level = frame.level().map_or("", |level| level.as_str());
                    lines.push(format!("{level:5} {}", frame.display_message()));
                }
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => {
                    bail!("the log does not decode after line {}", lines.len())
                }
            }
        }
        Ok(Self::from_lines(lines))
    }

    /// Takes `name = value` from each line that has this form after its level.
    pub fn from_lines(lines: Vec<String>) -> Self {
        let values = lines
            .iter()
            .filter_map(|line| line.get(6..)?.split_once(" = "))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Self { lines, values }
    }

    /// The value that the firmware printed under `name`.
    ///
    /// # Errors
    /// If there is no such value, or the value is no `T`.
    pub fn value<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.values.get(name).ok_or_else(|| {
            let last = self.lines.last().map_or("nothing", String::as_str);
            anyhow!("the log has no `{name}`; its last line: {last}")
        })?;
        text.parse()
            .map_err(|_| anyhow!("`{name} = {text}` is not a {}", std::any::type_name::<T>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_values_are_found() {
        let log = Log::from_lines(vec![
            "info  encode instructions = 123456".into(),
            "info  patch 0: 12 atoms".into(),
            "info  psnr noisy = 14.25".into(),
        ]);
        assert_eq!(log.value::<u64>("encode instructions").unwrap(), 123_456);
        assert_eq!(log.value::<f32>("psnr noisy").unwrap(), 14.25);
        let missing = log
            .value::<u64>("decode instructions")
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("`decode instructions`") && missing.contains("14.25"),
            "{missing}"
        );
        let wrong = log.value::<u64>("psnr noisy").unwrap_err().to_string();
        assert!(wrong.contains("psnr noisy = 14.25"), "{wrong}");
    }

    #[test]
    fn a_file_without_frames_table_is_refused() {
        assert!(Log::decode(b"not an ELF", &[]).is_err());
    }
}
