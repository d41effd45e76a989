//! `cargo xtask no-std`: the crates that run on devices, built where there is no standard library.

use std::process::ExitCode;

use anyhow::Result;
use sparsecode_lab::no_std::{CRATES, FEATURES, TARGETS, build, named};
use sparsecode_lab::{Tools, toolchain};

use crate::exit::SKIPPED;

/// Builds `sparsecode-formats` and `sparsecode-runtime` for bare-metal targets, without and with
/// their device features.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 everything was built; 1 something does not build; 2 usage; 77 nothing failed, but \
a target was skipped because
no compiler here can build for it.")]
pub(crate) struct Arguments {
    /// Build for these targets only (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', default_values_t = TARGETS.map(str::to_owned))]
    target: Vec<String>,
}

/// Runs `cargo xtask no-std`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    let (mut failed, mut skipped) = (false, false);
    for target in &arguments.target {
        let Some(toolchain) = tools.choose(target) else {
            println!("{target}: skipped: {}", toolchain::remedy(target));
            skipped = true;
            continue;
        };
        println!("{target}, through {toolchain}:");
        for features in FEATURES {
            let verdict = match build(&toolchain, target, features) {
                Ok(()) => "built".to_owned(),
                Err(error) => {
                    failed = true;
                    format!("FAILED: {error}")
                }
            };
            let crates = CRATES.join(" and ");
            println!("  {crates} with {}: {verdict}", named(features));
        }
    }
    Ok(ExitCode::from(match (failed, skipped) {
        (true, _) => 1,
        (false, true) => SKIPPED,
        (false, false) => 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_nobody_has_is_skipped() {
        let tools = Tools::here().unwrap();
        let target = vec!["no-such-target".into()];
        let code = run(&tools, &Arguments { target });
        // `choose` falls back to the distribution's compiler where there is one, which then refuses
        // the name.
        let expected = if tools.choose("no-such-target").is_some() {
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
