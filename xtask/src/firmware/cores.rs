//! The cores that the firmware supports: how each is built, and where it runs.

use clap::ValueEnum;

use super::qemu::Machine;
use crate::toolchain::{self, Toolchain};

/// A core that the firmware supports; the names are its cargo features.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    M0plus,
    M4f,
    M7,
    M33,
    M55,
    Rv32imc,
}

/// How to build for a core and where to run it.
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) target_cpu: Option<&'static str>,
    pub(crate) machine: Machine,
    /// Whether `self_test` runs on it: one core for each kind of kernel and of arithmetic.
    pub(super) tests_itself: bool,
}

impl Core {
    pub(crate) fn setup(self) -> Setup {
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

impl Setup {
    /// The compiler for this core if its emulator is here, too; else all that is missing, with the
    /// commands that install it.
    pub(crate) fn ready(&self) -> Result<Toolchain, String> {
        let toolchain = toolchain::choose(self.target);
        let emulator = self.machine.is_installed();
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
