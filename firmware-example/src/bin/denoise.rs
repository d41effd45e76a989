//! A signal without end through a model that was trained to denoise: a raw sample in, a clean
//! sample out. Drift is taken off and the noise is estimated, in fixed memory and in integers.
//!
//! `cargo xtask stream` embeds a model of `sparsecode train --task denoise` and a noisy signal,
//! runs this in QEMU, holds every clean sample to the host's, and says what a sample costs.
#![no_std]
#![no_main]

#[cfg(not(integer))]
compile_error!("SPARSECODE_MODEL: a model exported with --activations i16 is wanted");

use defmt::{error, info};
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::model::{self, Denoising, HOP, INPUT_DIM, Stream, StreamScratch};
use sparsecode_firmware::patches::{CLEAN, NOISY};
use sparsecode_firmware::{board, stack, start};
use sparsecode_runtime::LoadError;
use static_cell::ConstStaticCell;

struct Scratch {
    /// What a further channel would need, and the only thing.
    channel: Stream,
    windows: StreamScratch,
    totals: [i32; HOP],
    code: model::Code,
    workspace: model::Workspace,
}

static SCRATCH: ConstStaticCell<Scratch> = ConstStaticCell::new(Scratch {
    channel: Stream::new(),
    windows: StreamScratch::new(),
    totals: [0; HOP],
    code: model::Code::new(),
    workspace: model::Workspace::new(),
});

#[board::entry]
fn main() -> ! {
    start(|| run(SCRATCH.take()))
}

fn run(scratch: &mut Scratch) -> Result<(), LoadError> {
    let Scratch {
        channel,
        windows,
        totals,
        code,
        workspace,
    } = scratch;
    let network = model::load_apart()?;
    let by = match Denoising::of(network.file(), totals) {
        Ok(by) => by,
        Err(reason) => {
            // Without figures the host reports a failure.
            error!("{}", reason);
            return Ok(());
        }
    };
    let mut clean = |window: &mut [i16; INPUT_DIM], sigma| {
        let network = network.at_noise_level(sigma);
        network.denoise(window, None, code, workspace, || false);
    };

    stack::paint();
    let ([noisy], [expected]) = (&NOISY, &CLEAN);
    let mut checksum = Checksum::new();
    let (mut total, mut longest) = (0, 0);
    let (mut expected, mut noise, mut error) = (expected.iter().zip(noisy), 0_u64, 0_u64);
    let mut check = |found: i16| {
        checksum.add_levels(&[found]);
        if let Some((clean, noisy)) = expected.next() {
            noise += u64::from(noisy.abs_diff(*clean)).pow(2);
            error += u64::from(found.abs_diff(*clean)).pow(2);
        }
    };
    for sample in noisy {
        let (found, count) = board::measure(|| channel.push(*sample, &by, windows, &mut clean));
        total += count;
        longest = longest.max(count);
        found.into_iter().for_each(&mut check);
    }
    // What is still inside comes out at once, and is not counted: a sensor does not end.
    channel.finish(&by, windows, &mut clean, check);
    let stack_of_inference = stack::high_water();

    info!("core = {=str}", board::NAME);
    let (counted, executed) = board::check_counter();
    info!("counter counted = {=u64}", counted);
    info!("counter expected = {=u64}", executed);
    info!("samples = {=usize}", noisy.len());
    info!(
        "instructions per sample = {=u64}",
        total / noisy.len() as u64
    );
    info!("longest = {=u64}", longest);
    info!("channel bytes = {=usize}", Stream::BYTES);
    info!("scratch bytes = {=usize}", size_of::<Scratch>());
    info!("stack bytes = {=usize}", stack_of_inference);
    info!("noise = {=u64}", noise);
    info!("error = {=u64}", error);
    info!("checksum = {=u32}", checksum.value());
    Ok(())
}
