//! The cores that the firmware supports: how each is built, and where it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use anyhow::Result;
use serde::{Serialize, Serializer};

use crate::qemu::Machine;
use crate::toolchain::{self, Toolchain, Tools};

/// A core that the firmware supports; the names are its cargo features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// Cortex-M0+.
    M0plus,
    /// Cortex-M4 with a floating-point unit.
    M4f,
    /// Cortex-M7.
    M7,
    /// Cortex-M33.
    M33,
    /// Cortex-M55, which has Helium.
    M55,
    /// RISC-V with multiplication and compressed instructions.
    Rv32imc,
}

/// How to build for a core and where to run it.
pub struct Setup {
    /// The core's name and the firmware's feature.
    pub name: &'static str,
    /// Rust's target.
    pub target: &'static str,
    /// The processor within the target, where code generation is told.
    pub target_cpu: Option<&'static str>,
    /// Where the core's programs run.
    pub machine: Machine,
    /// Whether `self_test` runs on it: one core for each kind of kernel and of arithmetic.
    pub(crate) tests_itself: bool,
}

impl Core {
    /// Every core, the smallest first.
    pub const ALL: [Self; 6] = [
        Self::M0plus,
        Self::M4f,
        Self::M7,
        Self::M33,
        Self::M55,
        Self::Rv32imc,
    ];

    /// The name, which is the firmware's feature.
    pub fn name(self) -> &'static str {
        self.setup().name
    }

    /// Whether the core has no unit for floating-point arithmetic.
    pub fn lacks_floats(self) -> bool {
        matches!(self, Self::M0plus | Self::Rv32imc)
    }

    /// How to build for the core and where to run it.
    pub fn setup(self) -> Setup {
        let arm = |machine, cpu, icount_shift| Machine {
            program: "qemu-system-arm",
            package: "qemu-system-arm",
            machine,
            cpu,
            icount_shift,
            extra: &[],
        };
        match self {
            // QEMU has no M0+; the M0 of the micro:bit has the same instructions.
            Self::M0plus => Setup {
                name: "m0plus",
                target: "thumbv6m-none-eabi",
                target_cpu: Some("cortex-m0plus"),
                machine: arm("microbit", "cortex-m0", 6),
                tests_itself: true,
            },
            Self::M4f => Setup {
                name: "m4f",
                target: "thumbv7em-none-eabihf",
                target_cpu: Some("cortex-m4"),
                machine: arm("mps2-an386", "cortex-m4", 6),
                tests_itself: true,
            },
            Self::M7 => Setup {
                name: "m7",
                target: "thumbv7em-none-eabihf",
                target_cpu: Some("cortex-m7"),
                machine: arm("mps2-an500", "cortex-m7", 6),
                tests_itself: false,
            },
            Self::M33 => Setup {
                name: "m33",
                target: "thumbv8m.main-none-eabihf",
                target_cpu: Some("cortex-m33"),
                machine: arm("mps2-an505", "cortex-m33", 6),
                tests_itself: true,
            },
            Self::M55 => Setup {
                name: "m55",
                target: "thumbv8m.main-none-eabihf",
                target_cpu: Some("cortex-m55"),
                machine: arm("mps3-an547", "cortex-m55", 5),
                tests_itself: true,
            },
            Self::Rv32imc => Setup {
                name: "rv32imc",
                target: "riscv32imc-unknown-none-elf",
                target_cpu: None,
                machine: Machine {
                    program: "qemu-system-riscv32",
                    package: "qemu-system-misc",
                    machine: "virt",
                    // Without the extensions that the part lacks, so that using one traps.
                    cpu: "rv32,a=off,f=off,d=off",
                    icount_shift: 0,
                    extra: &["-bios", "none"],
                },
                tests_itself: true,
            },
        }
    }
}

impl fmt::Display for Core {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Core {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let core = Self::ALL.into_iter().find(|core| core.name() == name);
        core.ok_or_else(|| format!("no core {name}: {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl Serialize for Core {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Setup {
    /// The compiler for this core if its emulator is here, too.
    ///
    /// # Errors
    /// All that is missing, with the commands that install it.
    pub fn ready(&self, tools: &Tools) -> Result<Toolchain, String> {
        let toolchain = tools.choose(self.target);
        let emulator = tools.is_installed(self.machine.program);
        match toolchain {
            Some(toolchain) if emulator => Ok(toolchain),
            toolchain => {
                let compiler = toolchain.is_none().then(|| toolchain::remedy(self.target));
                let emulator = (!emulator).then(|| self.machine.remedy());
                let missing: Vec<String> = compiler.into_iter().chain(emulator).collect();
                Err(missing.join("; "))
            }
        }
    }
}

/// How a core fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome<T> {
    /// Ran, and the results are the host's.
    Passed(T),
    /// Could not run here; why, and what to install.
    Skipped(String),
    /// Did not build, did not run, or came to other results; why.
    Failed(String),
}

/// What a core found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<T> {
    /// The core.
    pub core: Core,
    /// The compiler, in words; empty if there is none.
    pub toolchain: String,
    /// What was found.
    pub outcome: Outcome<T>,
}

impl<T> Row<T> {
    /// What the core found, if it ran and its results are the host's.
    pub fn passed(&self) -> Option<&T> {
        match &self.outcome {
            Outcome::Passed(found) => Some(found),
            Outcome::Skipped(_) | Outcome::Failed(_) => None,
        }
    }

    /// Goes on with what the core found; an error is a failure of this core alone.
    pub(crate) fn and_then<U>(self, next: impl FnOnce(Core, T) -> Result<U>) -> Row<U> {
        let outcome = match self.outcome {
            Outcome::Passed(found) => passed_or_failed(next(self.core, found)),
            Outcome::Skipped(why) => Outcome::Skipped(why),
            Outcome::Failed(why) => Outcome::Failed(why),
        };
        Row {
            core: self.core,
            toolchain: self.toolchain,
            outcome,
        }
    }
}

fn passed_or_failed<T>(outcome: Result<T>) -> Outcome<T> {
    match outcome {
        Ok(found) => Outcome::Passed(found),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

/// How all cores fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Each ran, and its results are the host's.
    Passed,
    /// None failed, and one or more could not run here.
    Skipped,
    /// One or more failed.
    Failed,
}

/// How all cores fared: a failure counts more than a skip.
pub fn status<T>(rows: &[Row<T>]) -> Status {
    let any = |is: fn(&Outcome<T>) -> bool| rows.iter().any(|row| is(&row.outcome));
    if any(|outcome| matches!(outcome, Outcome::Failed(_))) {
        Status::Failed
    } else if any(|outcome| matches!(outcome, Outcome::Skipped(_))) {
        Status::Skipped
    } else {
        Status::Passed
    }
}

/// Builds for each core that can run here, one after the other, and runs what was built: while one
/// core runs in its emulator, the next is built. Says on standard error what is built.
pub(crate) fn on_cores<T: Send>(
    tools: &Tools,
    cores: &[Core],
    build: impl Fn(&Setup, &Toolchain) -> Result<PathBuf>,
    run: impl Fn(Core, &Toolchain, &Path) -> Result<T> + Sync,
) -> Vec<Row<T>> {
    let run = &run;
    thread::scope(|scope| {
        let mut rows = Vec::new();
        for core in cores.iter().copied() {
            let setup = core.setup();
            let toolchain = match setup.ready(tools) {
                Ok(toolchain) => toolchain,
                Err(missing) => {
                    rows.push((core, String::new(), Err(Outcome::Skipped(missing))));
                    continue;
                }
            };
            eprintln!("{}: {} through {toolchain}", setup.name, setup.target);
            let through = toolchain.to_string();
            let running = match build(&setup, &toolchain) {
                Ok(elf) => Ok(scope.spawn(move || run(core, &toolchain, &elf))),
                Err(error) => Err(Outcome::Failed(format!("{error:#}"))),
            };
            rows.push((core, through, running));
        }
        let rows = rows.into_iter().map(|(core, toolchain, running)| Row {
            core,
            toolchain,
            outcome: running.map_or_else(
                |outcome| outcome,
                |running| passed_or_failed(running.join().expect("a thread that does not panic")),
            ),
        });
        rows.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Ways;

    fn row(outcome: Outcome<u32>) -> Row<u32> {
        Row {
            core: Core::M4f,
            toolchain: String::new(),
            outcome,
        }
    }

    #[test]
    fn skipped_is_neither_success_nor_failure() {
        let skipped = || row(Outcome::Skipped("no emulator".into()));
        let failed = || row(Outcome::Failed("differs".into()));
        assert_eq!(status::<u32>(&[]), Status::Passed);
        assert_eq!(
            status(&[row(Outcome::Passed(1)), skipped()]),
            Status::Skipped
        );
        assert_eq!(status(&[skipped(), failed()]), Status::Failed);
    }

    #[test]
    fn what_comes_after_fails_one_core_alone() {
        let passed = row(Outcome::Passed(1)).and_then(|_, found| Ok(found + 1));
        assert_eq!(passed.passed(), Some(&2));
        let failed = row(Outcome::Passed(1))
            .and_then(|_, _| -> Result<u32> { anyhow::bail!("other codes") });
        assert_eq!(failed.outcome, Outcome::Failed("other codes".into()));
        let skipped = row(Outcome::Skipped("no emulator".into())).and_then(|_, found| Ok(found));
        assert_eq!(skipped.outcome, Outcome::Skipped("no emulator".into()));
    }

    #[test]
    fn nothing_is_built_where_nothing_can_run() {
        let nothing = Tools::on("", Ways::None);
        let rows = on_cores(
            &nothing,
            &Core::ALL,
            |_, _| -> Result<PathBuf> { panic!("built") },
            |_, _, _| -> Result<u32> { panic!("run") },
        );
        assert_eq!(rows.len(), Core::ALL.len());
        assert_eq!(status(&rows), Status::Skipped);
    }

    #[test]
    fn names_are_read_back() {
        for core in Core::ALL {
            assert_eq!(core.name().parse(), Ok(core));
        }
        let error = "m8".parse::<Core>().unwrap_err();
        assert!(error.contains("m8") && error.contains("rv32imc"), "{error}");
    }
}
