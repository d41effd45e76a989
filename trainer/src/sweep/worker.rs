//! One run of a sweep: train into its folder, measure the best model, record the result.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::SweepError;
use super::folder::Denoising;
use super::folder::{Failure, Lock, Outcome, SweptRun};
use crate::data::{DataError, DataFacts, Named, Samples};
use crate::run::{
    CheckpointError, Config, Ending, Family, Figures, Learner, Observer, Session, TrainError,
    Weights,
};

/// How work on a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Trained and measured, now or before.
    Finished(Box<Outcome>),
    /// This attempt failed; or an earlier one did, which would be repeated.
    Failed(Failure),
    /// The stop flag was raised; the folder holds the state.
    Interrupted,
    /// Another process works on it.
    Held,
}

/// Where and how runs are worked on.
pub struct Worker<'a, F: Family> {
    /// Where the data lie, as the command line and the environment say.
    pub data: &'a Named,
    /// What learners compute with.
    pub backend: &'a F::Backend,
    /// Try again what failed and would fail again.
    pub retry_failed: bool,
    /// How long to wait for a run that another process has: after the loss of a node its lock may
    /// linger.
    pub patience: Duration,
    /// Called once if it has to be waited for longer than a moment.
    pub waiting: &'a dyn Fn(),
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Open(#[from] CheckpointError),
    #[error("evaluation: {0}")]
    Evaluate(#[from] candle_core::Error),
    #[error("the test set is empty: give more data")]
    NoTest,
    #[error("evaluation on the {0} set gave a {1} that is not finite; lower the learning rates")]
    NotFinite(&'static str, String),
}

impl AttemptError {
    /// Whether the same configuration on the same data would fail again.
    fn repeats(&self) -> bool {
        match self {
            Self::Data(DataError::Config { .. }) | Self::NoTest | Self::NotFinite(..) => true,
            Self::Train(error) => matches!(
                error,
                TrainError::Diverged { .. }
                    | TrainError::TooFewSamples { .. }
                    | TrainError::NoValidation
                    | TrainError::Config(_)
            ),
            _ => false,
        }
    }
}

impl<F: Family> Worker<'_, F> {
    /// Does a run, or what is left of it, unless it is done or another process is at it. May be
    /// killed at any time: what is done again then comes to the same.
    ///
    /// # Errors
    ///
    /// [`SweepError`] if the folder cannot be locked or written. What goes wrong with the run
    /// itself is recorded in its folder, and returned as [`Work::Failed`].
    pub fn work(
        &self,
        run: &SweptRun<'_, F>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Work, SweepError> {
        if let Some(outcome) = run.outcome() {
            return Ok(Work::Finished(Box::new(outcome)));
        }
        let Some(lock) = run.lock_within(self.patience, stop, self.waiting)? else {
            return Ok(match stop.load(Ordering::Relaxed) {
                true => Work::Interrupted,
                false => Work::Held,
            });
        };
        run.clean(&lock);
        // Only under the lock is it certain that nobody has just finished it.
        if let Some(outcome) = run.outcome() {
            return Ok(Work::Finished(Box::new(outcome)));
        }
        if let Some(failure) = run.failure().filter(|failure| failure.repeats)
            && !self.retry_failed
        {
            return Ok(Work::Failed(failure));
        }
        match self.attempt(run, observer, stop) {
            Ok(Some(outcome)) => {
                run.finish(&outcome, &lock)?;
                Ok(Work::Finished(Box::new(outcome)))
            }
            Ok(None) => Ok(Work::Interrupted),
            Err(error) => failed(run, &error, &lock),
        }
    }

    fn attempt(
        &self,
        run: &SweptRun<'_, F>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Option<Outcome>, AttemptError> {
        let files = &run.files;
        // The run remembers where its data are; its name is that of the configuration as planned.
        let placed = run.entry.config.data.placed_as_planned(self.data);
        let mut config = Config {
            data: placed.map_err(DataError::from)?,
            ..run.entry.config.clone()
        };
        F::place(&mut config, self.data.flag.as_deref())?;
        let config = &config;
        let splits = config.data.load(None, config.seed)?;
        let (validation, test) = (splits.validation.clone(), splits.test.clone());
        if test.is_empty() {
            return Err(AttemptError::NoTest);
        }
        let train = F::CALIBRATES.then(|| splits.train.clone());
        let session = Session {
            folder: files,
            config,
            backend: self.backend,
            resume: files.checkpoint().exists(),
            start: None,
        };
        let trained = session.run(splits, observer, stop)?;
        if trained.ending == Ending::Interrupted {
            return Ok(None);
        }

        let weights = Weights::read(&files.best())?;
        let facts: &DataFacts = weights.data();
        let mut best = F::learner(config, facts, self.backend)?;
        best.set_model(weights.tensors())
            .map_err(|error| CheckpointError::of_state("best.safetensors", &error))?;
        if let Some(train) = train {
            best.calibrate(&Samples::new(train)?)?;
        }
        let measure = |set: &'static str, samples: &Samples, noise| {
            let figures = best.measure(samples, noise)?;
            match figures.not_finite() {
                Some(name) => Err(AttemptError::NotFinite(set, name.to_owned())),
                None => Ok(figures),
            }
        };
        let validation: Figures = measure("validation", &Samples::new(validation)?, None)?;
        let samples = Samples::new(test)?;
        let test = measure("test", &samples, None)?;
        let mut denoising = Vec::new();
        for &noise in &run.entry.noise {
            // Inference on a large set takes minutes; to begin again with it is no loss.
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let figures = measure("test", &samples, Some(noise))?;
            denoising.push(Denoising { noise, figures });
        }
        Ok(Some(Outcome {
            version: Outcome::VERSION,
            id: run.entry.id.clone(),
            commit: crate::COMMIT.to_owned(),
            epochs: trained.epochs,
            best_epoch: weights.epoch(),
            validation,
            test,
            denoising,
            seconds: run.seconds(),
        }))
    }
}

fn failed<F: Family>(
    run: &SweptRun<'_, F>,
    error: &AttemptError,
    lock: &Lock,
) -> Result<Work, SweepError> {
    let (message, repeats) = (error.to_string(), error.repeats());
    let recorded = run.fail(message.clone(), repeats, lock);
    // What went wrong first is what has to be told.
    recorded
        .map(Work::Failed)
        .map_err(|reason| SweepError::NotRecorded {
            message,
            reason: Box::new(reason),
        })
}
