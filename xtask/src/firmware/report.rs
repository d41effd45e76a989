//! What a run found, as a table for people and as JSON for programs.

use serde_json::{Value, json};

use super::elf::Footprint;
use super::host::Checksums;

/// What a core's firmware measured of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measurements {
    pub(crate) footprint: Footprint,
    /// Bytes of patch, code and workspace.
    pub(crate) scratch: u64,
    /// Deepest stack of the inference, in bytes.
    pub(crate) stack: u64,
    /// Deepest stack of the whole program, logging included.
    pub(crate) stack_with_log: u64,
    /// Instructions, means over the patches; `refine` is for one iteration.
    pub(crate) encode: u64,
    pub(crate) refine: u64,
    pub(crate) decode: u64,
    pub(crate) denoise: u64,
    /// Active atoms of the encoder's code and iterations of a refinement, means over the patches.
    pub(crate) active: f32,
    pub(crate) iterations: f32,
    /// PSNR in dB, means over the patches.
    pub(crate) noisy: f32,
    pub(crate) denoised: f32,
    pub(crate) refined: f32,
    pub(crate) checksums: Checksums,
}

/// How a core fared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Ran, and its results are the host's.
    Passed(Box<Measurements>),
    /// Could not run here; why, and what to install.
    Skipped(String),
    /// Did not build, did not run, or came to other results.
    Failed(String),
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) core: &'static str,
    pub(crate) toolchain: String,
    pub(crate) outcome: Outcome,
}

const HEADINGS: [&str; 12] = [
    "core",
    "flash",
    "model",
    "RAM static",
    "scratch",
    "stack",
    "encode",
    "refine/iter",
    "decode",
    "denoise",
    "PSNR dB",
    "checksum",
];

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn cells(core: &str, measured: &Measurements) -> [String; 12] {
    let footprint = &measured.footprint;
    [
        core.to_owned(),
        grouped(footprint.flash),
        grouped(footprint.model),
        grouped(footprint.ram),
        grouped(measured.scratch),
        grouped(measured.stack),
        grouped(measured.encode),
        grouped(measured.refine),
        grouped(measured.decode),
        grouped(measured.denoise),
        format!(
            "{:.2} > {:.2} > {:.2}",
            measured.noisy, measured.denoised, measured.refined
        ),
        format!("{:08x} ok", measured.checksums.all()),
    ]
}

/// The table, one core a line, then the cores without figures and what the columns mean.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines: Vec<[String; 12]> = vec![HEADINGS.map(str::to_owned)];
    for row in rows {
        if let Outcome::Passed(measured) = &row.outcome {
            lines.push(cells(row.core, measured));
        }
    }
    let mut text = String::new();
    if lines.len() > 1 {
        let widths: [usize; 12] = std::array::from_fn(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        });
        for line in &lines {
            let mut joined = format!("{:<width$}", line[0], width = widths[0]);
            for (cell, width) in line.iter().zip(widths).skip(1) {
                joined.push_str(&format!("  {cell:>width$}"));
            }
            text.push_str(joined.trim_end());
            text.push('\n');
        }
        text.push_str(
            "\nflash to stack: bytes (stack: inference alone). encode to denoise: instructions for a patch as QEMU executes them,\n\
             not cycles: no pipeline, wait states or caches. denoise is the whole path with refinement. PSNR: noisy > encoder's\n\
             code > refined code. checksum: codes and reconstructions, bit for bit those of the host.\n",
        );
    }
    for row in rows {
        match &row.outcome {
            Outcome::Passed(_) => {}
            Outcome::Skipped(why) => text.push_str(&format!("{}: skipped: {why}\n", row.core)),
            Outcome::Failed(why) => text.push_str(&format!("{}: FAILED: {why}\n", row.core)),
        }
    }
    text
}

/// The same for programs.
pub(crate) fn json(rows: &[Row]) -> Value {
    let cores: Vec<Value> = rows
        .iter()
        .map(|row| match &row.outcome {
            Outcome::Passed(measured) => json!({
                "core": row.core,
                "status": "passed",
                "toolchain": row.toolchain,
                "flash_bytes": measured.footprint.flash,
                "model_bytes": measured.footprint.model,
                "data_bytes": measured.footprint.data,
                "static_ram_bytes": measured.footprint.ram,
                "scratch_bytes": measured.scratch,
                "stack_bytes": measured.stack,
                "stack_with_log_bytes": measured.stack_with_log,
                "instructions": {
                    "encode": measured.encode,
                    "refine_iteration": measured.refine,
                    "decode": measured.decode,
                    "denoise": measured.denoise,
                },
                "active_atoms": measured.active,
                "refine_iterations": measured.iterations,
                "psnr_db": {
                    "noisy": measured.noisy,
                    "denoised": measured.denoised,
                    "refined": measured.refined,
                },
                "checksum": format!("{:08x}", measured.checksums.all()),
            }),
            Outcome::Skipped(why) => {
                json!({ "core": row.core, "status": "skipped", "reason": why })
            }
            Outcome::Failed(why) => json!({ "core": row.core, "status": "failed", "reason": why }),
        })
        .collect();
    json!({ "cores": cores })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(encode: u64) -> Outcome {
        Outcome::Passed(Box::new(Measurements {
            footprint: Footprint {
                flash: 61_234,
                model: 35_000,
                data: 0,
                ram: 1_300,
                scratch: 1_284,
            },
            scratch: 1_280,
            stack: 400,
            stack_with_log: 900,
            encode,
            refine: 50_000,
            decode: 7_000,
            denoise: 990_000,
            active: 11.5,
            iterations: 20.0,
            noisy: 14.0,
            denoised: 20.0,
            refined: 21.0,
            checksums: Checksums {
                encode: 1,
                refine: 2,
                decode: 3,
                denoise: 4,
            },
        }))
    }

    fn row(core: &'static str, outcome: Outcome) -> Row {
        Row {
            core,
            toolchain: "the installed target".into(),
            outcome,
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1 000", "1 234 567"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let text = table(&[
            row("m4f", measured(120_000)),
            row("m0plus", measured(9_876_543)),
        ]);
        let lines: Vec<&str> = text.lines().take(3).collect();
        let end = |line: &str, cell: &str| line.find(cell).map(|start| start + cell.len());
        assert!(end(lines[0], "encode").is_some());
        assert_eq!(end(lines[0], "encode"), end(lines[1], "120 000"));
        assert_eq!(end(lines[0], "encode"), end(lines[2], "9 876 543"));
        assert!(lines.iter().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn cores_without_figures_say_why() {
        let rows = [
            row(
                "m4f",
                Outcome::Skipped("qemu-system-arm not found: apt install qemu-system-arm".into()),
            ),
            row("m7", Outcome::Failed("does not link".into())),
        ];
        let text = table(&rows);
        assert_eq!(
            text.lines().next(),
            Some("m4f: skipped: qemu-system-arm not found: apt install qemu-system-arm")
        );
        assert!(text.contains("m7: FAILED: does not link"));
        let statuses: Vec<_> = json(&rows)["cores"]
            .as_array()
            .unwrap()
            .iter()
            .map(|core| core["status"].clone())
            .collect();
        assert_eq!(statuses, ["skipped", "failed"]);
    }
}
