//! Progress on standard error, and only on a terminal.

use std::io::{self, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often what moves by itself is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// A bar that counts `len` steps, called `unit`, with the time left and a message.
pub(crate) fn count(len: u64, unit: &str) -> ProgressBar {
    let template = format!("[{{wide_bar}}] {{pos}}/{{len}} {unit}, {{eta}} left {{msg}}");
    styled(Some(len), &template)
}

/// A bar for `len` bytes, with rate and time left.
pub(crate) fn bytes(len: u64) -> ProgressBar {
    styled(
        Some(len),
        "[{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    )
}

/// A count of what has been read so far, where the total is unknown.
pub(crate) fn looked_at() -> ProgressBar {
    let bar = styled(None, "{spinner} {human_pos} read, {per_sec}");
    bar.enable_steady_tick(REDRAW);
    bar
}

fn styled(len: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A bar for the bytes of a source, with how fast they come and how long it will take. `len` is their number, if it is known.
pub(crate) fn source(what: &'static str, len: Option<u64>) -> ProgressBar {
    let template = match len {
        Some(_) => "{prefix} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        None => "{prefix} {spinner} {bytes}, {bytes_per_sec}",
    };
    styled(len, template).with_prefix(what)
}

/// A source that shows how much of it was read, how fast, and how long it will take.
pub(crate) struct Watched<R> {
    source: R,
    bar: ProgressBar,
}

impl<R> Watched<R> {
    /// `len` is the length in bytes, if it is known.
    pub(crate) fn new(source: R, what: &'static str, len: Option<u64>) -> Self {
        let bar = self::source(what, len);
        Self { source, bar }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
