//! A signal without end through an integer model: a sample in, a clean sample out, in fixed memory.
//!
//! `cargo xtask stream` embeds a model and a noisy signal, runs this in QEMU, holds every clean
//! sample to the host's, and says what a sample costs.
#![no_std]
#![no_main]

#[cfg(not(integer))]
compile_error!("SPARSECODE_MODEL: a model exported with --activations i16 is wanted");

use defmt::info;
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::model::{self, INPUT_DIM};
use sparsecode_firmware::patches::{CLEAN, METHOD, NOISY, REFINE, THRESHOLD};
use sparsecode_firmware::{board, stack, start};
use sparsecode_runtime::stream::SignalStream;
use sparsecode_runtime::{IntegerRefine, LoadError};
use static_cell::ConstStaticCell;

/// A window every quarter of a window.
const HOP: usize = INPUT_DIM.div_ceil(4);

struct Scratch {
    /// What a further channel would need, and the only thing.
    channel: SignalStream<i16, INPUT_DIM, HOP>,
    window: [i16; INPUT_DIM],
    code: model::Code,
    workspace: model::Workspace,
}

static SCRATCH: ConstStaticCell<Scratch> = ConstStaticCell::new(Scratch {
    channel: SignalStream::new(),
    window: [0; INPUT_DIM],
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
        window,
        code,
        workspace,
    } = scratch;
    let network = model::load_apart()?;
    let settings = IntegerRefine {
        method: METHOD,
        threshold: THRESHOLD,
        max_iterations: REFINE,
        ..IntegerRefine::for_model(network.file())
    };
    let settings = (REFINE > 0).then_some(&settings);
    let mut denoise = |window: &mut [i16; INPUT_DIM]| {
        network.denoise(window, settings, code, workspace, || false);
    };

    stack::paint();
    let ([noisy], [clean]) = (&NOISY, &CLEAN);
    let mut checksum = Checksum::new();
    let (mut total, mut longest) = (0, 0);
    let (mut expected, mut noise, mut error) = (clean.iter().zip(noisy), 0_u64, 0_u64);
    let mut check = |found: i16| {
        checksum.add_levels(&[found]);
        if let Some((clean, noisy)) = expected.next() {
            noise += u64::from(noisy.abs_diff(*clean)).pow(2);
            error += u64::from(found.abs_diff(*clean)).pow(2);
        }
    };
    for sample in noisy {
        let (found, count) = board::measure(|| channel.push(*sample, window, &mut denoise));
        total += count;
        longest = longest.max(count);
        found.into_iter().for_each(&mut check);
    }
    let (rest, count) = board::measure(|| channel.finish(window, &mut denoise));
    total += count;
    rest.iter().copied().for_each(&mut check);
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
    info!(
        "channel bytes = {=usize}",
        SignalStream::<i16, INPUT_DIM, HOP>::BYTES
    );
    info!("scratch bytes = {=usize}", size_of::<Scratch>());
    info!("stack bytes = {=usize}", stack_of_inference);
    info!("noise = {=u64}", noise);
    info!("error = {=u64}", error);
    info!("checksum = {=u32}", checksum.value());
    Ok(())
}
