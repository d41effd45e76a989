//! Says which kernels the target has. Rust's own `target_feature` does not know the extensions of
//! Cortex-M on stable.
//!
//! `sparsecode_host`: x86-64 and AArch64, whose kernels are chosen when a program is loaded.
//! `sparsecode_v6m`: Cortex-M0, M0+ and M1.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_host)");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_neon)");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_mve)");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_v6m)");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_dsp, values(none(), \"extension\"))");
    let target = env::var("TARGET").unwrap_or_default();
    let is_set = |name: &str, value: &str| {
        let found = env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
        found.split(',').any(|one| one == value)
    };
    // There are targets without NEON, and some whose lanes are in the other order.
    let neon = is_set("ARCH", "aarch64") && is_set("FEATURE", "neon") && is_set("ENDIAN", "little");
    if neon {
        println!("cargo::rustc-cfg=sparsecode_neon");
    }
    if neon || is_set("ARCH", "x86_64") {
        println!("cargo::rustc-cfg=sparsecode_host");
    }
    // The compiler's flags, separated by 0x1f.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    // Both are optional in ARMv8-M: there the processor's name says it.
    let is = |cpu: &&str| flags.contains(&format!("target-cpu={cpu}"));
    // Who has a part without them says so.
    let has = |extension: &str| !flags.contains(&format!("-{extension}"));
    if target.starts_with("thumbv6m") {
        println!("cargo::rustc-cfg=sparsecode_v6m");
    } else if target.starts_with("thumbv7em") {
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
