//! Answers that no OpenBao gives, and which the program outlives.

use std::fmt::Write as _;

use super::{Backend, healthy, round_trip};
use crate::fixture::eventually;
use kdc_testbed::proxy::Fault;

const READ: &str = "GET /v1/transit/keys/etcd";
/// As many as an answer of 8 MiB holds, which is the longest that is read.
const VERSIONS: u32 = 600_000;
/// What is left of the 64 MiB of the shipped units and pods, in KiB.
const ROOM: u64 = 48 * 1024;

#[tokio::test]
async fn a_key_of_very_many_versions_fits_into_the_memory_of_the_plugin() {
    let backend = Backend::start().await;
    let (running, mut client) = backend.serving(&[]).await;
    round_trip(&mut client).await;
    let before = running.peak_memory();
    let mut key =
        format!(r#"{{"data":{{"type":"aes256-gcm96","latest_version":{VERSIONS},"keys":{{"1":1"#);
    for version in 2..=VERSIONS {
        write!(key, r#","{version}":1"#).unwrap();
    }
    key.push_str("}}}");
    backend.proxy.reset_counts();
    backend.proxy.set(Fault::answer(200, &[], &key).on(READ));
    let looks = || backend.proxy.counts().requests(READ);
    eventually("it looks again and again", async || looks() >= 4).await;
    let grown = running.peak_memory() - before;
    assert!(grown < ROOM, "{grown} KiB");
    backend.proxy.clear();
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_time_to_live_beyond_all_bounds_ends_nothing() {
    let backend = Backend::start().await;
    let told = format!(r#"{{"data":{{"ttl":{},"renewable":true}}}}"#, 1u64 << 63);
    backend
        .proxy
        .set(Fault::answer(200, &[], &told).on("lookup-self"));
    let (running, mut client) = backend.serving(&[]).await;
    backend.proxy.reset_counts();
    let looks = || backend.proxy.counts().requests(READ);
    // Its tasks live on: more looks than there are before what is known counts as stale.
    eventually("it looks again and again", async || looks() >= 7).await;
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(!backend.place.log().contains("panicked"));
    assert!(running.stop().await.success());
}
