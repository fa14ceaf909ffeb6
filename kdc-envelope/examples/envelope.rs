//! Encrypts data under a keyring file, rotates the key, and moves the envelope along.
//!
//! `cargo run --example envelope`

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use kdc_envelope::envelope::{Envelope, EnvelopeCipher};
use kdc_envelope::local::{Keyring, LocalKek, keyring_file};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("keyring");
    keyring_file::create(&path, &Keyring::generate(1_767_225_600)?)?;

    let kek = Arc::new(LocalKek::new(keyring_file::load(&path)?)?);
    let start = Instant::now();
    let cipher = EnvelopeCipher::new(kek.clone(), "invoices", move || start.elapsed());

    let envelope = cipher.seal(b"42 EUR", b"invoice/7").await?;
    show("sealed", &envelope)?;
    assert!(
        cipher.open(&envelope, b"invoice/8").await.is_err(),
        "bound to its context"
    );

    // Bring the new version to every replica first; promote it once all can read it.
    let version = keyring_file::edit(&path, |keyring| keyring.add(1_767_312_000))?;
    keyring_file::edit(&path, |keyring| keyring.promote(version))?;
    kek.replace(keyring_file::load(&path)?)?;

    let moved = cipher
        .rewrap(&envelope)
        .await?
        .ok_or("the key has rotated")?;
    show("rewrapped", &moved)?;
    assert_eq!(cipher.open(&moved, b"invoice/7").await?.expose(), b"42 EUR");
    assert_eq!(cipher.rewrap(&moved).await?, None, "nothing left to do");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(what: &str, envelope: &[u8]) -> Result<(), Box<dyn Error>> {
    let view = Envelope::parse(envelope)?;
    let key_id = &view.wrapped_dek.key_id;
    println!(
        "{what}: {} bytes of data under {key_id}, {} in all",
        view.data_len(),
        envelope.len()
    );
    Ok(())
}
