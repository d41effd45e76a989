//! The benchmark of models in integer arithmetic: the host's side, and the tables.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use sparsecode_formats::{INTEGER_FORMAT_VERSION, IntegerFile, ModelFile, ReadError};
use sparsecode_runtime::{IntegerRefine, IntegerView};

use super::log::Log;
use super::{Job, Patches, elf, npy};

/// Whether a file holds such a model.
pub(super) fn takes(model: &[u8]) -> bool {
    matches!(
        ModelFile::read(model),
        Err(ReadError::UnsupportedVersion {
            found: INTEGER_FORMAT_VERSION
        })
    )
}

/// CRC-32 of each stage's results.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    encode: u32,
    decode: u32,
    fista: u32,
}

/// What `bin/integer.rs` does, by the same crate.
fn host(file: IntegerFile<'_>, patches: &Patches, iterations: u32) -> Result<Host> {
    let (scale, _) = file.scales().map_err(|error| anyhow::anyhow!("{error}"))?;
    let sound = |error| anyhow::anyhow!("{error}");
    let settings = IntegerRefine {
        threshold: npy::threshold(&file, patches.noise()).map_err(sound)?,
        max_iterations: iterations,
        tolerance_bits: 31,
        ..IntegerRefine::for_model(&file)
    };
    let mut view = IntegerView::new(file);
    let mut hashers: [crc32fast::Hasher; 3] = Default::default();
    let add_code = |hasher: &mut crc32fast::Hasher, view: &IntegerView<'_>| {
        for (index, level) in view.code() {
            hasher.update(&index.to_le_bytes());
            hasher.update(&level.to_le_bytes());
        }
    };
    for noisy in patches.noisy.chunks(patches.input_dim) {
        let mut input: Vec<i16> = noisy.iter().map(|x| npy::level(*x, scale)).collect();
        let normalisation = view.preprocess(&mut input)?;
        view.encode(&input)?;
        add_code(&mut hashers[0], &view);
        let mut output = vec![0; input.len()];
        view.decode(&mut output)?;
        view.restore(&mut output, normalisation)?;
        for level in output {
            hashers[1].update(&level.to_le_bytes());
        }
        view.refine(&input, &settings, || false)?;
        add_code(&mut hashers[2], &view);
    }
    let [encode, decode, fista] = hashers.map(crc32fast::Hasher::finalize);
    Ok(Host {
        encode,
        decode,
        fista,
    })
}

/// Holds every core to the host, and appends the table.
pub(super) fn tables(text: &mut String, job: &Job, runs: &[(&str, Vec<u8>, Log)]) -> Result<()> {
    let file = IntegerFile::read(&job.model).map_err(|error| anyhow::anyhow!("{error}"))?;
    let iterations = runs[0].2.value("iterations")?;
    let host = host(file, &job.patches, iterations)?;
    for (core, elf, log) in runs {
        check(&host, log).with_context(|| (*core).to_owned())?;
        check_floats(core, elf)?;
    }
    let spec = file.spec;
    let (active, count): (f64, f64) = (runs[0].2.value("active")?, job.patches.count as f64);
    writeln!(
        text,
        "\nIntegers: {} → {}, 8-bit weights, 16-bit activations, {count} patches, {:.1} atoms active in the encoder's code. The ELFs of \
         cores without a floating-point unit hold no function of its emulation. *Dense layer*: a product of \
         all weights with the patch, as the encoder's first layer and the refinement's start are. *Once*: for a patch, whatever the number of \
         iterations.\n",
        spec.input_dim(),
        spec.code_dim(),
        active / count,
    )?;
    writeln!(
        text,
        "| core | preprocess | dense layer | encode | decode | all three | FISTA: once | iteration | flash without model, bytes | \
         buffers, bytes | stack, bytes |"
    )?;
    writeln!(text, "|---|{}", "---:|".repeat(10))?;
    for (core, elf, log) in runs {
        let value = |name: &str| log.value::<u64>(name);
        let footprint = elf::footprint(elf, &job.model)?;
        let (preprocess, encode, decode) =
            (value("preprocess")?, value("encode")?, value("decode")?);
        writeln!(
            text,
            "| {core} | {preprocess} | {} | {encode} | {decode} | {} | {} | {} | {} | {} | {} |",
            value("dense layer")?,
            preprocess + encode + decode,
            value("fista once")?,
            value("fista iteration")?,
            footprint.flash - footprint.model,
            value("scratch bytes")?,
            value("stack bytes")?
        )?;
    }
    Ok(())
}

fn check(host: &Host, log: &Log) -> Result<()> {
    for (stage, expected) in [
        ("encode", host.encode),
        ("decode", host.decode),
        ("fista", host.fista),
    ] {
        let found: u32 = log.value(&format!("{stage} checksum"))?;
        ensure!(
            found == expected,
            "{stage} checksum: {found:08x}, the host's is {expected:08x}"
        );
    }
    Ok(())
}

/// Refuses emulation of floating-point arithmetic where there is no unit for it.
pub(super) fn check_floats(core: &str, elf: &[u8]) -> Result<()> {
    if !["m0plus", "rv32imc"].contains(&core) {
        return Ok(());
    }
    let symbols = elf::float_symbols(elf)?;
    ensure!(
        symbols.is_empty(),
        "{core}: floating-point emulation is linked: {}",
        symbols.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_results_than_the_hosts_are_refused() {
        let host = Host {
            encode: 1,
            decode: 2,
            fista: 3,
        };
        let log = |fista: u32| {
            let lines = [("encode", 1), ("decode", 2), ("fista", fista)];
            Log::from_lines(
                lines
                    .map(|(name, value)| format!("info  {name} checksum = {value}"))
                    .into(),
            )
        };
        check(&host, &log(3)).unwrap();
        let error = check(&host, &log(4)).unwrap_err().to_string();
        assert!(error.contains("fista checksum"), "{error}");
    }
}
