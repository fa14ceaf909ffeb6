//! `kdc-manager`: parse, run, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kdc_manager::main(std::env::args_os())
}
