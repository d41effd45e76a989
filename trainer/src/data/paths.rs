//! Where data are: the files and folders that a table or the command line names.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;

/// One file or folder, or several.
///
/// ```
/// use sparsecode_trainer::data::Paths;
///
/// let several = Paths::Several(vec!["a.wav".into(), "b.wav".into()]);
/// assert_eq!(several.iter().count(), 2);
/// let moved = Paths::from("a.wav").moved(|path| std::path::Path::new("/data").join(path));
/// assert_eq!(moved, Paths::from("/data/a.wav"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    /// A file or a folder: a string in a configuration.
    One(PathBuf),
    /// Files and folders: an array of strings in a configuration.
    Several(Vec<PathBuf>),
}

impl Paths {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths.as_slice(),
        }
        .iter()
        .map(PathBuf::as_path)
    }

    /// The same with each path replaced.
    #[must_use]
    pub fn moved(&self, mut to: impl FnMut(&Path) -> PathBuf) -> Self {
        match self {
            Self::One(path) => Self::One(to(path)),
            Self::Several(paths) => Self::Several(paths.iter().map(|path| to(path)).collect()),
        }
    }
}

impl From<PathBuf> for Paths {
    fn from(path: PathBuf) -> Self {
        Self::One(path)
    }
}

impl From<&str> for Paths {
    fn from(path: &str) -> Self {
        Self::One(path.into())
    }
}

/// A file's or folder's own name, fit for a description.
pub(super) fn display_name(path: &Path) -> String {
    let name = path
        .canonicalize()
        .unwrap_or_else(|_| path.to_path_buf())
        .file_name()
        .map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned());
    name.chars()
        .map(|c| match c {
            '"' | '\'' | '\\' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .collect()
}

/// The folder that a table or the command line names.
pub(super) fn chosen_folder<'a>(
    own: Option<&'a PathBuf>,
    given: Option<&'a Path>,
    what: &str,
    remedy: &str,
) -> Result<&'a Path, DataError> {
    let folder = own.map(PathBuf::as_path).or(given).ok_or_else(|| {
        DataError::config(
            "folder",
            format!("no folder named for {what}"),
            format!("name one with --data DIR or SPARSECODE_DATA{remedy}"),
        )
    })?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let reason = match folder.exists() {
        true => format!("this is a file, but {what} are read from a folder"),
        false => "there is no such folder".to_string(),
    };
    let beside = match folder.exists() {
        true => "name the folder that it is in with --data DIR",
        false => "name another with --data DIR",
    };
    Err(DataError::missing(
        folder,
        reason,
        format!("{beside}{remedy}"),
    ))
}

/// The one file that a table or the command line names: `own`, as it is or in the `given` folder;
/// without it `given` itself, or the only file in it that ends in one of `extensions`.
pub(super) fn chosen_file(
    own: Option<&Path>,
    given: Option<&Path>,
    extensions: &[&str],
) -> Result<PathBuf, DataError> {
    let place = named_place(own, given)?;
    if !place.is_dir() {
        return Ok(place);
    }
    let mut found = files_in(&place, extensions)?.known;
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(none_in(&place, extensions)),
        count => Err(DataError::missing(
            &place,
            format!(
                "there are {count} files that end in {}",
                endings(extensions)
            ),
            "name the one that is meant with --data FILE or --set data.path=FILE",
        )),
    }
}

/// The files that a table or the command line names, and remarks on others. A folder stands for the
/// files in it that end in one of `extensions`, in the order of their names.
pub(super) fn chosen_files(
    own: Option<&Paths>,
    given: Option<&Path>,
    extensions: &[&str],
) -> Result<(Vec<PathBuf>, Vec<String>), DataError> {
    let places: Vec<PathBuf> = match own {
        None => vec![named_place(None, given)?],
        Some(own) => own
            .iter()
            .map(|path| named_place(Some(path), given))
            .collect::<Result<_, _>>()?,
    };
    if places.is_empty() {
        return Err(no_file_named());
    }
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    for place in places {
        if !place.is_dir() {
            files.push(place);
            continue;
        }
        let found = files_in(&place, extensions)?;
        if found.known.is_empty() {
            return Err(none_in(&place, extensions));
        }
        files.extend(found.known);
        notes.extend(passed_over(&place, &found.others, endings(extensions)));
    }
    let mut seen: Vec<&PathBuf> = files.iter().collect();
    seen.sort();
    if let Some(pair) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(DataError::config(
            "path",
            format!("{} is named twice", pair[0].display()),
            "name each file once",
        ));
    }
    Ok((files, notes))
}

fn no_file_named() -> DataError {
    DataError::config(
        "path",
        "no file named",
        "name one with --data FILE or --set data.path=FILE",
    )
}

fn none_in(place: &Path, extensions: &[&str]) -> DataError {
    DataError::missing(
        place,
        format!("no file in this folder ends in {}", endings(extensions)),
        "name a file or another folder with --data PATH",
    )
}

/// The file or folder that is meant: `own` as it is or in the `given` folder, or `given`. It
/// exists.
fn named_place(own: Option<&Path>, given: Option<&Path>) -> Result<PathBuf, DataError> {
    let there = |path: &Path| path.exists().then(|| path.to_path_buf());
    match (own, given) {
        (Some(own), given) => there(own)
            .or_else(|| there(&given?.join(own)))
            .ok_or_else(|| missing_file(own)),
        (None, Some(given)) => there(given).ok_or_else(|| missing_file(given)),
        (None, None) => Err(no_file_named()),
    }
}

fn missing_file(path: &Path) -> DataError {
    let here = match std::env::current_dir() {
        Ok(folder) if path.is_relative() => format!(" (looked for in {})", folder.display()),
        _ => String::new(),
    };
    DataError::missing(
        path,
        format!("there is no such file or folder{here}"),
        "name another with --data PATH or --set data.path=PATH",
    )
}

/// Endings as a person lists them.
pub(super) fn endings(extensions: &[&str]) -> String {
    let dotted: Vec<String> = extensions.iter().map(|e| format!(".{e}")).collect();
    match dotted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What lies in a folder, each in the order of names.
pub(super) struct Found {
    /// Files that end in a known extension.
    pub(super) known: Vec<PathBuf>,
    /// Other files and subfolders; those whose names begin with a dot do not count.
    pub(super) others: Vec<PathBuf>,
}

fn files_in(folder: &Path, extensions: &[&str]) -> Result<Found, DataError> {
    let mut found = Found {
        known: Vec::new(),
        others: Vec::new(),
    };
    for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
        let path = entry.map_err(DataError::read(folder))?.path();
        if is_hidden(&path) {
        } else if has_extension(&path, extensions) && !path.is_dir() {
            found.known.push(path);
        } else {
            found.others.push(path);
        }
    }
    found.known.sort();
    found.others.sort();
    Ok(found)
}

/// Whether a file's name begins with a dot.
pub(super) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with('.'))
}

/// A remark on what was passed over in a folder, if anything was.
pub(super) fn passed_over(folder: &Path, others: &[PathBuf], read: String) -> Option<String> {
    const MOST: usize = 5;
    if others.is_empty() {
        return None;
    }
    let mut names: Vec<String> = others
        .iter()
        .take(MOST)
        .map(|path| {
            let path = path.strip_prefix(folder).unwrap_or(path);
            path.display().to_string()
        })
        .collect();
    if others.len() > MOST {
        names.push(format!("{} more", others.len() - MOST));
    }
    Some(format!(
        "{}: passed over {} (what ends in {read} is read)",
        folder.display(),
        names.join(", ")
    ))
}

/// Whether a path ends in one of the extensions, in upper or lower case.
pub(crate) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            extensions
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_a_description() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a\"b\\c\nd");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(display_name(&path), "a_b_c_d");
        assert_eq!(display_name(&folder.path().join("a\"b\\c\nd/.")), "a_b_c_d");
    }

    #[test]
    fn one_path_is_a_string_and_several_are_an_array() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Table {
            path: Paths,
        }
        for (text, paths) in [
            ("path = \"a.wav\"\n", Paths::from("a.wav")),
            (
                "path = [\"a.wav\", \"b.wav\"]\n",
                Paths::Several(vec!["a.wav".into(), "b.wav".into()]),
            ),
        ] {
            let table = Table { path: paths };
            assert_eq!(toml::to_string(&table).unwrap(), text);
            assert_eq!(toml::from_str::<Table>(text).unwrap(), table);
        }
    }

    #[test]
    fn folders_stand_for_their_files_and_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.wav", "a.CSV", "notes.txt", ".hidden"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("deeper")).unwrap();
        let known = ["csv", "wav"];
        let (files, notes) = chosen_files(None, Some(folder.path()), &known).unwrap();
        let names: Vec<String> = files.iter().map(|path| display_name(path)).collect();
        assert_eq!(names, ["a.CSV", "b.wav"]);
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains("passed over deeper, notes.txt"),
            "{notes:?}"
        );
        // Named files are taken as they are, in their order, beside the folder that is given.
        let own = Paths::Several(vec!["notes.txt".into(), "b.wav".into()]);
        let (files, notes) = chosen_files(Some(&own), Some(folder.path()), &known).unwrap();
        assert_eq!(files.len(), 2);
        assert!(files[0].ends_with("notes.txt") && notes.is_empty());
        let twice = Paths::Several(vec!["b.wav".into(), folder.path().into()]);
        for (own, needle) in [
            (Paths::from("none.wav"), "none.wav: there is no such file"),
            (
                Paths::from("deeper"),
                "no file in this folder ends in .csv or .wav",
            ),
            (twice, "b.wav is named twice"),
            (Paths::Several(vec![]), "no file named"),
        ] {
            let error = chosen_files(Some(&own), Some(folder.path()), &known);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
        let error = chosen_file(None, Some(folder.path()), &known).unwrap_err();
        assert!(error.to_string().contains("there are 2 files"), "{error}");
    }
}
