//! Writing files so that a reader never meets half of one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a file could not be written. The message names the path and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; {}", path.display(), remedy(source.kind()))]
pub struct StorageError {
    /// What was being done, as a verb: "write", "read", "create the folder of".
    pub action: &'static str,
    /// The file it was done to.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl StorageError {
    /// The error of doing `action`, a verb, to `path`.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder that you may write to"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or choose another disk"
        }
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::BrokenPipe => "whatever read it has ended: let it read to the end",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a part of the path is a file: choose another name"
        }
        io::ErrorKind::IsADirectory => "the path is a folder: name a file in it",
        io::ErrorKind::InvalidInput => "give the name of a file",
        _ => "check the path and the disk",
    }
}

/// Writes `bytes` to `path` as one step: readers see the old content or the new, also after a
/// crash.
///
/// The bytes go to a temporary file in the same folder, are synced to the disk, and the file is
/// renamed over `path`. Missing folders are created. A replaced file keeps its permissions, and a
/// symbolic link is followed, not replaced. A device or a pipe (`/dev/null`, `/dev/stdout`) is
/// written into: it cannot be replaced, and there is no old content.
///
/// # Errors
/// [`StorageError`] with the path and the remedy; the temporary file is removed and `path` is as it
/// was.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("run/model.safetensors");
/// sparsecode_report::storage::write_atomic(&path, b"weights")?;
/// assert_eq!(std::fs::read(&path)?, b"weights");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), StorageError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] for content that is produced as it is written, so that it need not be in memory
/// at once.
///
/// `write` is given a plain file, unbuffered; whatever error it returns is reported with the path.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_with(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), StorageError> {
    let named = path.as_ref();
    let failed = |source| StorageError::new("write", named, source);
    let Some(name) = named.file_name() else {
        return Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path names no file",
        )));
    };
    if named.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    // Before links are resolved: one of /dev may point to a pipe that has no path.
    if fs::metadata(named).is_ok_and(|found| !found.is_file()) {
        let mut file = File::options().write(true).open(named).map_err(failed)?;
        return write(&mut file).map_err(failed);
    }
    // A link is a person's choice of another disk: write where it points.
    let target = if named.is_symlink() {
        fs::canonicalize(named).map_err(failed)?
    } else {
        named.to_path_buf()
    };
    create_parent(&target)?;

    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut temporary = new_file_beside(&target, &prefix).map_err(failed)?;
    write(temporary.as_file_mut()).map_err(failed)?;
    if let Ok(old) = fs::metadata(&target) {
        temporary
            .as_file()
            .set_permissions(old.permissions())
            .map_err(failed)?;
    }
    temporary.as_file().sync_all().map_err(failed)?;
    temporary
        .persist(&target)
        .map_err(|error| failed(error.error))?;
    sync_folder(folder_of(&target));
    Ok(())
}

/// Removes what a killed process left in `folder` of [`write_atomic`] to files of these names.
///
/// The caller is the only one that writes these files. What cannot be removed stays: a leftover
/// takes room on the disk and does no other harm.
pub fn remove_leftovers(folder: &Path, names: &[&str]) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    let is_leftover = |file: &str| {
        let rest = file.strip_prefix('.').and_then(|f| f.strip_suffix(".tmp"));
        rest.and_then(|rest| rest.rsplit_once('.'))
            .is_some_and(|(name, _)| names.contains(&name))
    };
    for file in files.flatten() {
        if file.file_name().to_str().is_some_and(is_leftover) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Creates the folder that `path` will lie in, with its parents.
///
/// # Errors
/// [`StorageError`] if a part of the path is a file or may not be written to.
pub fn create_parent(path: impl AsRef<Path>) -> Result<(), StorageError> {
    let path = path.as_ref();
    fs::create_dir_all(folder_of(path))
        .map_err(|source| StorageError::new("create the folder of", path, source))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn new_file_beside(target: &Path, prefix: &OsString) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(".tmp");
    // Temporary files are private by default; what is renamed to its place should be as readable as
    // any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(target))
}

/// Makes the rename itself last; where folders cannot be synced the file system decides, and
/// nothing is lost but time.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_content_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/model.bin");
        write_atomic(&path, b"first and longer").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(path.parent().unwrap()), ["model.bin"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        write_atomic(&path, b"old").unwrap();
        let error = write_atomic_with(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["model.bin"]);
        let message = error.to_string();
        assert!(message.contains("model.bin"), "{message}");
        assert!(message.contains("make room"), "{message}");
    }

    #[test]
    fn the_old_file_stays_readable_until_the_rename() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        write_atomic(&path, b"old").unwrap();
        write_atomic_with(&path, |file| {
            file.write_all(b"new")?;
            assert_eq!(fs::read(&path)?, b"old");
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = write_atomic(folder.path(), b"x").unwrap_err().to_string();
        assert!(message.contains("name a file in it"), "{message}");

        let file = folder.path().join("file");
        write_atomic(&file, b"x").unwrap();
        let message = write_atomic(file.join("below"), b"x")
            .unwrap_err()
            .to_string();
        assert!(message.contains("below"), "{message}");
        assert!(message.contains("choose another name"), "{message}");

        let message = write_atomic("/", b"x").unwrap_err().to_string();
        assert!(message.contains("give the name of a file"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_written_into_and_stays() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        symlink(&pipe, &link).unwrap();
        for name in [&pipe, &link] {
            let from = pipe.clone();
            let (sender, read) = std::sync::mpsc::channel();
            std::thread::spawn(move || sender.send(fs::read(from).unwrap()));
            write_atomic(name, b"through").unwrap();
            let is_pipe = fs::metadata(&pipe).unwrap().file_type().is_fifo();
            assert!(is_pipe, "the pipe was replaced by a file");
            let wait = std::time::Duration::from_secs(20);
            assert_eq!(read.recv_timeout(wait).unwrap(), b"through");
        }
        assert_eq!(names(folder.path()), ["link", "pipe"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_are_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("real");
        let link = folder.path().join("link");
        write_atomic(&path, b"old").unwrap();
        // A new file is as readable as the process's mask lets any new file be.
        let plain = folder.path().join("plain");
        fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), mode(&plain));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o640);
    }
}
