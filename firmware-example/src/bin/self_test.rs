//! What the core computes beside what others do: its kernels beside the portable ones, a self-test
//! as firmware may run it at power-up, and models whose codes are signed, a variational one among
//! them, for `cargo xtask firmware` to hold to the host.
#![no_std]
#![no_main]

/// A model in float arithmetic, from the build script.
#[allow(dead_code, unreachable_pub)]
mod signed {
    include!(concat!(env!("OUT_DIR"), "/signed.rs"));
}

/// A model in integer arithmetic, from the build script.
#[allow(dead_code, unreachable_pub)]
mod signed_integer {
    include!(concat!(env!("OUT_DIR"), "/signed_integer.rs"));
}

/// A variational model in float arithmetic, from the build script.
#[allow(dead_code, unreachable_pub)]
mod variational {
    include!(concat!(env!("OUT_DIR"), "/variational.rs"));
}

use defmt::{error, info};
use sparsecode_firmware::checksum::Checksum;
use sparsecode_firmware::{board, stack};
use sparsecode_runtime::{GramBuffer, GramWorkspace, IntegerRefine, LoadError, Method, Refine};
use static_cell::ConstStaticCell;

/// Every end of a row, a list or a block occurs in fewer; firmware that starts a product line needs
/// no more than ten.
const ROUNDS: u32 = 300;

/// Patches of the signed models, and iterations of each refinement.
const PATCHES: u32 = 3;
const ITERATIONS: u32 = 12;

struct Scratch {
    code: signed::Code,
    workspace: signed::Workspace,
    gram: GramBuffer<{ signed::CODE_DIM }>,
    gram_workspace: GramWorkspace<{ signed::CODE_DIM }>,
}

static SCRATCH: ConstStaticCell<Scratch> = ConstStaticCell::new(Scratch {
    code: signed::Code::new(),
    workspace: signed::Workspace::new(),
    gram: GramBuffer::new(),
    gram_workspace: GramWorkspace::new(),
});

/// Levels within ±1023 that the host makes as well.
struct Levels(u32);

impl Levels {
    fn patch<const LENGTH: usize>(&mut self) -> [i16; LENGTH] {
        core::array::from_fn(|_| {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((self.0 >> 16) as u16).cast_signed() >> 5
        })
    }
}

#[board::entry]
fn main() -> ! {
    stack::paint();
    board::init();
    let (outcome, count) = board::measure(|| sparsecode_runtime::self_test(ROUNDS));
    let stack_of_test = stack::high_water();
    if let Err(mismatch) = &outcome {
        error!("{}", mismatch);
    }
    let signed = floats(SCRATCH.take()).and_then(|floats| Ok((floats, integers()?, encoded()?)));
    if let Err(reason) = &signed {
        error!("a model does not load: {}", reason);
    }
    info!("core = {=str}", board::NAME);
    let (counted, executed) = board::check_counter();
    info!("counter counted = {=u64}", counted);
    info!("counter expected = {=u64}", executed);
    info!("rounds = {=u32}", ROUNDS);
    info!(
        "instructions of a round = {=u64}",
        count / u64::from(ROUNDS)
    );
    info!("stack bytes = {=usize}", stack_of_test);
    if let Ok((floats, integers, variational)) = signed {
        info!("signed floats checksum = {=u32}", floats);
        info!("signed integers checksum = {=u32}", integers);
        info!("variational checksum = {=u32}", variational);
    }
    board::exit(outcome.is_ok() && signed.is_ok())
}

/// The checksum of codes and reconstructions.
#[inline(never)]
fn floats(scratch: &mut Scratch) -> Result<u32, LoadError> {
    let Scratch {
        code,
        workspace,
        gram,
        gram_workspace,
    } = scratch;
    let model = signed::load()?;
    let gram = model.gram(gram, workspace);
    let settings = Refine {
        max_iterations: ITERATIONS,
        ..Refine::for_inference(model.spec())
    };
    let (mut checksum, mut levels) = (Checksum::new(), Levels(31));
    for _ in 0..PATCHES {
        let mut patch = levels.patch().map(|level| f32::from(level) / 1024.0);
        model.refine(&patch, code, &settings, workspace, || false);
        checksum.add_code(code);
        gram.refine(&patch, code, &settings, workspace, gram_workspace, || false);
        checksum.add_code(code);
        gram.descend(&patch, code, &settings, workspace, gram_workspace, || false);
        checksum.add_code(code);
        model.decode(code, &mut patch, workspace);
        checksum.add_patch(&patch);
    }
    Ok(checksum.value())
}

/// The checksum of the variational model's codes and reconstructions.
#[inline(never)]
fn encoded() -> Result<u32, LoadError> {
    let model = variational::load()?;
    let (mut code, mut workspace) = (variational::Code::new(), variational::Workspace::new());
    let (mut checksum, mut levels) = (Checksum::new(), Levels(31));
    for _ in 0..PATCHES {
        let mut patch = levels.patch().map(|level| f32::from(level) / 1024.0);
        model.denoise(&mut patch, None, &mut code, &mut workspace, || false);
        checksum.add_code(&code);
        checksum.add_patch(&patch);
    }
    Ok(checksum.value())
}

/// The same in integers.
#[inline(never)]
fn integers() -> Result<u32, LoadError> {
    let model = signed_integer::load()?;
    let (mut code, mut workspace) = (
        signed_integer::Code::new(),
        signed_integer::Workspace::new(),
    );
    let (mut checksum, mut levels) = (Checksum::new(), Levels(31));
    for _ in 0..PATCHES {
        let mut patch = levels.patch();
        for method in [Method::Fista, Method::CoordinateDescent] {
            let settings = IntegerRefine {
                method,
                max_iterations: ITERATIONS,
                ..IntegerRefine::for_inference(model.file())
            };
            model.refine(&patch, &mut code, &settings, &mut workspace, || false);
            checksum.add_levels_of(&code);
        }
        model.decode(&code, &mut patch, &mut workspace);
        checksum.add_levels(&patch);
    }
    Ok(checksum.value())
}
