//! Works through a plan on this machine: as many runs at a time as there are jobs, each by a
//! process or a thread of its own ([`Workers`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::folder::{Outcome, Status, SweepFolder};
use super::workers::{Assignment, End, Workers, Working};
use super::{Entry, Plan, SweepError};
use crate::data::Named;
use crate::report::progress::{Progress, ProgressMode};
use crate::run::Family;
use crate::storage::StorageError;

/// How often workers are looked after.
const TICK: Duration = Duration::from_millis(50);
/// How often a run is looked at that another process works on.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A plan to be worked through here.
pub struct Supervisor<'a, F: Family> {
    /// The runs.
    pub plan: &'a Plan<F>,
    /// Where they are done.
    pub folder: &'a SweepFolder,
    /// Where the data lie, as the command line and the environment say.
    pub data: &'a Named,
    /// What does them.
    pub workers: Workers<'a, F>,
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// Try again what failed and would fail again.
    pub retry_failed: bool,
    /// How progress is shown.
    pub mode: ProgressMode,
}

/// What came of a plan, or of one sitting of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Runs finished, before and now.
    pub finished: usize,
    /// Index and message of runs that failed, before and now, in order.
    pub failed: BTreeMap<usize, String>,
    /// Runs that were not finished when it was stopped.
    pub left: usize,
}

struct Job<'scope> {
    index: usize,
    /// Attempts on record before this one.
    attempts: u32,
    working: Working<'scope>,
}

struct Report {
    index: usize,
    epochs: u32,
}

impl<F: Family> Supervisor<'_, F> {
    /// Works until all runs are finished or failed, or `stop` is raised; then tells the workers,
    /// and waits until they have saved.
    ///
    /// # Errors
    ///
    /// [`SweepError`] if the sweep's folder cannot be made or a worker cannot be started. What is
    /// wrong with one run's folder is that run's failure.
    pub fn run(&self, stop: &AtomicBool) -> Result<Tally, SweepError> {
        std::fs::create_dir_all(self.folder.path())
            .map_err(|source| StorageError::new("create the folder", self.folder.path(), source))?;
        std::thread::scope(|scope| {
            let mut state = State::new(self, scope);
            let worked = self.work(&mut state, stop);
            if worked.is_err() {
                state.stop_workers();
                for job in state.jobs.drain(..) {
                    // Its state is saved or not; there is nobody left to be told.
                    let _ = job.working.end();
                }
            }
            worked.map(|()| state.finish())
        })
    }

    fn assignment(&self) -> Assignment<'_> {
        Assignment {
            folder: self.folder,
            data: self.data,
            threads: self.threads,
            retry_failed: self.retry_failed,
        }
    }

    fn work(&self, state: &mut State<'_, '_, F>, stop: &AtomicBool) -> Result<(), SweepError> {
        let (sender, reports) = channel();
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping {
                state.stop_workers();
            } else {
                state.start_due(&sender)?;
            }
            if state.jobs.is_empty() && (stopping || state.queue.is_empty()) {
                return Ok(());
            }
            match reports.recv_timeout(TICK) {
                Ok(report) => {
                    state.note_epochs(&report);
                    while let Ok(report) = reports.try_recv() {
                        state.note_epochs(&report);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            state.reap(stopping)?;
            state.show();
        }
    }
}

struct State<'scope, 'env, F: Family> {
    supervisor: &'scope Supervisor<'scope, F>,
    /// Of workers that are threads.
    scope: &'scope Scope<'scope, 'env>,
    /// Runs to be done, and from when on.
    queue: VecDeque<(usize, Instant)>,
    jobs: Vec<Job<'scope>>,
    /// Epochs of each run that progress has counted.
    counted: Vec<u32>,
    tally: Tally,
    progress: Progress,
}

impl<'scope, 'env, F: Family> State<'scope, 'env, F> {
    fn new(supervisor: &'scope Supervisor<'scope, F>, scope: &'scope Scope<'scope, 'env>) -> Self {
        let now = Instant::now();
        let entries = supervisor.plan.entries();
        let mut tally = Tally::default();
        let mut queue = VecDeque::new();
        let mut counted = Vec::new();
        for entry in entries {
            let all = entry.config.epochs;
            let run = supervisor.folder.run(entry);
            counted.push(match run.status() {
                Status::Finished(_) => {
                    tally.finished += 1;
                    all
                }
                Status::Failed(failure) if failure.repeats && !supervisor.retry_failed => {
                    tally.failed.insert(entry.index, failure.message);
                    all
                }
                _ => {
                    queue.push_back((entry.index, now));
                    run.epochs().min(all)
                }
            });
        }
        let sum = |epochs: &mut dyn Iterator<Item = u32>| epochs.map(u64::from).sum::<u64>();
        let progress = Progress::resume(
            "sweep",
            sum(&mut counted.iter().copied()),
            sum(&mut entries.iter().map(|entry| entry.config.epochs)),
            "epochs",
            supervisor.mode,
        );
        let mut state = Self {
            supervisor,
            scope,
            queue,
            jobs: Vec::new(),
            counted,
            tally,
            progress,
        };
        state.show();
        state
    }

    fn stop_workers(&mut self) {
        self.jobs.iter_mut().for_each(|job| job.working.stop());
    }

    fn entry(&self, index: usize) -> &'scope Entry<F> {
        &self.supervisor.plan.entries()[index]
    }

    /// Starts workers while there is room and a run whose time has come.
    fn start_due(&mut self, sender: &Sender<Report>) -> Result<(), SweepError> {
        let now = Instant::now();
        for _ in 0..self.queue.len() {
            if self.jobs.len() >= self.supervisor.jobs {
                break;
            }
            let Some((index, due)) = self.queue.pop_front() else {
                break;
            };
            if due > now {
                self.queue.push_back((index, due));
                continue;
            }
            let supervisor = self.supervisor;
            let (workers, assignment) = (&supervisor.workers, supervisor.assignment());
            let run = supervisor.folder.run(self.entry(index));
            // Before its status: an attempt of another runner in between is none of ours, but is on
            // record.
            let attempts = run.failure().map_or(0, |failure| failure.attempt);
            match run.status() {
                // By another runner: its epochs are no work of this one.
                Status::Finished(outcome) => self.finished(index, &outcome),
                Status::Running => self.queue.push_back((index, now + LOOK_AGAIN)),
                // Of another runner: ours are counted when they end.
                Status::Failed(failure) if failure.repeats && !self.supervisor.retry_failed => {
                    self.failed(index, failure.message);
                }
                _ => {
                    let sender = sender.clone();
                    let tell = move |epochs| {
                        // Nobody listens any more: the sweep is over.
                        let _ = sender.send(Report { index, epochs });
                    };
                    let entry = self.entry(index);
                    self.jobs.push(Job {
                        index,
                        attempts,
                        working: Working::start(workers, assignment, self.scope, entry, tell)?,
                    });
                }
            }
        }
        Ok(())
    }

    fn note_epochs(&mut self, report: &Report) {
        let counted = &mut self.counted[report.index];
        if report.epochs > *counted {
            self.progress.advance(u64::from(report.epochs - *counted));
            *counted = report.epochs;
        }
    }

    /// Sees to the workers that ended. What the folder holds decides, not what they say.
    fn reap(&mut self, stopping: bool) -> Result<(), SweepError> {
        let mut place = 0;
        while place < self.jobs.len() {
            if self.jobs[place].working.is_running()? {
                place += 1;
                continue;
            }
            let job = self.jobs.remove(place);
            let end = job.working.end()?;
            self.ended(job.index, job.attempts, end, stopping);
        }
        Ok(())
    }

    fn ended(&mut self, index: usize, attempts: u32, end: End, stopping: bool) {
        let run = self.supervisor.folder.run(self.entry(index));
        if let Some(outcome) = run.outcome() {
            // Its last words may be on their way still.
            self.note_epochs(&Report {
                index,
                epochs: outcome.epochs,
            });
            self.finished(index, &outcome);
            return;
        }
        if let Some(failure) = run.failure().filter(|failure| failure.attempt > attempts) {
            self.failed(index, failure.message);
            return;
        }
        let message = match end {
            End::Held => {
                self.queue.push_back((index, Instant::now() + LOOK_AGAIN));
                return;
            }
            End::Over(message) if !stopping => message,
            End::Over(_) | End::Stopped => {
                self.tally.left += 1;
                return;
            }
        };
        // On record, so that the table says why there is nothing. Not if another process has taken
        // it up already. Where nothing can be recorded the message stands in the tally alone, and
        // the other runs go on.
        if let Ok(Some(lock)) = run.lock()
            && run.outcome().is_none()
        {
            let _ = run.fail(message.clone(), false, &lock);
        }
        self.failed(index, message);
    }

    fn finished(&mut self, index: usize, outcome: &Outcome) {
        self.tally.finished += 1;
        self.settle(index);
        let entry = self.entry(index);
        self.progress.note(&format!(
            "run {index} {}: {}: {} (best of {} epochs: {})",
            entry.id,
            named(entry),
            F::summary(&outcome.test),
            outcome.epochs,
            outcome.best_epoch,
        ));
    }

    fn failed(&mut self, index: usize, message: String) {
        self.settle(index);
        let entry = self.entry(index);
        self.progress.note(&format!(
            "run {index} {}: {}: failed: {message}",
            entry.id,
            named(entry)
        ));
        self.tally.failed.insert(index, message);
    }

    /// Takes the epochs that a run will not do any more, here, out of the total; as work done they
    /// would make the rate too high.
    fn settle(&mut self, index: usize) {
        let all = self.entry(index).config.epochs;
        let left = all.saturating_sub(self.counted[index]);
        self.progress.shrink(u64::from(left));
        self.counted[index] = all;
    }

    fn show(&mut self) {
        let (finished, failed) = (self.tally.finished, self.tally.failed.len());
        let all = self.supervisor.plan.entries().len();
        let running = self.jobs.len();
        self.progress.message(format!(
            "{finished} finished, {failed} failed, {running} running of {all} runs"
        ));
        // For the log's lines, which come with time, not with work.
        self.progress.advance(0);
    }

    fn finish(mut self) -> Tally {
        self.show();
        self.tally.left += self.queue.len();
        self.progress.finish();
        self.tally
    }
}

/// What a person calls a run: data and model, the settings that the family shows, seed.
fn named<F: Family>(entry: &Entry<F>) -> String {
    let config = &entry.config;
    let shown = config.shown_settings();
    let settings: String = shown
        .map(|(heading, value)| format!(", {heading} {value}"))
        .collect();
    let (source, model) = (config.data.source(), config.model_name());
    format!("{source}/{model}{settings}, seed {}", config.seed)
}
