//! Machines with some of the tools: what needs a missing one is skipped by name, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sparsecode_tests::tools::xtask;
use tempfile::TempDir;

/// Whether nothing failed and something is not installed.
const SKIPPED: i32 = 77;

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

const CORES: [&str; 6] = ["m0plus", "m4f", "m7", "m33", "m55", "rv32imc"];

impl Tool {
    /// What a person without it is told to type, for a core that needs it.
    fn remedy(self, core: &str) -> String {
        let target = match core {
            "m0plus" => "thumbv6m-none-eabi",
            "m4f" | "m7" => "thumbv7em-none-eabihf",
            "m33" | "m55" => "thumbv8m.main-none-eabihf",
            _ => "riscv32imc-unknown-none-elf",
        };
        match self {
            ArmTargets | RiscvTarget => format!("rustup target add {target}"),
            ArmEmulator => "apt install qemu-system-arm".to_owned(),
            RiscvEmulator => "apt install qemu-system-misc".to_owned(),
        }
    }

    fn needed_by(core: &str) -> [Self; 2] {
        match core {
            "rv32imc" => [RiscvTarget, RiscvEmulator],
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

    fn xtask(&self, arguments: &[&str]) -> Output {
        self.run(xtask().args(arguments))
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
        let output = Machine::with(&tools).xtask(&["tools", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for core in CORES {
            let needed = Tool::needed_by(core);
            let part = &report["firmware"][core];
            if needed.iter().all(|tool| tools.contains(tool)) {
                assert!(part["through"].is_string(), "{tools:?} {core}: {part}");
                continue;
            }
            let said = part["missing"].as_str().unwrap_or_default();
            let other = CORES.iter().find(|other| Tool::needed_by(other) != needed);
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
        let said = report["capi"]["m4f"]["missing"].as_str().unwrap();
        assert!(said.contains("apt install clang-19 lld-19"), "{said}");
        assert_eq!(
            said.contains("apt install qemu-system-arm"),
            !tools.contains(&ArmEmulator),
            "{said}"
        );
        let said = report["capi"]["host"]["missing"].as_str().unwrap();
        assert!(said.contains("apt install gcc") && said.contains("apt install g++"));
        let said = report["aarch64"]["tests"]["missing"].as_str().unwrap();
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

/// Every command says of each core why it is skipped, and that is neither success nor failure.
/// Nothing is built.
#[cfg(unix)]
#[test]
fn commands_skip_what_cannot_run() {
    for tools in UNABLE {
        let machine = Machine::with(tools);
        let every = CORES.join(",");
        for arguments in [
            &["firmware", "--json"][..],
            &["bench", "device", "--json"],
            &["bench", "device"],
            &["stream", "--json", "--core", &every],
            &["capi"],
        ] {
            let output = machine.xtask(arguments);
            let said = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            let label = format!("{tools:?} {arguments:?}: {said} {errors}");
            assert_eq!(output.status.code(), Some(SKIPPED), "{label}");
            let cores = match arguments {
                ["capi"] => &["host", "m4f", "m0plus"][..],
                _ => &CORES,
            };
            for core in cores {
                assert!(said.contains(core), "{core} {label}");
            }
            assert!(!errors.contains("through"), "built: {label}");
        }
    }
    for command in ["no-std", "no-panic"] {
        let output = Machine::with(&[ArmEmulator, RiscvEmulator]).xtask(&[command]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(SKIPPED), "{said}");
        let skipped: BTreeSet<&str> = said.lines().collect();
        let named = |line: &&str| line.contains("skipped") && line.contains("rustup target add");
        assert!(skipped.len() >= 4 && skipped.iter().all(named), "{said}");
    }
}

/// The tests of the firmware pass there, too, and say what they skipped.
#[cfg(unix)]
#[test]
fn the_tests_skip_what_cannot_run() {
    let xtask = xtask().get_program().to_owned();
    for tools in UNABLE {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        let names = [
            "the_firmware_computes_what_the_host_does",
            "the_benchmark_counts_every_way_to_refine",
            "integers_and_streams_run_on_the_device",
        ];
        tests.args(["--exact"]).args(names);
        let output = Machine::with(tools).run(tests.env("SPARSECODE_XTASK", &xtask));
        let (said, skipped) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{tools:?}: {said} {skipped}");
        assert!(said.contains("3 passed"), "{tools:?}: {said}");
        for core in ["m0plus", "m4f", "m33", "m55", "rv32imc"] {
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
