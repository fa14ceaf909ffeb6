//! Who sends the bytes, and holds the connections.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A server that does not read must not hold up the attack.
const WRITE_LIMIT: Duration = Duration::from_millis(200);

/// Its connections stay open until it is dropped.
pub(super) struct Attacker {
    socket: PathBuf,
    http: SocketAddr,
    unix: Vec<UnixStream>,
    tcp: Vec<TcpStream>,
}

impl Attacker {
    pub(super) const fn new(socket: PathBuf, http: SocketAddr) -> Self {
        Self {
            socket,
            http,
            unix: Vec::new(),
            tcp: Vec::new(),
        }
    }

    /// A connection to the socket, unless the plugin has had enough of them.
    fn unix(&self) -> Option<UnixStream> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_write_timeout(Some(WRITE_LIMIT)).unwrap();
        Some(stream)
    }

    fn tcp(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.http, WRITE_LIMIT).ok()?;
        stream.set_write_timeout(Some(WRITE_LIMIT)).unwrap();
        Some(stream)
    }

    /// So many connections, each with bytes of its own.
    pub(super) fn each_grpc(&mut self, count: u32, bytes: impl Fn(u32) -> Vec<u8>) {
        for number in 0..count {
            let Some(mut stream) = self.unix() else {
                continue;
            };
            send(&mut stream, &bytes(number));
            self.unix.push(stream);
        }
    }

    /// One connection with all of these bytes.
    pub(super) fn grpc(&mut self, parts: &[Vec<u8>]) {
        self.each_grpc(1, |_| parts.concat());
    }

    /// A connection that is closed at once.
    pub(super) fn visit(&self, bytes: &[u8]) {
        if let Some(mut stream) = self.unix() {
            send(&mut stream, bytes);
        }
    }

    pub(super) fn slow_grpc(&mut self, bytes: &[u8], pause: Duration) {
        let Some(mut stream) = self.unix() else {
            return;
        };
        slowly(&mut stream, bytes, pause);
        self.unix.push(stream);
    }

    pub(super) fn each_http(&mut self, count: u32, bytes: impl Fn(u32) -> Vec<u8>) {
        for number in 0..count {
            let Some(mut stream) = self.tcp() else {
                continue;
            };
            send(&mut stream, &bytes(number));
            self.tcp.push(stream);
        }
    }

    pub(super) fn http(&mut self, bytes: &[u8]) {
        self.each_http(1, |_| bytes.to_vec());
    }

    pub(super) fn slow_http(&mut self, bytes: &[u8], pause: Duration) {
        let Some(mut stream) = self.tcp() else { return };
        slowly(&mut stream, bytes, pause);
        self.tcp.push(stream);
    }
}

/// As much as the other side takes; that it hangs up is its right.
fn send(stream: &mut impl Write, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

fn slowly(stream: &mut impl Write, bytes: &[u8], pause: Duration) {
    for byte in bytes {
        send(stream, &[*byte]);
        std::thread::sleep(pause);
    }
}
