//! `kdc`: parse, run, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kdc::run(std::env::args_os())
}
