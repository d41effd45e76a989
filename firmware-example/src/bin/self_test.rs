//! The kernels of the core beside the portable ones, on the core itself: a self-test as firmware
//! may run it at power-up.
#![no_std]
#![no_main]

use defmt::{error, info};
use sparsecode_firmware::{board, stack};

/// Every end of a row, a list or a block occurs in fewer; firmware that starts a product line needs
/// no more than ten.
const ROUNDS: u32 = 300;

#[board::entry]
fn main() -> ! {
    stack::paint();
    board::init();
    let (outcome, count) = board::measure(|| sparsecode_runtime::self_test(ROUNDS));
    let stack_of_test = stack::high_water();
    if let Err(mismatch) = &outcome {
        error!("{}", mismatch);
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
    board::exit(outcome.is_ok())
}
