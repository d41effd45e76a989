//! Puts the commit of the sources into the program, for the provenance of models.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SPARSECODE_COMMIT");
    println!("cargo:rerun-if-changed=../.git/HEAD");
    println!("cargo:rerun-if-changed=../.git/refs/heads");
    let commit = std::env::var("SPARSECODE_COMMIT").ok().or_else(|| {
        let output = Command::new("git")
            .args(["rev-parse", "--short=12", "HEAD"])
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    });
    println!(
        "cargo:rustc-env=SPARSECODE_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}
