//! Sparse codes on a microcontroller: encodes, refines and denoises a few patches in fixed memory,
//! and prints what that took. `cargo xtask firmware` builds it for every core, runs it in QEMU and
//! compares its checksums with the host's.
//!
//! To use it as a start: give your own model (`SPARSECODE_MODEL`), replace `board`, and put your
//! sensor's samples where `NOISY` is read. Nothing else depends on the hardware or on the model's
//! dimensions.
#![no_std]
#![no_main]

use defmt::info;
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::model::{self, INPUT_DIM};
use sparsecode_firmware::patches::{CLEAN, NOISE, NOISY};
use sparsecode_firmware::{board, stack, start};
use sparsecode_runtime::{CodeBuffer as _, LoadError, Refine, mean_squared_error, psnr_db};
use static_cell::ConstStaticCell;

/// At most so many FISTA iterations a patch. On a device with a deadline, give `refine` a closure
/// that reads the clock.
const BUDGET: u32 = 50;

/// All memory that inference needs besides the stack.
struct Scratch {
    /// The patch, which is denoised in place.
    patch: [f32; INPUT_DIM],
    code: model::Code,
    workspace: model::Workspace,
}

static SCRATCH: ConstStaticCell<Scratch> = ConstStaticCell::new(Scratch {
    patch: [0.0; INPUT_DIM],
    code: model::Code::new(),
    workspace: model::Workspace::new(),
});

/// Sums over the patches.
#[derive(Default)]
struct Totals {
    active: usize,
    iterations: u32,
    encode: u64,
    refine: u64,
    decode: u64,
    denoise: u64,
    psnr: [f32; 3],
}

#[board::entry]
fn main() -> ! {
    start(|| run(SCRATCH.take()))
}

fn run(scratch: &mut Scratch) -> Result<(), LoadError> {
    let Scratch {
        patch,
        code,
        workspace,
    } = scratch;
    let network = model::load_apart()?;
    let stack_of_loading = stack::high_water();
    stack::paint();
    let spec = network.spec();
    let settings = Refine {
        max_iterations: BUDGET,
        // λ follows the noise, in the unit of the preprocessed patch.
        ..Refine::for_noise(spec, NOISE / spec.preprocessing.deviation)
    };
    let quality =
        |patch: &[f32], clean: &[f32]| psnr_db(mean_squared_error(patch, clean), spec.peak);

    let mut sums = [const { Checksum::new() }; 4];
    let [encoded, refined, decoded, denoised] = &mut sums;
    let mut totals = Totals::default();
    let mut stack_of_inference = 0;

    for (number, (noisy, clean)) in NOISY.iter().zip(&CLEAN).enumerate() {
        // Stage by stage, as a program does that sends codes instead of samples.
        *patch = *noisy;
        let normalisation = network.preprocess(patch);
        let ((), encode) = board::measure(|| network.encode(patch, code, workspace));
        encoded.add_code(code);
        let active = code.active();
        let (refinement, refine) =
            board::measure(|| network.refine(patch, code, &settings, workspace, || false));
        refined.add_code(code);
        let ((), decode) = board::measure(|| network.decode(code, patch, workspace));
        network.restore(patch, normalisation);
        decoded.add_patch(patch);

        // The same in one call, in place: first with the encoder's code alone, then refined.
        *patch = *noisy;
        network.denoise(patch, None, code, workspace, || false);
        denoised.add_patch(patch);
        let from_encoder = quality(patch, clean);
        *patch = *noisy;
        let (_, denoise) =
            board::measure(|| network.denoise(patch, Some(&settings), code, workspace, || false));
        denoised.add_patch(patch);
        let from_refined = quality(patch, clean);

        if number == 0 {
            // Before the first line is printed: formatting it takes more stack than inference does.
            stack_of_inference = stack::high_water();
        }
        let psnr = [quality(noisy, clean), from_encoder, from_refined];
        info!(
            "patch {}: {} of {} atoms active, {} iterations, PSNR {} > {} > {} dB",
            number,
            active,
            model::CODE_DIM,
            refinement.iterations,
            psnr[0],
            psnr[1],
            psnr[2]
        );
        totals.active += active;
        totals.iterations += refinement.iterations;
        totals.encode += encode;
        totals.refine += refine;
        totals.decode += decode;
        totals.denoise += denoise;
        for (sum, value) in totals.psnr.iter_mut().zip(psnr) {
            *sum += value;
        }
    }

    info!("stack bytes to load = {=usize}", stack_of_loading);
    report(&totals, stack_of_inference);
    let [encoded, refined, decoded, denoised] = sums.map(|sum| sum.value());
    info!("encode checksum = {=u32}", encoded);
    info!("refine checksum = {=u32}", refined);
    info!("decode checksum = {=u32}", decoded);
    info!("denoise checksum = {=u32}", denoised);
    Ok(())
}

/// Prints `name = value` lines; `cargo xtask firmware` reads them by their names.
fn report(totals: &Totals, stack_of_inference: usize) {
    let count = NOISY.len();
    let mean = |sum: u64| sum / count as u64;
    let (counted, executed) = board::check_counter();
    info!("core = {=str}", board::NAME);
    info!("patches = {=usize}", count);
    info!("counter counted = {=u64}", counted);
    info!("counter expected = {=u64}", executed);
    info!("model bytes = {=usize}", model::BYTES.len());
    info!("scratch bytes = {=usize}", size_of::<Scratch>());
    info!("stack bytes = {=usize}", stack_of_inference);
    info!("stack bytes with log = {=usize}", stack::high_water());
    info!("encode instructions = {=u64}", mean(totals.encode));
    info!(
        "refine instructions per iteration = {=u64}",
        totals.refine / u64::from(totals.iterations.max(1))
    );
    info!("decode instructions = {=u64}", mean(totals.decode));
    info!("denoise instructions = {=u64}", mean(totals.denoise));
    info!("refine budget = {=u32}", BUDGET);
    info!("refine iterations = {=u32}", totals.iterations);
    info!("active atoms = {=f32}", totals.active as f32 / count as f32);
    let [noisy, denoised, refined] = totals.psnr.map(|sum| sum / count as f32);
    info!("psnr noisy = {=f32}", noisy);
    info!("psnr denoised = {=f32}", denoised);
    info!("psnr refined = {=f32}", refined);
}
