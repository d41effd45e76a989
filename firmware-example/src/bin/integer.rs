//! A model in integer arithmetic, and what each stage costs on this core, in instructions, means
//! over the patches.
//!
//! `cargo xtask bench device` builds it for every core, runs it in QEMU, and holds codes and
//! patches to the host's; on cores without a floating-point unit it also looks for symbols of its
//! emulation, of which there must be none.
#![no_std]
#![no_main]

#[cfg(not(integer))]
compile_error!("SPARSECODE_MODEL: a model exported with --activations i16 is wanted");

use defmt::info;
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::model::{self, INPUT_DIM};
use sparsecode_firmware::patches::{NOISY, THRESHOLD};
use sparsecode_firmware::{board, stack, start};
use sparsecode_runtime::{IntegerCodeBuffer as _, IntegerRefine, LoadError, Method};
use static_cell::ConstStaticCell;

/// Iterations of which the mean is taken.
const ITERATIONS: u32 = 10;

struct Scratch {
    input: [i16; INPUT_DIM],
    patch: [i16; INPUT_DIM],
    code: model::Code,
    /// For codes that are kept or thrown away; not part of what inference needs.
    other: model::Code,
    workspace: model::Workspace,
}

static SCRATCH: ConstStaticCell<Scratch> = ConstStaticCell::new(Scratch {
    input: [0; INPUT_DIM],
    patch: [0; INPUT_DIM],
    code: model::Code::new(),
    other: model::Code::new(),
    workspace: model::Workspace::new(),
});

#[board::entry]
fn main() -> ! {
    start(|| run(SCRATCH.take()))
}

fn run(scratch: &mut Scratch) -> Result<(), LoadError> {
    let Scratch {
        input,
        patch,
        code,
        other,
        workspace,
    } = scratch;
    let network = model::load_apart()?;
    let fista = IntegerRefine {
        method: Method::Fista,
        threshold: THRESHOLD,
        max_iterations: ITERATIONS,
        tolerance_bits: 31,
        ..IntegerRefine::for_model(network.file())
    };
    let without = IntegerRefine {
        max_iterations: 0,
        ..fista
    };
    let descent = IntegerRefine {
        method: Method::CoordinateDescent,
        ..fista
    };
    // The product of the dictionary with the patch, and next to nothing else: as much work as the
    // encoder's first layer.
    let correlation = IntegerRefine {
        from_zero: true,
        ..without
    };

    stack::paint();
    let (mut preprocess, mut encode, mut decode, mut restore) = (0, 0, 0, 0);
    let (mut dense, mut once, mut iterations, mut active) = (0, 0, 0, 0);
    let (mut passes, mut passing) = (0, 0);
    let mut encoded = Checksum::new();
    let mut decoded = Checksum::new();
    let mut refined = Checksum::new();
    let mut descended = Checksum::new();
    for noisy in &NOISY {
        *input = *noisy;
        let (normalisation, count) = board::measure(|| network.preprocess(input));
        preprocess += count;
        encode += board::measure(|| network.encode(input, code, workspace)).1;
        encoded.add_levels_of(code);
        active += code.active() as u64;
        decode += board::measure(|| network.decode(code, patch, workspace)).1;
        restore += board::measure(|| network.restore(patch, normalisation)).1;
        decoded.add_levels(patch);

        let correlate = || network.refine(input, other, &correlation, workspace, || false);
        dense += board::measure(correlate).1;
        let count = board::measure(|| network.refine(input, code, &without, workspace, || false)).1;
        once += count;
        other.clone_from(code);
        let all = board::measure(|| network.refine(input, code, &fista, workspace, || false)).1;
        iterations += all.saturating_sub(count);
        refined.add_levels_of(code);

        code.clone_from(other);
        let mut made = 0;
        let all = board::measure(|| {
            made = network
                .refine(input, code, &descent, workspace, || false)
                .iterations;
        });
        passes += u64::from(made);
        passing += all.1.saturating_sub(count);
        descended.add_levels_of(code);
    }
    let stack_of_inference = stack::high_water();

    let count = NOISY.len() as u64;
    info!("core = {=str}", board::NAME);
    let (counted, executed) = board::check_counter();
    info!("counter counted = {=u64}", counted);
    info!("counter expected = {=u64}", executed);
    info!("patches = {=u64}", count);
    info!("iterations = {=u32}", ITERATIONS);
    info!("stack bytes = {=usize}", stack_of_inference);
    let bytes = size_of::<Scratch>() - model::Code::BYTES - size_of_val(input);
    info!("scratch bytes = {=usize}", bytes);
    info!("active = {=u64}", active);
    info!("preprocess = {=u64}", preprocess / count);
    info!("encode = {=u64}", encode / count);
    info!("decode = {=u64}", (decode + restore) / count);
    info!("dense layer = {=u64}", dense / count);
    info!("fista once = {=u64}", once / count);
    let each = iterations / (count * u64::from(ITERATIONS));
    info!("fista iteration = {=u64}", each);
    info!("descent pass = {=u64}", passing / passes.max(1));
    info!("encode checksum = {=u32}", encoded.value());
    info!("decode checksum = {=u32}", decoded.value());
    info!("fista checksum = {=u32}", refined.value());
    info!("descent checksum = {=u32}", descended.value());
    Ok(())
}
