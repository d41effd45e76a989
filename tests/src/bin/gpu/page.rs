//! The page of results, written anew with every part: what is cut short keeps what it has.

use std::path::PathBuf;

use anyhow::Context;
use sparsecode_trainer::COMMIT;
use sparsecode_trainer::report::page::{self, Origin};
use sparsecode_trainer::report::table::Table;

/// A page in the making.
pub(crate) struct Page {
    path: PathBuf,
    page: page::Page,
}

impl Page {
    /// A page with its head.
    pub(crate) fn new(path: PathBuf, device: &str, concurrent: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let origin = Origin {
            command: "cargo xtask gpu".into(),
            commit: COMMIT.into(),
            machine: format!("{device}; {cores} processor cores"),
        };
        let mut page = page::Page::new(
            "On a GPU",
            "Checks of the kernels, times, and a comparison with PyTorch, made in one run.",
            &origin,
        );
        page.fact("linear decoders' runs at a time", &concurrent.to_string());
        print!("{}", page.markdown());
        Self { path, page }
    }

    /// A part, with its title.
    pub(crate) fn part(&mut self, title: &str, text: &str) {
        self.text(&format!("## {title}\n\n{text}"));
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: &str) {
        println!("\n{text}");
        self.page.text(text);
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
        let saved = self.page.save(&self.path);
        saved.with_context(|| self.path.display().to_string())
    }
}
