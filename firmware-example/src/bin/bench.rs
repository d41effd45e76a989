//! What each stage costs on this core, in instructions, means over the patches. `cargo xtask bench
//! device` builds it for every core, runs it in QEMU, compares its codes with the host's and makes
//! the table.
#![no_std]
#![no_main]

use defmt::info;
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::model::{self, INPUT_DIM};
use sparsecode_firmware::patches::{NOISE, NOISY};
use sparsecode_firmware::{board, stack, start};
use sparsecode_runtime::{LoadError, Refine, Refinement};
use static_cell::ConstStaticCell;

/// Iterations of which the mean is taken.
const ITERATIONS: u32 = 10;

struct Scratch {
    patch: [f32; INPUT_DIM],
    code: model::Code,
    workspace: model::Workspace,
}

static SCRATCH: ConstStaticCell<Scratch> = ConstStaticCell::new(Scratch {
    patch: [0.0; INPUT_DIM],
    code: model::Code::new(),
    workspace: model::Workspace::new(),
});

#[board::entry]
fn main() -> ! {
    start(|| run(SCRATCH.take()))
}

/// Instructions of one way to refine, summed over the patches.
struct Method {
    /// What does not depend on the number of iterations.
    once: u64,
    /// Of all iterations.
    iterations: u64,
    checksum: Checksum,
}

impl Method {
    const fn new() -> Self {
        Self {
            once: 0,
            iterations: 0,
            checksum: Checksum::new(),
        }
    }

    /// Refines from the same code without iterations, and with [`ITERATIONS`].
    fn add(
        &mut self,
        code: &mut model::Code,
        settings: &Refine,
        mut refine: impl FnMut(&mut model::Code, &Refine) -> Refinement,
    ) {
        let without = Refine {
            max_iterations: 0,
            ..*settings
        };
        let (_, once) = board::measure(|| refine(code, &without));
        let (_, all) = board::measure(|| refine(code, settings));
        self.once += once;
        self.iterations += all.saturating_sub(once);
        self.checksum.add_code(code);
    }

    fn report(&self, name: &str) {
        let count = NOISY.len() as u64;
        info!("{=str} once = {=u64}", name, self.once / count);
        let each = self.iterations / (count * u64::from(ITERATIONS));
        info!("{=str} iteration = {=u64}", name, each);
        info!("{=str} checksum = {=u32}", name, self.checksum.value());
    }
}

fn run(scratch: &mut Scratch) -> Result<(), LoadError> {
    let Scratch {
        patch,
        code,
        workspace,
    } = scratch;
    let network = model::load_apart()?;
    let spec = network.spec();
    let objective = if NOISE > 0.0 {
        Refine::for_noise(spec, NOISE / spec.preprocessing.deviation)
    } else {
        Refine::for_model(spec)
    };
    let settings = Refine {
        max_iterations: ITERATIONS,
        tolerance: 0.0,
        ..objective
    };
    let count = NOISY.len() as u64;

    stack::paint();
    let (mut preprocess, mut encode, mut decode) = (0, 0, 0);
    let mut direct = Method::new();
    for noisy in &NOISY {
        *patch = *noisy;
        let (_normalisation, count) = board::measure(|| network.preprocess(patch));
        preprocess += count;
        encode += board::measure(|| network.encode(patch, code, workspace)).1;
        let input = &*patch;
        direct.add(code, &settings, |code, settings| {
            network.refine(input, code, settings, workspace, || false)
        });
        decode += board::measure(|| network.decode(code, patch, workspace)).1;
    }
    let stack_of_inference = stack::high_water();

    #[cfg(gram)]
    gram::run(&network, patch, code, workspace, &settings);
    info!("core = {=str}", board::NAME);
    let (counted, executed) = board::check_counter();
    info!("counter counted = {=u64}", counted);
    info!("counter expected = {=u64}", executed);
    info!("patches = {=u64}", count);
    info!("iterations = {=u32}", ITERATIONS);
    info!("stack bytes = {=usize}", stack_of_inference);
    info!("preprocess = {=u64}", preprocess / count);
    info!("encode = {=u64}", encode / count);
    info!("decode = {=u64}", decode / count);
    direct.report("direct");
    Ok(())
}

/// With the Gram matrix, where it fits.
#[cfg(gram)]
mod gram {
    use super::*;
    use sparsecode_runtime::{GramBuffer, GramWorkspace};

    static MATRIX: ConstStaticCell<GramBuffer<{ model::CODE_DIM }>> =
        ConstStaticCell::new(GramBuffer::new());
    static OWN: ConstStaticCell<GramWorkspace<{ model::CODE_DIM }>> =
        ConstStaticCell::new(GramWorkspace::new());

    pub(super) fn run(
        network: &model::Model,
        patch: &mut [f32; INPUT_DIM],
        code: &mut model::Code,
        workspace: &mut model::Workspace,
        settings: &Refine,
    ) {
        let (matrix, own) = (MATRIX.take(), OWN.take());
        let (gram, setup) = board::measure(|| network.gram(matrix, workspace));
        let (mut fista, mut descent) = (Method::new(), Method::new());
        for noisy in &NOISY {
            *patch = *noisy;
            let _ = network.preprocess(patch);
            let input = &*patch;
            network.encode(input, code, workspace);
            fista.add(code, settings, |code, settings| {
                gram.refine(input, code, settings, workspace, own, || false)
            });
            network.encode(input, code, workspace);
            descent.add(code, settings, |code, settings| {
                gram.descend(input, code, settings, workspace, own, || false)
            });
        }
        info!("gram setup = {=u64}", setup);
        info!(
            "gram bytes = {=usize}",
            GramBuffer::<{ model::CODE_DIM }>::BYTES + GramWorkspace::<{ model::CODE_DIM }>::BYTES
        );
        fista.report("gram");
        descent.report("descent");
    }
}
