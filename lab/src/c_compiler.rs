//! How sources in C and C++ are compiled.

use std::process::Command;

use crate::root;

/// Warnings that are errors, for users who have them.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// A compiler with what every source is compiled with.
pub(crate) fn compiler(program: &str, standard: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(format!("-std={standard}"))
        .args(STRICT)
        .arg("-O2")
        .arg("-I")
        .arg(root().join("runtime/include"));
    command
}
