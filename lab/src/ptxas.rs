//! What NVIDIA's assembler says of the GPU's kernels: `ptxas -v`.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

/// Each is compiled for each of these.
const KERNELS: [&str; 2] = ["sparsecode_cluster", "sparsecode_grid"];
const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];
/// A multiprocessor has 65,536 for the 256 threads of a block, an instruction names 255.
const MOST_REGISTERS: u32 = 255;

/// A kernel's name and what it was compiled for.
pub type Name = (String, String);

/// What a thread of a kernel takes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Registers.
    pub registers: u32,
    /// Bytes, with all calls.
    pub stack: u32,
    /// Bytes that are written for want of registers, in the kernel and in what it calls.
    pub spill_stores: u32,
    /// Bytes read back.
    pub spill_loads: u32,
    /// Bytes of shared memory that are not asked for at a launch.
    pub shared: u32,
}

/// Reads what `ptxas -v` says: of each kernel, then of the functions that it calls.
///
/// # Errors
/// If a kernel's line is not as ptxas writes it.
pub fn parse(report: &str) -> Result<BTreeMap<Name, Usage>> {
    let mut kernels: BTreeMap<Name, Usage> = BTreeMap::new();
    let mut name = None;
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function ") {
            let [_, kernel, _, architecture, _] = rest.split('\'').collect::<Vec<_>>()[..] else {
                bail!("not as ptxas names a kernel: {line}");
            };
            name = Some((kernel.to_owned(), architecture.to_owned()));
        }
        let Some(name) = &name else { continue };
        let usage = kernels.entry(name.clone()).or_default();
        let number = |unit| number_of(line, unit);
        usage.spill_stores += number("bytes spill stores").unwrap_or(0);
        usage.spill_loads += number("bytes spill loads").unwrap_or(0);
        if let Some(registers) = number("registers") {
            usage.registers = registers;
            usage.stack = number("bytes cumulative stack size").unwrap_or(0);
            usage.shared = number("bytes smem").unwrap_or(0);
        }
    }
    Ok(kernels)
}

/// The number before `unit`, in a list with commas.
fn number_of(line: &str, unit: &str) -> Option<u32> {
    line.split([',', ':']).find_map(|part| {
        let words = part.trim().strip_suffix(unit)?;
        words.split_whitespace().last()?.parse().ok()
    })
}

/// A line a kernel.
pub fn table(kernels: &BTreeMap<Name, Usage>) -> String {
    let mut text = format!(
        "{:<20}{:>7}{:>11}{:>8}{:>8}{:>8}\n",
        "kernel", "arch", "registers", "stack", "spills", "shared"
    );
    for ((kernel, architecture), usage) in kernels {
        text += &format!(
            "{kernel:<20}{architecture:>7}{:>11}{:>8}{:>8}{:>8}\n",
            usage.registers,
            usage.stack,
            usage.spill_stores + usage.spill_loads,
            usage.shared
        );
    }
    text
}

/// Asks for every kernel, and that each stays within its registers.
///
/// # Errors
/// Names the kernel that is missing, spills, or takes too much.
pub fn check(kernels: &BTreeMap<Name, Usage>) -> Result<()> {
    for kernel in KERNELS {
        for architecture in ARCHITECTURES {
            ensure!(
                kernels
                    .get(&(kernel.to_owned(), architecture.to_owned()))
                    .is_some_and(|usage| usage.registers > 0),
                "ptxas says nothing of {kernel} for {architecture}"
            );
        }
    }
    for ((kernel, architecture), usage) in kernels {
        let at = format!("{kernel} for {architecture}");
        ensure!(
            usage.spill_stores == 0 && usage.spill_loads == 0,
            "{at}: {} bytes of spill stores, {} of spill loads: threads need more registers than there are",
            usage.spill_stores,
            usage.spill_loads
        );
        ensure!(
            usage.stack == 0,
            "{at}: a stack of {} bytes: what should be in registers is in memory",
            usage.stack
        );
        ensure!(
            usage.registers <= MOST_REGISTERS,
            "{at}: {} registers, but a block of 256 threads has {MOST_REGISTERS} for each",
            usage.registers
        );
        ensure!(
            usage.shared == 0,
            "{at}: {} bytes of static shared memory, which the layout of a run does not count",
            usage.shared
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of nvcc 13.0.88.
    const REPORT: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'sparsecode_grid' for 'sm_80'
ptxas info    : Function properties for sparsecode_grid
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 169 registers, used 1 barriers, 928 bytes cmem[0], 96 bytes cmem[2]
ptxas info    : Compile time = 11015.276 ms
ptxas info    : Function properties for _Z9tile_sumsPf6MatrixS0_iiiiii
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'sparsecode_cluster' for 'sm_80'
ptxas info    : Function properties for sparsecode_cluster
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 4 registers, used 0 barriers, 928 bytes cmem[0]
ptxas info    : Compile time = 0.818 ms
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'sparsecode_grid' for 'sm_90'
ptxas info    : Function properties for sparsecode_grid
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 186 registers, used 1 barriers
ptxas info    : Compile time = 13947.235 ms
ptxas info    : Function properties for _Z9tile_sumsPf6MatrixS0_iiiiii
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'sparsecode_cluster' for 'sm_90'
ptxas info    : Function properties for sparsecode_cluster
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 177 registers, used 1 barriers
ptxas info    : Compile time = 5176.664 ms
ptxas info    : Function properties for _Z9tile_sumsPf6MatrixS0_iiiiii
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
";

    /// The same kernel, told that four blocks are to fit on a multiprocessor.
    const SPILLS: &str = "\
ptxas info    : Compiling entry function 'sparsecode_grid' for 'sm_80'
ptxas info    : Function properties for sparsecode_grid
    520 bytes stack frame, 2956 bytes spill stores, 5648 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 520 bytes cumulative stack size, 928 bytes cmem[0], 96 bytes cmem[2]
ptxas info    : Compile time = 9835.257 ms
ptxas info    : Function properties for _Z9tile_sumsPf6MatrixS0_iiiiii
    0 bytes stack frame, 256 bytes spill stores, 320 bytes spill loads
";

    /// Of a kernel with an array in shared memory.
    const SHARED: &str = "\
ptxas info    : Compiling entry function 'shared_sum' for 'sm_90'
ptxas info    : Function properties for shared_sum
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, used 1 barriers, 2048 bytes smem
";

    fn refusal(report: &str) -> String {
        check(&parse(report).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_report_is_read() {
        let kernels = parse(REPORT).unwrap();
        check(&kernels).unwrap();
        let usage = |registers, stack| Usage {
            registers,
            stack,
            ..Usage::default()
        };
        let name = |kernel: &str, architecture: &str| (kernel.to_owned(), architecture.to_owned());
        let expected = [
            (name("sparsecode_cluster", "sm_80"), usage(4, 0)),
            (name("sparsecode_cluster", "sm_90"), usage(177, 0)),
            (name("sparsecode_grid", "sm_80"), usage(169, 0)),
            (name("sparsecode_grid", "sm_90"), usage(186, 0)),
        ];
        assert_eq!(kernels, BTreeMap::from(expected));
        assert_eq!(
            table(&kernels).lines().nth(2),
            Some("sparsecode_cluster    sm_90        177       0       0       0")
        );
    }

    #[test]
    fn spills_are_refused() {
        let spilling = REPORT.to_owned() + SPILLS;
        let said = refusal(&spilling);
        assert!(said.contains("sparsecode_grid for sm_80"), "{said}");
        // Those of the function that it calls, too.
        assert!(said.contains("3212 bytes of spill stores, 5968"), "{said}");
        let called = REPORT.to_owned() + &SPILLS.replace("2956", "0").replace("5648", "0");
        let said = refusal(&called);
        assert!(said.contains("256 bytes of spill stores, 320"), "{said}");
    }

    /// What lies on the stack is in slow memory, spilled or not.
    #[test]
    fn a_stack_is_refused() {
        let used = "Used 177 registers, used 1 barriers";
        let said =
            refusal(&REPORT.replace(used, &format!("{used}, 80 bytes cumulative stack size")));
        assert!(
            said.contains("sparsecode_cluster for sm_90: a stack of 80 bytes"),
            "{said}"
        );
    }

    #[test]
    fn memory_that_no_launch_asks_for_is_refused() {
        let said = refusal(&(REPORT.to_owned() + SHARED));
        assert!(said.contains("shared_sum for sm_90: 2048"), "{said}");
    }

    #[test]
    fn more_registers_than_there_are_are_refused() {
        let said = refusal(&REPORT.replace("Used 177", "Used 256"));
        assert!(said.contains("256 registers"), "{said}");
    }

    /// As when the flag that asks for the report is gone.
    #[test]
    fn a_kernel_that_is_missing_is_named() {
        assert!(refusal("").contains("sparsecode_cluster for sm_80"));
        let said = refusal(&REPORT.replace("sparsecode_grid' for 'sm_90", "other' for 'sm_90"));
        assert!(said.contains("sparsecode_grid for sm_90"), "{said}");
    }
}
