//! Says which kernels the target has. Rust's own `target_feature` does not know the extensions of Cortex-M on stable.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_mve)");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_dsp, values(none(), \"extension\"))");
    let target = env::var("TARGET").unwrap_or_default();
    // The compiler's flags, separated by 0x1f.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    // Both are optional in ARMv8-M: there the processor's name says it.
    let is = |cpu: &&str| flags.contains(&format!("target-cpu={cpu}"));
    // Who has a part without them says so.
    let has = |extension: &str| !flags.contains(&format!("-{extension}"));
    if target.starts_with("thumbv7em") {
        println!("cargo::rustc-cfg=sparsecode_dsp");
    } else if target.starts_with("thumbv8m.main") {
        if ["cortex-m55", "cortex-m85"].iter().any(is) && has("mve") {
            println!("cargo::rustc-cfg=sparsecode_mve");
        } else if ["cortex-m33", "cortex-m35p"].iter().any(is) && has("dsp") {
            println!("cargo::rustc-cfg=sparsecode_dsp");
            println!("cargo::rustc-cfg=sparsecode_dsp=\"extension\"");
        }
    }
}
