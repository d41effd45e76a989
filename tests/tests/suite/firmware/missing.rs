//! Machines with some of the tools: what needs a missing one is skipped by name, and nothing else.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sparsecode_lab::aarch64;
use sparsecode_lab::bench::{self, Bench};
use sparsecode_lab::capi::{self, Place};
use sparsecode_lab::firmware::{self, Files, Job, Limits};
use sparsecode_lab::{Core, Outcome, Row, Status, Tools, Ways, status, stream};
use tempfile::TempDir;

/// What a machine may have or not: the compiler's bare-metal targets, by architecture, and the
/// emulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    ArmTargets,
    RiscvTarget,
    ArmEmulator,
    RiscvEmulator,
}

use Tool::{ArmEmulator, ArmTargets, RiscvEmulator, RiscvTarget};

const TOOLS: [Tool; 4] = [ArmTargets, RiscvTarget, ArmEmulator, RiscvEmulator];

impl Tool {
    /// What a person without it is told to type, for a core that needs it.
    fn remedy(self, core: Core) -> String {
        match self {
            ArmTargets | RiscvTarget => format!("rustup target add {}", core.setup().target),
            ArmEmulator => "apt install qemu-system-arm".to_owned(),
            RiscvEmulator => "apt install qemu-system-misc".to_owned(),
        }
    }

    fn needed_by(core: Core) -> [Self; 2] {
        match core {
            Core::Rv32imc => [RiscvTarget, RiscvEmulator],
            _ => [ArmTargets, ArmEmulator],
        }
    }
}

/// A machine: a folder of programs that say what is asked of them and do nothing else.
struct Machine {
    programs: TempDir,
}

impl Machine {
    fn with(tools: &[Tool]) -> Self {
        let programs = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = programs.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            make_executable(&path);
        };
        let library = programs.path().join("library");
        fs::create_dir(&library).unwrap();
        fs::write(library.join("libcore-0.rlib"), "").unwrap();
        // `rustc --print target-libdir --target TARGET`
        let known = |tool: Tool, pattern: &str| match tools.contains(&tool) {
            true => format!("{pattern}) echo '{}';;", library.display()),
            false => String::new(),
        };
        let (arm, riscv) = (known(ArmTargets, "thumb*"), known(RiscvTarget, "riscv32*"));
        program(
            "rustc",
            &format!("case \"$4\" in {arm} {riscv} *) exit 1;; esac"),
        );
        for (tool, name) in [
            (ArmEmulator, "qemu-system-arm"),
            (RiscvEmulator, "qemu-system-riscv32"),
        ] {
            if tools.contains(&tool) {
                program(name, "exit 0");
            }
        }
        Self { programs }
    }

    /// Runs a program there; Debian's compiler, which is looked for at its fixed place, is not.
    fn run(&self, command: &mut Command) -> Output {
        let command = command
            .env("PATH", self.programs.path())
            .env("SPARSECODE_TOOLCHAIN", "rustup")
            .env_remove("CC")
            .env_remove("CXX");
        command.output().expect("it starts")
    }

    /// What the lab finds there.
    fn tools(&self) -> Tools {
        Tools::on(self.programs.path(), Ways::Rustup)
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(not(unix))]
fn make_executable(_: &Path) {}

fn subsets() -> impl Iterator<Item = Vec<Tool>> {
    (0..1_u32 << TOOLS.len()).map(|set| {
        let tools = TOOLS.into_iter().enumerate();
        tools
            .filter(|(bit, _)| set >> bit & 1 == 1)
            .map(|(_, tool)| tool)
            .collect()
    })
}

/// Whatever is missing: the cores that need none of it are ready; the others name each missing
/// tool, and no other.
#[cfg(unix)]
#[test]
fn a_missing_tool_costs_what_needs_it_and_nothing_else() {
    for tools in subsets() {
        let machine = Machine::with(&tools);
        let here = machine.tools();
        for core in Core::ALL {
            let needed = Tool::needed_by(core);
            let said = match core.setup().ready(&here) {
                Ok(toolchain) => {
                    let complete = needed.iter().all(|tool| tools.contains(tool));
                    assert!(complete, "{tools:?} {core}: {toolchain}");
                    continue;
                }
                Err(said) => said,
            };
            let other = Core::ALL
                .into_iter()
                .find(|o| Tool::needed_by(*o) != needed);
            for tool in Tool::needed_by(other.unwrap()) {
                let remedy = tool.remedy(other.unwrap());
                assert!(
                    !said.contains(&remedy),
                    "{tools:?} {core}: {remedy}: {said}"
                );
            }
            for tool in needed {
                let missing = !tools.contains(&tool);
                assert_eq!(
                    said.contains(&tool.remedy(core)),
                    missing,
                    "{tools:?} {core}: {tool:?}: {said}"
                );
            }
        }
        // A C compiler for Cortex-M is missing on all of these machines.
        let said = Place::M4f.ready(&here).unwrap_err();
        assert!(said.contains("apt install clang-19 lld-19"), "{said}");
        assert_eq!(
            said.contains("apt install qemu-system-arm"),
            !tools.contains(&ArmEmulator),
            "{said}"
        );
        let said = Place::Host.ready(&here).unwrap_err();
        assert!(said.contains("apt install gcc") && said.contains("apt install g++"));
        let said = aarch64::missing(&here).unwrap();
        for remedy in [
            "rustup target add aarch64-unknown-linux-gnu",
            "gcc-aarch64-linux-gnu",
            "qemu-user",
        ] {
            assert!(said.contains(remedy), "{said}");
        }
    }
}

/// Machines on which no core can run: without anything, with compilers alone, with emulators alone,
/// with one of each for another core.
const UNABLE: [&[Tool]; 4] = [
    &[],
    &[ArmTargets, RiscvTarget],
    &[ArmEmulator, RiscvEmulator],
    &[ArmTargets, RiscvEmulator],
];

/// Whether every core was skipped, each for a reason.
fn all_skipped<T: std::fmt::Debug>(rows: &[Row<T>]) -> bool {
    let reason = |row: &Row<T>| matches!(&row.outcome, Outcome::Skipped(why) if !why.is_empty());
    rows.len() == Core::ALL.len() && rows.iter().all(reason) && status(rows) == Status::Skipped
}

/// Every core says why it is skipped, which is neither success nor failure. Nothing is built: there
/// is no cargo.
#[cfg(unix)]
#[test]
fn what_cannot_run_is_skipped() {
    for tools in UNABLE {
        let machine = Machine::with(tools);
        let here = machine.tools();
        let job = |files: Files| Job::of(&files).unwrap();
        let own = job(Files::default());
        let rows = firmware::run(&here, &own, &Core::ALL, &Limits::default());
        assert!(all_skipped(&rows), "{tools:?} {rows:?}");
        match bench::run(&here, &own, &Core::ALL, true).unwrap() {
            Bench::Float(found) => assert!(all_skipped(&found.cores), "{tools:?} {found:?}"),
            other => panic!("{other:?}"),
        }
        let ecg = job(stream::ecg(Files::default()));
        match bench::run(&here, &ecg, &Core::ALL, false).unwrap() {
            Bench::Integer(found) => assert!(all_skipped(&found.cores), "{tools:?} {found:?}"),
            other => panic!("{other:?}"),
        }
        let found = stream::run(&here, &ecg, &Core::ALL).unwrap();
        assert!(all_skipped(&found.cores), "{tools:?} {found:?}");
        for place in Place::ALL {
            let checked = capi::check(&here, place).unwrap();
            assert!(
                checked.ran.is_empty() && checked.skipped.len() == 1,
                "{tools:?} {place}: {checked:?}"
            );
        }
    }
    let machine = Machine::with(&[ArmEmulator, RiscvEmulator]);
    for core in Core::ALL {
        assert_eq!(machine.tools().ways(core.setup().target), []);
    }
}

/// The tests of the firmware pass there, too, and say what they skipped.
#[cfg(unix)]
#[test]
fn the_tests_skip_what_cannot_run() {
    for tools in UNABLE {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        let names = [
            "firmware::the_firmware_computes_what_the_host_does",
            "firmware::the_benchmark_counts_every_way_to_refine",
            "firmware::integers_and_streams_run_on_the_device",
        ];
        tests.args(["--exact"]).args(names);
        let output = Machine::with(tools).run(&mut tests);
        let (said, skipped) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{tools:?}: {said} {skipped}");
        assert!(said.contains("3 passed"), "{tools:?}: {said}");
        let cores = Core::ALL.into_iter().filter(|core| *core != Core::M7);
        for core in cores {
            for tool in Tool::needed_by(core) {
                let line = skipped
                    .lines()
                    .find(|line| line.starts_with(&format!("skipped: firmware {core}: ")))
                    .unwrap_or_else(|| panic!("{tools:?} {core}: {skipped}"));
                assert_eq!(
                    line.contains(&tool.remedy(core)),
                    !tools.contains(&tool),
                    "{line}"
                );
            }
        }
    }
}
