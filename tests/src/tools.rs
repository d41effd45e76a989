//! Which cores firmware can be built for and run on here.

use sparsecode_lab::{Core, Tools};

use crate::skipped;

/// The compilers and emulators of this machine.
///
/// # Panics
///
/// If `SPARSECODE_TOOLCHAIN` names no way to build.
pub fn tools() -> Tools {
    Tools::here().expect("SPARSECODE_TOOLCHAIN")
}

/// The cores that can run here; of the others it says what is missing.
pub fn ready(cores: &[Core]) -> Vec<Core> {
    let tools = tools();
    let ready = |core: &Core| match core.setup().ready(&tools) {
        Ok(_) => true,
        Err(missing) => {
            skipped(&format!("firmware {core}: {missing}"));
            false
        }
    };
    cores.iter().copied().filter(ready).collect()
}
