//! Which compiler can build for a bare-metal target on this machine.
//!
//! There are two ways: the active compiler with the target that `rustup target add` installs, and
//! Debian's, which compiles `core` along. The first is preferred; `SPARSECODE_TOOLCHAIN` chooses
//! one, or `none`.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Chooses a way: `rustup`, `debian`, or `none`, as if no compiler were here.
const VARIABLE: &str = "SPARSECODE_TOOLCHAIN";

/// A way to compile for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The target's `core` is installed beside the active compiler.
    Installed,
    /// Debian's compiler with its library sources: `core` is compiled along.
    Distribution {
        /// The linker.
        linker: PathBuf,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => formatter.write_str("the installed target"),
            Self::Distribution { linker } => {
                write!(
                    formatter,
                    "/usr/bin/cargo with core built from source, linked by {}",
                    linker.display()
                )
            }
        }
    }
}

/// What to tell a person whose machine has no way to build for `target`.
pub fn remedy(target: &str) -> String {
    format!(
        "no compiler for {target}: run `rustup target add {target}`, or on Debian \
         `apt install rustc-web cargo-web rust-web-src lld-19`"
    )
}

/// Which ways to build for a device may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// Every way, the active compiler first.
    Any,
    /// The active compiler with rustup's targets.
    Rustup,
    /// Debian's compiler, at its fixed place.
    Debian,
    /// No way, as if no compiler were here.
    None,
}

/// The compilers and emulators of a machine.
#[derive(Debug, Clone)]
pub struct Tools {
    path: OsString,
    ways: Ways,
    /// The host's compilers.
    pub(crate) cc: String,
    pub(crate) cxx: String,
}

impl Tools {
    /// Those of this machine, by `PATH`, `CC` and `CXX`; `SPARSECODE_TOOLCHAIN` chooses the ways.
    ///
    /// # Errors
    /// If `SPARSECODE_TOOLCHAIN` is none of `rustup`, `debian` and `none`.
    pub fn here() -> Result<Self> {
        let ways = match env::var(VARIABLE).as_deref() {
            Err(env::VarError::NotPresent) => Ways::Any,
            Ok("rustup") => Ways::Rustup,
            Ok("debian") => Ways::Debian,
            Ok("none") => Ways::None,
            other => bail!(
                "{VARIABLE} is {:?}: expected rustup, debian or none",
                other.unwrap_or("not text")
            ),
        };
        let mut tools = Self::on(env::var_os("PATH").unwrap_or_default(), ways);
        if let Ok(cc) = env::var("CC") {
            tools.cc = cc;
        }
        if let Ok(cxx) = env::var("CXX") {
            tools.cxx = cxx;
        }
        Ok(tools)
    }

    /// Those in the folders of `path`, which is written as `PATH` is; compilers in C are `cc` and
    /// `c++`.
    pub fn on(path: impl Into<OsString>, ways: Ways) -> Self {
        Self {
            path: path.into(),
            ways,
            cc: "cc".into(),
            cxx: "c++".into(),
        }
    }

    /// Whether a program can be started.
    pub fn is_installed(&self, program: &str) -> bool {
        self.command(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Whether a compiler has `library`, `core` or `std`, for a target.
    pub fn has_target(&self, compiler: &str, library: &str, target: &str) -> bool {
        let mut command = self.command(compiler);
        command.args(["--print", "target-libdir", "--target", target]);
        let Some(folder) = output(&mut command) else {
            return false;
        };
        let prefix = format!("lib{library}-");
        std::fs::read_dir(folder.trim()).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        })
    }

    /// The preferred way to build for `target`.
    pub fn choose(&self, target: &str) -> Option<Toolchain> {
        self.ways(target).into_iter().next()
    }

    /// Every way to build for `target`, the preferred one first.
    pub fn ways(&self, target: &str) -> Vec<Toolchain> {
        let any = self.ways == Ways::Any;
        let installed = ((any || self.ways == Ways::Rustup)
            && self.has_target("rustc", "core", target))
        .then_some(Toolchain::Installed);
        let distribution = match any || self.ways == Ways::Debian {
            true => distribution(),
            false => None,
        };
        installed.into_iter().chain(distribution).collect()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path);
        command
    }
}

/// Debian's compiler, if it has library sources and a linker.
fn distribution() -> Option<Toolchain> {
    let sysroot = output(Command::new("/usr/bin/rustc").args(["--print", "sysroot"]))?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    let linker = ["ld.lld-19", "ld.lld"]
        .map(|name| Path::new("/usr/bin").join(name))
        .into_iter()
        .find(|path| path.exists())?;
    (sources.exists() && Path::new("/usr/bin/cargo").exists())
        .then_some(Toolchain::Distribution { linker })
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Toolchain {
    /// `cargo build` for the target, with the core's code generation flags; the caller adds what to
    /// build.
    pub fn cargo_build(&self, target: &str, target_cpu: Option<&str>) -> Command {
        let mut flags: Vec<String> = target_cpu
            .map(|cpu| format!("-Ctarget-cpu={cpu}"))
            .into_iter()
            .collect();
        let mut command = match self {
            Self::Installed => Command::new("cargo"),
            Self::Distribution { linker } => {
                flags.push(format!("-Clinker={}", linker.display()));
                flags.push("-Clinker-flavor=ld.lld".into());
                let mut command = Command::new("/usr/bin/cargo");
                let mut path = OsString::from("/usr/bin:");
                path.push(std::env::var_os("PATH").unwrap_or_default());
                // The rustup proxies must not take over what the distribution's cargo calls.
                command
                    .env("PATH", path)
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("CARGO");
                command
            }
        };
        command
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env_remove("RUSTFLAGS")
            .args(["build", "--release", "--target", target]);
        if matches!(self, Self::Distribution { .. }) {
            command.arg("-Zbuild-std=core");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(command: &Command) -> Vec<String> {
        command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect()
    }

    fn variable(command: &Command, name: &str) -> Option<String> {
        command
            .get_envs()
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.map(|value| value.to_string_lossy().into_owned()))
    }

    #[test]
    fn only_the_distribution_builds_core() {
        let installed = Toolchain::Installed.cargo_build("thumbv6m-none-eabi", None);
        assert_eq!(
            arguments(&installed),
            ["build", "--release", "--target", "thumbv6m-none-eabi"]
        );
        assert_eq!(
            variable(&installed, "CARGO_ENCODED_RUSTFLAGS").as_deref(),
            Some("")
        );

        let linker = PathBuf::from("/usr/bin/ld.lld-19");
        let distribution = Toolchain::Distribution { linker }
            .cargo_build("thumbv8m.main-none-eabihf", Some("cortex-m55"));
        assert!(arguments(&distribution).contains(&"-Zbuild-std=core".to_owned()));
        assert_eq!(
            variable(&distribution, "CARGO_ENCODED_RUSTFLAGS").as_deref(),
            Some(
                "-Ctarget-cpu=cortex-m55\u{1f}-Clinker=/usr/bin/ld.lld-19\u{1f}-Clinker-flavor=ld.lld"
            )
        );
        assert_eq!(
            variable(&distribution, "RUSTC_BOOTSTRAP").as_deref(),
            Some("1")
        );
    }

    #[test]
    fn a_target_nobody_has_is_not_chosen() {
        let tools = Tools::here().unwrap();
        assert!(!tools.has_target("rustc", "core", "no-such-target"));
        let none = Tools::on("", Ways::None);
        assert!(none.choose("thumbv6m-none-eabi").is_none());
        assert!(!none.is_installed("cargo"));
        assert!(remedy("thumbv6m-none-eabi").contains("rustup target add thumbv6m-none-eabi"));
    }
}
