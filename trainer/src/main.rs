//! The program `sparsecode`; everything it does is in the library.

fn main() -> std::process::ExitCode {
    sparsecode_trainer::cli::main()
}
