//! A signal without end through a model that was trained to denoise: a raw sample in, a clean
//! sample out. Drift is taken off and the noise is estimated, in fixed memory and in integers.
//!
//! `cargo xtask stream` embeds a model of `sparsecode train --task denoise` and a noisy signal,
//! runs this in QEMU, holds every clean sample to the host's, and says what a sample costs.
#![no_std]
#![no_main]

#[cfg(not(integer))]
compile_error!("SPARSECODE_MODEL: a model exported with --activations i16 is wanted");

use defmt::error;
use sparsecode_firmware::model::{self, Denoising, HOP, INPUT_DIM, Stream, StreamScratch};
use sparsecode_firmware::signal::Tally;
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
    let mut network = model::load_apart()?;
    let by = match Denoising::of(network.file(), totals) {
        Ok(by) => by,
        Err(reason) => {
            // Without figures the host reports a failure.
            error!("{}", reason);
            return Ok(());
        }
    };
    let mut clean = |window: &mut [i16; INPUT_DIM], sigma| {
        network.set_noise_level(sigma);
        network.denoise(window, None, code, workspace, || false);
    };

    stack::paint();
    let mut tally = Tally::of(|sample| channel.push(sample, &by, windows, &mut clean));
    channel.finish(&by, windows, &mut clean, |sample| tally.take(sample));
    let stack_of_inference = stack::high_water();
    tally.log(Stream::BYTES, size_of::<Scratch>(), stack_of_inference);
    Ok(())
}
