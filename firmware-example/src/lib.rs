//! What the programs of this package share: the board, the stack's depth, checksums, the embedded
//! model and patches, how a program ends, and what a
//! panic does.
#![no_std]

pub mod board;
pub mod checksum;
pub mod stack;

#[cfg(integer)]
pub mod signal;

/// The model file and its dimensions, from the build script.
pub mod model {
    include!(concat!(env!("OUT_DIR"), "/model.rs"));

    /// Loads the model, in a frame of its own, so that its stack is free again while inference
    /// runs.
    #[inline(never)]
    #[cfg(not(builds_gram))]
    pub fn load_apart() -> Result<Model, sparsecode_runtime::LoadError> {
        load()
    }

    /// The same for a file that does not store its Gram matrix.
    #[inline(never)]
    #[cfg(builds_gram)]
    pub fn load_apart() -> Result<Model, sparsecode_runtime::LoadError> {
        static GRAM: static_cell::ConstStaticCell<[i16; GRAM_LEN]> =
            static_cell::ConstStaticCell::new([0; GRAM_LEN]);
        load_into(GRAM.take())
    }
}

/// Noisy and clean patches in raw samples, or in levels for an integer model, from the build
/// script. A patch of the wrong length does not compile.
pub mod patches {
    include!(concat!(env!("OUT_DIR"), "/patches.rs"));
}

use defmt::error;
use defmt_semihosting as _;
use sparsecode_runtime::LoadError;

/// Paints the stack, starts the board, runs `program` and ends the emulation.
// In `main`'s frame: one of its own would count as the program's stack.
#[inline(always)]
pub fn start(program: impl FnOnce() -> Result<(), LoadError>) -> ! {
    stack::paint();
    board::init();
    let outcome = program();
    if let Err(reason) = &outcome {
        error!("the model does not load: {}", reason);
    }
    board::exit(outcome.is_ok())
}

#[panic_handler]
fn panic(panic: &core::panic::PanicInfo<'_>) -> ! {
    if let Some(place) = panic.location() {
        error!("panic at {=str}:{=u32}", place.file(), place.line());
    }
    board::exit(false)
}
