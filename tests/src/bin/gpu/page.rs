//! The page of results, written anew with every part: what is cut short keeps what it has.

use std::path::PathBuf;

use anyhow::Context;
use sparsecode_trainer::COMMIT;
use sparsecode_trainer::report::table::Table;
use sparsecode_trainer::storage::write_atomic;

/// A page in the making.
pub(crate) struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    /// A page with its head.
    pub(crate) fn new(path: PathBuf, device: &str, concurrent: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let text = format!(
            "# On a GPU\n\n\
             Checks of the kernels, times, and a comparison with PyTorch, made in one run.\n\n\
             - command: `cargo xtask gpu`\n- commit: {COMMIT}\n- machine: {device}; {cores} processor cores\n\
             - linear decoders' runs at a time: {concurrent}\n"
        );
        print!("{text}");
        Self { path, text }
    }

    /// A part, with its title.
    pub(crate) fn part(&mut self, title: &str, text: &str) {
        self.text(&format!("## {title}\n\n{text}"));
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: &str) {
        println!("\n{text}");
        self.text.push_str(&format!("\n{text}\n"));
        if let Err(error) = self.write() {
            eprintln!("note: {error:#}");
        }
    }

    /// A table.
    pub(crate) fn table(&mut self, table: &Table) {
        let text = table.markdown();
        self.text(text.trim_end());
    }

    /// Writes what there is.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        write_atomic(&self.path, self.text.as_bytes())
            .with_context(|| self.path.display().to_string())
    }
}
