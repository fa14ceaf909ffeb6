//! A snapshot into a bucket of S3, what the catalogue tells of it, and out again:
//! `AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… cargo run --example s3 -- https://s3.example.com bucket`.

use std::error::Error;
use std::io::Cursor;
use std::sync::Arc;

use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::snapshot::Trailer;
use kdc_envelope_backup::catalogue::retained_keys;
use kdc_envelope_backup::{
    CountRows, S3Settings, S3Store, SnapshotReader, SnapshotStore, SnapshotWriter, WriteOptions,
};

/// Writes `content` as the snapshot of a cluster, opens it, and gives the names of snapshots of which no key is known.
pub(crate) async fn round_trip(
    settings: &S3Settings,
    content: Vec<u8>,
    now: u64,
) -> Result<Vec<String>, Box<dyn Error>> {
    let store: Arc<dyn SnapshotStore> = Arc::new(S3Store::connect(settings)?);
    let keys = Arc::new(LocalKek::new(Keyring::generate(now)?)?);
    let len = content.len() as u64;
    let mut options = WriteOptions::default();
    // This content is no database of etcd: it has no checksum at its end, and no rows.
    (options.trailer, options.rows) = (Trailer::Digest, CountRows::Skip);
    let writer = SnapshotWriter::new(store.clone(), keys.clone(), "prod", None, "example", now)?;
    let written = writer.write(Cursor::new(content), options).await?;

    let reader = SnapshotReader::new(store.clone(), keys, "prod")?;
    let snapshot = reader.open(written.identity.snapshot()).await?;
    let opened = snapshot
        .write_content_to(std::io::sink(), |_read| ())
        .await?;
    assert_eq!(opened.len, len);

    let retained = retained_keys(&store, Some("prod"), now).await?;
    Ok(retained.unknown)
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(endpoint), Some(bucket)) = (arguments.next(), arguments.next()) else {
        return Err("usage: s3 ENDPOINT BUCKET".into());
    };
    let mut settings = S3Settings::new(bucket);
    settings.endpoint = Some(endpoint);
    let now = u64::try_from(jiff::Timestamp::now().as_second())?;
    round_trip(&settings, b"what etcd would send".to_vec(), now).await?;
    Ok(())
}
