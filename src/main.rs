//! The command `tagwall`. Everything is in the library; here only the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tagwall::cli::main()
}
