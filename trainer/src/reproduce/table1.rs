//! The paper's Table 1 for MNIST, ours beside theirs.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::published::{Level, PaperModel};
use crate::sweep::collect::Spread;

/// How far PSNR may be off, in dB.
pub const PSNR_DB: f64 = 0.5;
/// How far zeros may be off, in percentage points.
pub const ZEROS: f64 = 3.0;

/// The table's head, in Markdown.
pub const HEAD: &str = "\
| model | λ | σ | PSNR of the input | published | zeros % | published | difference | PSNR dB | published | difference |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
";

/// Our figures at one noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// PSNR of the inputs in dB; 0 if clean.
    pub noisy: f64,
    /// Zeros in a code, in percent.
    pub zeros: f64,
    /// PSNR of the reconstructions in dB.
    pub psnr: f64,
}

/// The levels that `sparsecode evaluate --noise 1.0,1.5 --json` prints: clean, σ = 1 and σ = 1.5.
///
/// # Errors
/// If there are more or fewer levels, or a figure is missing.
pub fn parse(json: &str) -> Result<Vec<Figures>> {
    let evaluations: Vec<Value> = serde_json::from_str(json).context("evaluate")?;
    ensure!(
        evaluations.len() == 3,
        "evaluate: {} levels, not 3",
        evaluations.len()
    );
    let number = |evaluation: &Value, name: &str| {
        evaluation[name]
            .as_f64()
            .with_context(|| format!("evaluate: no {name}"))
    };
    evaluations
        .iter()
        .map(|evaluation| {
            Ok(Figures {
                noisy: evaluation["psnr_input"].as_f64().unwrap_or(0.0),
                zeros: 100.0 * number(evaluation, "sparsity")?,
                psnr: number(evaluation, "psnr")?,
            })
        })
        .collect()
}

/// A row of the table for one noise level, over seeds, and whether it is within [`PSNR_DB`] and
/// [`ZEROS`] of the published means.
pub fn row(model: &PaperModel, published: &Level, figures: &[Figures]) -> (String, bool) {
    let of = |field: fn(&Figures) -> f64| {
        let values: Vec<f64> = figures.iter().map(field).collect();
        Spread::of(&values).unwrap_or(Spread {
            mean: f64::NAN,
            std: None,
        })
    };
    let with = |spread: Spread, digits: usize| match spread.std {
        Some(std) => format!("{:.digits$} ± {std:.digits$}", spread.mean),
        None => format!("{:.digits$}", spread.mean),
    };
    let (zeros, psnr) = (of(|f| f.zeros), of(|f| f.psnr));
    let (zeros_off, psnr_off) = (
        zeros.mean - published.zeros.mean,
        psnr.mean - published.psnr.mean,
    );
    let within = zeros_off.abs() <= ZEROS && psnr_off.abs() <= PSNR_DB;
    let clean = published.sigma == 0.0;
    let (noisy, noisy_published) = if clean {
        (String::new(), String::new())
    } else {
        (
            format!("{:.1}", of(|f| f.noisy).mean),
            format!("{:.1}", published.noisy),
        )
    };
    let sigma = if clean {
        "clean".to_owned()
    } else {
        format!("{:.1}", published.sigma)
    };
    let row = format!(
        "| {} | {} | {sigma} | {noisy} | {noisy_published} | {} | {} ± {} | {zeros_off:+.1} | {} | {} ± {} | {psnr_off:+.2}{} |\n",
        model.name,
        model.lambda,
        with(zeros, 1),
        published.zeros.mean,
        published.zeros.std,
        with(psnr, 2),
        published.psnr.mean,
        published.psnr.std,
        if within { "" } else { " (!)" },
    );
    (row, within)
}

#[cfg(test)]
mod tests {
    use super::super::published::MNIST;
    use super::*;

    #[test]
    fn figures_come_from_the_evaluation() {
        let json = r#"[{"psnr":17.5,"psnr_input":null,"sparsity":0.9},
            {"psnr":15.5,"psnr_input":10.2,"sparsity":0.88},
            {"psnr":12.5,"psnr_input":6.7,"sparsity":0.85}]"#;
        let figures = parse(json).unwrap();
        assert_eq!(figures[0].psnr, 17.5);
        assert_eq!(figures[1].zeros, 88.0);
        assert_eq!(figures[2].noisy, 6.7);
        assert!(parse("[]").is_err());
        assert!(parse(r#"[{"psnr":1},{"psnr":1},{"psnr":1}]"#).is_err());
    }

    #[test]
    fn rows_tell_what_is_off() {
        let model = &MNIST[1];
        let figures = |zeros, psnr| Figures {
            noisy: 0.0,
            zeros,
            psnr,
        };
        let (text, within) = row(model, &model.table1[0], &[figures(91.0, 17.5)]);
        assert!(within, "{text}");
        assert!(
            text.contains("| 91.0 | 91.8 ± 0.1 | -0.8 | 17.50 |"),
            "{text}"
        );
        let (text, within) = row(model, &model.table1[0], &[figures(91.0, 17.1)]);
        assert!(!within && text.contains("(!)"), "{text}");
        let (_, within) = row(model, &model.table1[0], &[figures(88.7, 17.7)]);
        assert!(!within);
        let two = [figures(91.0, 17.5), figures(92.0, 17.7)];
        let (text, _) = row(model, &model.table1[0], &two);
        assert!(
            text.contains("91.5 ± 0.7") && text.contains("17.60 ± 0.14"),
            "{text}"
        );
    }
}
