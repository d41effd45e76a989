//! What every command that trains shares: how it is stopped, and what it says.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::common::{INTERRUPTED, exit_with};
use crate::run::RunFolder;

/// What to say of more threads than cores.
fn crowded(threads: usize, cores: usize) -> Option<String> {
    (threads > cores).then(|| {
        format!(
            "note: RAYON_NUM_THREADS={threads}, but there are {cores} cores: threads wait for each \
             other; fewer are much faster"
        )
    })
}

/// How a command ends whose run was interrupted.
pub(crate) fn interrupted(folder: &RunFolder) -> anyhow::Error {
    let words = format!(
        "interrupted: {} holds the state; the same command with --resume goes on from here",
        folder.checkpoint().display()
    );
    exit_with(INTERRUPTED, words)
}

/// Says so if there are more threads than cores.
pub(crate) fn crowded_note() {
    let cores = thread::available_parallelism().map_or(usize::MAX, usize::from);
    if let Some(note) = crowded(rayon::current_num_threads(), cores) {
        eprintln!("{note}");
    }
}

/// Signals within this time are one request: a group of processes gets one from several sides.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Whether a person is there to press Ctrl-C.
pub(crate) fn at_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stderr().is_terminal()
}

/// A flag that Ctrl-C (and a polite kill) raises. If `impatient`, a later Ctrl-C ends the program
/// at once; otherwise it always saves, as a batch system may ask twice: it sends TERM to all
/// processes of a task, and its script passes it on.
pub(crate) fn stop_flag(impatient: bool) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || {
        raised.store(true, Ordering::Relaxed);
        match first {
            None => {
                first = Some(Instant::now());
                let once_more = match impatient {
                    true => "; once more to stop at once",
                    false => "",
                };
                // Not `eprintln!`, which would panic where nobody reads any more.
                let _ = writeln!(std::io::stderr(), "\nstopping after this batch{once_more}");
            }
            Some(first) if impatient && first.elapsed() > ONE_REQUEST => {
                std::process::exit(i32::from(INTERRUPTED))
            }
            Some(_) => {}
        }
    })?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_cores_are_remarked_on() {
        assert_eq!(crowded(2, 2), None);
        assert!(crowded(20, 2).unwrap().contains("20"));
    }
}
