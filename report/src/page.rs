//! Pages of results in Markdown, as `docs/results` keeps them: with the command, the commit and the
//! machine that made them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::storage::{StorageError, write_atomic};
use crate::table::Table;

/// What made a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The command that makes the same page again.
    pub command: String,
    /// The commit of the program, for example from [`commit`].
    pub commit: String,
    /// The machine, for example from [`machine`].
    pub machine: String,
}

/// A page in the making.
///
/// ```
/// use sparsecode_report::page::{Origin, Page};
/// use sparsecode_report::table::{Table, decibels};
///
/// let origin = Origin {
///     command: "cargo xtask table1".into(),
///     commit: "0123456789ab".into(),
///     machine: "a processor, 2 cores".into(),
/// };
/// let mut page = Page::new("Table 1", "Means of 5 seeds.", &origin);
/// page.table(&Table::new(["model", "PSNR"]).row(["SDL".to_owned(), decibels(17.3)]));
/// assert_eq!(
///     page.markdown(),
///     "# Table 1\n\nMeans of 5 seeds.\n\n- command: `cargo xtask table1`\n\
///      - commit: 0123456789ab\n- machine: a processor, 2 cores\n\n\
///      | model |     PSNR |\n|-------|---------:|\n| SDL   | 17.30 dB |\n"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    markdown: String,
}

impl Page {
    /// A page with its head: title, summary and origin.
    pub fn new(title: &str, summary: &str, origin: &Origin) -> Self {
        let Origin {
            command,
            commit,
            machine,
        } = origin;
        Self {
            markdown: format!(
                "# {title}\n\n{summary}\n\n\
                 - command: `{command}`\n- commit: {commit}\n- machine: {machine}\n"
            ),
        }
    }

    /// Adds a line to the list of the head; call this before [`Page::text`].
    pub fn fact(&mut self, name: &str, value: &str) {
        self.markdown += &format!("- {name}: {value}\n");
    }

    /// Adds Markdown, an empty line before it.
    pub fn text(&mut self, text: &str) {
        self.markdown += &format!("\n{}\n", text.trim_end());
    }

    /// Adds a heading and the text below it.
    pub fn part(&mut self, title: &str, text: &str) {
        self.text(&format!("## {title}\n\n{text}"));
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.text(&table.markdown());
    }

    /// The page so far.
    pub fn markdown(&self) -> &str {
        &self.markdown
    }

    /// Writes the page so far, in one step; missing folders are created.
    ///
    /// # Errors
    /// [`StorageError`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), StorageError> {
        write_atomic(path, self.markdown.as_bytes())
    }
}

/// The commit of a checkout: 12 digits, and whether files differ from it; `unknown` outside of one.
/// Runs `git`.
pub fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        said(command.current_dir(repository).args(arguments))
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => hash,
        _ => format!("{hash}, with changes"),
    }
}

/// The processor and the number of its cores, and the GPU if `with_gpu`. Runs `nvidia-smi` then.
pub fn machine(with_gpu: bool) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let text = format!("{processor}, {cores} cores");
    if !with_gpu {
        return text;
    }
    let mut graphics = Command::new("nvidia-smi");
    let graphics = said(graphics.args(["--query-gpu=name", "--format=csv,noheader"]));
    format!("{text}, {}", graphics.as_deref().unwrap_or("no GPU"))
}

/// A command line for a page: `program` and its arguments. Of paths only the file's name is kept:
/// the folders say something of a machine and nothing of the figures.
///
/// ```
/// use sparsecode_report::page::command_line;
///
/// let line = command_line("cargo xtask", ["stream", "--patches", "/home/me/signal.npy"]);
/// assert_eq!(line, "cargo xtask stream --patches signal.npy");
/// ```
pub fn command_line<T: AsRef<str>>(
    program: &str,
    arguments: impl IntoIterator<Item = T>,
) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        let argument = argument.as_ref();
        let name = Path::new(argument).file_name();
        line.push(' ');
        match name.filter(|_| argument.contains('/')) {
            Some(name) => line += &name.to_string_lossy(),
            None => line += argument,
        }
    }
    line
}

/// What a program prints; nothing if it is missing or fails.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = || String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let origin = Origin {
            command: "c".into(),
            commit: "d".into(),
            machine: "m".into(),
        };
        Page::new("T", "S", &origin)
    }

    #[test]
    fn parts_follow_the_head_with_empty_lines_between() {
        let mut page = page();
        page.fact("runs at a time", "8");
        page.part("First", "one\n\n");
        page.text("two");
        let head = "# T\n\nS\n\n- command: `c`\n- commit: d\n- machine: m\n- runs at a time: 8\n";
        let text = format!("{head}\n## First\n\none\n\ntwo\n");
        assert_eq!(page.markdown(), text);
    }

    #[test]
    fn a_page_is_written_into_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results/page.md");
        page().save(&path).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), page().markdown());
    }

    #[test]
    fn a_folder_without_a_checkout_has_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(commit(folder.path()), "unknown");
        let here = commit(Path::new(env!("CARGO_MANIFEST_DIR")));
        let hash = here.split(',').next().unwrap_or_default();
        assert!(here == "unknown" || hash.len() == 12, "{here}");
    }

    #[test]
    fn machines_are_told_with_their_cores() {
        assert!(machine(false).ends_with(" cores"), "{}", machine(false));
        assert!(!machine(true).ends_with(" cores"), "{}", machine(true));
    }
}
