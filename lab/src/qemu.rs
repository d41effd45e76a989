//! Running an ELF in QEMU with its defmt frames in a file.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The emulated machine of one core.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// The emulator.
    pub program: &'static str,
    /// Debian's package of the emulator.
    pub package: &'static str,
    /// The board.
    pub machine: &'static str,
    /// The processor.
    pub cpu: &'static str,
    /// An instruction takes 2^shift ns of virtual time; the firmware's board module counts on this
    /// number.
    pub icount_shift: u8,
    /// Further arguments.
    pub extra: &'static [&'static str],
}

impl Machine {
    /// What to tell a person who does not have the emulator.
    pub fn remedy(&self) -> String {
        format!("{} not found: apt install {}", self.program, self.package)
    }

    fn command(&self, elf: &Path) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(["-machine", self.machine, "-cpu", self.cpu])
            .args(self.extra)
            .args([
                "-display", "none", "-serial", "null", "-monitor", "none", "-icount",
            ])
            .arg(format!("shift={},align=off,sleep=off", self.icount_shift))
            // Some versions write the semihosting console to this device, others straight to
            // stdout.
            .args(["-chardev", "stdio,id=log"])
            .args([
                "-semihosting-config",
                "enable=on,target=native,chardev=log",
                "-kernel",
            ])
            .arg(elf)
            .stdin(Stdio::null());
        command
    }

    /// Runs to the firmware's own exit; returns whether its exit status is success, and the raw
    /// defmt frames.
    ///
    /// # Errors
    /// If the emulator does not start, if the firmware runs longer than `timeout`, or if the
    /// firmware prints nothing.
    pub fn run(&self, elf: &Path, timeout: Duration) -> Result<(bool, Vec<u8>)> {
        let log = elf.with_extension("defmt");
        let messages = elf.with_extension("qemu.txt");
        let mut child = self
            .command(elf)
            .stdout(File::create(&log).with_context(|| log.display().to_string())?)
            .stderr(File::create(&messages).with_context(|| messages.display().to_string())?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program))?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > timeout {
                child.kill()?;
                child.wait()?;
                bail!(
                    "{} ran longer than {} s (--timeout); its log so far is in {}",
                    self.program,
                    timeout.as_secs(),
                    log.display()
                );
            }
            thread::sleep(Duration::from_millis(20));
        };
        let frames = fs::read(&log).with_context(|| log.display().to_string())?;
        if frames.is_empty() {
            bail!(
                "{} printed nothing; {}",
                self.program,
                fs::read_to_string(&messages)?.trim()
            );
        }
        Ok((status.success(), frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Machine = Machine {
        program: "qemu-system-nowhere",
        package: "qemu-system-misc",
        machine: "virt",
        cpu: "any",
        icount_shift: 0,
        extra: &["-bios", "none"],
    };

    #[test]
    fn a_missing_emulator_is_named() {
        assert_eq!(
            MISSING.remedy(),
            "qemu-system-nowhere not found: apt install qemu-system-misc"
        );
        let folder = std::env::temp_dir().join(format!("sparsecode-qemu-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let error = MISSING
            .run(&folder.join("any.elf"), Duration::from_secs(1))
            .unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.to_string().contains("qemu-system-nowhere"), "{error}");
    }

    #[test]
    fn the_clock_follows_the_machine() {
        let command = MISSING.command(Path::new("a.elf"));
        let arguments: Vec<_> = command
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        assert!(
            arguments.contains(&"shift=0,align=off,sleep=off".to_owned()),
            "{arguments:?}"
        );
        assert_eq!(arguments.last().map(String::as_str), Some("a.elf"));
    }
}
