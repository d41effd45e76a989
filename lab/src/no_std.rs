//! The crates that run on devices, built where there is no standard library.

use anyhow::Result;

use crate::{Toolchain, root, succeed, target_dir};

/// The bare-metal targets.
pub const TARGETS: [&str; 4] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
    "riscv32imc-unknown-none-elf",
];

/// The crates.
pub const CRATES: [&str; 2] = ["sparsecode-formats", "sparsecode-runtime"];

/// Features for a device, as cargo wants them: none, `defmt`, and all of them.
pub const FEATURES: [&str; 3] = [
    "",
    "sparsecode-formats/defmt,sparsecode-runtime/defmt",
    "sparsecode-formats/defmt,sparsecode-runtime/defmt,sparsecode-runtime/serde,sparsecode-runtime/micromath,sparsecode-runtime/capi,sparsecode-runtime/denoise,sparsecode-runtime/variational",
];

/// Builds the crates for a target with some of [`FEATURES`].
///
/// # Errors
/// If they do not build.
pub fn build(toolchain: &Toolchain, target: &str, features: &str) -> Result<()> {
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
    succeed(&mut cargo)
}

/// The features of a list for people: without the crates' names, each once.
pub fn named(features: &str) -> String {
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
            [
                "no features",
                "defmt",
                "defmt, serde, micromath, capi, denoise, variational"
            ]
        );
    }
}
