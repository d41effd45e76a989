//! Variational sparse coding on a synthetic set, beside the curves of the released code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How far a mean square error may be off.
pub const ERROR: f64 = 0.03;
/// How far a share of active components may be off.
pub const ACTIVE: f64 = 0.015;
/// How far the share of the true atoms that are found may be off.
pub const RECOVERY: f64 = 0.1;

/// A method: our preset, less `variational/` and `/paper`, and the curves' name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Of the preset.
    pub preset: &'static str,
    /// Of the curves.
    pub curve: &'static str,
}

const fn method(preset: &'static str, curve: &'static str) -> Method {
    Method { preset, curve }
}

/// All methods, in the order of the paper's tables.
pub const METHODS: [Method; 8] = [
    method("gaussian", "gaussian"),
    method("laplacian", "laplacian"),
    method("gaussian-fixed", "gaussian_thresh"),
    method("laplacian-fixed", "laplacian_thresh"),
    method("gaussian-learned", "gaussian_learnthresh"),
    method("laplacian-learned", "laplacian_learnthresh"),
    method("spike-and-slab", "concreteslab"),
    method("fista", "FISTA"),
];

/// Figures at the end of a run, on the validation set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Mean square error of the best samples.
    pub best: f64,
    /// Of the first ones; FISTA has none.
    pub one: Option<f64>,
    /// Of the deterministic code; the curves have none.
    pub code: Option<f64>,
    /// The share of the components of the best samples that are active.
    pub active: f64,
    /// The share of the true atoms that are found.
    pub recovery: f64,
}

impl Figures {
    /// Whether errors, activity and recovery are within [`ERROR`], [`ACTIVE`] and [`RECOVERY`].
    pub fn agree(&self, theirs: &Self) -> bool {
        // Also false for NaN.
        (self.best - theirs.best).abs() <= ERROR
            && (self.active - theirs.active).abs() <= ACTIVE
            && (self.recovery - theirs.recovery).abs() <= RECOVERY
    }

    fn mean(all: &[Self]) -> Self {
        let count = all.len() as f64;
        let mean = |of: &dyn Fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / count;
        let each = |of: &dyn Fn(&Self) -> Option<f64>| {
            let sum: Option<f64> = all.iter().map(of).sum();
            sum.map(|sum| sum / count)
        };
        Self {
            best: mean(&|f| f.best),
            one: each(&|f| f.one),
            code: each(&|f| f.code),
            active: mean(&|f| f.active),
            recovery: mean(&|f| f.recovery),
        }
    }
}

/// The last figures of each model in the curves, a mean over its seeds. The curves are CSV with the
/// columns `model`, `seed`, `iteration`, `val_mse_best`, `val_mse_one`, `active_selected` and
/// `recovery`.
///
/// # Errors
///
/// If a column is missing, or a cell is no number.
pub fn reference(curves: &str) -> Result<BTreeMap<String, Figures>> {
    let mut lines = curves.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        let place = header.iter().position(|found| *found == name);
        place.with_context(|| format!("no column {name}"))
    };
    let [model, seed, iteration] = ["model", "seed", "iteration"].map(column);
    let (model, seed, iteration) = (model?, seed?, iteration?);
    let (best, one) = (column("val_mse_best")?, column("val_mse_one")?);
    let (active, recovery) = (column("active_selected")?, column("recovery")?);
    let mut last: BTreeMap<(String, String), (u64, Figures)> = BTreeMap::new();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
        let number = |column: usize| -> Result<f64> {
            let parsed = cell(column).parse().ok();
            parsed.with_context(|| format!("line {}, column {}: no number", index + 2, column + 1))
        };
        let figures = Figures {
            best: number(best)?,
            one: number(one).ok(),
            code: None,
            active: number(active)?,
            recovery: number(recovery)?,
        };
        let at = number(iteration)? as u64;
        let key = (cell(model).to_owned(), cell(seed).to_owned());
        if last.get(&key).is_none_or(|(before, _)| *before <= at) {
            last.insert(key, (at, figures));
        }
    }
    let mut all: BTreeMap<String, Vec<Figures>> = BTreeMap::new();
    for ((model, _), (_, figures)) in last {
        all.entry(model).or_default().push(figures);
    }
    let means = all.into_iter();
    Ok(means
        .map(|(model, all)| (model, Figures::mean(&all)))
        .collect())
}

/// The last figures of a run's `metrics.jsonl`.
///
/// # Errors
///
/// If a figure is missing.
pub fn ours(records: &[Value]) -> Result<Figures> {
    let record = records.last().context("metrics.jsonl is empty")?;
    let validation = &record["validation"];
    let needed = |value: &Value, name: &str| {
        let number = value[name].as_f64();
        number.with_context(|| format!("metrics.jsonl has no {name}"))
    };
    Ok(Figures {
        best: needed(validation, "mse")?,
        one: validation["mse_one"].as_f64(),
        code: validation["mse_code"].as_f64(),
        active: needed(validation, "active")?,
        recovery: needed(record, "recovery")?,
    })
}

/// Lines of a Markdown table, one a method, and whether all agree.
///
/// # Errors
///
/// If the curves do not have a method, or no run is of it.
pub fn table(
    all: &[(Method, Vec<Figures>)],
    theirs: &BTreeMap<String, Figures>,
) -> Result<(String, bool)> {
    let mut text = String::from(
        "| method | best of the samples | one sample | deterministic code | active | recovery | |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    let mut agree = true;
    for (method, ours) in all {
        ensure!(!ours.is_empty(), "{}: no run", method.preset);
        let theirs = theirs.get(method.curve);
        let theirs = theirs.with_context(|| format!("the curves have no {}", method.curve))?;
        let mean = Figures::mean(ours);
        let is_within = mean.agree(theirs);
        agree &= is_within;
        let optional = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.3}"));
        let _ = writeln!(
            text,
            "| {} | {:.3} ({:.3}) | {} ({}) | {} | {:.1} % ({:.1} %) | {:.2} ({:.2}) | {} |",
            method.preset,
            mean.best,
            theirs.best,
            optional(mean.one),
            optional(theirs.one),
            optional(mean.code),
            100.0 * mean.active,
            100.0 * theirs.active,
            mean.recovery,
            theirs.recovery,
            if is_within { "agrees" } else { "**differs**" }
        );
    }
    Ok((text, agree))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVES: &str = "model,seed,iteration,val_mse_best,val_mse_one,active_selected,recovery\n\
        FISTA,0,0,1,,1,0\nFISTA,0,80,0.2,,0.1,0.5\nFISTA,1,80,0.4,,0.3,0.7\n";

    #[test]
    fn the_last_line_of_each_seed_counts() {
        let found = reference(CURVES).unwrap();
        let fista = found["FISTA"];
        assert!((fista.best - 0.3).abs() < 1e-12 && (fista.recovery - 0.6).abs() < 1e-12);
        assert_eq!(fista.one, None);
        let missing = reference("model,seed\n").unwrap_err().to_string();
        assert!(missing.contains("iteration"), "{missing}");
        let broken = CURVES.replace("0.2,", "x,");
        let error = reference(&broken).unwrap_err().to_string();
        assert!(error.contains("line 3, column 4"), "{error}");
    }

    #[test]
    fn a_run_agrees_or_differs() {
        let theirs = reference(CURVES).unwrap();
        let record = |mse: f64| {
            serde_json::json!({
                "validation": {"mse": mse, "active": 0.2, "mse_code": 0.25}, "recovery": 0.65
            })
        };
        let fista = METHODS[7];
        let near = ours(&[record(0.9), record(0.31)]).unwrap();
        let (text, agree) = table(&[(fista, vec![near])], &theirs).unwrap();
        assert!(
            agree && text.contains("| fista | 0.310 (0.300) | – (–) | 0.250 |"),
            "{text}"
        );
        let far = ours(&[record(0.34)]).unwrap();
        let (text, agree) = table(&[(fista, vec![far])], &theirs).unwrap();
        assert!(!agree && text.contains("differs"));
        assert!(table(&[(METHODS[0], vec![near])], &theirs).is_err());
        assert!(ours(&[serde_json::json!({})]).is_err());
    }
}
