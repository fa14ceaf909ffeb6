//! Exit codes: 0, 1, and the numbers of `sysexits.h`.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The answer is no: a check failed, a step is refused, no key fits.
    Negative = 1,
    /// The command line is wrong.
    Usage = 64,
    /// What was read is damaged or of another format.
    Data = 65,
    /// What should be read is not there.
    NoInput = 66,
    /// A server or plugin does not answer.
    Unavailable = 69,
    /// A fault of the program itself.
    Software = 70,
    /// A new file or socket cannot be made.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Permissions are too narrow, or too wide.
    Denied = 77,
    /// A configuration file is wrong.
    Config = 78,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// That of a file that cannot be read.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoInput,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Io,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The table of `--help`: each code with what it means in this program.
#[must_use]
pub fn table(meanings: &[(Exit, &str)]) -> String {
    let mut text = "Exit codes:".to_owned();
    for (exit, meaning) in meanings {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {:<4}{meaning}", exit.code());
    }
    text
}
