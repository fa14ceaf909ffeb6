//! How many patches may wait for an answer now, so that the API server's other clients do not feel the pass.
//!
//! Additive increase, multiplicative decrease. Each answer adds a part of one, so that the limit grows by one per round of
//! answers. It is halved when the API server says that it is busy or does not answer, and shrinks by a tenth when answers
//! take more than [`TOLERANCE`] times as long as an idle server would need, which shows a queue before the server has to
//! refuse. It shrinks at most once per round: the answers to requests that were sent before a decrease tell nothing new.
//!
//! What an idle server would need is measured at the start and every [`MEASURE_EVERY`]: for a few answers, patches are sent
//! one at a time.
//!
//! A state machine without a clock: the caller says what time it is.

use core::num::NonZeroU32;
use core::time::Duration;

use tokio::time::Instant;

/// Patches in flight while the server's own speed is measured.
const ALONE: f64 = 1.0;
/// Answers that make a measurement.
const MEASURED: u32 = 8;
/// Time between two measurements.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// How many times as long as measured answers may take.
const TOLERANCE: f64 = 2.0;
/// Seconds below which no queue is worth noticing: timers and the network vary as much.
const UNNOTICED: f64 = 0.004;
/// Weight of the newest answer in the smoothed latency.
const SMOOTHING: f64 = 0.1;
/// The longest pause that the server may ask for.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The first pause after a failure without a time of the server's own; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest of those.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(10);

/// Whether a request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// At once.
    Now,
    /// Not before this time.
    At(Instant),
    /// When another one ends.
    AfterAnother,
}

/// How a request ended, as far as the pace is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// With an answer to the point, after so long.
    Answered(Duration),
    /// With one that says nothing of the server's load, such as a refusal by a webhook.
    Neutral,
    /// The server is busy, and may say when to come again.
    Busy(Option<Duration>),
    /// There was no answer that makes sense.
    Broken,
}

#[derive(Debug)]
pub(super) struct Pacer {
    most: f64,
    limit: f64,
    in_flight: u32,
    interval: Option<Duration>,
    /// When the rate allows the next one.
    next: Instant,
    paused_until: Instant,
    /// What started earlier does not shrink the limit again.
    shrunk: Instant,
    /// Seconds, under load.
    smoothed: Option<f64>,
    /// Seconds that the server needs when it is nearly idle; infinite before the first measurement.
    idle: f64,
    measuring: Option<Measuring>,
    measured: Instant,
    failures_in_a_row: u32,
}

/// A measurement of the server's own speed.
#[derive(Debug)]
struct Measuring {
    since: Instant,
    answers: u32,
    seconds: f64,
}

impl Measuring {
    const fn new(since: Instant) -> Self {
        Self {
            since,
            answers: 0,
            seconds: 0.0,
        }
    }
}

impl Pacer {
    pub(super) fn new(
        max_in_flight: NonZeroU32,
        max_per_second: Option<NonZeroU32>,
        now: Instant,
    ) -> Self {
        let most = f64::from(max_in_flight.get());
        Self {
            most,
            limit: ALONE,
            in_flight: 0,
            interval: max_per_second.map(|rate| Duration::from_secs(1) / rate.get()),
            next: now,
            paused_until: now,
            shrunk: now,
            smoothed: None,
            idle: f64::INFINITY,
            measuring: Some(Measuring::new(now)),
            measured: now,
            failures_in_a_row: 0,
        }
    }

    pub(super) fn permit(&self, now: Instant) -> Permit {
        let limit = match self.measuring {
            Some(_) => self.limit.min(ALONE),
            None => self.limit,
        };
        if f64::from(self.in_flight) + 1.0 > limit {
            return Permit::AfterAnother;
        }
        let start = self.next.max(self.paused_until);
        if now >= start {
            Permit::Now
        } else {
            Permit::At(start)
        }
    }

    /// A request starts. The rate has no bursts: what was not used is lost.
    pub(super) fn start(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_add(1);
        if let Some(interval) = self.interval {
            self.next = self.next.max(now) + interval;
        }
    }

    /// A request that started at `started` ends.
    pub(super) fn end(&mut self, started: Instant, now: Instant, signal: Signal) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match signal {
            Signal::Answered(latency) => self.answered(started, now, latency),
            Signal::Neutral => self.failures_in_a_row = 0,
            Signal::Busy(wait) => self.failed(started, now, wait),
            Signal::Broken => self.failed(started, now, None),
        }
    }

    /// A request of another kind, which does not count as in flight, found the server busy or gone.
    pub(super) fn pause(&mut self, now: Instant, wait: Option<Duration>) {
        self.failed(now, now, wait);
    }

    /// When the pause ends that the server asked for.
    pub(super) const fn paused_until(&self) -> Instant {
        self.paused_until
    }

    fn answered(&mut self, started: Instant, now: Instant, latency: Duration) {
        self.failures_in_a_row = 0;
        let latency = latency.as_secs_f64();
        if let Some(measuring) = &mut self.measuring {
            // What was sent before still had the others beside it.
            if started >= measuring.since {
                measuring.answers += 1;
                measuring.seconds += latency;
            }
            if measuring.answers >= MEASURED {
                self.idle = measuring.seconds / f64::from(measuring.answers);
                self.measured = now;
                self.measuring = None;
            }
            return;
        }
        let smoothed = self
            .smoothed
            .map_or(latency, |old| old + SMOOTHING * (latency - old));
        self.smoothed = Some(smoothed);
        if smoothed > (self.idle * TOLERANCE).max(UNNOTICED) {
            self.shrink(started, now, 0.9);
        } else {
            self.limit = (self.limit + 1.0 / self.limit).min(self.most);
        }
        if now >= self.measured + MEASURE_EVERY {
            self.measuring = Some(Measuring::new(now));
        }
    }

    fn failed(&mut self, started: Instant, now: Instant, wait: Option<Duration>) {
        if started < self.shrunk {
            // It was sent before the pause: only a longer one is news.
            let until = now + wait.unwrap_or_default().min(LONGEST_PAUSE);
            self.paused_until = self.paused_until.max(until);
            return;
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let doublings = (self.failures_in_a_row - 1).min(10);
        let own = FIRST_PAUSE
            .saturating_mul(1 << doublings)
            .min(LONGEST_OWN_PAUSE);
        let pause = wait.map_or(own, |wait| wait.min(LONGEST_PAUSE));
        self.paused_until = self.paused_until.max(now + pause);
        self.shrink(started, now, 0.5);
    }

    fn shrink(&mut self, started: Instant, now: Instant, factor: f64) {
        if started >= self.shrunk {
            self.limit = (self.limit * factor).max(1.0);
            self.shrunk = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn number(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    fn pacer(most: u32, rate: Option<u32>) -> (Pacer, Instant) {
        let now = Instant::now();
        (Pacer::new(number(most), rate.map(number), now), now)
    }

    /// Starts all that may start now.
    fn fill(pacer: &mut Pacer, now: Instant) -> u32 {
        let mut started = 0;
        while pacer.permit(now) == Permit::Now {
            pacer.start(now);
            started += 1;
        }
        started
    }

    /// So many rounds of answers that each take `latency`; gives the size of the last round.
    fn rounds(pacer: &mut Pacer, now: &mut Instant, count: usize, latency: Duration) -> u32 {
        let mut size = 0;
        for _ in 0..count {
            let start = *now;
            size = fill(pacer, start);
            *now += latency;
            for _ in 0..size {
                pacer.end(start, *now, Signal::Answered(latency));
            }
        }
        size
    }

    #[test]
    fn a_fast_server_gets_as_many_as_allowed_and_no_more() {
        let (mut pacer, mut now) = pacer(16, None);
        assert_eq!(rounds(&mut pacer, &mut now, 8, 10 * MS), 1);
        assert_eq!(rounds(&mut pacer, &mut now, 30, 10 * MS), 16);
    }

    #[test]
    fn one_at_a_time_stays_one_at_a_time() {
        let (mut pacer, mut now) = pacer(1, None);
        assert_eq!(rounds(&mut pacer, &mut now, 20, 10 * MS), 1);
        pacer.start(now);
        assert_eq!(pacer.permit(now), Permit::AfterAnother);
        pacer.end(now, now, Signal::Broken);
        assert_eq!(rounds(&mut pacer, &mut (now + 100 * MS), 1, 10 * MS), 1);
    }

    #[test]
    fn a_busy_server_gets_half_after_the_pause_that_it_asks_for() {
        let (mut pacer, mut now) = pacer(16, None);
        rounds(&mut pacer, &mut now, 30, 10 * MS);
        let start = now;
        assert_eq!(fill(&mut pacer, start), 16);
        now += 10 * MS;
        // All sixteen say it; it is one event.
        for _ in 0..16 {
            pacer.end(start, now, Signal::Busy(Some(Duration::from_secs(3))));
        }
        let end = now + Duration::from_secs(3);
        assert_eq!(pacer.permit(now), Permit::At(end));
        assert_eq!(fill(&mut pacer, end - MS), 0);
        assert_eq!(fill(&mut pacer, end), 8);
    }

    #[test]
    fn a_pause_is_at_most_a_minute_and_never_cut_short() {
        let (mut pacer, now) = pacer(4, None);
        pacer.pause(now, Some(Duration::from_secs(3600)));
        assert_eq!(pacer.permit(now), Permit::At(now + LONGEST_PAUSE));
        pacer.pause(now, Some(Duration::from_secs(1)));
        assert_eq!(pacer.permit(now), Permit::At(now + LONGEST_PAUSE));
    }

    #[test]
    fn pauses_grow_while_nothing_answers_and_begin_anew_afterwards() {
        let (mut pacer, mut now) = pacer(1, None);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pacer.start(now);
            now += MS;
            pacer.end(now - MS, now, Signal::Broken);
            let Permit::At(end) = pacer.permit(now) else {
                panic!("no pause after a failure");
            };
            pauses.push(end - now);
            now = end;
        }
        assert_eq!(pauses[..3], [100 * MS, 200 * MS, 400 * MS]);
        assert_eq!(pauses[8], LONGEST_OWN_PAUSE);
        rounds(&mut pacer, &mut now, 1, MS);
        pacer.start(now);
        now += MS;
        pacer.end(now - MS, now, Signal::Broken);
        assert_eq!(pacer.permit(now), Permit::At(now + FIRST_PAUSE));
    }

    #[test]
    fn rising_latency_shrinks_the_limit_before_anything_is_refused() {
        let (mut pacer, mut now) = pacer(16, None);
        rounds(&mut pacer, &mut now, 30, 10 * MS);
        let slow = rounds(&mut pacer, &mut now, 20, 50 * MS);
        assert!(slow <= 8, "{slow}");
        // It recovers with the server.
        assert_eq!(rounds(&mut pacer, &mut now, 60, 10 * MS), 16);
    }

    #[test]
    fn a_queue_of_our_own_making_is_kept_short_for_as_long_as_the_pass_takes() {
        let (mut pacer, mut now) = pacer(16, None);
        // The server works on one at a time, 10 ms each.
        let mut size = 0;
        for _ in 0..5000 {
            let latency = 10 * MS * fill(&mut pacer, now).max(1);
            size = pacer.in_flight;
            let start = now;
            now += latency;
            for _ in 0..size {
                pacer.end(start, now, Signal::Answered(latency));
            }
        }
        assert!((1..=5).contains(&size), "{size}");
    }

    #[test]
    fn a_server_that_became_slower_for_good_is_taken_as_it_is() {
        let (mut pacer, mut now) = pacer(16, None);
        rounds(&mut pacer, &mut now, 30, 10 * MS);
        rounds(&mut pacer, &mut now, 300, 50 * MS);
        assert_eq!(rounds(&mut pacer, &mut now, 30, 50 * MS), 16);
    }

    #[test]
    fn latency_of_a_few_milliseconds_is_no_queue() {
        let (mut pacer, mut now) = pacer(16, None);
        rounds(&mut pacer, &mut now, 30, MS);
        assert_eq!(rounds(&mut pacer, &mut now, 20, 4 * MS), 16);
    }

    #[test]
    fn the_rate_has_no_bursts_after_a_pause() {
        let (mut pacer, now) = pacer(16, Some(10));
        pacer.start(now);
        pacer.end(now, now, Signal::Neutral);
        assert_eq!(pacer.permit(now), Permit::At(now + 100 * MS));
        let later = now + Duration::from_secs(60);
        pacer.start(later);
        pacer.end(later, later, Signal::Neutral);
        assert_eq!(pacer.permit(later), Permit::At(later + 100 * MS));
    }
}
