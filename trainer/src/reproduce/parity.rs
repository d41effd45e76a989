//! The first epochs on MNIST, held to those of the papers' code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::published::PaperModel;

/// How far an epoch's PSNR may be off, in dB.
pub const PSNR_DB: f64 = 0.3;
/// How far an epoch's fraction of zeros may be off.
pub const SPARSITY: f64 = 0.02;

/// The figures of an epoch on the validation set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// PSNR of the encoder's codes in dB.
    pub psnr: f64,
    /// Fraction of zeros in their codes.
    pub sparsity: f64,
    /// Energy, a sum over a batch of 250.
    pub energy: f64,
}

/// An epoch, ours and theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Which one, from 1.
    pub epoch: u32,
    /// Our figures.
    pub ours: Figures,
    /// Those of the papers' code.
    pub theirs: Figures,
    /// Wall seconds of ours, validation included.
    pub seconds: f64,
}

impl Epoch {
    /// Whether PSNR and sparsity are within [`PSNR_DB`] and [`SPARSITY`].
    pub fn agrees(&self) -> bool {
        // Also false for NaN.
        (self.ours.psnr - self.theirs.psnr).abs() <= PSNR_DB
            && (self.ours.sparsity - self.theirs.sparsity).abs() <= SPARSITY
    }
}

/// The validation figures of a model with one λ in the curves of the papers' code, by epoch. The
/// curves are CSV with columns `model`, `lambda`, `epoch`, `val_psnr`, `val_zeros`, `val_energy`.
///
/// # Errors
/// If a column or the model is missing, or a cell is no number.
pub fn reference(curves: &str, model: &str, lambda: f64) -> Result<BTreeMap<u32, Figures>> {
    let mut lines = curves.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|found| *found == name)
            .with_context(|| format!("no column {name}"))
    };
    let (names, lambdas, epochs) = (column("model")?, column("lambda")?, column("epoch")?);
    let figures = [
        column("val_psnr")?,
        column("val_zeros")?,
        column("val_energy")?,
    ];
    let mut found = BTreeMap::new();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |column: usize| -> Result<f64> {
            cells
                .get(column)
                .and_then(|cell| cell.parse().ok())
                .with_context(|| format!("line {}, column {}: no number", index + 2, column + 1))
        };
        if cells.get(names) != Some(&model) || number(lambdas)? != lambda {
            continue;
        }
        let [psnr, sparsity, energy] = figures.map(number);
        let figures = Figures {
            psnr: psnr?,
            sparsity: sparsity?,
            energy: energy?,
        };
        found.insert(number(epochs)? as u32, figures);
    }
    ensure!(!found.is_empty(), "no lines of {model} with λ = {lambda}");
    Ok(found)
}

/// Puts each epoch of `metrics.jsonl`, from 1 to `epochs`, beside the reference's.
///
/// # Errors
/// If an epoch is missing on either side, or a figure of it.
pub fn join(records: &[Value], theirs: &BTreeMap<u32, Figures>, epochs: u32) -> Result<Vec<Epoch>> {
    let mut joined = Vec::new();
    for epoch in 1..=epochs {
        let record = records
            .iter()
            .find(|record| record["epoch"] == epoch)
            .with_context(|| format!("metrics.jsonl has no epoch {epoch}"))?;
        let number = |value: &Value, name: &str| {
            value[name]
                .as_f64()
                .with_context(|| format!("metrics.jsonl, epoch {epoch}: no {name}"))
        };
        let validation = &record["validation"];
        let Some(&theirs) = theirs.get(&epoch) else {
            bail!("the curves end before epoch {epoch}: give fewer --epochs");
        };
        joined.push(Epoch {
            epoch,
            ours: Figures {
                psnr: number(validation, "psnr")?,
                sparsity: number(validation, "sparsity")?,
                energy: number(validation, "energy")?,
            },
            theirs,
            seconds: number(record, "seconds")?,
        });
    }
    Ok(joined)
}

/// The comparison of one model, for terminals and for Markdown.
pub fn table(model: &PaperModel, epochs: &[Epoch]) -> String {
    let mut text = format!(
        "{}, λ = {}, validation set, encoder's codes\n\n\
         | epoch | PSNR dB | reference | difference | zeros % | reference | difference | energy | reference | s/epoch | within |\n\
         |------:|--------:|----------:|-----------:|--------:|----------:|-----------:|-------:|----------:|--------:|:------:|\n",
        model.name, model.lambda
    );
    for epoch in epochs {
        let (ours, theirs) = (epoch.ours, epoch.theirs);
        let (zeros, reference) = (100.0 * ours.sparsity, 100.0 * theirs.sparsity);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {:>5} | {:>7.3} | {:>9.3} | {:>+10.3} | {zeros:>7.2} | {reference:>9.2} | {:>+10.2} | {:>6.1} | {:>9.1} | {:>7.1} | {:^6} |",
            epoch.epoch,
            ours.psnr,
            theirs.psnr,
            ours.psnr - theirs.psnr,
            zeros - reference,
            ours.energy,
            theirs.energy,
            epoch.seconds,
            if epoch.agrees() { "yes" } else { "NO" },
        );
    }
    let slowest = epochs.iter().map(|epoch| epoch.seconds).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\nSlowest epoch {slowest:.1} s, validation included; the reference's first takes {:.0} s \
         (reference baseline: torch on two quiet CPU threads).",
        model.epoch_seconds
    );
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::published::MNIST;
    use super::*;

    const CURVES: &str = "model,lambda,epoch,train_psnr,val_psnr,val_zeros,val_energy\n\
                          SDL,0.005,1,9,15.2,0.85,121.5\n\
                          SDL,0.01,1,9,1,0.1,1\n\
                          VDL,0.02,1,9,13.1,0.83,235.5\n\
                          VDL,0.02,2,9,14.2,0.87,196.5\n";

    fn metrics(psnr: f64, sparsity: f64) -> Vec<Value> {
        let record = |epoch: u32, psnr: f64, sparsity: f64, energy: f64, seconds: f64| {
            let validation = json!({ "psnr": psnr, "sparsity": sparsity, "energy": energy });
            json!({ "epoch": epoch, "validation": validation, "seconds": seconds })
        };
        vec![
            record(1, 13.0, 0.84, 230.0, 20.5),
            record(2, psnr, sparsity, 195.0, 21.5),
        ]
    }

    fn compared(psnr: f64, sparsity: f64) -> Vec<Epoch> {
        let theirs = reference(CURVES, "VDL", 0.02).unwrap();
        join(&metrics(psnr, sparsity), &theirs, 2).unwrap()
    }

    #[test]
    fn each_model_finds_its_own_lines() {
        let sdl = reference(CURVES, "SDL", 0.005).unwrap();
        assert_eq!(sdl.len(), 1);
        assert_eq!(
            sdl[&1],
            Figures {
                psnr: 15.2,
                sparsity: 0.85,
                energy: 121.5
            }
        );
        assert_eq!(reference(CURVES, "VDL", 0.02).unwrap().len(), 2);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |result: Result<BTreeMap<u32, Figures>>| format!("{:#}", result.unwrap_err());
        assert!(error(reference(CURVES, "WDL", 0.005)).contains("WDL"));
        assert!(error(reference("model,lambda\n", "VDL", 0.02)).contains("no column epoch"));
        let cut = CURVES.replace("0.87,196.5", "0.87");
        assert!(error(reference(&cut, "VDL", 0.02)).contains("line 5, column 7"));

        let theirs = reference(CURVES, "VDL", 0.02).unwrap();
        let error = join(&metrics(14.0, 0.87), &theirs, 3)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no epoch 3"), "{error}");
        let error = join(&[json!({ "epoch": 1 })], &theirs, 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains("epoch 1: no psnr"), "{error}");
    }

    #[test]
    fn an_epoch_outside_either_bound_fails() {
        for (psnr, sparsity, expected) in [
            (14.2 + 0.29, 0.87, true),
            (14.2 - 0.31, 0.87, false),
            (14.2 + 0.31, 0.87, false),
            (14.2, 0.87 + 0.019, true),
            (14.2, 0.87 + 0.021, false),
            (14.2, 0.87 - 0.021, false),
        ] {
            let epochs = compared(psnr, sparsity);
            assert!(epochs[0].agrees());
            assert_eq!(epochs[1].agrees(), expected, "{psnr} {sparsity}");
        }
    }

    #[test]
    fn the_table_shows_both_and_the_time() {
        let text = table(&MNIST[1], &compared(13.5, 0.88));
        let second = text.lines().find(|line| line.starts_with("|     2 |"));
        let cells: Vec<&str> = second.unwrap().split('|').map(str::trim).collect();
        assert_eq!(
            cells[2..12],
            [
                "13.500", "14.200", "-0.700", "88.00", "87.00", "+1.00", "195.0", "196.5", "21.5",
                "NO"
            ]
        );
        assert!(text.contains("Slowest epoch 21.5 s"), "{text}");
        assert!(text.contains("takes 35 s"), "{text}");
    }
}
