//! The C API under test by the programs of `examples/c`, on this machine and on two Cortex-M in
//! QEMU.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use object::read::archive::ArchiveFile;
use object::{Object as _, ObjectSymbol as _};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Contrast, GramStorage, IntegerFile, ModelFile,
    OwnedModel, WeightType, example_denoiser, write_integer, write_integer_with,
};
use sparsecode_patches::{Patches, level};
use sparsecode_runtime::capi::{sparsecode_integer_model, sparsecode_model};
use sparsecode_runtime::{
    IntegerCodeBuf, IntegerCodeBuffer as _, IntegerRefine, IntegerView, IntegerWorkspaceBuf,
};

use crate::c_compiler::compiler;
use crate::cores::{Core, Setup};
use crate::host::reference;
use crate::toolchain::{Toolchain, Tools};
use crate::{cargo, elf, firmware, guide, root, sound, stream, succeed, target_dir};

/// Where programs in C run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This machine.
    Host,
    /// A Cortex-M4F in QEMU.
    M4f,
    /// A Cortex-M0+ in QEMU.
    M0plus,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::Host, Self::M4f, Self::M0plus];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::M4f => "m4f",
            Self::M0plus => "m0plus",
        }
    }

    /// By which compilers.
    ///
    /// # Errors
    /// All that is missing, with the commands that install it.
    pub fn ready(self, tools: &Tools) -> Result<String, String> {
        match self {
            Self::Host => {
                let c = missing_compiler(tools, &tools.cc, "gcc");
                let cpp = missing_compiler(tools, &tools.cxx, "g++");
                let missing: Vec<String> = c.into_iter().chain(cpp).collect();
                match missing.is_empty() {
                    true => Ok(format!("{}, {}", tools.cc, tools.cxx)),
                    false => Err(missing.join("; ")),
                }
            }
            Self::M4f => Arm::ready(tools, &Core::M4f.setup(), &M4F).map(|(_, arm)| arm.through()),
            Self::M0plus => {
                Arm::ready(tools, &Core::M0plus.setup(), &M0PLUS).map(|(_, arm)| arm.through())
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What to say if a compiler of the host is missing.
fn missing_compiler(tools: &Tools, program: &str, package: &str) -> Option<String> {
    (!tools.is_installed(program)).then(|| format!("{program} not found: apt install {package}"))
}

/// A program that computes what Rust does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its source in `examples/c`.
    pub source: &'static str,
    /// The compilers.
    pub through: String,
    /// The stack that a device needed, in bytes.
    pub stack: Option<u32>,
}

/// What was found in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The programs that ran.
    pub ran: Vec<Ran>,
    /// What could not run here; why, and what to install.
    pub skipped: Vec<String>,
}

/// At most so many iterations a patch.
const BUDGET: u32 = 50;

/// Builds the static library and the programs of `examples/c`, runs them, and holds what they
/// print to Rust's results.
///
/// # Errors
/// If something does not build or run, or a program computes something else.
pub fn check(tools: &Tools, place: Place) -> Result<Checked> {
    let folder = target_dir().join("capi");
    let programs = [
        Program::float(&folder)?,
        Program::integer(&folder)?,
        Program::stream(&folder)?,
    ];
    let checked = match place {
        Place::Host => host(tools, &folder, &programs),
        Place::M4f => device(tools, &folder, &programs, &Core::M4f.setup(), &M4F),
        Place::M0plus => device(tools, &folder, &programs, &Core::M0plus.setup(), &M0PLUS),
    };
    checked.with_context(|| place.to_string())
}

/// A program of `examples/c` with its data, and what it has to print.
struct Program {
    source: &'static str,
    /// Where `data.h` and `data.c` are.
    data: PathBuf,
    /// Names and values.
    expected: Vec<(&'static str, u32)>,
    /// Size of a model's handle on this machine.
    handle: usize,
}

impl Program {
    /// `denoise.c`, with the firmware's model and patches.
    fn float(folder: &Path) -> Result<Self> {
        let (model, patches) = inputs()?;
        let file = ModelFile::read(&model).map_err(sound)?;
        let mut data = Data::new(&model, patches.count);
        data.define("INPUT_DIM", file.spec.input_dim());
        data.define("CODE_DIM", file.spec.code_dim());
        data.define("HIDDEN_DIM", file.spec.hidden_dim());
        data.define("NOISE", format_args!("{:?}f", patches.noise()));
        // Rust's shortest digits give the same number again in C.
        let samples = patches.noisy.iter().map(|sample| format!("{sample:?}f"));
        data.array("float", "noisy", samples);

        let expected = reference(&model, &patches, BUDGET)?;
        Ok(Self {
            source: "denoise.c",
            data: data.write(&folder.join("float"))?,
            expected: vec![
                ("patches", u32::try_from(patches.count)?),
                ("iterations", u32::try_from(expected.iterations)?),
                ("encode checksum", expected.checksums.encode),
                ("refine checksum", expected.checksums.refine),
                ("decode checksum", expected.checksums.decode),
                ("denoise checksum", expected.checksums.denoise),
            ],
            handle: size_of::<sparsecode_model>(),
        })
    }

    /// `integer.c`, with the same model in integers.
    fn integer(folder: &Path) -> Result<Self> {
        let (model, patches) = inputs()?;
        let ranges = ActivationRanges {
            input_scale: 1.0 / 255.0,
            input_min: -128,
            input_max: 383,
            code_max: 16.0,
        };
        let file = ModelFile::read(&model).map_err(sound)?;
        let mut model = OwnedModel::from_file(&file).map_err(sound)?;
        // So that there is something to restore.
        model.spec.preprocessing.contrast = Contrast::RemoveMean;
        let written = write_integer(&model, &ranges).map_err(sound)?;
        let model = AlignedBytes::from_slice(&written.bytes);
        let file = IntegerFile::read(&model).map_err(sound)?;
        let levels: Vec<i16> = patches
            .noisy
            .iter()
            .map(|sample| level(*sample, ranges.input_scale))
            .collect();
        let mut data = Data::new(&model, patches.count);
        data.define("INPUT_DIM", file.spec.input_dim());
        data.define("CODE_DIM", file.spec.code_dim());
        data.array("int16_t", "noisy", levels.iter().map(i16::to_string));
        Ok(Self {
            source: "integer.c",
            data: data.write(&folder.join("integer"))?,
            expected: integer_reference(file, &levels)?,
            handle: size_of::<sparsecode_integer_model>(),
        })
    }

    /// `stream.c`, with a small model that denoises and builds its Gram matrix, on the ECG.
    fn stream(folder: &Path) -> Result<Self> {
        let mut model = example_denoiser(32, 24, 3);
        let drift = 25;
        if let Some(gram) = &mut model.gram {
            (gram.hop, gram.drift) = (8, Some(drift));
        }
        let ranges = ActivationRanges {
            input_scale: 0.001,
            input_min: -32_000,
            input_max: 32_000,
            code_max: 16.0,
        };
        let (weights, levels) = (WeightType::I8, Activations::I16);
        let built = write_integer_with(&model, &ranges, weights, levels, GramStorage::Built);
        let written = AlignedBytes::from_slice(&built.map_err(sound)?.bytes);
        let file = written.integer_file().map_err(sound)?;
        let signal = fs::read(firmware::folder().join("model/ecg.npy"))?;
        let signal = Patches::parse(&signal, None)?;
        let noisy = signal.noisy.iter();
        let noisy: Vec<i16> = noisy.map(|x| level(*x, ranges.input_scale)).collect();
        let clean = stream::denoise(&file, &noisy)?;

        let mut data = Data::new(&written, 1);
        data.define("INPUT_DIM", file.spec.input_dim());
        data.define("CODE_DIM", file.spec.code_dim());
        data.define("DRIFT", drift);
        data.define("SAMPLES", noisy.len());
        data.array("int16_t", "noisy", noisy.iter().map(i16::to_string));
        let bytes: Vec<u8> = clean.iter().flat_map(|x| x.to_le_bytes()).collect();
        Ok(Self {
            source: "stream.c",
            data: data.write(&folder.join("stream"))?,
            expected: vec![
                ("samples", u32::try_from(clean.len())?),
                ("clean checksum", crc32fast::hash(&bytes)),
            ],
            handle: size_of::<sparsecode_integer_model>(),
        })
    }

    /// Compares what it printed.
    fn check(&self, printed: &str) -> Result<()> {
        for (name, expected) in &self.expected {
            let found = value(printed, name);
            ensure!(
                found == Some(*expected),
                "{}: {name} is not Rust's, {expected:08x}; it printed:\n{printed}",
                self.source
            );
        }
        Ok(())
    }
}

/// The value of a line "name = hexadecimal".
fn value(printed: &str, name: &str) -> Option<u32> {
    let mut lines = printed.lines().filter_map(|line| line.split_once(" = "));
    let (_, digits) = lines.find(|(found, _)| *found == name)?;
    u32::from_str_radix(digits, 16).ok()
}

fn inputs() -> Result<(AlignedBytes, Patches)> {
    let folder = firmware::folder().join("model");
    let model = AlignedBytes::read(folder.join("model.safetensors"))?;
    let patches = fs::read(folder.join("patches.npy"))?;
    let patches = Patches::parse(&patches, None)?;
    Ok((model, patches))
}

/// What `integer.c` does, in Rust.
fn integer_reference(file: IntegerFile<'_>, levels: &[i16]) -> Result<Vec<(&'static str, u32)>> {
    let settings = IntegerRefine {
        max_iterations: BUDGET,
        tolerance_bits: 31,
        ..IntegerRefine::for_model(&file)
    };
    let input_dim = file.spec.input_dim();
    let view = IntegerView::from(file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let [mut encode, mut refine, mut decode, mut denoise]: [crc32fast::Hasher; 4] =
        Default::default();
    let add_code = |hasher: &mut crc32fast::Hasher, code: &IntegerCodeBuf| {
        for (index, level) in code.iter() {
            hasher.update(&index.to_le_bytes());
            hasher.update(&level.to_le_bytes());
        }
    };
    let add_patch = |hasher: &mut crc32fast::Hasher, patch: &[i16]| {
        for level in patch {
            hasher.update(&level.to_le_bytes());
        }
    };
    let (mut patches, mut iterations) = (0, 0);
    for noisy in levels.chunks(input_dim) {
        let mut patch = noisy.to_vec();
        let normalisation = view.preprocess(&mut patch)?;
        view.encode(&patch, &mut code, &mut workspace)?;
        add_code(&mut encode, &code);
        let made = view.refine(&patch, &mut code, &settings, &mut workspace, || false)?;
        iterations += made.iterations;
        add_code(&mut refine, &code);
        view.decode(&code, &mut patch, &mut workspace)?;
        view.restore(&mut patch, normalisation)?;
        add_patch(&mut decode, &patch);
        for settings in [None, Some(&settings)] {
            patch.copy_from_slice(noisy);
            view.denoise(&mut patch, settings, &mut code, &mut workspace, || false)?;
            add_patch(&mut denoise, &patch);
        }
        patches += 1;
    }
    Ok(vec![
        ("patches", patches),
        ("iterations", iterations),
        ("encode checksum", encode.finalize()),
        ("refine checksum", refine.finalize()),
        ("decode checksum", decode.finalize()),
        ("denoise checksum", denoise.finalize()),
    ])
}

/// `data.h` and `data.c`: constants and arrays for a program.
struct Data {
    header: String,
    source: String,
}

impl Data {
    /// A model file as words, which C aligns.
    fn new(model: &[u8], patches: usize) -> Self {
        let mut data = Self {
            header: "/* Written by `cargo xtask capi`. */\n#include <stdint.h>\n\n".to_owned(),
            source: "#include \"data.h\"\n".to_owned(),
        };
        data.define("MODEL_BYTES", model.len());
        data.define("PATCHES", patches);
        data.define("BUDGET", BUDGET);
        let words = model.chunks(4).map(|bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            format!("{:#010x}u", u32::from_le_bytes(word))
        });
        data.array("uint32_t", "model_file", words);
        data
    }

    fn define(&mut self, name: &str, value: impl fmt::Display) {
        let _ = writeln!(self.header, "#define {name} {value}");
    }

    fn array(&mut self, kind: &str, name: &str, elements: impl Iterator<Item = String>) {
        let elements: Vec<String> = elements.collect();
        let _ = writeln!(
            self.header,
            "extern const {kind} {name}[{}];",
            elements.len()
        );
        let _ = writeln!(self.source, "\nconst {kind} {name}[] = {{");
        for line in elements.chunks(8) {
            let _ = writeln!(self.source, "    {},", line.join(", "));
        }
        self.source.push_str("};\n");
    }

    fn write(self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("data.h"), self.header)?;
        fs::write(folder.join("data.c"), self.source)?;
        Ok(folder.to_owned())
    }
}

/// Builds the static library by a `cargo build` for a target, or for this machine, and returns its
/// path.
pub(crate) fn library(mut cargo: Command, folder: &Path, target: Option<&str>) -> Result<PathBuf> {
    succeed(
        cargo
            .args(["--quiet", "--manifest-path", "capi/Cargo.toml"])
            .current_dir(root())
            .arg("--target-dir")
            .arg(folder),
    )?;
    let folder = target.map_or_else(|| folder.to_owned(), |target| folder.join(target));
    Ok(folder.join("release").join("libsparsecode.a"))
}

fn examples() -> PathBuf {
    root().join("examples/c")
}

/// Everything on this machine.
fn host(tools: &Tools, folder: &Path, programs: &[Program]) -> Result<Checked> {
    let mut checked = Checked::default();
    if let Some(missing) = missing_compiler(tools, &tools.cc, "gcc") {
        checked.skipped.push(missing);
        return Ok(checked);
    }
    // The header alone, in both languages.
    let header = |program: &str, standard: &str, language: &str| {
        let header = root().join("runtime/include/sparsecode.h");
        let mut check = compiler(program, standard);
        check.args(["-x", language, "-fsyntax-only", "-include"]);
        succeed(check.arg(header).arg("/dev/null"))
    };
    header(&tools.cc, "c99", "c")?;
    match missing_compiler(tools, &tools.cxx, "g++") {
        None => header(&tools.cxx, "c++11", "c++")?,
        Some(missing) => {
            let skipped = format!("the header in C++: {missing}");
            checked.skipped.push(skipped);
        }
    }
    checked.skipped.extend(guide::check_c(tools, folder)?);

    let mut build = cargo();
    build.args(["build", "--release"]);
    let archive = library(build, folder, None)?;
    check_symbols(&fs::read(&archive).with_context(|| archive.display().to_string())?)?;
    for program in programs {
        let executable = program.data.join("host");
        let sources = [program.source, "host.c"].map(|name| examples().join(name));
        let mut compile = compiler(&tools.cc, "c99");
        compile.arg("-I").arg(&program.data).args(&sources);
        compile.arg(program.data.join("data.c")).arg(&archive);
        succeed(compile.arg("-o").arg(&executable))?;
        let output = Command::new(&executable).output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{} ended with {}: {printed}",
            program.source,
            output.status
        );
        program.check(&printed)?;
        ensure!(
            value(&printed, "model bytes").map(|bytes| bytes as usize) == Some(program.handle),
            "{}: a handle has another size than {} bytes; it printed:\n{printed}",
            program.source,
            program.handle
        );
        checked.ran.push(Ran {
            source: program.source,
            through: tools.cc.clone(),
            stack: None,
        });
    }
    Ok(checked)
}

/// What a C compiler has to know of a core.
const M4F: [&str; 3] = ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"];
const M0PLUS: [&str; 2] = ["-mcpu=cortex-m0plus", "-mfloat-abi=soft"];

/// Everything on a Cortex-M in QEMU.
fn device(
    tools: &Tools,
    folder: &Path,
    programs: &[Program],
    setup: &Setup,
    core: &'static [&'static str],
) -> Result<Checked> {
    let mut checked = Checked::default();
    let (toolchain, arm) = match Arm::ready(tools, setup, core) {
        Ok(ready) => ready,
        Err(missing) => {
            checked.skipped.push(missing);
            return Ok(checked);
        }
    };
    let build = toolchain.cargo_build(setup.target, setup.target_cpu);
    let archive = library(build, folder, Some(setup.target))?;
    check_symbols(&fs::read(&archive).with_context(|| archive.display().to_string())?)?;
    for program in programs {
        let sources = [
            examples().join(program.source),
            examples().join("cortex-m/start.c"),
            program.data.join("data.c"),
        ];
        let mut objects = Vec::new();
        for source in &sources {
            let object = program.data.join(setup.name).with_added_extension(
                source
                    .file_stem()
                    .map_or_else(String::new, |stem| format!("{}.o", stem.display())),
            );
            let mut compile = arm.compile();
            compile.arg("-I").arg(&program.data).arg("-c").arg(source);
            succeed(compile.arg("-o").arg(&object))?;
            objects.push(object);
        }
        let program_file = program.data.join(setup.name).with_added_extension("elf");
        let mut link = arm.link();
        link.arg("-T").arg(examples().join("cortex-m/cortex-m.ld"));
        succeed(
            link.args(&objects)
                .arg(&archive)
                .arg("-o")
                .arg(&program_file),
        )?;
        let (success, printed) = setup.machine.run(&program_file, Duration::from_secs(120))?;
        let printed = String::from_utf8_lossy(&printed);
        ensure!(success, "{} gave up: {printed}", program.source);
        program.check(&printed)?;
        if core == M0PLUS && program.source != "denoise.c" {
            let floats = elf::float_symbols(&fs::read(&program_file)?)?;
            ensure!(
                floats.is_empty(),
                "floating-point emulation is linked: {}",
                floats.join(", ")
            );
        }
        let stack = value(&printed, "stack bytes").context("no stack bytes")?;
        checked.ran.push(Ran {
            source: program.source,
            through: format!("{} and {toolchain}", arm.compiler),
            stack: Some(stack),
        });
    }
    Ok(checked)
}

/// A C compiler for Cortex-M without a C library, and a linker.
struct Arm {
    compiler: &'static str,
    linker: &'static str,
    target: &'static str,
    core: &'static [&'static str],
}

impl Arm {
    /// The compilers for a core whose emulator is here, too; else all that is missing.
    fn ready(
        tools: &Tools,
        setup: &Setup,
        core: &'static [&'static str],
    ) -> Result<(Toolchain, Self), String> {
        match (setup.ready(tools), Self::find(tools, setup.target, core)) {
            (Ok(toolchain), Some(arm)) => Ok((toolchain, arm)),
            (ready, arm) => {
                let c =
                    "no C compiler for Cortex-M: apt install clang-19 lld-19, or gcc-arm-none-eabi";
                let c = arm.is_none().then(|| c.to_owned());
                let missing: Vec<String> = ready.err().into_iter().chain(c).collect();
                Err(missing.join("; "))
            }
        }
    }

    fn find(tools: &Tools, target: &'static str, core: &'static [&'static str]) -> Option<Self> {
        let gcc = "arm-none-eabi-gcc";
        let first =
            |names: [&'static str; 2]| names.into_iter().find(|name| tools.is_installed(name));
        let (compiler, linker) =
            match (first(["clang-19", "clang"]), first(["ld.lld-19", "ld.lld"])) {
                (Some(compiler), Some(linker)) => (compiler, linker),
                _ if tools.is_installed(gcc) => (gcc, gcc),
                _ => return None,
            };
        Some(Self {
            compiler,
            linker,
            target,
            core,
        })
    }

    fn through(&self) -> String {
        format!("{}, {}", self.compiler, self.linker)
    }

    fn compile(&self) -> Command {
        let mut command = compiler(self.compiler, "c99");
        if self.compiler.starts_with("clang") {
            command.arg(format!("--target={}", self.target));
        }
        command.args(self.core).args(["-mthumb", "-ffreestanding"]);
        command.args(["-ffunction-sections", "-fdata-sections"]);
        command
    }

    fn link(&self) -> Command {
        let mut command = Command::new(self.linker);
        if self.linker == self.compiler {
            command.args(self.core).arg("-mthumb");
            command.args(["-nostdlib", "-Wl,--gc-sections"]);
        } else {
            command.arg("--gc-sections");
        }
        command
    }
}

/// Refuses a library that brings names of its own to a C program, or a path to a panic.
pub(crate) fn check_symbols(archive: &[u8]) -> Result<()> {
    let archive_file = ArchiveFile::parse(archive).context("not a library")?;
    let mut functions = 0;
    for member in archive_file.members() {
        let member = member?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        // Members lie anywhere, ELF headers on a multiple of 8.
        let bytes = AlignedBytes::from_slice(member.data(archive)?);
        let object = object::File::parse(&*bytes).with_context(|| name.clone())?;
        for symbol in object.symbols().filter(|symbol| symbol.is_definition()) {
            let (symbol_name, global) = (symbol.name()?, symbol.is_global());
            if symbol_name.contains("panicking") || symbol_name.contains("rust_begin_unwind") {
                bail!("a panic is reachable: {name} holds {symbol_name}");
            }
            functions += usize::from(global && symbol_name.starts_with("sparsecode_"));
            ensure!(
                !global || symbol.is_weak() || may_be_global(&name, symbol_name),
                "{name} gives the name {symbol_name} to every program that links it"
            );
        }
    }
    ensure!(functions > 20, "{functions} functions");
    Ok(())
}

/// The functions of the header; what the compiler calls by itself; and what is assembled, under a
/// name that no program in C has.
fn may_be_global(member: &str, symbol: &str) -> bool {
    let mangled = symbol.starts_with("_R") || symbol.starts_with("_ZN");
    // Rust's own, and those of LLVM that come with it.
    let builtin = !member.starts_with("sparsecode-");
    symbol.starts_with("sparsecode_")
        || (mangled && (builtin || symbol.contains("sparsecode_runtime")))
        || (builtin && (symbol.starts_with("__") || symbol.starts_with("anon.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_in_c_compute_what_rust_does() {
        let tools = Tools::here().unwrap();
        let checked = check(&tools, Place::Host).unwrap();
        match missing_compiler(&tools, &tools.cc, "gcc") {
            None => assert_eq!(checked.ran.len(), 3, "{checked:?}"),
            Some(missing) => assert_eq!(checked.skipped, [missing]),
        }
    }

    #[test]
    fn other_results_are_refused() {
        let program = Program {
            source: "denoise.c",
            data: PathBuf::new(),
            expected: vec![("patches", 4), ("encode checksum", 0xabc)],
            handle: 0,
        };
        program
            .check("patches = 00000004\nencode checksum = 00000abc\n")
            .unwrap();
        for printed in [
            "patches = 00000004\nencode checksum = 00000abd\n",
            "patches = 00000004\n",
        ] {
            let error = program.check(printed).unwrap_err().to_string();
            assert!(error.contains("encode checksum is not"), "{error}");
        }
    }

    #[test]
    fn only_names_of_the_library_are_global() {
        let member = "sparsecode-1234.sparsecode.1234-cgu.0.rcgu.o";
        assert!(may_be_global(member, "sparsecode_encode"));
        assert!(may_be_global(
            member,
            "_RNvNtCs_18sparsecode_runtime7kernels3dsp"
        ));
        assert!(may_be_global("compiler_builtins-12.o", "__mulsi3"));
        assert!(!may_be_global("compiler_builtins-12.o", "fmaf"));
        assert!(!may_be_global(member, "encode"));
        assert!(!may_be_global(member, "memcpy"));
    }
}
