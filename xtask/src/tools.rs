//! `cargo xtask tools`: what the other commands can run on this machine, and what is missing for
//! the rest.

use serde_json::{Map, Value, json};

use clap::ValueEnum as _;

use crate::capi::Place;
use crate::firmware::Core;
use crate::toolchain::{self, Toolchain};
use crate::{aarch64, cuda, no_std};

/// Say what the other commands can run on this machine, and what is missing for the rest.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Nothing is built. SPARSECODE_TOOLCHAIN=rustup, debian or none says by which compiler bare-metal targets are built.")]
pub(crate) struct Arguments {
    /// Print JSON: for each command and part either `through` or `missing`
    #[arg(long)]
    json: bool,
}

/// A part of a command: by what it runs, or what is missing.
struct Part {
    command: &'static str,
    name: String,
    ready: Result<String, String>,
}

/// Runs `cargo xtask tools`.
pub(crate) fn run(arguments: &Arguments) {
    let parts = parts();
    if arguments.json {
        println!("{:#}", report(&parts));
        return;
    }
    let width = parts.iter().map(|part| part.label().len()).max();
    for part in &parts {
        let said = match &part.ready {
            Ok(through) => through.clone(),
            Err(missing) => format!("MISSING: {missing}"),
        };
        println!("{:1$}  {said}", part.label(), width.unwrap_or(0));
    }
}

fn parts() -> Vec<Part> {
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
        let ways = toolchain::ways(target);
        let all: Vec<String> = ways.iter().map(Toolchain::to_string).collect();
        let ready = match all.is_empty() {
            true => Err(toolchain::remedy(target)),
            false => Ok(all.join("; also ")),
        };
        add("no-std", target, ready);
    }
    for core in Core::value_variants() {
        let setup = core.setup();
        let through = |toolchain| format!("{toolchain}; {}", setup.machine.program);
        add("firmware", setup.name, setup.ready().map(through));
    }
    for place in Place::value_variants() {
        add("capi", &place.to_string(), place.ready());
    }
    let aarch64 = aarch64::missing().map_or(Ok("qemu-aarch64".to_owned()), Err);
    add("aarch64", "tests", aarch64);
    let cuda = cuda::missing().map_or_else(|| Ok(cuda::nvcc()), Err);
    add("cuda", "build", cuda);
    parts
}

fn report(parts: &[Part]) -> Value {
    let mut report = Map::new();
    for part in parts {
        let ready = match &part.ready {
            Ok(through) => json!({ "through": through }),
            Err(missing) => json!({ "missing": missing }),
        };
        report
            .entry(part.command)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .expect("made above")
            .insert(part.name.clone(), ready);
    }
    report.into()
}

impl Part {
    fn label(&self) -> String {
        format!("{} {}", self.command, self.name)
    }
}
