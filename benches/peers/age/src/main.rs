//! `age-peer seal|open BYTES`: seconds that the crate age takes for as many zeros, in memory bounded by its own buffers.

use std::io::{self, Read, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, len] = arguments.as_slice() else {
        bail!("usage: age-peer seal|open BYTES");
    };
    let len: u64 = len.parse().context("BYTES")?;
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let seconds = match mode.as_str() {
        "seal" => seal(&recipient, len, io::sink())?,
        "open" => {
            // What is opened is sealed into memory first, beyond the clock.
            let mut sealed = Vec::new();
            seal(&recipient, len, &mut sealed)?;
            let started = Instant::now();
            let decryptor = age::Decryptor::new(sealed.as_slice())?;
            let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))?;
            let opened = io::copy(&mut reader, &mut io::sink())?;
            anyhow::ensure!(opened == len, "{opened} bytes came back");
            started.elapsed().as_secs_f64()
        }
        _ => bail!("seal or open"),
    };
    println!("{seconds}");
    Ok(())
}

fn seal(recipient: &age::x25519::Recipient, len: u64, sink: impl Write) -> Result<f64> {
    let started = Instant::now();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient as &dyn age::Recipient))?;
    let mut writer = encryptor.wrap_output(sink)?;
    let mut source = io::repeat(0).take(len);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        writer.write_all(&buffer[..count])?;
    }
    writer.finish()?;
    Ok(started.elapsed().as_secs_f64())
}
