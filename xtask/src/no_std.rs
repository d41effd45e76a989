//! `cargo xtask no-std`: the crates that run on devices, built where there is no standard library.

use std::process::ExitCode;

use anyhow::Result;

use crate::{SKIPPED, root, succeed, target_dir, toolchain};

/// Builds `sparsecode-formats` and `sparsecode-runtime` for bare-metal targets, without and with their device features.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 everything was built; 1 something does not build; 2 usage; 77 nothing failed, but a target was skipped because
no compiler here can build for it.")]
pub(crate) struct Arguments {
    /// Build for these targets only (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', default_values_t = TARGETS.map(str::to_owned))]
    target: Vec<String>,
}

pub(crate) const TARGETS: [&str; 4] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
    "riscv32imc-unknown-none-elf",
];

const CRATES: [&str; 2] = ["sparsecode-formats", "sparsecode-runtime"];

/// Features for a device, as cargo wants them: none, `defmt`, and all of them.
const FEATURES: [&str; 3] = [
    "",
    "sparsecode-formats/defmt,sparsecode-runtime/defmt",
    "sparsecode-formats/defmt,sparsecode-runtime/defmt,sparsecode-runtime/serde,sparsecode-runtime/micromath,sparsecode-runtime/capi",
];

/// Runs `cargo xtask no-std`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (mut failed, mut skipped) = (false, false);
    for target in &arguments.target {
        let Some(toolchain) = toolchain::choose(target) else {
            println!("{target}: skipped: {}", toolchain::remedy(target));
            skipped = true;
            continue;
        };
        println!("{target}, through {toolchain}:");
        for features in FEATURES {
            let mut cargo = toolchain.cargo_build(target, None);
            cargo
                .current_dir(root())
                .args(["--quiet", "--lib", "--no-default-features"])
                .args(["--features", features])
                .args(CRATES.iter().flat_map(|name| ["--package", name]))
                .arg("--target-dir")
                .arg(target_dir().join("no-std"))
                // What matters is that it builds.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
            let verdict = match succeed(&mut cargo) {
                Ok(()) => "built".to_owned(),
                Err(error) => {
                    failed = true;
                    format!("FAILED: {error}")
                }
            };
            println!(
                "  {} with {}: {verdict}",
                CRATES.join(" and "),
                named(features)
            );
        }
    }
    Ok(ExitCode::from(match (failed, skipped) {
        (true, _) => 1,
        (false, true) => SKIPPED,
        (false, false) => 0,
    }))
}

/// The features of a list for people: without the crates' names, each once.
fn named(features: &str) -> String {
    let mut names: Vec<&str> = features
        .split(',')
        .filter_map(|feature| feature.split_once('/').map(|(_, name)| name))
        .collect();
    names.dedup();
    if names.is_empty() {
        "no features".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_once() {
        assert_eq!(
            FEATURES.map(named),
            ["no features", "defmt", "defmt, serde, micromath, capi"]
        );
    }

    #[test]
    fn a_target_that_nobody_has_is_skipped() {
        let code = run(&Arguments {
            target: vec!["no-such-target".into()],
        });
        // `choose` falls back to the distribution's compiler where there is one, which then refuses the name.
        let expected = if toolchain::choose("no-such-target").is_some() {
            1
        } else {
            SKIPPED
        };
        assert_eq!(
            format!("{:?}", code.unwrap()),
            format!("{:?}", ExitCode::from(expected))
        );
    }
}
