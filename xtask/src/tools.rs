//! `cargo xtask tools`: what the other commands can run on this machine, and what is missing for
//! the rest.

use sparsecode_lab::capi::Place;
use sparsecode_lab::{Core, Toolchain, Tools, aarch64, no_std, toolchain};

use crate::cuda;

/// Say what the other commands can run on this machine, and what is missing for the rest.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Nothing is built. SPARSECODE_TOOLCHAIN=rustup, debian or none says by which compiler bare-metal \
targets are built.")]
pub(crate) struct Arguments {}

/// A part of a command: by what it runs, or what is missing.
struct Part {
    command: &'static str,
    name: String,
    ready: Result<String, String>,
}

/// Runs `cargo xtask tools`.
pub(crate) fn run(tools: &Tools) {
    let parts = parts(tools);
    let width = parts.iter().map(|part| part.label().len()).max();
    for part in &parts {
        let said = match &part.ready {
            Ok(through) => through.clone(),
            Err(missing) => format!("MISSING: {missing}"),
        };
        println!("{:1$}  {said}", part.label(), width.unwrap_or(0));
    }
}

fn parts(tools: &Tools) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |command, name: &str, ready| {
        let name = name.to_owned();
        parts.push(Part {
            command,
            name,
            ready,
        });
    };
    for target in no_std::TARGETS {
        let ways = tools.ways(target);
        let all: Vec<String> = ways.iter().map(Toolchain::to_string).collect();
        let ready = match all.is_empty() {
            true => Err(toolchain::remedy(target)),
            false => Ok(all.join("; also ")),
        };
        add("no-std", target, ready);
    }
    for core in Core::ALL {
        let setup = core.setup();
        let through = |toolchain| format!("{toolchain}; {}", setup.machine.program);
        add("firmware", setup.name, setup.ready(tools).map(through));
    }
    for place in Place::ALL {
        add("capi", place.name(), place.ready(tools));
    }
    let aarch64 = aarch64::missing(tools).map_or(Ok("qemu-aarch64".to_owned()), Err);
    add("aarch64", "tests", aarch64);
    let cuda = cuda::missing(tools).map_or_else(|| Ok(cuda::nvcc()), Err);
    add("cuda", "build", cuda);
    parts
}

impl Part {
    fn label(&self) -> String {
        format!("{} {}", self.command, self.name)
    }
}
