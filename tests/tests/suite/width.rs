//! Lines of comments have at most 100 columns; `cargo fmt` sees to code, and leaves comments alone.

use std::fs;
use std::path::Path;

const WIDTH: usize = 100;

/// Lines of a file that are comments of prose and too wide, with their numbers. Tables, and code in
/// the blocks of a doc comment, cannot be broken.
fn too_wide(text: &str) -> Vec<usize> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            in_code = false;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        if comment.starts_with("```") {
            in_code = !in_code;
        }
        let is_prose = !in_code && !comment.starts_with('|') && comment.contains(' ');
        if is_prose && line.chars().count() > WIDTH {
            found.push(index + 1);
        }
    }
    found
}

/// Calls `visit` with each file below a folder whose name ends in one of `extensions`.
fn files(folder: &Path, extensions: &[&str], visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, extensions, visit);
            }
        } else if extensions.iter().any(|extension| name.ends_with(extension)) {
            visit(&path);
        }
    }
}

#[test]
fn comments_have_one_width() {
    let (mut read, mut wide) = (0, Vec::new());
    let extensions = [".rs", ".cu", ".cuh"];
    files(sparsecode_tests::workspace(), &extensions, &mut |path| {
        read += 1;
        let lines = too_wide(&fs::read_to_string(path).unwrap());
        wide.extend(
            lines
                .iter()
                .map(|line| format!("{}:{line}", path.display())),
        );
    });
    assert!(read > 200, "{read} files");
    assert!(wide.is_empty(), "wider than {WIDTH}:\n{}", wide.join("\n"));
}

#[test]
fn a_wide_comment_is_found() {
    let words = "word ".repeat(25);
    let text =
        format!("//! {words}\nlet x = \"{words}\";\n/// ```\n/// {words}\n/// ```\n// {words}");
    assert_eq!(too_wide(&text), [1, 6]);
    assert_eq!(too_wide(&format!("/// | {words} |\n/// short")), [0; 0]);
}
