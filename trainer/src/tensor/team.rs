//! Threads that divide a piece of work, or work through a loop together and meet in every
//! iteration.
//!
//! A part goes to the same thread in every piece of work, so that a thread finds the rows in its
//! cache that it wrote before.

use std::cell::Cell;
use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::yield_now;

use rayon::{BroadcastContext, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// How often a waiting thread looks before it yields to others. An iteration takes tens of
/// microseconds; a sleeping thread needs as long to wake.
const SPINS: u32 = 4096;

/// Rows of a part are a multiple of this, where there are so many: of numbers a cache line, of
/// samples a tile.
pub(crate) const UNIT: usize = 16;

/// Part `index` of `0..size`, divided evenly into `parts` that begin at multiples of `unit`.
pub(crate) fn part(size: usize, parts: usize, index: usize, unit: usize) -> Range<usize> {
    let units = size.div_ceil(unit);
    let begin = |index: usize| (index * units / parts * unit).min(size);
    begin(index)..begin(index + 1)
}

/// `out`, whose rows have `row` numbers, in as many parts of whole rows as there are `threads` to
/// work on it, each with its rows.
pub(crate) fn row_parts<T>(
    mut out: &mut [T],
    row: usize,
    threads: usize,
    unit: usize,
) -> Vec<(Range<usize>, &mut [T])> {
    let rows = out.len() / row.max(1);
    (0..threads)
        .map(|index| {
            let part = part(rows, threads, index, unit);
            let (own, rest) = std::mem::take(&mut out).split_at_mut(part.len() * row);
            out = rest;
            (part, own)
        })
        .collect()
}

/// Does `work` on each of the parts, by rayon's threads, at most as many as there are.
pub(crate) fn divide<T: Send>(parts: Vec<T>, work: impl Fn(T) + Sync) {
    if parts.len() == 1 {
        return parts.into_iter().for_each(work);
    }
    let crew = Team::Shared.gather(parts.len());
    let members = crew.members();
    let parts: Vec<Mutex<Option<T>>> = parts.into_iter().map(|p| Mutex::new(Some(p))).collect();
    crew.run(|member, _| {
        for part in parts.iter().skip(member).step_by(members) {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner).take();
            part.into_iter().for_each(&work);
        }
    });
}

/// Threads to work with.
#[derive(Debug)]
pub(crate) enum Team {
    /// Rayon's, in which the rest of a training step runs too: one set of threads for all, none in
    /// another's way.
    Shared,
    /// The caller's thread alone.
    Caller,
    /// Its own. The lock is held while they work.
    Own(Mutex<ThreadPool>),
}

/// Held by the crew that works on rayon's global threads. Two crews there would wait for each
/// other's members.
static GLOBAL: Mutex<()> = Mutex::new(());

thread_local! {
    /// The lock of the pool that this thread belongs to, where [`pool`] made it.
    static OF_POOL: Cell<Option<&'static Mutex<()>>> = const { Cell::new(None) };
}

/// A pool of rayon's threads for one run. A crew on its threads does not hinder a crew on another
/// pool's.
///
/// The pool's lock, of some bytes, is never freed.
pub(crate) fn pool(threads: usize, name: String) -> Result<ThreadPool, ThreadPoolBuildError> {
    let lock: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |_| name.clone())
        .start_handler(move |_| OF_POOL.set(Some(lock)))
        .build()
}

impl Team {
    /// As many threads as asked for, of its own.
    pub(crate) fn new(threads: usize) -> Self {
        let pool = (threads > 1).then(|| ThreadPoolBuilder::new().num_threads(threads).build());
        match pool {
            Some(Ok(pool)) => Self::Own(Mutex::new(pool)),
            // A system that gives no threads still has this one.
            Some(Err(_)) | None => Self::Caller,
        }
    }

    /// Up to `most` threads for one loop: the caller's alone while others have the team.
    pub(crate) fn gather(&self, most: usize) -> Crew<'_> {
        let (pool, threads) = match self {
            Self::Caller => (Pool::Caller, 1),
            Self::Own(pool) => match free(pool) {
                Some(pool) => {
                    let threads = pool.current_num_threads();
                    (Pool::Own(pool), threads)
                }
                None => (Pool::Caller, 1),
            },
            Self::Shared => {
                let threads = rayon::current_num_threads();
                match free(OF_POOL.get().unwrap_or(&GLOBAL)) {
                    Some(free) if threads > 1 => (Pool::Shared(free), threads),
                    _ => (Pool::Caller, 1),
                }
            }
        };
        Crew {
            pool,
            members: threads.min(most).max(1),
        }
    }
}

/// The lock, if nobody holds it. It is not waited for: while a crew works, its caller's thread may
/// take up a job of rayon's that asks for the same team, and would wait for itself.
fn free<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match lock.try_lock() {
        Ok(free) => Some(free),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The members of a team that do one loop together.
pub(crate) struct Crew<'a> {
    pool: Pool<'a>,
    members: usize,
}

enum Pool<'a> {
    Caller,
    Own(MutexGuard<'a, ThreadPool>),
    Shared(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>),
}

impl Crew<'_> {
    pub(crate) fn members(&self) -> usize {
        self.members
    }

    /// Runs `work(member, barrier)` for each member at the same time. All return together: a thread
    /// that waits for the others in rayon's way may fall asleep.
    pub(crate) fn run(self, work: impl Fn(usize, &Barrier) + Sync) {
        let barrier = Barrier::new(self.members);
        let member = |context: BroadcastContext<'_>| {
            if context.index() < self.members {
                let _alarm = Alarm(&barrier);
                work(context.index(), &barrier);
                barrier.meet();
            }
        };
        match &self.pool {
            Pool::Own(pool) if self.members > 1 => {
                pool.broadcast(member);
            }
            Pool::Shared(_) if self.members > 1 => {
                rayon::broadcast(member);
            }
            _ => work(0, &barrier),
        }
    }
}

/// Where the members of a team wait for one another.
pub(crate) struct Barrier {
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
    pub(crate) fn meet(&self) {
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
    fn parts_cover_all_once() {
        for (size, parts) in [(0, 3), (5, 2), (16, 2), (250, 2), (250, 64), (1000, 7)] {
            for unit in [1, UNIT] {
                let all: Vec<usize> = (0..parts)
                    .flat_map(|i| part(size, parts, i, unit))
                    .collect();
                assert_eq!(all, (0..size).collect::<Vec<_>>());
                let mut out = vec![0; size * 3];
                for (rows, out) in row_parts(&mut out, 3, parts, unit) {
                    assert_eq!(out.len(), 3 * rows.len());
                    assert_eq!(rows.start % unit, 0);
                    for (i, x) in out.iter_mut().enumerate() {
                        *x = 3 * rows.start + i;
                    }
                }
                assert!(out.iter().enumerate().all(|(i, x)| *x == i));
            }
        }
        assert_eq!(part(250, 2, 0, UNIT), 0..128);
    }

    #[test]
    fn divided_work_is_done_once_by_as_many_threads_as_there_are() {
        let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for parts in [1, 2, 3, 10] {
            let mut done = vec![0; parts];
            pool.install(|| divide(done.iter_mut().collect(), |part| *part += 1));
            assert_eq!(done, vec![1; parts]);
        }
    }

    #[test]
    fn members_see_what_all_wrote_before_a_meeting() {
        let team = Team::new(3);
        let counters: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let wrong = AtomicUsize::new(0);
        team.gather(3).run(|member, barrier| {
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
    fn a_crew_hinders_those_of_its_own_pool_alone() {
        let one = pool(2, "one".to_owned()).unwrap();
        let other = pool(2, "other".to_owned()).unwrap();
        one.install(|| {
            let held = Team::Shared.gather(2);
            assert_eq!(held.members(), 2);
            assert_eq!(Team::Shared.gather(2).members(), 1, "its threads are taken");
            assert_eq!(other.install(|| Team::Shared.gather(2).members()), 2);
        });
        assert_eq!(one.install(|| Team::Shared.gather(2).members()), 2);
    }

    #[test]
    fn a_smaller_group_leaves_the_others_out() {
        let team = Team::new(3);
        let seen = AtomicUsize::new(0);
        team.gather(2).run(|member, barrier| {
            seen.fetch_add(1 << (8 * member), Ordering::Relaxed);
            barrier.meet();
        });
        assert_eq!(seen.into_inner(), 0x0101);
    }

    #[test]
    fn a_panic_reaches_the_caller_instead_of_hanging() {
        let team = Team::new(2);
        let result = std::panic::catch_unwind(|| {
            team.gather(2).run(|member, barrier| {
                assert!(member == 0, "on purpose");
                barrier.meet();
            });
        });
        assert!(result.is_err());
        // And the team is still of use.
        team.gather(2).run(|_, barrier| barrier.meet());
    }

    /// From several of rayon's threads at once: whoever comes second works alone instead of
    /// waiting. Also on a single thread, which takes up the second piece of work while it waits for
    /// the first one's crew.
    #[test]
    fn crews_do_not_wait_for_each_other() {
        for threads in [1, 2] {
            for team in [Team::Shared, Team::new(2)] {
                gather_from_two_jobs(threads, &team);
            }
        }
    }

    fn gather_from_two_jobs(threads: usize, team: &Team) {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let seen = AtomicUsize::new(0);
        let work = || {
            for _ in 0..50 {
                let crew = team.gather(2);
                let members = crew.members();
                crew.run(|member, barrier| {
                    barrier.meet();
                    assert!(member < members);
                    seen.fetch_add(usize::from(member == 0), Ordering::Relaxed);
                    barrier.meet();
                });
            }
        };
        pool.join(work, work);
        assert_eq!(seen.into_inner(), 100);
    }
}
