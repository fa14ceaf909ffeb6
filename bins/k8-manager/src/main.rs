//! `k8-manager`: parse, run, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    k8_manager::main(std::env::args_os())
}
