//! The best of several samples of a code, for `cargo xtask firmware` to hold to the host: by a
//! model with Laplacian noise and learned thresholds, and by one with Gaussian noise.
#![no_std]
#![no_main]

/// A variational model in float arithmetic, from the build script.
#[allow(dead_code, unreachable_pub)]
mod variational {
    include!(concat!(env!("OUT_DIR"), "/variational.rs"));
}

/// The same with Gaussian noise, from the build script.
#[allow(dead_code, unreachable_pub)]
mod sampled {
    include!(concat!(env!("OUT_DIR"), "/sampled.rs"));
}

use defmt::{error, info};
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::{board, stack};
use sparsecode_runtime::{LoadError, Model, Samples, SparseCode, Workspace};

/// Patches, and samples of the code of each.
const PATCHES: u32 = 3;
const SAMPLES: u32 = 8;

/// Levels within ±1023 that the host makes as well.
struct Levels(u32);

impl Levels {
    fn patch<const LENGTH: usize>(&mut self) -> [f32; LENGTH] {
        core::array::from_fn(|_| {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(((self.0 >> 16) as u16).cast_signed() >> 5) / 1024.0
        })
    }
}

#[board::entry]
fn main() -> ! {
    stack::paint();
    board::init();
    info!("core = {=str}", board::NAME);
    let (counted, executed) = board::check_counter();
    info!("counter counted = {=u64}", counted);
    info!("counter expected = {=u64}", executed);
    let laplacian = laplacian();
    let gaussian = gaussian();
    info!("stack bytes = {=usize}", stack::high_water());
    if let (Ok(laplacian), Ok(gaussian)) = (&laplacian, &gaussian) {
        info!("laplacian samples checksum = {=u32}", laplacian.0);
        info!("gaussian samples checksum = {=u32}", gaussian.0);
        info!("laplacian samples instructions = {=u64}", laplacian.1);
        info!("gaussian samples instructions = {=u64}", gaussian.1);
    }
    for outcome in [&laplacian, &gaussian] {
        if let Err(reason) = outcome {
            error!("a model does not load: {}", reason);
        }
    }
    board::exit(laplacian.is_ok() && gaussian.is_ok())
}

/// The checksum of the best samples of a model's codes, and instructions for the last patch.
#[inline(never)]
fn best<const INPUT: usize, const CODE: usize, const HIDDEN: usize>(
    model: &Model<'_, INPUT, CODE, HIDDEN>,
) -> (u32, u64) {
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let (mut checksum, mut levels) = (Checksum::new(), Levels(31));
    let mut instructions = 0;
    for input in 0..PATCHES {
        let patch = levels.patch();
        let samples = Samples {
            input: input.into(),
            ..Samples::new(31, SAMPLES)
        };
        let (best, taken) =
            board::measure(|| model.encode_best_of(&patch, &mut code, &samples, &mut workspace));
        match best {
            Ok(best) => checksum.add_patch(&[best.error, best.sample as f32]),
            Err(reason) => error!("no samples: {}", reason),
        }
        checksum.add_code(&code);
        instructions = taken;
    }
    (checksum.value(), instructions)
}

/// Each model in a frame of its own, for the stack of the smallest cores.
#[inline(never)]
fn laplacian() -> Result<(u32, u64), LoadError> {
    Ok(best(&variational::load()?))
}

#[inline(never)]
fn gaussian() -> Result<(u32, u64), LoadError> {
    Ok(best(&sampled::load()?))
}
