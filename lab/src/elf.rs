//! What an ELF takes of the device's flash and RAM.

use anyhow::{Context, Result, bail, ensure};
use object::elf::{PT_LOAD, SHF_ALLOC, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile32, ProgramHeader, SectionHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use serde::Serialize;

use crate::Core;

/// Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Everything that is programmed into flash, the initial values of `.data` included.
    pub flash: u64,
    /// The embedded model file.
    pub model: u64,
    /// `.data`: variables that take flash and RAM both.
    pub data: u64,
    /// Static variables (`.data`, `.bss`, `.uninit`); the stack comes on top.
    pub ram: u64,
    /// The static with the inference's buffers.
    pub scratch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Section<'a> {
    name: &'a str,
    flags: u32,
    kind: u32,
    size: u64,
}

/// Sums over sections: (flash, `.data`, static RAM).
fn totals<'a>(sections: impl IntoIterator<Item = Section<'a>>) -> (u64, u64, u64) {
    let (mut flash, mut data, mut ram) = (0, 0, 0);
    for section in sections {
        // riscv-rt's linker script draws what is left for the stack as a section.
        if section.flags & SHF_ALLOC == 0 || [".stack", ".heap"].contains(&section.name) {
            continue;
        }
        let writable = section.flags & SHF_WRITE != 0;
        if section.kind != SHT_NOBITS {
            flash += section.size;
            if writable {
                data += section.size;
            }
        }
        if writable {
            ram += section.size;
        }
    }
    (flash, data, ram)
}

/// Where `needle` lies in `haystack`, all places.
fn occurrences(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    let Some(last) = haystack.len().checked_sub(needle.len()) else {
        return Vec::new();
    };
    (0..=last)
        .filter(|&start| haystack[start..].starts_with(needle))
        .collect()
}

/// Whether a symbol belongs to the emulation of floating-point arithmetic: the names of the ARM
/// run-time ABI (`__aeabi_fadd`, `__aeabi_i2d`), of GCC's library (`__addsf3`, `__fixunsdfsi`), or
/// what Rust's own makes of them.
fn is_float(symbol: &str) -> bool {
    let run_time = ["f", "d", "cf", "cd", "i2", "ui2", "l2", "ul2", "h2"];
    let library = symbol.strip_prefix("__").is_some_and(|name| {
        ["sf", "df", "hf", "tf"]
            .iter()
            .any(|mode| name.contains(mode))
    });
    symbol
        .strip_prefix("__aeabi_")
        .is_some_and(|name| run_time.iter().any(|start| name.starts_with(start)))
        || library
        || (symbol.contains("compiler_builtins") && symbol.contains("float"))
}

/// Functions of floating-point emulation in an ELF.
///
/// # Errors
/// If `elf` is no 32-bit ELF.
pub fn float_symbols(elf: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile32::<Endianness>::parse(elf).context("not a 32-bit ELF")?;
    let names = file.symbols().filter_map(|symbol| symbol.name().ok());
    Ok(names
        .filter(|name| is_float(name))
        .map(str::to_owned)
        .collect())
}

/// Refuses emulation of floating-point arithmetic on a core that has no unit for it.
pub(crate) fn check_floats(core: Core, elf: &[u8]) -> Result<()> {
    if !core.lacks_floats() {
        return Ok(());
    }
    let symbols = float_symbols(elf)?;
    ensure!(
        symbols.is_empty(),
        "{core}: floating-point emulation is linked: {}",
        symbols.join(", ")
    );
    Ok(())
}

/// Flash, `.data` and static RAM of a file, in bytes.
fn totals_of(file: &ElfFile32<'_, Endianness>) -> (u64, u64, u64) {
    let endian = file.endian();
    totals(file.sections().map(|section| {
        let header = section.elf_section_header();
        Section {
            name: section.name().unwrap_or(""),
            flags: header.sh_flags(endian),
            kind: header.sh_type(endian),
            size: section.size(),
        }
    }))
}

/// The bytes of flash that a program takes, with all that it holds.
///
/// # Errors
/// If `elf` is no 32-bit ELF.
pub fn flash(elf: &[u8]) -> Result<u64> {
    let file = ElfFile32::<Endianness>::parse(elf).context("not a 32-bit ELF")?;
    Ok(totals_of(&file).0)
}

/// Measures `elf`, which must hold the file `model` once and unchanged in memory that is not copied
/// to RAM.
///
/// # Errors
/// If `elf` is no 32-bit ELF, does not hold the model so, or has no symbol `SCRATCH`.
pub fn footprint(elf: &[u8], model: &[u8]) -> Result<Footprint> {
    let file = ElfFile32::<Endianness>::parse(elf).context("not a 32-bit ELF")?;
    let endian = file.endian();
    let (flash, data, ram) = totals_of(&file);

    let mut places = 0;
    for segment in file.elf_program_headers() {
        if segment.p_type(endian) != PT_LOAD {
            continue;
        }
        let bytes = segment
            .data(endian, elf)
            .ok()
            .context("a segment lies outside of the ELF")?;
        let found = occurrences(bytes, model).len();
        if found > 0 && segment.p_vaddr(endian) != segment.p_paddr(endian) {
            bail!("the model is copied from flash to RAM at start");
        }
        places += found;
    }
    if places != 1 {
        bail!("the model file is in the ELF {places} times, unchanged; once was expected");
    }

    let scratch = file
        .symbols()
        .filter(|symbol| symbol.name().is_ok_and(|name| name.contains("SCRATCH")))
        .map(|symbol| symbol.size())
        .max()
        .context("the ELF has no symbol SCRATCH")?;
    Ok(Footprint {
        flash,
        model: model.len() as u64,
        data,
        ram,
        scratch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_is_told_from_integers() {
        for name in [
            "__aeabi_fadd",
            "__aeabi_dcmplt",
            "__aeabi_cfcmple",
            "__aeabi_i2f",
            "__aeabi_ul2d",
            "__addsf3",
            "__floatunsisf",
            "__fixunsdfsi",
            "__truncdfsf2",
            "_ZN17compiler_builtins5float3add8__addsf317h0123456789abcdefE",
        ] {
            assert!(is_float(name), "{name}");
        }
        for name in [
            "__aeabi_lmul",
            "__aeabi_uidiv",
            "__aeabi_idivmod",
            "__aeabi_memcpy4",
            "__muldi3",
            "__udivsi3",
            "__lshrdi3",
            "main",
            "_ZN18sparsecode_runtime7integer6encode6encode17h0123456789abcdefE",
        ] {
            assert!(!is_float(name), "{name}");
        }
    }
    use object::elf::{SHF_EXECINSTR, SHT_PROGBITS};

    #[test]
    fn sections_count_where_they_live() {
        let section = |name, flags, kind, size| Section {
            name,
            flags,
            kind,
            size,
        };
        let sections = [
            section(".text", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS, 1000),
            section(".rodata", SHF_ALLOC, SHT_PROGBITS, 200),
            section(".data", SHF_ALLOC | SHF_WRITE, SHT_PROGBITS, 30),
            section(".bss", SHF_ALLOC | SHF_WRITE, SHT_NOBITS, 4),
            section(".stack", SHF_ALLOC | SHF_WRITE, SHT_NOBITS, 9999),
            section(".debug_info", 0, SHT_PROGBITS, 50_000),
        ];
        assert_eq!(totals(sections), (1230, 30, 34));
    }

    #[test]
    fn every_copy_is_seen() {
        assert_eq!(occurrences(b"abcabcab", b"abc"), [0, 3]);
        assert_eq!(occurrences(b"ab", b"abc"), [0_usize; 0]);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(footprint(b"\x7fELF and no more", b"model").is_err());
    }
}
