//! `kms-plugin`: parse, run, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kms_plugin::main(std::env::args_os())
}
