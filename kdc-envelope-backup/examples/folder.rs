//! A snapshot into a folder and out of it again, under a keyring: `cargo run --example folder`.

use std::error::Error;
use std::fs::File;
use std::io::Cursor;
use std::sync::Arc;

use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::snapshot::Trailer;
use kdc_envelope_backup::{CountRows, FolderStore, SnapshotReader, SnapshotWriter, WriteOptions};

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let now = u64::try_from(jiff::Timestamp::now().as_second())?;
    let store = Arc::new(FolderStore::new(folder.path().join("backups")));
    let keys = Arc::new(LocalKek::new(Keyring::generate(now)?)?);
    let mut options = WriteOptions::default();
    // This content is no database of etcd: it has no checksum at its end, and no rows.
    (options.trailer, options.rows) = (Trailer::Digest, CountRows::Skip);
    let source = Cursor::new(b"what etcd would send".to_vec());
    let writer = SnapshotWriter::new(store.clone(), keys.clone(), "prod", None, "example", now)?;
    let written = writer.write(source, options).await?;

    let reader = SnapshotReader::new(store, keys, "prod")?;
    let newest = reader.newest(now).await?;
    let target = File::create(folder.path().join("snapshot.db"))?;
    let snapshot = reader.open(&newest.id).await?;
    let content = snapshot.write_content_to(target, |_read| ()).await?;
    assert_eq!(content.len, written.content.len);
    Ok(())
}
