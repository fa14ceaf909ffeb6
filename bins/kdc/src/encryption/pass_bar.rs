//! How far a pass over the rows is, on a terminal.

use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use kdc_envelope_k8s::rewrite::Progress;

use crate::output::step;
use crate::progress;

/// There from the first progress of a pass to its end. What is tried again for long is told in lines of its own, on a terminal
/// and elsewhere.
#[derive(Default)]
pub(super) struct PassBar {
    bar: Mutex<Option<ProgressBar>>,
}

impl PassBar {
    pub(super) fn show(&self, progress: &Progress) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| progress::count(0, "objects"));
        bar.set_length(progress.total.unwrap_or(progress.done));
        bar.set_position(progress.done);
        bar.set_message(progress.resource.to_string());
        if let Some(waiting) = &progress.waiting {
            bar.suspend(|| step("waiting", &waiting.to_string()));
        }
    }

    pub(super) fn end(&self) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bar.take() {
            bar.finish_and_clear();
        }
    }
}
