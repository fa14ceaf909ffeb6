//! What is still to be done when a signal ends the program.

use std::future::poll_fn;
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Failure};
use crate::runtime;

/// Signals by which people and supervisors end programs.
const ENDING: [(&str, SignalKind); 3] = [
    ("SIGINT", SignalKind::interrupt()),
    ("SIGTERM", SignalKind::terminate()),
    ("SIGHUP", SignalKind::hangup()),
];

/// While it lives, signals that would end the program do something else.
#[derive(Debug)]
pub(super) struct Watch {
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

/// What came: the signal's name, and its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) name: &'static str,
    pub(super) number: i32,
}

impl Watch {
    /// Does `action` at the first signal. What was ignored when the program was started, as `nohup` does it, stays ignored.
    pub(super) fn new(action: impl FnOnce(Ending) + Send + 'static) -> Result<Self, Failure> {
        let runtime = runtime::start_few()?;
        let guard = runtime.enter();
        let ignored = ignored_signals();
        let mut signals = Vec::new();
        for (name, kind) in ENDING {
            let number = kind.as_raw_value();
            if ignored & (1 << (number - 1)) == 0 {
                let signal = signal(kind)
                    .map_err(|error| Failure::at(Exit::Io, "cannot watch for signals", &error))?;
                signals.push((Ending { name, number }, signal));
            }
        }
        drop(guard);
        runtime.spawn(async move { action(first(signals).await) });
        Ok(Self {
            runtime: Some(runtime),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn first(mut signals: Vec<(Ending, Signal)>) -> Ending {
    poll_fn(|context| {
        let came = signals
            .iter_mut()
            .find_map(|(ending, signal)| signal.poll_recv(context).is_ready().then_some(*ending));
        came.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// One bit for each signal, the lowest for number 1; see proc_pid_status(5). None where that cannot be read.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
