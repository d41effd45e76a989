//! A signal without end through an integer model: a sample in, a clean sample out, in fixed memory.
//!
//! `cargo xtask stream` embeds a model and a noisy signal, runs this in QEMU, holds every clean
//! sample to the host's, and says what a sample costs.
#![no_std]
#![no_main]

#[cfg(not(integer))]
compile_error!("SPARSECODE_MODEL: a model exported with --activations i16 is wanted");

use sparsecode_firmware::model::{self, INPUT_DIM};
use sparsecode_firmware::patches::{METHOD, REFINE, THRESHOLD};
use sparsecode_firmware::signal::Tally;
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
    let mut tally = Tally::of(|sample| channel.push(sample, window, &mut denoise));
    let rest = channel.finish(window, &mut denoise);
    rest.iter().for_each(|sample| tally.take(*sample));
    let stack_of_inference = stack::high_water();
    let channel = SignalStream::<i16, INPUT_DIM, HOP>::BYTES;
    tally.log(channel, size_of::<Scratch>(), stack_of_inference);
    Ok(())
}
