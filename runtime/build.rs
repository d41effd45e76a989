//! Says which kernels the target has. Rust's own `target_feature` does not know the DSP extension of Cortex-M on stable.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(sparsecode_dsp, values(none(), \"extension\"))");
    let target = env::var("TARGET").unwrap_or_default();
    // The compiler's flags, separated by 0x1f.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    // Optional in ARMv8-M: there the processor's name says it.
    let with_dsp = ["cortex-m33", "cortex-m35p", "cortex-m55", "cortex-m85"];
    let named = with_dsp
        .iter()
        .any(|cpu| flags.contains(&format!("target-cpu={cpu}")));
    if target.starts_with("thumbv7em") {
        println!("cargo::rustc-cfg=sparsecode_dsp");
    } else if target.starts_with("thumbv8m.main") && named {
        println!("cargo::rustc-cfg=sparsecode_dsp");
        println!("cargo::rustc-cfg=sparsecode_dsp=\"extension\"");
    }
}
