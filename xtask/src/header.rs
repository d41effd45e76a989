//! `cargo xtask header`: the C header from the runtime's source.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sparsecode_lab::root;

/// Write `runtime/include/sparsecode.h` from `runtime/src/capi`, by the settings in
/// `runtime/cbindgen.toml`.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the header is not what the source says
    #[arg(long)]
    check: bool,
}

/// The sources, in the header's order.
const SOURCES: [&str; 7] = [
    "status.rs",
    "code.rs",
    "settings.rs",
    "model.rs",
    "integer_code.rs",
    "integer.rs",
    "stream.rs",
];

/// The header, from the repository's root.
const HEADER: &str = "runtime/include/sparsecode.h";

/// Runs `cargo xtask header`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = root().join(HEADER);
    let header = generate(&root().join("runtime"))?;
    if !arguments.check {
        return std::fs::write(&path, header).with_context(|| HEADER.to_owned());
    }
    let found = std::fs::read_to_string(&path).with_context(|| HEADER.to_owned())?;
    ensure!(
        found == header,
        "{HEADER} is not what the source says: run `cargo xtask header`"
    );
    Ok(())
}

const SAFETY: &str = "\
 *
 * # Safety
 *
 * As at the top of the header.
";

fn generate(runtime: &Path) -> Result<String> {
    let configuration = cbindgen::Config::from_file(runtime.join("cbindgen.toml"))
        .map_err(|error| anyhow::anyhow!("cbindgen.toml: {error}"))?;
    let sources = SOURCES.map(|name| runtime.join("src/capi").join(name));
    let builder = sources.iter().fold(
        cbindgen::Builder::new().with_config(configuration),
        |builder, source| builder.with_src(source),
    );
    let mut text = Vec::new();
    builder.generate()?.write(&mut text);
    let text = String::from_utf8(text).context("cbindgen's output")?;
    // Rust wants it of each function; the header says it once.
    Ok(text.replace(SAFETY, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_up_to_date() {
        run(&Arguments { check: true }).unwrap();
    }

    #[test]
    fn every_function_of_the_source_is_declared() {
        let header = generate(&root().join("runtime")).unwrap();
        let mut functions = 0;
        for name in SOURCES {
            let source = root().join("runtime/src/capi").join(name);
            let source = std::fs::read_to_string(source).unwrap();
            for rest in source.split("extern \"C\" fn sparsecode_").skip(1) {
                let name = rest.split('(').next().unwrap();
                assert!(header.contains(&format!("sparsecode_{name}(")), "{name}");
                functions += 1;
            }
        }
        assert!(functions > 20, "{functions}");
        assert!(!header.contains("# Safety"));
    }
}
