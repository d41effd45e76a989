//! The GPU's kernels without a GPU: the same sources compiled for the host
//! (`trainer/kernels/host`), a fiber for each thread, behind the trait that the driver is behind.

use std::ffi::OsString;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use sparsecode_trainer::lista::cuda::{CudaEngine, Facts, Gpu, GpuError, Launch, Memory};

use crate::{skipped, workspace};

/// In which order threads run between barriers. A kernel without a race gives the same bits in
/// every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first on.
    Forward,
    /// From the last on.
    Reverse,
    /// As this seed has it.
    Random(u64),
}

/// A device in a process.
#[derive(Clone, Debug)]
pub struct Emulator {
    facts: Facts,
    order: Order,
    memory: u64,
}

impl Emulator {
    /// A device with clusters.
    pub fn new(order: Order) -> Self {
        Self {
            facts: Facts {
                name: "the host".into(),
                processors: 8,
                shared_bytes: 227 * 1024,
                clusters: 1,
            },
            order,
            memory: 1 << 30,
        }
    }

    /// One without, that has so many multiprocessors.
    pub fn grid(mut self, processors: usize) -> Self {
        self.facts.clusters = 0;
        self.facts.processors = processors;
        self
    }

    /// With so much shared memory in a block.
    pub fn shared_bytes(mut self, bytes: usize) -> Self {
        self.facts.shared_bytes = bytes;
        self
    }

    /// With so many bytes of memory.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// The engine on it.
    pub fn engine(self) -> CudaEngine {
        CudaEngine::new(Arc::new(self))
    }
}

impl Gpu for Emulator {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn allocate(&self, bytes: u64) -> Result<Box<dyn Memory>, GpuError> {
        if bytes > self.memory {
            return Err(GpuError::OutOfMemory {
                wanted: bytes.div_ceil(1 << 20),
                free: self.memory >> 20,
            });
        }
        let mut process = Process::start(self.order)?;
        process.send(b"A", &[bytes], &[])?;
        Ok(Box::new(process))
    }
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    order: Order,
}

fn failed(error: std::io::Error) -> GpuError {
    GpuError::Driver(format!("the emulated device: {error}"))
}

impl Process {
    fn start(order: Order) -> Result<Self, GpuError> {
        let mut child = Command::new(program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            stdin: stdin.expect("a pipe"),
            stdout: stdout.expect("a pipe"),
            child,
            order,
        })
    }

    fn send(&mut self, command: &[u8], numbers: &[u64], bytes: &[u8]) -> Result<(), GpuError> {
        let mut message = command.to_vec();
        message.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        message.extend_from_slice(bytes);
        self.stdin.write_all(&message).map_err(failed)?;
        self.stdin.flush().map_err(failed)
    }

    fn answer(&mut self, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.stdout.read_exact(bytes).map_err(|_| {
            let status = self.child.wait();
            GpuError::Driver(format!("the emulated device ended: {status:?}"))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Memory for Process {
    fn write(&mut self, place: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.send(b"W", &[place, bytes.len() as u64], bytes)
    }

    fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.send(b"R", &[place, bytes.len() as u64], &[])?;
        self.answer(bytes)
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), GpuError> {
        let (order, seed) = match self.order {
            Order::Forward => (0, 0),
            Order::Reverse => (1, 0),
            Order::Random(seed) => (2, seed),
        };
        let numbers = [
            u64::from(launch.is_cluster),
            launch.blocks as u64,
            launch.shared_bytes as u64,
            order,
            seed,
            launch.first as u64,
            launch.count as u64,
            launch.run.len() as u64,
        ];
        self.send(b"L", &numbers, launch.run)?;
        self.answer(&mut [0])
    }
}

/// The C++ compiler: `CXX`, else `c++`.
fn compiler() -> OsString {
    std::env::var_os("CXX").unwrap_or_else(|| "c++".into())
}

/// Whether there is no C++ compiler, so that the test that asks is skipped; says so.
pub fn is_missing() -> bool {
    let compiler = compiler();
    let found = Command::new(&compiler).arg("--version").output();
    let missing = !found.is_ok_and(|output| output.status.success());
    if missing {
        skipped(&format!(
            "the GPU's kernels on the host: {} not found: apt install g++, or set CXX",
            compiler.display()
        ));
    }
    missing
}

/// A program of `trainer/kernels/host`, compiled once for all tests: in the target folder, under a
/// name that stands for the sources.
///
/// # Panics
///
/// Without a C++ compiler (`CXX`, else `c++`), or if it refuses the sources.
pub fn compiled(source: &str) -> PathBuf {
    build(source).unwrap_or_else(|error| panic!("{source} for the host: {error:#}"))
}

/// The kernels.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("main.cpp"))
}

fn build(source: &str) -> anyhow::Result<PathBuf> {
    let kernels = workspace().join("trainer/kernels");
    let mut sources = Vec::new();
    for folder in [kernels.clone(), kernels.join("host")] {
        for entry in std::fs::read_dir(&folder)? {
            sources.extend(Some(entry?.path()).filter(|path| path.is_file()));
        }
    }
    sources.sort();
    let mut hasher = DefaultHasher::new();
    for path in &sources {
        std::fs::read(path)?.hash(&mut hasher);
    }
    // Beside this program: target/PROFILE, or target/PROFILE/deps for a test.
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a folder")?.join("emulated");
    std::fs::create_dir_all(&folder)?;
    let program = folder.join(format!("{source}-{:016x}", hasher.finish()));
    // Tests are processes of their own: one compiles, the others wait.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    if program.exists() {
        return Ok(program);
    }
    let compiler = compiler();
    let compiled = folder.join("compiling");
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror"])
        // As nvcc is told: products and sums are fused where the kernels say so, and nowhere else.
        .args(["-ffp-contract=off", "-Wno-unknown-pragmas"])
        .args(match cfg!(target_arch = "x86_64") {
            // Without it, each fused multiply-add is a call.
            true => &["-mfma"][..],
            false => &[],
        })
        .arg("-o")
        .args([&compiled, &kernels.join("host").join(source)])
        .output()
        .with_context(|| format!("{} (set CXX)", compiler.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&compiled, &program)?;
    Ok(program)
}
