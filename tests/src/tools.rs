//! What the developer commands can run on this machine: `cargo xtask tools`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::{cargo, skipped, target_folder};

/// The program behind `cargo xtask`, built when it is not up to date; `SPARSECODE_XTASK` names one
/// that is.
///
/// # Panics
///
/// If it does not build.
pub fn xtask() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("SPARSECODE_XTASK") {
            return program.into();
        }
        let folder = target_folder();
        let mut build = cargo();
        // As `cargo xtask` builds it.
        build.args(["build", "--quiet", "--package", "xtask"]);
        if folder.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "xtask does not build");
        folder.join(format!("xtask{}", std::env::consts::EXE_SUFFIX))
    });
    Command::new(program)
}

/// The parts of a developer command that can run here; of the others it says what is missing.
///
/// # Panics
///
/// If `cargo xtask tools` fails or does not know a part.
pub fn ready<'a>(command: &str, parts: &[&'a str]) -> Vec<&'a str> {
    let output = xtask().args(["tools", "--json"]).output();
    let output = output.expect("xtask runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (ready, missing) = split(&report[command], parts);
    for (part, why) in missing {
        skipped(&format!("{command} {part}: {why}"));
    }
    ready
}

/// Parts of a command's report that can run, and why the others cannot.
fn split<'a>(report: &Value, parts: &[&'a str]) -> (Vec<&'a str>, Vec<(&'a str, String)>) {
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for part in parts {
        let (through, why) = (&report[part]["through"], &report[part]["missing"]);
        match (through.is_string(), why.as_str()) {
            (true, None) => ready.push(*part),
            (false, Some(why)) => missing.push((*part, why.to_owned())),
            _ => panic!("{part} in {report}"),
        }
    }
    (ready, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_left_out_and_nothing_else() {
        let report = serde_json::json!({
            "m4f": { "through": "the installed target; qemu-system-arm" },
            "rv32imc": { "missing": "apt install qemu-system-misc" },
        });
        let (ready, missing) = split(&report, &["rv32imc", "m4f"]);
        assert_eq!(ready, ["m4f"]);
        assert_eq!(
            missing,
            [("rv32imc", "apt install qemu-system-misc".to_owned())]
        );
        assert!(std::panic::catch_unwind(|| split(&report, &["m55"])).is_err());
    }
}
