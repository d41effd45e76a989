//! What does a run for its supervisor: how it is started, told to stop, and what it leaves.

use std::any::Any;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use super::folder::{PATIENCE, SweepFolder};
use super::worker::{Work, Worker};
use super::{Entry, SweepError};
use crate::data::Named;
use crate::run::{EpochRecord, Family, LogError, Observer};
use crate::storage::StorageError;

/// Environment variable that hands a worker its entry: the one that HyperQueue sets.
pub const ENTRY_VARIABLE: &str = "HQ_ENTRY";
/// Exit status of a worker that another process keeps from its run.
pub const HELD: u8 = 75;
/// Exit status of a worker, or of a supervisor, that was stopped.
pub const STOPPED: u8 = 130;

/// How long to wait for what a process that has ended said last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What runs are done by.
pub enum Workers<'a, F: Family> {
    /// A process each of this program, on the processor, so that one that crashes or runs out of
    /// memory leaves the others. A worker holds on to its supervisor by its standard input: at its
    /// end (the supervisor stops, or is killed) the worker saves its state and goes.
    Processes(PathBuf),
    /// A thread each of this process, by one backend: a GPU works on the runs of a process side by
    /// side, while processes would take turns. One that panics leaves the others; what ends the
    /// process ends all, and each goes on from its last epoch.
    Threads(&'a F::Backend),
}

/// How workers do their runs.
#[derive(Clone, Copy)]
pub(super) struct Assignment<'a> {
    /// Where runs are done.
    pub(super) folder: &'a SweepFolder,
    /// Where the data lie, as the command line and the environment say.
    pub(super) data: &'a Named,
    /// Threads of each run.
    pub(super) threads: usize,
    /// Try again what failed and would fail again.
    pub(super) retry_failed: bool,
}

/// A worker at its run. Told to stop when dropped.
pub(super) enum Working<'scope> {
    Process {
        child: Child,
        /// Held open while the worker shall work.
        stdin: Option<ChildStdin>,
        /// Last words on standard error.
        stderr: Receiver<String>,
    },
    Thread {
        handle: ScopedJoinHandle<'scope, Result<Work, String>>,
        /// Held while the worker shall work.
        hold: Option<RaiseOnDrop>,
    },
}

/// How a worker ended, where its run's folder does not show this.
pub(super) enum End {
    /// Another process has the run.
    Held,
    /// It was stopped, and has saved.
    Stopped,
    /// It has nothing more to do, or this went wrong.
    Over(String),
}

impl<'scope> Working<'scope> {
    /// Starts a worker on a run; `tell` hears of its epochs.
    pub(super) fn start<F: Family>(
        workers: &Workers<'scope, F>,
        assignment: Assignment<'scope>,
        scope: &'scope Scope<'scope, '_>,
        entry: &'scope Entry<F>,
        tell: impl FnMut(u32) + Send + 'static,
    ) -> Result<Self, SweepError> {
        match workers {
            Workers::Processes(program) => process(assignment, program, entry, tell),
            Workers::Threads(backend) => thread(assignment, *backend, scope, entry, tell),
        }
    }

    /// Has it save its state and end.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Process { stdin, .. } => *stdin = None,
            Self::Thread { hold, .. } => *hold = None,
        }
    }

    /// Whether it is still at work.
    pub(super) fn is_running(&mut self) -> Result<bool, SweepError> {
        match self {
            Self::Process { child, .. } => {
                let ended = child.try_wait().map_err(cannot_wait)?;
                Ok(ended.is_none())
            }
            Self::Thread { handle, .. } => Ok(!handle.is_finished()),
        }
    }

    /// Waits for its end.
    pub(super) fn end(self) -> Result<End, SweepError> {
        match self {
            Self::Process {
                mut child, stderr, ..
            } => {
                let status = child.wait().map_err(cannot_wait)?;
                Ok(match status.code().and_then(|code| code.try_into().ok()) {
                    Some(HELD) => End::Held,
                    Some(STOPPED) => End::Stopped,
                    _ => {
                        let words = stderr.recv_timeout(LAST_WORDS).unwrap_or_default();
                        let colon = if words.is_empty() { "" } else { ": " };
                        End::Over(format!("the process ended with {status}{colon}{words}"))
                    }
                })
            }
            Self::Thread { handle, .. } => Ok(match handle.join() {
                Ok(Ok(Work::Held)) => End::Held,
                Ok(Ok(Work::Interrupted)) => End::Stopped,
                Ok(Ok(Work::Finished(_))) => End::Over("its result is gone".to_owned()),
                Ok(Ok(Work::Failed(failure))) => End::Over(failure.message),
                Ok(Err(message)) => End::Over(message),
                Err(panic) => End::Over(format!("the run panicked: {}", words_of(panic.as_ref()))),
            }),
        }
    }
}

fn cannot_wait(source: std::io::Error) -> SweepError {
    StorageError::new("wait for", Path::new("a worker"), source).into()
}

fn process<'scope, F: Family>(
    assignment: Assignment<'_>,
    program: &Path,
    entry: &Entry<F>,
    mut tell: impl FnMut(u32) + Send + 'static,
) -> Result<Working<'scope>, SweepError> {
    let text = serde_json::to_string(entry).expect("an entry holds only numbers and texts");
    let mut command = Command::new(program);
    command
        .args(["sweep", "run", "--entry", "--supervised", "--out"])
        .arg(assignment.folder.path())
        .env(ENTRY_VARIABLE, text)
        .env("RAYON_NUM_THREADS", assignment.threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // What the environment says, the process inherits.
    if let Some(data) = &assignment.data.flag {
        command.arg("--data").arg(data);
    }
    if assignment.retry_failed {
        command.arg("--retry-failed");
    }
    // Ctrl-C is the supervisor's, which then tells its workers.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .spawn()
        .map_err(|source| StorageError::new("start", program, source))?;
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(epochs) = line.trim().parse() {
                    tell(epochs);
                }
            }
        });
    }
    let (words, stderr) = channel();
    if let Some(mut pipe) = child.stderr.take() {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            let _ = words.send(String::from_utf8_lossy(&text).trim().to_owned());
        });
    }
    Ok(Working::Process {
        stdin: child.stdin.take(),
        child,
        stderr,
    })
}

fn thread<'scope, F: Family>(
    assignment: Assignment<'scope>,
    backend: &'scope F::Backend,
    scope: &'scope Scope<'scope, '_>,
    entry: &'scope Entry<F>,
    tell: impl FnMut(u32) + Send + 'static,
) -> Result<Working<'scope>, SweepError> {
    let stop = Arc::new(AtomicBool::new(false));
    let hold = Some(RaiseOnDrop(Arc::clone(&stop)));
    // What a panic is reported under.
    let name = format!("run {} {}", entry.index, entry.id);
    let work = move || {
        // Of its own, as a process has them: on shared ones a run would wait for parts of another's
        // work.
        let pool = crate::tensor::team::pool(assignment.threads, name)
            .map_err(|error| format!("cannot start its threads: {error}"))?;
        let worked = pool.install(|| {
            let worker = Worker {
                data: assignment.data,
                backend,
                retry_failed: assignment.retry_failed,
                patience: PATIENCE,
                waiting: &|| {},
            };
            worker.work(&assignment.folder.run(entry), &mut Epochs(tell), &stop)
        });
        worked.map_err(|error| error.to_string())
    };
    let handle = Builder::new()
        .spawn_scoped(scope, work)
        .map_err(|source| StorageError::new("start", Path::new("a thread"), source))?;
    Ok(Working::Thread { handle, hold })
}

/// Raises a flag when it goes out of scope.
pub(super) struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it did not say why")
}

/// An observer that hands on how many epochs are done.
pub(crate) struct Epochs<F>(pub(crate) F);

impl<F: FnMut(u32)> Observer for Epochs<F> {
    fn begin(&mut self, epochs_done: u32, _done: usize, _all: usize) {
        self.0(epochs_done);
    }

    fn batch(&mut self, _epoch: u32, _done: usize, _all: usize) {}

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.0(record.epoch);
        Ok(())
    }
}
