//! The example on S3, against a server.

#[path = "../examples/s3.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod example;

use kdc_envelope_backup::{BackupErrorKind, S3Credentials, S3Settings, S3Store};
use kdc_testbed::S3;
use kdc_testbed::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

const NOW: u64 = 1_790_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_on_s3_works() {
    let server = S3::start().await.unwrap();
    server.create_bucket("bucket").unwrap();
    let mut settings = S3Settings::new("bucket");
    settings.endpoint = Some(server.endpoint().to_owned());
    settings.allow_http = true;
    settings.credentials = Some(S3Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    // Longer than two parts.
    let content = vec![7; 20 << 20];
    let unknown = example::round_trip(&settings, content, NOW).await.unwrap();
    assert_eq!(unknown, ["prod/prod-20260921T141320Z"]);
    assert_eq!(server.unfinished_uploads().unwrap(), (0, 0));
}

#[test]
fn credentials_that_cannot_be_sent_are_refused_and_never_shown() {
    let mut settings = S3Settings::new("bucket");
    settings.credentials = Some(S3Credentials::new("key\n", "wJalrXUtnFEMI"));
    let error = S3Store::connect(&settings).unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Configuration);
    assert!(!format!("{settings:?} {error:?}").contains("wJalrXUtnFEMI"));
}
