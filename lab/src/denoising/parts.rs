//! Recordings of one patient or machine: the beginning trains, what follows tests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Samples before the border that choose the epoch.
const VALIDATION: usize = 16_000;
/// Samples behind it that are measured.
const TEST: usize = 43_200;

/// Cuts an array of numbers of 32 bits in training, validation and test: `NAME_train.npy` and so on
/// in `folder`. The first 60 % are for the first two.
///
/// # Errors
/// The file is no such array, or too short.
pub(super) fn cut(recording: &Path, folder: &Path, name: &str) -> Result<()> {
    let bytes = fs::read(recording).with_context(|| recording.display().to_string())?;
    ensure!(
        bytes.len() > 10 && bytes.starts_with(b"\x93NUMPY\x01"),
        "{}: no array of version 1",
        recording.display()
    );
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, values) = bytes
        .split_at_checked(header)
        .context("the header ends early")?;
    let header = String::from_utf8_lossy(header);
    ensure!(
        header.contains("'<f4'") && header.contains("'fortran_order': False"),
        "{}: expected little-endian numbers of 32 bits",
        recording.display()
    );
    let samples = values.len() / 4;
    let border = samples * 3 / 5;
    ensure!(
        border > VALIDATION && samples - border >= TEST,
        "{}: {samples} samples are too few",
        recording.display()
    );
    let parts = [
        ("train", 0..border - VALIDATION),
        ("validation", border - VALIDATION..border),
        ("test", border..border + TEST),
    ];
    for (part, range) in parts {
        let shape = format!("({},)", range.len());
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        // The data begin at a multiple of 64 bytes.
        let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(u16::try_from(padded)?.to_le_bytes());
        file.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
        file.extend(&values[4 * range.start..4 * range.end]);
        fs::write(folder.join(format!("{name}_{part}.npy")), file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(values: impl Iterator<Item = f32>, count: usize) -> Vec<u8> {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count},), }}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.bytes());
        values.for_each(|value| file.extend(value.to_le_bytes()));
        file
    }

    #[test]
    fn parts_follow_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let recording = folder.path().join("all.npy");
        let count = 120_000;
        fs::write(&recording, array((0..count).map(|x| x as f32), count)).unwrap();
        cut(&recording, folder.path(), "x").unwrap();
        for (part, first, length) in [
            ("train", 0, 56_000),
            ("validation", 56_000, 16_000),
            ("test", 72_000, 43_200),
        ] {
            let bytes = fs::read(folder.path().join(format!("x_{part}.npy"))).unwrap();
            let data = &bytes[bytes.len() - 4 * length..];
            assert_eq!((bytes.len() - data.len()) % 64, 0);
            assert_eq!(
                f32::from_le_bytes(data[..4].try_into().unwrap()),
                first as f32
            );
            assert!(String::from_utf8_lossy(&bytes).contains(&format!("({length},)")));
        }
        fs::write(&recording, array((0..9).map(|x| x as f32), 9)).unwrap();
        let error = cut(&recording, folder.path(), "x").unwrap_err().to_string();
        assert!(error.contains("9 samples are too few"), "{error}");
    }
}
