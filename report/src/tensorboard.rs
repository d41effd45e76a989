//! TensorBoard event files: scalars by step, written without TensorFlow.
//!
//! An event file is a sequence of records, each framed as in TensorFlow's `record_writer` (length,
//! masked CRC-32C of the length, data, masked CRC-32C of the data), whose data are `Event` messages
//! of `event.proto`. Only the few fields that scalars need are encoded here, by hand.
//!
//! A resumed run starts a second file in the same folder. Its session-start event carries the step
//! of the checkpoint, on which TensorBoard forgets the points that the interrupted run had written
//! from there on.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc32c::crc32c;

use crate::storage::StorageError;

/// Writes scalars for TensorBoard.
///
/// ```
/// use sparsecode_report::tensorboard::EventWriter;
///
/// let run = tempfile::tempdir()?;
/// let mut events = EventWriter::create(run.path())?;
/// events.scalars(100, &[("validation/psnr", 19.5), ("validation/sparsity", 0.87)])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts an event file in `folder`, which is created if missing: `tensorboard --logdir folder`
    /// finds it.
    ///
    /// # Errors
    /// [`StorageError`] if the folder or the file cannot be written.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::start(folder.as_ref(), None)
    }

    /// Starts a further file for a run that goes on after a checkpoint; `next_step` is the first
    /// step still to be written. Points of the earlier files from `next_step` on are dropped by
    /// TensorBoard.
    ///
    /// # Errors
    /// [`StorageError`] if the folder or the file cannot be written.
    pub fn resume(folder: impl AsRef<Path>, next_step: u64) -> Result<Self, StorageError> {
        Self::start(folder.as_ref(), Some(next_step))
    }

    fn start(folder: &Path, resumed_at: Option<u64>) -> Result<Self, StorageError> {
        fs::create_dir_all(folder)
            .map_err(|source| StorageError::new("create the folder", folder, source))?;
        let (path, file) = new_file(folder)?;
        let mut writer = Self { path, file };
        let mut version = event(0);
        field_bytes(&mut version, 3, b"brain.Event:2");
        writer.record(&version)?;
        if let Some(step) = resumed_at {
            let mut session = Vec::new();
            field_varint(&mut session, 1, 1); // SessionLog.status = START
            let mut start = event(step);
            field_bytes(&mut start, 7, &session);
            writer.record(&start)?;
        }
        Ok(writer)
    }

    /// Writes the values of some tags at one step. A slash in a tag groups plots: `train/energy`,
    /// `train/psnr`.
    ///
    /// They are with the operating system when this returns.
    ///
    /// # Errors
    /// [`StorageError`] if the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> Result<(), StorageError> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            field_bytes(&mut entry, 1, tag.as_bytes());
            entry.push((2 << 3) | 5); // simple_value, a 32-bit float
            entry.extend(value.to_le_bytes());
            field_bytes(&mut summary, 1, &entry);
        }
        let mut message = event(step);
        field_bytes(&mut message, 5, &summary);
        self.record(&message)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record(&mut self, data: &[u8]) -> Result<(), StorageError> {
        self.file
            .write_all(&frame(data))
            .map_err(|source| StorageError::new("write", &self.path, source))
    }
}

/// TensorBoard reads the files of a folder by name, so a later one must have a greater time in its
/// name, also when two are started within a second or the clock was set back.
fn new_file(folder: &Path) -> Result<(PathBuf, File), StorageError> {
    const PREFIX: &str = "events.out.tfevents.";
    let listed = fs::read_dir(folder)
        .map_err(|source| StorageError::new("list the folder", folder, source))?;
    let latest = listed
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let (seconds, _) = name.to_str()?.strip_prefix(PREFIX)?.split_once('.')?;
            seconds.parse::<u64>().ok()
        })
        .max();
    let mut seconds = (wall_time() as u64).max(latest.map_or(0, |latest| latest + 1));
    loop {
        let path = folder.join(format!("{PREFIX}{seconds:010}.sparsecode"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => seconds += 1,
            Err(source) => return Err(StorageError::new("create", &path, source)),
        }
    }
}

fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The start of an `Event`: `wall_time` and `step`.
fn event(step: u64) -> Vec<u8> {
    let mut message = vec![(1 << 3) | 1]; // wall_time, a 64-bit float
    message.extend(wall_time().to_le_bytes());
    field_varint(&mut message, 2, step);
    message
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field_varint(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

fn field_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push((field << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(data.len() + 16);
    framed.extend(length);
    framed.extend(masked(crc32c(&length)).to_le_bytes());
    framed.extend(data);
    framed.extend(masked(crc32c(data)).to_le_bytes());
    framed
}

/// TensorFlow's masking, which keeps the checksum of data that contain checksums from degenerating.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue, and a vector of RFC 3720, B.4.
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    /// What a record says, read by a small general protobuf reader that shares nothing with the
    /// writer but `crc32c`.
    #[derive(Debug, Default, PartialEq)]
    struct Read {
        step: u64,
        version: Option<String>,
        session_status: Option<u64>,
        scalars: Vec<(String, f32)>,
    }

    enum Field<'a> {
        Varint(u64),
        Fixed(&'a [u8]),
        Bytes(&'a [u8]),
    }

    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (head, tail) = bytes.split_at(count);
        *bytes = tail;
        head
    }

    fn take_varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = take(bytes, 1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        unreachable!()
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Varint(take_varint(&mut bytes)),
                1 => Field::Fixed(take(&mut bytes, 8)),
                5 => Field::Fixed(take(&mut bytes, 4)),
                2 => {
                    let length = take_varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length))
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        fields
    }

    fn read_event(bytes: &[u8]) -> Read {
        let mut read = Read::default();
        let mut timed = false;
        for field in fields(bytes) {
            match field {
                (1, Field::Fixed(time)) => {
                    timed = f64::from_le_bytes(time.try_into().unwrap()) > 1.6e9;
                }
                (2, Field::Varint(step)) => read.step = step,
                (3, Field::Bytes(text)) => {
                    read.version = Some(String::from_utf8(text.to_vec()).unwrap());
                }
                (7, Field::Bytes(log)) => match fields(log)[..] {
                    [(1, Field::Varint(status))] => read.session_status = Some(status),
                    _ => panic!("session log"),
                },
                (5, Field::Bytes(summary)) => {
                    for value in fields(summary) {
                        let (1, Field::Bytes(value)) = value else {
                            panic!("summary value");
                        };
                        match fields(value)[..] {
                            [(1, Field::Bytes(tag)), (2, Field::Fixed(number))] => {
                                read.scalars.push((
                                    String::from_utf8(tag.to_vec()).unwrap(),
                                    f32::from_le_bytes(number.try_into().unwrap()),
                                ));
                            }
                            _ => panic!("scalar"),
                        }
                    }
                }
                (number, _) => panic!("event field {number}"),
            }
        }
        assert!(timed, "no wall_time");
        read
    }

    fn read_file(path: &Path) -> Vec<Read> {
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        let unmask = |crc: u32| crc.wrapping_sub(0xa282_ead8).rotate_left(15);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        while !rest.is_empty() {
            let length = take(&mut rest, 8);
            assert_eq!(unmask(number(take(&mut rest, 4))), crc32c(length));
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let data = take(&mut rest, length as usize);
            assert_eq!(unmask(number(take(&mut rest, 4))), crc32c(data));
            events.push(read_event(data));
        }
        events
    }

    #[test]
    fn scalars_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path().join("run")).unwrap();
        let long = "a/".repeat(100);
        writer
            .scalars(1, &[("psnr", 19.5), (long.as_str(), -0.25)])
            .unwrap();
        writer.scalars(70_000, &[("psnr", f32::NAN)]).unwrap();
        let events = read_file(writer.path());
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].version.as_deref(), Some("brain.Event:2"));
        assert_eq!(events[1].step, 1);
        assert_eq!(
            events[1].scalars,
            [("psnr".to_owned(), 19.5), (long, -0.25)]
        );
        assert_eq!(events[2].step, 70_000);
        assert!(events[2].scalars[0].1.is_nan());
    }

    #[test]
    fn resuming_starts_a_later_file_that_marks_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventWriter::create(folder.path()).unwrap();
        let second = EventWriter::resume(folder.path(), 300).unwrap();
        let third = EventWriter::resume(folder.path(), 400).unwrap();
        assert!(first.path() < second.path() && second.path() < third.path());
        let name = first.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents."), "{name}");

        assert_eq!(read_file(first.path()).len(), 1);
        let events = read_file(second.path());
        assert_eq!(events[0].version.as_deref(), Some("brain.Event:2"));
        assert_eq!((events[1].step, events[1].session_status), (300, Some(1)));
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let message = EventWriter::create(file.join("tensorboard"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("tensorboard"), "{message}");
    }
}
