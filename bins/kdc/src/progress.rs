//! Progress on standard error, and only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts `len` steps, called `unit`.
pub(crate) fn count(len: u64, unit: &str) -> ProgressBar {
    styled(len, &format!("[{{wide_bar}}] {{pos}}/{{len}} {unit}"))
}

/// A bar for `len` bytes, with rate and time left.
pub(crate) fn bytes(len: u64) -> ProgressBar {
    styled(
        len,
        "[{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    )
}

fn styled(len: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
