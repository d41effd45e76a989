//! What this family brings to a run.

use candle_core::{Device, Result};

use super::config::{EncoderKind, Variational, VariationalConfig};
use super::conv_learner::ConvLearner;
use super::learner::VariationalLearner;
use crate::data::DataFacts;
use crate::run::{Column, Family, Learner, Unit};

const fn column(figure: &'static str, heading: &'static str, unit: Unit) -> Column {
    Column {
        figure,
        heading,
        unit,
    }
}

const LOSS: Column = column("loss", "loss", Unit::Number(4));
const BEST: Column = column("mse", "best", Unit::Number(4));
const ONE: Column = column("mse_one", "one", Unit::Number(4));
const CODE: Column = column("mse_code", "code", Unit::Number(4));
const ZERO: Column = column("mse_zero", "zero", Unit::Number(4));
const ACTIVE: Column = column("active", "active", Unit::Fraction);

impl Family for Variational {
    // Schedules end with the run, so that its last model is the one to keep: figures of epochs
    // with other noise do not compare.
    const OBJECTIVE: &'static str = "steps_left";
    const TRAIN_COLUMNS: &'static [Column] = &[LOSS, ACTIVE];
    const VALIDATION_COLUMNS: &'static [Column] = &[LOSS, BEST, ONE, CODE, ACTIVE];
    const CLEAN_COLUMNS: &'static [Column] = &[LOSS, BEST, ONE, CODE, ZERO, ACTIVE];
    const NOISY_COLUMNS: &'static [Column] = &[BEST, ONE, CODE, ACTIVE];
    const LEGEND: &'static str = "best: mean square error of the best of an input's samples; \
                                  one: of its first; code: of the deterministic code; zero: of no code \
                                  at all";

    const CALIBRATES: bool = true;

    type Backend = Device;
    type Learner<'a> = Box<dyn Learner>;

    fn kept() -> String {
        "the last".to_owned()
    }

    fn learner(
        config: &VariationalConfig,
        facts: &DataFacts,
        device: &Device,
    ) -> Result<Box<dyn Learner>> {
        Ok(match config.family.model.encoder {
            EncoderKind::Conv => Box::new(ConvLearner::new(config, facts, device)?),
            _ => Box::new(VariationalLearner::new(config, facts, device)?),
        })
    }
}
