//! Logging in to OpenBao, and staying so.

mod backoff;
mod method;
mod session;
mod token;

pub(crate) use method::seconds;
pub use method::{LoginMethod, RoleId};
pub use session::{LoginPlace, Session, SessionStatus};
