//! Threads that work through a loop together and meet in every iteration.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::yield_now;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Turns of a waiting thread before it lets others run. An iteration takes tens of microseconds, a sleeping thread takes as long
/// to wake.
const SPINS: u32 = 4096;

/// A fixed number of threads.
#[derive(Debug)]
pub(super) struct Team {
    threads: usize,
    /// Threads are only needed beside the caller's. The lock keeps two loops from waiting for each other's members.
    pool: Option<Mutex<ThreadPool>>,
}

impl Team {
    pub(super) fn new(threads: usize) -> Self {
        let pool = (threads > 1).then(|| ThreadPoolBuilder::new().num_threads(threads).build());
        match pool {
            Some(Ok(pool)) => Self {
                threads,
                pool: Some(Mutex::new(pool)),
            },
            // A system that gives no threads still has this one.
            Some(Err(_)) | None => Self {
                threads: 1,
                pool: None,
            },
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work(member, barrier)` for each of the first `members` threads at the same time.
    pub(super) fn run(&self, members: usize, work: impl Fn(usize, &Barrier) + Sync) {
        let members = members.min(self.threads);
        let barrier = Barrier::new(members);
        match &self.pool {
            Some(pool) if members > 1 => {
                let pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
                pool.broadcast(|context| {
                    if context.index() < members {
                        let _alarm = Alarm(&barrier);
                        work(context.index(), &barrier);
                    }
                });
            }
            _ => work(0, &barrier),
        }
    }
}

/// Where the members of a team wait for one another.
pub(super) struct Barrier {
    members: usize,
    arrived: AtomicUsize,
    meetings: AtomicUsize,
    abandoned: AtomicBool,
}

impl Barrier {
    fn new(members: usize) -> Self {
        Self {
            members,
            arrived: AtomicUsize::new(0),
            meetings: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Returns when all members have called it; what each wrote before is then seen by all.
    ///
    /// # Panics
    ///
    /// Panics if another member has, instead of waiting for it for ever.
    pub(super) fn meet(&self) {
        if self.members == 1 {
            return;
        }
        let meeting = self.meetings.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            self.meetings.store(meeting + 1, Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.meetings.load(Ordering::Acquire) == meeting {
            assert!(
                !self.abandoned.load(Ordering::Relaxed),
                "another thread of the team panicked"
            );
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                yield_now();
            }
        }
    }
}

/// Tells the others when a member panics.
struct Alarm<'a>(&'a Barrier);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_see_what_all_wrote_before_a_meeting() {
        let team = Team::new(3);
        let counters: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let wrong = AtomicUsize::new(0);
        team.run(3, |member, barrier| {
            for round in 1..=500 {
                counters[member].store(round, Ordering::Relaxed);
                barrier.meet();
                let late = counters.iter().any(|c| c.load(Ordering::Relaxed) != round);
                wrong.fetch_add(usize::from(late), Ordering::Relaxed);
                barrier.meet();
            }
        });
        assert_eq!(wrong.into_inner(), 0);
        assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 500));
    }

    #[test]
    fn a_smaller_group_leaves_the_others_out() {
        let team = Team::new(3);
        let seen = AtomicUsize::new(0);
        team.run(2, |member, barrier| {
            seen.fetch_add(1 << (8 * member), Ordering::Relaxed);
            barrier.meet();
        });
        assert_eq!(seen.into_inner(), 0x0101);
    }

    #[test]
    fn a_panic_reaches_the_caller_instead_of_hanging() {
        let team = Team::new(2);
        let result = std::panic::catch_unwind(|| {
            team.run(2, |member, barrier| {
                assert!(member == 0, "on purpose");
                barrier.meet();
            });
        });
        assert!(result.is_err());
        // And the team is still of use.
        team.run(2, |_, barrier| barrier.meet());
    }
}
