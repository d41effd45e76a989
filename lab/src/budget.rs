//! What the models in the repository may cost: `firmware-example/budgets.toml`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::elf;
use crate::firmware;
use crate::log::Log;
use crate::toolchain::Toolchain;

/// Limits of one program: a table of cores, each a table of figures as the log names them, and
/// `flash`.
pub(crate) struct Budgets {
    program: &'static str,
    cores: toml::Table,
    /// In place of those, with the `core` that rustup installs.
    precompiled: toml::Table,
}

impl Budgets {
    /// Reads the file.
    pub(crate) fn of(program: &'static str) -> Result<Self> {
        let path = firmware::folder().join("budgets.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(program, &text).with_context(|| path.display().to_string())
    }

    fn parse(program: &'static str, text: &str) -> Result<Self> {
        let file: toml::Table = text.parse()?;
        let table = |file: &toml::Table, name: &str| file.get(name)?.as_table().cloned();
        Ok(Self {
            program,
            cores: table(&file, program).with_context(|| format!("no table `{program}`"))?,
            precompiled: table(&file, "precompiled")
                .and_then(|file| table(&file, program))
                .unwrap_or_default(),
        })
    }

    /// Holds a core's figures to its limits, of which there is at least one.
    pub(crate) fn check(
        &self,
        core: &str,
        toolchain: &Toolchain,
        log: &Log,
        footprint: &elf::Footprint,
    ) -> Result<()> {
        let code = footprint.flash - footprint.model;
        let precompiled = *toolchain == Toolchain::Installed;
        self.check_figures(core, precompiled, |name| match name {
            "flash" => Ok(code),
            _ => log.value(name),
        })
    }

    fn check_figures(
        &self,
        core: &str,
        precompiled: bool,
        figure: impl Fn(&str) -> Result<u64>,
    ) -> Result<()> {
        let program = self.program;
        let of = |cores: &toml::Table| cores.get(core).and_then(toml::Value::as_table).cloned();
        let mut limits = of(&self.cores)
            .filter(|limits| !limits.is_empty())
            .with_context(|| format!("budgets.toml: no limits for `{program}.{core}`"))?;
        if precompiled {
            limits.extend(of(&self.precompiled).unwrap_or_default());
        }
        let mut over = Vec::new();
        for (name, limit) in &limits {
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
                "{program} on {core}: {}; if it has to be, raise it in \
                 firmware-example/budgets.toml, with the cause",
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
        check_built(limits, core, false)
    }

    fn check_built(limits: &str, core: &str, precompiled: bool) -> Result<()> {
        Budgets::parse("integer", limits)?.check_figures(core, precompiled, |name| match name {
            "encode" => Ok(100),
            "flash" => Ok(5000),
            _ => bail!("no {name}"),
        })
    }

    #[test]
    fn the_precompiled_core_has_limits_of_its_own() {
        let limits = "[integer.m4f]\nencode = 100\nflash = 4000\n\
                      [precompiled.integer.m4f]\nflash = 5000\n";
        check_built(limits, "m4f", true).unwrap();
        let error = check_built(limits, "m4f", false).unwrap_err();
        assert!(error.to_string().contains("the budget is 4000"), "{error}");
        // What has none is held to the others'.
        let error = check_built(&limits.replace("100", "99"), "m4f", true).unwrap_err();
        assert!(error.to_string().contains("the budget is 99"), "{error}");
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
        for program in ["bench", "integer"]
            .into_iter()
            .chain(crate::variational::MODELS)
        {
            let budgets = Budgets::of(program).unwrap();
            for core in crate::Core::ALL {
                for precompiled in [false, true] {
                    let name = core.name();
                    budgets.check_figures(name, precompiled, |_| Ok(0)).unwrap();
                }
            }
        }
    }
}
