//! Free ports. Another process may take one before the server does; whoever
//! starts a server tries again then.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::{Error, Process};

/// How often a start is tried when ports are taken in between.
pub(crate) const ATTEMPTS: usize = 5;

/// A port of 127.0.0.1 that nobody listens on now.
pub(crate) fn free() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::file("find a free port on", Path::new("127.0.0.1")))
}

/// Whether a server that ended did so because its port was taken.
pub(crate) fn was_taken(process: &Process) -> bool {
    process.log().contains("address already in use")
}
