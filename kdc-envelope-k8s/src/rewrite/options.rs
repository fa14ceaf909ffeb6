//! How fast and how patiently.

use core::num::NonZeroU32;
use core::time::Duration;

use super::budget::RequestBudget;

/// How a pass treats the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct RewriteOptions {
    /// Objects per page of a listing. 500 by default. Pages whose metadata is large are made smaller by themselves.
    pub page_size: NonZeroU32,
    /// The most patches that wait for a response at the same time. 16 by default. Fewer are sent as soon as the API server
    /// slows down or asks for it.
    pub max_in_flight: NonZeroU32,
    /// The most patches per second. Unlimited by default: the API server sets the pace.
    pub max_per_second: Option<NonZeroU32>,
    /// How long one request may take. 65 seconds by default, as kube-apiserver itself gives up after 60.
    pub request_timeout: Duration,
    /// How long nothing may succeed before the pass gives up. 5 minutes by default, which outlasts a rolling restart.
    pub retry_budget: Duration,
    /// Whom the API server shall name in its audit log as the manager of fields; at most 128 printable characters.
    /// `kdc-envelope` by default. Objects do not show it, as no field of theirs changes.
    pub field_manager: Box<str>,
    /// What this pass shares with others, such as those over other clusters. None by default.
    pub budget: Option<RequestBudget>,
}

impl Default for RewriteOptions {
    fn default() -> Self {
        Self {
            page_size: PAGE_SIZE,
            max_in_flight: MAX_IN_FLIGHT,
            max_per_second: None,
            request_timeout: Duration::from_secs(65),
            retry_budget: Duration::from_secs(300),
            field_manager: "kdc-envelope".into(),
            budget: None,
        }
    }
}

const PAGE_SIZE: NonZeroU32 = NonZeroU32::MIN.saturating_add(499);
const MAX_IN_FLIGHT: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
