//! Rayon's threads, kept from falling asleep between products.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rayon::Yield;

/// How often a thread looks for work before it yields to other processes.
const LOOKS: u32 = 1024;

/// Runs `work` on one of rayon's threads and keeps the other threads awake meanwhile.
///
/// Waking a thread takes as long as its part of a small product. A thread that has found no part
/// for a while yields to other processes.
pub(crate) fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_num_threads() == 1 {
        return work();
    }
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let _inside = Inside::enter();
        let own = rayon::current_thread_index();
        let done = &done;
        scope.spawn_broadcast(move |_, context| {
            if Some(context.index()) != own {
                look_for_work(done);
            }
        });
        let _end = Raised(done);
        work()
    })
}

thread_local! {
    /// Whether this thread is in the middle of the work that others are kept awake for.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`INSIDE`] until it goes out of scope.
struct Inside {
    before: bool,
}

impl Inside {
    fn enter() -> Self {
        Self {
            before: INSIDE.replace(true),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// Raises a flag when it goes out of scope, also by a panic.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn look_for_work(done: &AtomicBool) {
    // While its own work waits for something, a thread takes up what others have given to rayon,
    // such as this. If two watched over each other's work in the middle of their own, neither would
    // ever be done.
    if INSIDE.get() {
        return;
    }
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        if rayon::yield_now() == Some(Yield::Executed) {
            looks = 0;
        } else if looks < LOOKS {
            looks += 1;
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// From within and without rayon's threads, one in another, and from several at once.
    #[test]
    fn work_is_done_and_its_result_returned() {
        let sum = |n: u64| awake(|| (0..n).into_par_iter().sum::<u64>());
        assert_eq!(sum(1000), 499_500);
        assert_eq!(awake(|| sum(10) + sum(11)), 45 + 55);
        assert_eq!(rayon::join(|| sum(100), || sum(101)), (4950, 5050));
        thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| sum(10))).collect();
            for caller in callers {
                assert_eq!(caller.join().unwrap(), 45);
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_nobody_looking() {
        let result = std::panic::catch_unwind(|| awake(|| panic!("on purpose")));
        assert!(result.is_err());
        assert_eq!(awake(|| 3), 3);
    }
}
