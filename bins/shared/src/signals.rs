//! The signals that would end the program at once, with calls in flight: some stop it in good order, the others do nothing.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are caught from here on.
#[derive(Debug)]
pub struct Signals(Vec<Caught>);

#[derive(Debug)]
struct Caught {
    name: &'static str,
    stops: bool,
    signal: Signal,
}

impl Signals {
    /// Catches them from here on.
    ///
    /// # Errors
    /// What the system said.
    pub fn catch() -> io::Result<Self> {
        let all = [
            ("SIGTERM", SignalKind::terminate(), true),
            ("SIGINT", SignalKind::interrupt(), true),
            ("SIGQUIT", SignalKind::quit(), true),
            ("SIGHUP", SignalKind::hangup(), false),
            ("SIGUSR1", SignalKind::user_defined1(), false),
            ("SIGUSR2", SignalKind::user_defined2(), false),
            ("SIGALRM", SignalKind::alarm(), false),
            ("SIGIO", SignalKind::io(), false),
        ];
        let caught = all.into_iter().map(|(name, kind, stops)| {
            let signal = signal(kind)?;
            Ok(Caught {
                name,
                stops,
                signal,
            })
        });
        caught.collect::<Result<_, _>>().map(Self)
    }

    /// Waits for one that stops the program, and gives its name.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            let (name, stops) = poll_fn(|context| {
                for one in &mut self.0 {
                    if one.signal.poll_recv(context).is_ready() {
                        return Poll::Ready((one.name, one.stops));
                    }
                }
                Poll::Pending
            })
            .await;
            if stops {
                return name;
            }
            tracing::info!(
                signal = name,
                "signal ignored: key files and credentials that change are taken over without one"
            );
        }
    }
}
