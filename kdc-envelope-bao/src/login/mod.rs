//! Logging in to OpenBao, and staying so.

mod gate;
mod method;
mod session;

pub use method::{LoginMethod, RoleId};
pub use session::{Session, SessionStatus};
