//! Ways into and out of the node's network, which has a loopback device of its own.
//!
//! A socket belongs to the network in which it was made, whatever process uses it afterwards. So a thread enters the node's network for as long as
//! it takes to dial or to listen, and threads in the machine's network copy the bytes.

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network of a process.
#[derive(Debug, Clone)]
pub(super) struct Network(PathBuf);

impl Network {
    pub(super) fn of_process(pid: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// Runs `make` on a thread in this network.
    fn within<T: Send>(&self, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let entered = || {
            let network = File::open(&self.0)?;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            make()
        };
        thread::scope(|scope| scope.spawn(entered).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the network panicked")))
    }

    fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.within(|| TcpStream::connect(address))
    }

    /// A port of the machine that leads to `address` in this network.
    pub(super) fn outwards(&self, address: SocketAddr) -> io::Result<Forward> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let network = self.clone();
        Forward::start(listener, move || network.dial(address))
    }

    /// Listens on `address` in this network, and leads to `target` in that of the machine.
    pub(super) fn inwards(&self, address: SocketAddr, target: SocketAddr) -> io::Result<Forward> {
        let listener = self.within(|| TcpListener::bind(address))?;
        Forward::start(listener, move || TcpStream::connect(target))
    }
}

/// Connections from one network to the other. Takes no new ones after it was dropped.
#[derive(Debug)]
pub(super) struct Forward {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    thread: Option<thread::JoinHandle<()>>,
}

impl Forward {
    fn start(
        listener: TcpListener,
        dial: impl Fn() -> io::Result<TcpStream> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let dial = Arc::new(dial);
        let thread = thread::spawn(move || {
            while let Ok((near, _)) = accepting.accept() {
                let dial = Arc::clone(&dial);
                thread::spawn(move || match dial() {
                    Ok(far) => copy_both(&near, &far),
                    // The client sees its connection closed, as it would be refused.
                    Err(_) => drop(near),
                });
            }
        });
        Ok(Self {
            listener,
            address,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Ends `accept`.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until both sides have ended.
fn copy_both(near: &TcpStream, far: &TcpStream) {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(near, far));
        copy(far, near);
    });
}
