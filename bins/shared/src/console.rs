//! The last words of a program.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use kdc_envelope::ErrorChain;

use crate::exit::Exit;
use crate::logging;

/// An error and its causes in one line, whatever they contain.
#[must_use]
pub fn line(error: &(dyn Error + 'static)) -> String {
    ErrorChain::new(error)
        .to_string()
        .replace(char::is_control, " ")
}

/// Says why `program` ends, in the form that logs have when they have one.
pub fn report(program: &str, line: &str) {
    if logging::is_structured() {
        tracing::error!(error = line, "{program} failed");
    } else {
        complain(program, line);
    }
}

/// Says on standard error what is wrong, in one line.
pub fn complain(program: &str, line: &str) {
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(io::stderr(), "{program}: error: {line}");
}

/// The end of a text that was asked for. A reader that goes away, as `head` does, is no failure.
#[must_use]
pub fn printed(program: &str, written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let error = line(&error);
            report(
                program,
                &format!("cannot write to standard output: {error}"),
            );
            Exit::Io.into()
        }
        _ => ExitCode::SUCCESS,
    }
}
