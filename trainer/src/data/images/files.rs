//! The pictures in a folder.

use std::path::{Path, PathBuf};

use super::super::error::DataError;
use super::super::paths::{has_extension, is_hidden};
use super::super::picture::EXTENSIONS;

/// Every image in a folder and its subfolders, and the other files there, each in the order of
/// their names.
pub(in crate::data) fn find_images(
    folder: &Path,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(DataError::read(&folder))? {
            let entry = entry.map_err(DataError::read(&folder))?;
            // A link to a folder is not followed: it may lead back here.
            if entry
                .file_type()
                .map_err(DataError::read(&folder))?
                .is_dir()
            {
                folders.push(entry.path());
            } else if has_extension(&entry.path(), &EXTENSIONS) {
                found.push(entry.path());
            } else if !is_hidden(&entry.path()) {
                others.push(entry.path());
            }
        }
    }
    found.sort();
    others.sort();
    Ok((found, others))
}

/// Takes the files of these names out.
pub(super) fn test_files(
    files: &mut Vec<PathBuf>,
    names: &[String],
    folder: &Path,
) -> Result<Vec<PathBuf>, DataError> {
    let is_named = |path: &Path, name: &str| path.file_name().is_some_and(|own| own == name);
    if let Some(gone) = names
        .iter()
        .find(|name| !files.iter().any(|path| is_named(path, name)))
    {
        return Err(DataError::missing(
            &folder.join(gone),
            "data.test_files names it, and no picture has this name",
            "name pictures of the folder without the folder's name",
        ));
    }
    let (named, others) = std::mem::take(files)
        .into_iter()
        .partition(|path| names.iter().any(|name| is_named(path, name)));
    *files = others;
    Ok(named)
}

/// Every picture in a folder and its subfolders, in the order of their names; or the one file.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn pictures_in(place: &Path) -> Result<Vec<PathBuf>, DataError> {
    match place.is_dir() {
        true => find_images(place).map(|(found, _)| found),
        false => Ok(vec![place.to_path_buf()]),
    }
}
