//! What the library refuses, as one line and an exit code.

use std::error::Error;
use std::io;

use kdc_envelope::snapshot::metadata::MetadataError;
use kdc_envelope::snapshot::{OpenError, SealError};

use crate::failure::{Exit, Failure, exit_of_io};

/// A snapshot that cannot be sealed. The failure of a bucket passes through as it was.
pub(super) fn of_seal(place: &str, error: SealError) -> Failure {
    let exit = match &error {
        SealError::Sink(source) => match carried(source) {
            Some(failure) => return failure,
            None => exit_of_io(source),
        },
        SealError::Source(source) => match carried(source) {
            Some(failure) => return failure,
            None => exit_of_io(source),
        },
        SealError::Empty | SealError::Trailer(_) | SealError::TooLong { .. } => Exit::Data,
        _ => Exit::Io,
    };
    Failure::at(exit, place, &error)
}

/// A snapshot that cannot be opened.
pub(super) fn of_open(place: &str, error: OpenError) -> Failure {
    let exit = match &error {
        OpenError::Sink(source) | OpenError::Source(source) => match carried(source) {
            Some(failure) => return failure,
            None => exit_of_io(source),
        },
        OpenError::OtherIdentity { .. } => Exit::Negative,
        _ => Exit::Data,
    };
    Failure::at(exit, place, &error)
}

/// Metadata that cannot be used.
pub(super) fn of_metadata(place: &str, error: &MetadataError) -> Failure {
    Failure::at(Exit::Data, place, error)
}

/// A failure on its way through [`std::io`].
#[derive(Debug)]
struct Carried(Failure);

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.line().unwrap_or_default())
    }
}

impl Error for Carried {}

/// Wraps a failure so that it survives a pass through [`std::io`].
pub(super) fn carry(failure: Failure) -> io::Error {
    io::Error::other(Carried(failure))
}

/// The failure that an error of [`std::io`] carries, if it is one.
pub(super) fn carried(error: &io::Error) -> Option<Failure> {
    let carried = error.get_ref()?.downcast_ref::<Carried>()?;
    let line = carried.0.line().unwrap_or_default();
    Some(Failure::new(carried.0.exit(), line))
}
