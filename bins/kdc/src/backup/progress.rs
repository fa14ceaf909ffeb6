//! How far a stream is, on a terminal; silent otherwise.

use std::io::{self, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A source that shows how much of it was read, how fast, and how long it will take.
pub(super) struct Progress<R> {
    source: R,
    bar: ProgressBar,
}

impl<R> Progress<R> {
    /// `len` is the length in bytes, if it is known.
    pub(super) fn new(source: R, what: &'static str, len: Option<u64>) -> Self {
        let template = match len {
            Some(_) => "{prefix} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{prefix} {spinner} {bytes}, {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(what);
        Self { source, bar }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
