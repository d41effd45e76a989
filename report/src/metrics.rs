//! `metrics.jsonl`: the figures of a run, one JSON object a line.
//!
//! Lines are only ever appended, each in one write, so that the file can be followed while the run
//! goes on and a crash costs the last line at most. Every record has an `epoch`, which a resumed
//! run needs to drop what lies beyond its checkpoint.
//!
//! ```
//! use serde_json::json;
//! use sparsecode_report::metrics::{self, MetricsWriter};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("metrics.jsonl");
//! let mut writer = MetricsWriter::create(&path)?;
//! writer.write(&json!({"epoch": 1, "psnr": 18.2}))?;
//! writer.write(&json!({"epoch": 2, "psnr": 19.6}))?;
//!
//! // Stopped; the last checkpoint is that of epoch 1.
//! let mut writer = MetricsWriter::resume(&path, 1)?;
//! writer.write(&json!({"epoch": 2, "psnr": 19.5}))?;
//! assert_eq!(metrics::read(&path)?[1]["psnr"], 19.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::storage::{StorageError, create_parent};

/// Why metrics could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The file could not be opened, read, written or cut.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A line that is not the last is no JSON object: the file was edited or damaged.
    #[error("{}:{line}: not a JSON object ({reason}); delete the line, or the file", path.display())]
    Line {
        /// The metrics file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A record to be written is not a JSON object.
    #[error("a metrics record must be a JSON object, not {0}")]
    Record(Value),
}

/// Appends records to a metrics file.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Starts an empty file for a new run, in place of an old one. Missing folders are created.
    ///
    /// # Errors
    /// [`MetricsError::Storage`] if the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, MetricsError> {
        let path = path.as_ref();
        create_parent(path)?;
        File::create(path).map_err(|source| StorageError::new("create", path, source))?;
        Self::open(path)
    }

    /// Continues the file of a run whose checkpoint was written at the end of `epoch`.
    ///
    /// Records of later epochs and a torn last line are cut off; a missing file is started anew.
    ///
    /// # Errors
    /// As [`truncate_after`].
    pub fn resume(path: impl AsRef<Path>, epoch: u64) -> Result<Self, MetricsError> {
        let path = path.as_ref();
        create_parent(path)?;
        let writer = Self::open(path)?;
        truncate_after(path, epoch)?;
        Ok(writer)
    }

    fn open(path: &Path) -> Result<Self, MetricsError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|source| StorageError::new("open", path, source))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
        })
    }

    /// Appends one record: a JSON object with an `epoch`. It is with the operating system when this
    /// returns.
    ///
    /// # Errors
    /// [`MetricsError::Record`] if `record` is not an object, [`MetricsError::Storage`] if it
    /// cannot be written.
    pub fn write(&mut self, record: &Value) -> Result<(), MetricsError> {
        if !record.is_object() {
            return Err(MetricsError::Record(record.clone()));
        }
        // One write for the whole line: someone who follows the file sees whole lines.
        let line = format!("{record}\n");
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| StorageError::new("write", &self.path, source).into())
    }

    /// The file written to.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads all records, in the order written. A torn last line, as a crash leaves it, is passed over.
///
/// # Errors
/// [`MetricsError::Storage`] if the file cannot be read, [`MetricsError::Line`] if an earlier line
/// is no JSON object.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Value>, MetricsError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| StorageError::new("read", path, source))?;
    Ok(parse(path, &bytes)?
        .into_iter()
        .map(|line| line.record)
        .collect())
}

/// Cuts the file before its first record with an `epoch` greater than `epoch`, and cuts off a torn
/// last line.
///
/// Records without an `epoch` stay if they come before that. A missing file is left missing.
///
/// # Errors
/// As [`read`]; and [`MetricsError::Storage`] if the file cannot be written.
pub fn truncate_after(path: impl AsRef<Path>, epoch: u64) -> Result<(), MetricsError> {
    let path = path.as_ref();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StorageError::new("read", path, source).into()),
    };
    let keep = parse(path, &bytes)?
        .into_iter()
        .take_while(|line| line.record["epoch"].as_u64().is_none_or(|at| at <= epoch))
        .last()
        .map_or(0, |line| line.end);
    let cut = |action, result: std::io::Result<()>| {
        result.map_err(|source| StorageError::new(action, path, source))
    };
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|source| StorageError::new("open", path, source))?;
    cut("shorten", file.set_len(keep as u64))?;
    // The newline alone may be what was torn off.
    if keep > 0 && bytes[keep - 1] != b'\n' {
        cut("write", file.write_all(b"\n"))?;
    }
    cut("write", file.sync_all())?;
    Ok(())
}

struct Line {
    record: Value,
    /// Offset of the byte after the line, its newline included.
    end: usize,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Line>, MetricsError> {
    let mut lines = Vec::new();
    let mut end = 0;
    for (index, text) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        end += text.len();
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Value>(text) {
            Ok(record) if record.is_object() => lines.push(Line { record, end }),
            // Only a line that never got its newline can be torn.
            _ if !text.ends_with(b"\n") => {}
            other => {
                return Err(MetricsError::Line {
                    path: path.to_path_buf(),
                    line: index + 1,
                    reason: match other {
                        Ok(value) => format!("found {value}"),
                        Err(error) => error.to_string(),
                    },
                });
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/metrics.jsonl");
        (folder, path)
    }

    #[test]
    fn lines_are_whole_and_visible_at_once() {
        let (_folder, path) = file();
        let mut writer = MetricsWriter::create(&path).unwrap();
        for epoch in 1..=3 {
            writer
                .write(&json!({"epoch": epoch, "text": "two\nlines"}))
                .unwrap();
            let text = fs::read_to_string(writer.path()).unwrap();
            assert_eq!(text.lines().count(), epoch);
            assert!(text.ends_with('\n'));
        }
        assert_eq!(read(&path).unwrap()[2]["epoch"], 3);
        // A new run starts over.
        MetricsWriter::create(&path).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }

    #[test]
    fn resume_drops_what_lies_beyond_the_checkpoint() {
        let (_folder, path) = file();
        let mut writer = MetricsWriter::create(&path).unwrap();
        writer.write(&json!({"run": "started"})).unwrap();
        for (epoch, step) in [(1, 10), (1, 20), (2, 30), (2, 40), (3, 50)] {
            writer
                .write(&json!({"epoch": epoch, "step": step}))
                .unwrap();
        }
        writer.write(&json!({"run": "stopped"})).unwrap();
        let mut writer = MetricsWriter::resume(&path, 2).unwrap();
        writer.write(&json!({"epoch": 3, "step": 51})).unwrap();
        let steps: Vec<_> = read(&path)
            .unwrap()
            .iter()
            .map(|record| record["step"].as_u64())
            .collect();
        assert_eq!(
            steps,
            [None, Some(10), Some(20), Some(30), Some(40), Some(51)]
        );
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_cut() {
        let (_folder, path) = file();
        create_parent(&path).unwrap();
        fs::write(&path, "{\"epoch\": 1}\n{\"epoch\": 1, \"ps").unwrap();
        assert_eq!(read(&path).unwrap(), [json!({"epoch": 1})]);
        let mut writer = MetricsWriter::resume(&path, 1).unwrap();
        writer.write(&json!({"epoch": 2})).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"epoch\": 1}\n{\"epoch\":2}\n"
        );
    }

    #[test]
    fn a_last_line_that_lacks_only_its_newline_is_kept() {
        let (_folder, path) = file();
        create_parent(&path).unwrap();
        fs::write(&path, "{\"epoch\": 1}\n{\"epoch\": 2}").unwrap();
        let mut writer = MetricsWriter::resume(&path, 5).unwrap();
        writer.write(&json!({"epoch": 3})).unwrap();
        assert_eq!(read(&path).unwrap().len(), 3);
    }

    #[test]
    fn damage_inside_is_named_by_line_and_left_alone() {
        let (_folder, path) = file();
        create_parent(&path).unwrap();
        for damage in ["{\"epoch\": 1, ", "[1]"] {
            let text = format!("{{\"epoch\": 1}}\n{damage}\n{{\"epoch\": 2}}\n");
            fs::write(&path, &text).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("metrics.jsonl:2:"), "{message}");
            assert!(MetricsWriter::resume(&path, 1).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_missing_file_resumes_as_a_new_one_and_records_are_objects() {
        let (_folder, path) = file();
        truncate_after(&path, 3).unwrap();
        assert!(!path.exists());
        let mut writer = MetricsWriter::resume(&path, 3).unwrap();
        assert!(matches!(
            writer.write(&json!([1])),
            Err(MetricsError::Record(_))
        ));
        writer.write(&json!({"epoch": 4})).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
    }
}
