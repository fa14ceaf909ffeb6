//! Where opened content goes: unpacked, counted, checked, and never more of it than was stated.

use std::io::{self, Write};

use super::codec::Codec;
use super::content::{ContentCheck, ContentSummary};
use super::error::OpenError;

/// Takes content as it was before it was packed.
pub(super) struct CheckedSink<W> {
    sink: W,
    check: ContentCheck,
    limit: u64,
    /// Why a write failed; a decompressor in between keeps only the text of an error.
    failure: Option<OpenError>,
}

impl<W: Write> CheckedSink<W> {
    pub(super) const fn new(sink: W, check: ContentCheck, limit: u64) -> Self {
        Self {
            sink,
            check,
            limit,
            failure: None,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        if self.check.len().saturating_add(bytes.len() as u64) > self.limit {
            return Err(OpenError::Content { what: "length" });
        }
        self.sink.write_all(bytes).map_err(OpenError::Sink)?;
        self.check.update(bytes);
        Ok(())
    }

    fn finish(mut self) -> Result<ContentSummary, OpenError> {
        self.sink.flush().map_err(OpenError::Sink)?;
        Ok(self.check.finish()?)
    }
}

impl<W: Write> Write for CheckedSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(|error| {
            self.failure = Some(error);
            io::Error::from(io::ErrorKind::Other)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes opened payload.
pub(super) enum Output<W: Write> {
    Plain(CheckedSink<W>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::write::Decoder<'static, CheckedSink<W>>),
}

impl<W: Write> Output<W> {
    pub(super) fn new(codec: Codec, sink: CheckedSink<W>) -> Result<Self, OpenError> {
        match codec {
            Codec::None => Ok(Self::Plain(sink)),
            #[cfg(feature = "zstd")]
            Codec::Zstd => zstd::stream::write::Decoder::new(sink)
                .map(Self::Zstd)
                .map_err(OpenError::Compression),
            #[cfg(not(feature = "zstd"))]
            Codec::Zstd => Err(OpenError::Unsupported {
                what: "codec",
                number: 1,
            }),
        }
    }

    pub(super) fn write(&mut self, payload: &[u8]) -> Result<(), OpenError> {
        match self {
            Self::Plain(sink) => sink.put(payload),
            #[cfg(feature = "zstd")]
            Self::Zstd(decoder) => {
                let written = decoder.write_all(payload);
                written.map_err(|error| unpacking(decoder.get_mut(), error))
            }
        }
    }

    pub(super) fn finish(self) -> Result<ContentSummary, OpenError> {
        match self {
            Self::Plain(sink) => sink.finish(),
            #[cfg(feature = "zstd")]
            Self::Zstd(mut decoder) => {
                let flushed = decoder.flush();
                flushed.map_err(|error| unpacking(decoder.get_mut(), error))?;
                decoder.into_inner().finish()
            }
        }
    }
}

#[cfg(feature = "zstd")]
fn unpacking<W>(sink: &mut CheckedSink<W>, error: io::Error) -> OpenError {
    let failure = sink.failure.take();
    failure.unwrap_or(OpenError::Compression(error))
}
