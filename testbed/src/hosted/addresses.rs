//! Loopback addresses, one for each pod and each Service: Linux answers on all of 127.0.0.0/8.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::Error;

/// An address on which no process listens at `port`.
pub(super) fn free(port: u16) -> Result<Ipv4Addr, Error> {
    static LAST: AtomicU8 = AtomicU8::new(1);
    let mut random = [0; 2];
    loop {
        getrandom::fill(&mut random).map_err(|error| Error::Certificate(error.to_string()))?;
        let [second, third] = random;
        let fourth = LAST.fetch_add(1, Ordering::Relaxed).clamp(1, 254);
        let address = Ipv4Addr::new(127, second.clamp(16, 250), third, fourth);
        if TcpListener::bind((address, port)).is_ok() {
            return Ok(address);
        }
    }
}
