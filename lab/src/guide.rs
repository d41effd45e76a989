//! What `docs/embedded.md` has people write: the program in Rust, which is built and run in QEMU,
//! and what the page shows of C.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};
use sparsecode_formats::AlignedBytes;
use sparsecode_runtime::{CodeBuffer as _, ModelView, SparseCodeBuf, WorkspaceBuf};

use crate::c_compiler::compiler;
use crate::toolchain::{self, Toolchain, Tools};
use crate::{Core, elf, firmware, root, sound, succeed, target_dir};

/// The files that the guide shows, by the line that names each.
const FILES: [(&str, &str); 5] = [
    ("# Cargo.toml\n", "Cargo.toml"),
    ("# .cargo/config.toml\n", ".cargo/config.toml"),
    ("// build.rs\n", "build.rs"),
    ("/* memory.x", "memory.x"),
    ("// src/main.rs\n", "src/main.rs"),
];

/// What became of the guide's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guide {
    /// The compiler, in words.
    pub through: String,
    /// Bytes of flash that the program takes.
    pub flash: u64,
    /// Why it was built and not run; nothing if it ran and its code is the host's.
    pub not_run: Option<String>,
}

/// Writes the files of `docs/embedded.md`, section 2a, builds them for a Cortex-M4F, runs the
/// program in QEMU, and holds its code to the host's. `Err` of what is missing if nothing can be
/// built.
///
/// # Errors
/// If the program does not build, or computes something else.
pub fn check(tools: &Tools) -> Result<Result<Guide, String>> {
    let setup = Core::M4f.setup();
    let Some(toolchain) = tools.choose(setup.target) else {
        return Ok(Err(toolchain::remedy(setup.target)));
    };
    let missing = !tools.is_installed(setup.machine.program);
    // Outside the repository, whose workspace it is no member of.
    let folder = std::env::temp_dir().join(format!("sparsecode-guide-{}", std::process::id()));
    let outcome = build_and_run(&folder, &toolchain, !missing);
    fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(Ok(Guide {
        through: toolchain.to_string(),
        flash: outcome?,
        not_run: missing.then(|| setup.machine.remedy()),
    }))
}

/// Builds it, runs it where there is an emulator, and returns the bytes of flash that it takes.
fn build_and_run(folder: &Path, toolchain: &Toolchain, runs: bool) -> Result<u64> {
    let page = fs::read_to_string(root().join("docs/embedded.md"))?;
    write_files(&page, folder)?;
    let models = firmware::folder().join("model");
    let embedded = folder.join("model.safetensors");
    fs::copy(models.join("model.safetensors"), &embedded)?;
    // What is tested elsewhere, too, in the same versions.
    fs::copy(
        firmware::folder().join("Cargo.lock"),
        folder.join("Cargo.lock"),
    )?;
    let built = build(folder, toolchain)?;
    ensure!(
        built.status.success(),
        "the guide's program does not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let setup = Core::M4f.setup();
    let program = target_folder()
        .join(setup.target)
        .join("release")
        .join("board");
    let bytes = fs::read(&program).with_context(|| program.display().to_string())?;
    if runs {
        let (success, printed) = setup.machine.run(&program, Duration::from_secs(60))?;
        let printed = String::from_utf8_lossy(&printed);
        ensure!(success, "it gave up: {printed}");
        let expected = expected(&fs::read(&embedded)?)?;
        ensure!(
            printed.lines().eq(expected.lines()),
            "it printed:\n{printed}\nthe host computes:\n{expected}"
        );
    }

    // A file of the other kind: the person is told which it is.
    fs::copy(models.join("integer.safetensors"), &embedded)?;
    let refused = build(folder, toolchain)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        !refused.status.success() && said.contains("the file is for arithmetic in integers"),
        "a model in integers: {said}"
    );
    elf::flash(&bytes)
}

/// Writes the files of the guide, all of which must be there; only the clone's path is put in.
fn write_files(page: &str, folder: &Path) -> Result<()> {
    for (first, name) in FILES {
        let mut blocks = page.split("\n```").filter_map(|block| {
            let (_, text) = block.split_once('\n')?;
            text.starts_with(first).then_some(text)
        });
        let text = blocks
            .next()
            .with_context(|| format!("docs/embedded.md: no {name}"))?;
        ensure!(blocks.next().is_none(), "docs/embedded.md: two of {name}");
        let path = folder.join(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let clone = root().display().to_string();
        fs::write(path, format!("{}\n", text.replace("../sparsecode", &clone)))?;
    }
    Ok(())
}

fn target_folder() -> PathBuf {
    target_dir().join("guide")
}

fn build(folder: &Path, toolchain: &Toolchain) -> Result<Output> {
    let setup = Core::M4f.setup();
    let mut cargo = match toolchain {
        // As a person types it.
        Toolchain::Installed => {
            let mut cargo = Command::new("cargo");
            cargo.args(["build", "--release"]);
            cargo
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS");
            cargo
        }
        Toolchain::Distribution { .. } => toolchain.cargo_build(setup.target, setup.target_cpu),
    };
    cargo.arg("--target-dir").arg(target_folder());
    Ok(cargo.current_dir(folder).output()?)
}

/// What the program prints, by the same crate.
fn expected(model: &[u8]) -> Result<String> {
    let model = AlignedBytes::from_slice(model);
    let view = ModelView::load(&model).map_err(sound)?;
    let spec = view.spec();
    let mut patch: Vec<f32> = (0..spec.input_dim())
        .map(|i| (i % 8) as f32 / 7.0)
        .collect();
    let mut code = SparseCodeBuf::new(spec.code_dim);
    let mut workspace = WorkspaceBuf::for_model(spec);
    view.denoise(&mut patch, None, &mut code, &mut workspace, || false)?;
    if code.active() == 0 {
        bail!("no atom is active, which would prove nothing");
    }
    let mut text = format!("{} of {} atoms:\n", code.active(), spec.code_dim());
    for (index, value) in code.iter() {
        writeln!(text, "{index} {value}")?;
    }
    Ok(text)
}

/// Compiles what the guide shows of C; `Some` of what was skipped.
pub(crate) fn check_c(tools: &Tools, folder: &Path) -> Result<Option<String>> {
    let text = fs::read_to_string(root().join("docs/embedded.md"))?;
    let block = |text: &str, language: &str, word: &str| {
        let fence = format!("```{language}\n");
        let mut blocks = text.split(&fence).skip(1);
        let block = blocks.find_map(|rest| {
            let (block, _) = rest.split_once("\n```")?;
            block.contains(word).then(|| block.to_owned())
        });
        block.with_context(|| format!("docs/embedded.md: no {language} with {word}"))
    };
    fs::create_dir_all(folder)?;
    let source = folder.join("documentation.c");
    fs::write(&source, format!("{}\n", block(&text, "c", "sparsecode.h")?))?;
    succeed(compiler(&tools.cc, "c99").arg("-fsyntax-only").arg(source))?;

    let stream = folder.join("documentation-stream.c");
    let given = "#include \"sparsecode.h\"\nenum { WINDOW = 64, CODE_DIM = 64, DRIFT = 361 };\n\
                 extern const uint32_t model_file[];\nextern const size_t model_file_bytes;\n";
    let text_of = block(&text, "c", "stream_push")?;
    fs::write(&stream, format!("{given}{text_of}\n"))?;
    succeed(compiler(&tools.cc, "c99").arg("-fsyntax-only").arg(stream))?;

    // The array of the model file: constant, aligned, and the file.
    if !tools.is_installed("xxd") {
        return Ok(Some(
            "the model file as an array: xxd not found: apt install xxd".into(),
        ));
    }
    let model = firmware::folder().join("model/model.safetensors");
    fs::copy(&model, folder.join("model.safetensors"))?;
    let mut shell = Command::new("sh");
    shell.arg("-ec").arg(block(&text, "sh", "xxd")?);
    succeed(shell.current_dir(folder))?;
    let object = folder.join("model.o");
    let mut compile = compiler(&tools.cc, "c99");
    compile.arg("-c").arg(folder.join("model.c"));
    succeed(compile.arg("-o").arg(&object))?;
    check_array(&fs::read(object)?, &fs::read(model)?).context("the array of docs/embedded.md")?;
    Ok(None)
}

/// Whether an object holds a file as `model_file`, where a program does not copy it to RAM and
/// reads it in place.
fn check_array(object: &[u8], model: &[u8]) -> Result<()> {
    let object = object::File::parse(object)?;
    let symbol = object
        .symbol_by_name("model_file")
        .context("no model_file")?;
    let section = symbol.section_index().context("no section")?;
    let section = object.section_by_index(section)?;
    ensure!(
        section.kind() == SectionKind::ReadOnlyData,
        "model_file is not constant"
    );
    ensure!(
        section.align().is_multiple_of(4) && symbol.address().is_multiple_of(4),
        "model_file starts anywhere"
    );
    let start = usize::try_from(symbol.address() - section.address())?;
    ensure!(
        section.data()?.get(start..start + model.len()) == Some(model),
        "model_file is another file"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_shows_every_file_once() {
        let page = fs::read_to_string(root().join("docs/embedded.md")).unwrap();
        let folder = std::env::temp_dir().join(format!("sparsecode-files-{}", std::process::id()));
        write_files(&page, &folder).unwrap();
        for (_, name) in FILES {
            assert!(folder.join(name).exists(), "{name}");
        }
        let less = page.replace("// build.rs\n", "");
        let error = write_files(&less, &folder).unwrap_err().to_string();
        let twice = format!("{page}\n```rust,ignore\n// build.rs\nfn main() {{}}\n```\n");
        let also = write_files(&twice, &folder).unwrap_err().to_string();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains("no build.rs"), "{error}");
        assert!(also.contains("two of build.rs"), "{also}");
    }
}
