//! What all commands share: how they end, and what they read and print.

use std::io::Write;
use std::path::Path;

use sparsecode_formats::NumberType;

use crate::storage::StorageError;

/// As the standard library's, for all commands; but an output that is full or closed is an error,
/// not a panic.
macro_rules! print {
    ($($words:tt)*) => { $crate::cli::common::write_out(&format!($($words)*)) };
}
macro_rules! println {
    () => { $crate::cli::common::write_out("\n") };
    ($($words:tt)*) => { $crate::cli::common::write_out(&(format!($($words)*) + "\n")) };
}

/// The program was used wrongly: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(String);

pub(super) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// An end that is neither success nor failure, with an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
pub(super) struct Exit(pub(super) u8, pub(super) String);

pub(super) fn exit_with(status: u8, message: impl Into<String>) -> anyhow::Error {
    Exit(status, message.into()).into()
}

/// Exit status of a command that Ctrl-C or TERM ended: what `&&` follows it does not run.
pub(super) const INTERRUPTED: u8 = 130;

/// Writes to standard output; where that fails, says so and ends the program with status 1.
pub(super) fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(source) = written {
        let error = StorageError::new("write to", Path::new("standard output"), source);
        // There may be nobody for this either.
        let _ = writeln!(std::io::stderr(), "error: {error}");
        std::process::exit(1);
    }
}

/// Prints a document as one line of JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Refuses an extension that a command does not know, before it does any work.
pub(super) fn check_extension(path: &Path, expected: &[&str]) -> anyhow::Result<()> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    if expected.contains(&extension.as_str()) {
        return Ok(());
    }
    Err(usage(format!(
        "{}: expected a file name that ends in .{}",
        path.display(),
        expected.join(", .")
    )))
}

/// Reads an array of samples: N×`dim`, or N×h×w with `h·w = dim`. Returns the number type, N and
/// the numbers.
pub(super) fn read_rows(path: &Path, dim: usize) -> anyhow::Result<(NumberType, usize, Vec<f32>)> {
    let array = crate::data::npy::read_npy(path)?;
    let (shape, number_type, values) = (array.shape, array.number_type, array.values.into_f32());
    if !crate::deploy::given::fits_samples(&shape, dim) {
        anyhow::bail!(
            "{}: shape {shape:?}, but the model takes rows of {dim} numbers: N×{dim}",
            path.display()
        );
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        anyhow::bail!(
            "{}: row {} holds a value that is not finite",
            path.display(),
            index / dim
        );
    }
    Ok((number_type, shape[0], values))
}

/// The name of a file without its folder and its ending.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Says where integers saturated: the largest share of windows in any row.
pub(super) fn print_saturated(shares: impl Iterator<Item = f64>) {
    let most = shares.fold(0.0, f64::max);
    if most > 0.0 {
        println!(
            "in up to {:.2} % of the windows samples or components were cut to the file's range; \
             `sparsecode export` finds a wider one from --data that reach as far",
            100.0 * most
        );
    }
}
