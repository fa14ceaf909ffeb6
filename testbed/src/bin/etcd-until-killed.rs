//! Starts an etcd, prints its process id and folder, and waits to be killed: what a test
//! kills with SIGKILL to see whether both go too.

use std::io::{Write, stdout};
use std::time::Duration;

use kdc_testbed::{Error, Etcd};

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process {
            action: "start",
            name: "the async runtime".to_owned(),
            source,
        })?;
    let mut etcd = runtime.block_on(Etcd::start())?;
    // A closed standard output is no reason to end.
    let _ = writeln!(
        stdout(),
        "{} {}",
        etcd.process().pid(),
        etcd.folder().display()
    );
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
