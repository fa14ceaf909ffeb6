//! Free ports. Another process may take one before the server does; the code that
//! starts a server tries again then.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;

use crate::{Error, Process};

/// How often a start is tried when ports are taken in between.
pub(crate) const ATTEMPTS: usize = 5;

/// Linux gives out 32768 and above; few servers have fixed ports in here.
const LASTING: RangeInclusive<u16> = 10_240..=32_000;
const TRIES: usize = 100;

/// A port of 127.0.0.1 on which no process listens now.
pub(crate) fn free() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::file("find a free port on", Path::new("127.0.0.1")))
}

/// A port of 127.0.0.1 that stays free while its server is down: it lies below
/// those that Linux assigns to a bind on port 0.
pub(crate) fn lasting() -> Result<u16, Error> {
    let any = Path::new("127.0.0.1");
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| {
            Error::file("choose a port on", any)(io::Error::other(error.to_string()))
        })?;
        let port = LASTING.start() + u16::from_ne_bytes(random) % (LASTING.end() - LASTING.start());
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    Err(Error::file("find a free port on", any)(taken))
}

/// Whether a server that ended did so because its port was taken.
pub(crate) fn was_taken(process: &Process) -> bool {
    process.log().contains("address already in use")
}
