//! Logging in to OpenBao, and staying so.

mod gate;
mod lease;
mod method;
mod session;

pub(crate) use method::seconds;
pub use method::{LoginMethod, RoleId};
pub use session::{LoginPlace, Session, SessionStatus};
