//! Pages of measurements that are kept in `docs/results`.

use std::path::Path;

use anyhow::Result;
use sparsecode_lab::root;
use sparsecode_report::page::{self, Origin, Page};

/// Writes a page of results: title, how it was made, and the text. `device` is where the work was
/// done, as for `sparsecode train`.
pub(crate) fn write_page(
    path: &Path,
    title: &str,
    summary: &str,
    command: &str,
    device: &str,
    text: &str,
) -> Result<()> {
    let origin = Origin {
        command: command.to_owned(),
        commit: page::commit(&root()),
        machine: page::machine(device != "cpu"),
    };
    let mut page = Page::new(title, summary, &origin);
    page.text(text);
    page.save(path)?;
    eprintln!("written to {}", path.display());
    Ok(())
}

/// How this program was called; of paths, only the file's name.
pub(crate) fn command_line() -> String {
    page::command_line("cargo xtask", std::env::args().skip(1))
}
