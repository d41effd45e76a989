//! `libsparsecode.a`: the functions of `runtime/include/sparsecode.h`, which
//! `sparsecode_runtime::capi` defines.
#![no_std]

use sparsecode_runtime as _;

// The runtime has no path to it, and link-time optimisation drops it: `cargo xtask capi` fails if
// it is still there.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
