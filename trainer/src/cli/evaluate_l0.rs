//! `evaluate --l0`: errors of codes with equally many components.

use super::common::{print_json, usage};
use crate::deploy::same_l0::{Codes, Found, SameL0};
use crate::report::table::Table;

/// Refuses numbers of components that no model has.
pub(super) fn check(wanted: &[f64]) -> anyhow::Result<()> {
    match wanted.iter().find(|l0| !(l0.is_finite() && **l0 > 0.0)) {
        Some(l0) => Err(usage(format!(
            "--l0 {l0}: the mean number of active components of a code is above 0"
        ))),
        None => Ok(()),
    }
}

/// Prints what codes come to with each of these numbers of components.
pub(super) fn print(
    name: &str,
    data: &str,
    codes: &Codes,
    wanted: &[f64],
    is_json: bool,
) -> anyhow::Result<()> {
    let units = codes.code_dim();
    if let Some(l0) = wanted.iter().find(|l0| **l0 > units as f64) {
        return Err(usage(format!(
            "--l0 {l0}: a code of this model has {units} components"
        )));
    }
    let all: Vec<SameL0> = wanted.iter().map(|l0| codes.at(*l0)).collect();
    if is_json {
        return print_json(&all);
    }
    let mut table = Table::new(["l0", "encoder", "MSE", "FISTA", "MSE", "tau"]);
    for row in &all {
        let cells = |found: Option<&Found>| {
            let text = |value: fn(&Found) -> String| found.map_or_else(String::new, value);
            [
                text(|f| format!("{:.1}", f.l0)),
                text(|f| format!("{:.4}", f.mse)),
            ]
        };
        let [encoder, encoder_mse] = cells(row.encoder.as_ref());
        let [fista, fista_mse] = cells(Some(&row.fista));
        table.push([
            format!("{}", row.l0),
            encoder,
            encoder_mse,
            fista,
            fista_mse,
            format!("{:.3}", row.sparsity),
        ]);
    }
    println!("{name} on {} samples of {data}", codes.samples());
    print!("{table}");
    println!(
        "l0: active components of a code, on average. MSE: of a number, in preprocessed units; a \
         code of zeros has {:.4}. encoder: its largest components times a gain, calibrated on \
         training samples. FISTA: on atoms of norm 1, with the tau that gives the l0.",
        codes.zero()
    );
    Ok(())
}
