//! Wraps the gRPC service: every call is counted under the code it ended with, and none outlives its deadline.
//!
//! The deadline is handed down to the key, so that a backend gives up in time to say what is wrong with it.
//!
//! It sits outside the message codec, so that a request which does not even decode is counted too, and a
//! slow request body is bounded as well.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kdc_envelope::deadline;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::metrics::{KeyMetrics, Rpc, RunningCall};
use crate::throttle::Throttle;

/// The longest that a call may take, below the 3 s after which kube-apiserver gives up by default: our answer
/// says what was slow, its own says only that something was.
pub const CALL_DEADLINE: Duration = Duration::from_millis(2_500);

/// What the client's own deadline is shortened by, or a tenth of it if that is less: enough for our answer to come before
/// the transport cuts the call, also on a processor that is throttled.
const MARGIN: Duration = Duration::from_millis(100);

/// How much earlier than the call a key must give up, or a tenth of the limit if that is less: enough for its error to become the answer.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// A service whose calls are measured and bounded.
#[derive(Debug, Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    metrics: KeyMetrics,
    warnings: Arc<Throttle>,
}

impl<S> Observed<S> {
    /// Measures `inner` into `metrics`.
    #[must_use]
    pub(crate) fn new(inner: S, metrics: KeyMetrics) -> Self {
        Self {
            inner,
            metrics,
            warnings: Arc::default(),
        }
    }
}

impl<S: NamedService> NamedService for Observed<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let running = Rpc::from_path(request.uri().path()).map(|rpc| self.metrics.start(rpc));
        let limit = limit(request.headers());
        let deadline = Instant::now() + (limit - ANSWER_TIME.min(limit / 10));
        let call = deadline::within(deadline.into_std(), self.inner.call(request));
        let warnings = Arc::clone(&self.warnings);
        Box::pin(async move {
            let response = match tokio::time::timeout(limit, call).await {
                Ok(response) => response?,
                Err(_) => {
                    let key = running.as_ref().map(RunningCall::key);
                    if let Some(more_before) = warnings.pass() {
                        tracing::warn!(key, ?limit, more_before, "call ran into its deadline");
                    }
                    Status::deadline_exceeded(format!("no answer within {limit:?}")).into_http()
                }
            };
            if let Some(running) = running {
                running.finish(code(response.headers()));
            }
            Ok(response)
        })
    }
}

/// An error stands in the headers; a success is announced only after the message.
fn code(headers: &HeaderMap) -> Code {
    headers
        .get(Status::GRPC_STATUS)
        .map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

fn limit(headers: &HeaderMap) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout);
    asked.map_or(CALL_DEADLINE, |asked| {
        (asked - MARGIN.min(asked / 10)).min(CALL_DEADLINE)
    })
}

/// A `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(value: &str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", value.parse().unwrap());
        limit(&headers)
    }

    #[test]
    fn the_shorter_deadline_counts() {
        assert_eq!(limit(&HeaderMap::new()), CALL_DEADLINE);
        assert_eq!(limit_of("3S"), CALL_DEADLINE);
        assert_eq!(limit_of("99999999H"), CALL_DEADLINE);
        assert_eq!(limit_of("2000m"), Duration::from_millis(1_900));
        assert_eq!(limit_of("10000u"), Duration::from_millis(9));
        assert_eq!(limit_of("0n"), Duration::ZERO);
    }

    /// Answers with the time that the key has, in milliseconds, in a header.
    #[derive(Clone)]
    struct TimeLeft;

    impl Service<Request<Body>> for TimeLeft {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            Box::pin(async {
                let deadline = deadline::current().map(Instant::from_std).unwrap();
                // To the nearest 10 ms: the clock of the test and that of the machine are read one after the other.
                let left = ((deadline - Instant::now()).as_millis() + 5) / 10 * 10;
                let mut response = Response::new(Body::empty());
                let left = left.to_string().parse().unwrap();
                response.headers_mut().insert("left", left);
                Ok(response)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_is_told_when_to_give_up() {
        let metrics = crate::metrics::Metrics::new("1.0.0").key("k");
        let mut service = Observed::new(TimeLeft, metrics);
        for (timeout, left) in [
            (None, "2400"),
            (Some("2000m"), "1800"),
            (Some("111m"), "90"),
        ] {
            let mut request = Request::new(Body::empty());
            if let Some(timeout) = timeout {
                let timeout = timeout.parse().unwrap();
                request.headers_mut().insert("grpc-timeout", timeout);
            }
            let response = service.call(request).await.unwrap();
            assert_eq!(response.headers()["left"], left, "{timeout:?}");
        }
    }

    #[test]
    fn a_bad_deadline_falls_back_to_ours() {
        for bad in ["", "S", "1", "1x", "-1S", "+1S", "123456789S", "1 S"] {
            assert_eq!(limit_of(bad), CALL_DEADLINE, "{bad:?}");
        }
    }
}
