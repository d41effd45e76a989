//! What the models in the repository may cost: `firmware-example/budgets.toml`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::elf;
use super::log::Log;

/// Limits of one program: a table of cores, each a table of figures as the log names them, and `flash`.
pub(super) struct Budgets {
    program: &'static str,
    cores: toml::Table,
}

impl Budgets {
    /// Reads the file.
    pub(super) fn of(program: &'static str) -> Result<Self> {
        let path = super::folder().join("budgets.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(program, &text).with_context(|| path.display().to_string())
    }

    fn parse(program: &'static str, text: &str) -> Result<Self> {
        let file: toml::Table = text.parse()?;
        let cores = file
            .get(program)
            .and_then(toml::Value::as_table)
            .with_context(|| format!("no table `{program}`"))?;
        Ok(Self {
            program,
            cores: cores.clone(),
        })
    }

    /// Holds a core's figures to its limits, of which there is at least one.
    pub(super) fn check(&self, core: &str, log: &Log, footprint: &elf::Footprint) -> Result<()> {
        let code = footprint.flash - footprint.model;
        self.check_figures(core, |name| match name {
            "flash" => Ok(code),
            _ => log.value(name),
        })
    }

    fn check_figures(&self, core: &str, figure: impl Fn(&str) -> Result<u64>) -> Result<()> {
        let program = self.program;
        let limits = self
            .cores
            .get(core)
            .and_then(toml::Value::as_table)
            .filter(|limits| !limits.is_empty())
            .with_context(|| format!("budgets.toml: no limits for `{program}.{core}`"))?;
        let mut over = Vec::new();
        for (name, limit) in limits {
            let limit = limit
                .as_integer()
                .and_then(|limit| u64::try_from(limit).ok())
                .with_context(|| format!("budgets.toml: {program}.{core}.{name} is no number"))?;
            let found = figure(name)?;
            if found > limit {
                over.push(format!("{name}: {found}, the budget is {limit}"));
            }
        }
        if !over.is_empty() {
            bail!(
                "{program} on {core}: {}; if it has to be, raise it in firmware-example/budgets.toml, with the cause",
                over.join("; ")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: &str, core: &str) -> Result<()> {
        Budgets::parse("integer", limits)?.check_figures(core, |name| match name {
            "encode" => Ok(100),
            "flash" => Ok(5000),
            _ => bail!("no {name}"),
        })
    }

    #[test]
    fn what_is_over_budget_is_named() {
        let limits = "[integer.m4f]\nencode = 100\nflash = 5000\n";
        check(limits, "m4f").unwrap();
        let error = check(&limits.replace("100", "99"), "m4f").unwrap_err();
        assert!(
            error.to_string().contains("encode: 100, the budget is 99"),
            "{error}"
        );
        let error = check(&limits.replace("5000", "4999"), "m4f").unwrap_err();
        assert!(error.to_string().contains("flash"), "{error}");
    }

    #[test]
    fn budgets_that_limit_nothing_are_refused() {
        assert!(check("[integer.m4f]\n", "m4f").is_err());
        assert!(check("[integer.m4f]\nencode = 100\n", "m7").is_err());
        assert!(check("[bench.m4f]\nencode = 100\n", "m4f").is_err());
        assert!(check("[integer.m4f]\nencoder = 100\n", "m4f").is_err());
        assert!(check("[integer.m4f]\nencode = \"100\"\n", "m4f").is_err());
    }

    #[test]
    fn the_repositorys_budgets_cover_every_core() {
        use clap::ValueEnum as _;
        for program in ["bench", "integer"] {
            let budgets = Budgets::of(program).unwrap();
            for core in super::super::Core::value_variants() {
                budgets.check_figures(core.setup().name, |_| Ok(0)).unwrap();
            }
        }
    }
}
