//! From flags, environment and profile to a client.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum as Algorithm};
use object_store::{BackoffConfig, ClientOptions, HeaderMap, HeaderValue, RetryConfig};

use super::address::Address;
use super::environment::Environment;
use super::profile::{self, Profile};
use super::settings::{Checksum, S3Settings};
use super::wire::{Connector, Wire};
use crate::error::{BackupError, BackupErrorKind as ErrorKind, Subject};

/// With its pauses about six seconds; parts and reads are tried again beyond that.
const RETRIES: usize = 5;

/// What the client learns from the environment, and nothing else: it knows variables that would change what this crate relies on, conditions
/// and the verification of certificates among them.
const PASSED_ON: [&str; 17] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_IMDSV1_FALLBACK",
    "AWS_METADATA_ENDPOINT",
    "AWS_REQUEST_PAYER",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
];
/// Those of them that are addresses.
const ADDRESSES: [&str; 3] = [
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

/// Where requests go, and how.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) store: AmazonS3,
    /// Sends `If-None-Match: *` with every request, for the one that completes an upload.
    pub(super) creator: AmazonS3,
    /// For listings, which `store` does not tell whole.
    pub(super) wire: Wire,
    pub(super) bucket_url: Uri,
    pub(super) region: String,
    /// Whether the requester pays.
    pub(super) is_payer: bool,
    /// For messages.
    pub(super) endpoint: String,
}

fn at(bucket: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BackupError {
    BackupError::at(ErrorKind::Configuration, format!("s3://{bucket}"), error)
}

pub(super) fn connect(
    settings: &S3Settings,
    environment: &Environment,
) -> Result<Clients, BackupError> {
    let profile = match has_credentials(environment) {
        true if environment.get("AWS_PROFILE").is_none() => Profile::default(),
        _ => profile::load(environment)?,
    };
    let address = Address::new(settings, environment, &profile)?;
    let name = settings.bucket.as_str();
    let authorities = settings.ca_file.as_deref().map(authorities).transpose()?;
    let connector =
        Connector::new(address.bucket_url.clone(), authorities).map_err(|error| at(name, error))?;
    let mut builder = from_environment(environment)?
        .with_bucket_name(name)
        .with_region(&address.region)
        .with_endpoint(&address.base)
        .with_virtual_hosted_style_request(address.is_virtual)
        .with_allow_http(settings.allow_http)
        .with_http_connector(connector.clone())
        // One object at a time: not every server can delete several at once.
        .with_disable_bulk_delete(true)
        // TLS already protects what is sent; SHA-256 of every part would cost more than sealing it.
        .with_unsigned_payload(!address.is_plain())
        .with_retry(retry());
    let when_required = when_required(environment, &profile);
    builder = credentials(builder, environment, profile, address.is_own)?;
    let checksum = settings.checksum.or(when_required);
    if let Some(algorithm) = algorithm(checksum, address.is_plain()) {
        builder = builder.with_checksum_algorithm(algorithm);
    }
    let options = ClientOptions::new().with_allow_http(settings.allow_http);
    let mut if_absent = HeaderMap::new();
    if_absent.insert("if-none-match", HeaderValue::from_static("*"));
    let named = named_checksum(settings.checksum);
    let build = |options: ClientOptions| {
        let built = builder.clone().with_client_options(options).build();
        built.map_err(|error| at(name, error))
    };
    let payer = environment.get("AWS_REQUEST_PAYER");
    Ok(Clients {
        store: build(options.clone().with_default_headers(named))?,
        creator: build(options.with_default_headers(if_absent))?,
        wire: connector.wire(),
        bucket_url: address.bucket_url,
        region: address.region,
        is_payer: payer.is_some_and(|payer| ["requester", "true"].contains(&payer.as_str())),
        endpoint: address.name,
    })
}

/// With object lock some servers look for the name of the checksum alone, which programs of AWS send along. Others need not meet a header
/// more.
fn named_checksum(asked: Option<Checksum>) -> HeaderMap {
    let name = match asked {
        None | Some(Checksum::None) => None,
        Some(Checksum::Sha256) => Some("SHA256"),
        Some(Checksum::Crc64Nvme) => Some("CRC64NVME"),
    };
    let mut headers = HeaderMap::new();
    if let Some(name) = name {
        headers.insert(
            "x-amz-sdk-checksum-algorithm",
            HeaderValue::from_static(name),
        );
    }
    headers
}

/// The setting of AWS for servers that do not take its newer checksums.
fn when_required(environment: &Environment, profile: &Profile) -> Option<Checksum> {
    let setting = environment.get("AWS_REQUEST_CHECKSUM_CALCULATION");
    let setting = setting.or_else(|| profile.checksums.clone())?;
    setting
        .eq_ignore_ascii_case("when_required")
        .then_some(Checksum::None)
}

/// Without TLS the content is signed, which is checksum enough, unless the bucket wants another.
const fn algorithm(asked: Option<Checksum>, is_plain: bool) -> Option<Algorithm> {
    match asked {
        Some(Checksum::None) => None,
        None if is_plain => None,
        None | Some(Checksum::Crc64Nvme) => Some(Algorithm::CRC64NVME),
        Some(Checksum::Sha256) => Some(Algorithm::SHA256),
    }
}

fn from_environment(environment: &Environment) -> Result<AmazonS3Builder, BackupError> {
    let mut builder = AmazonS3Builder::new();
    for name in PASSED_ON {
        let Some(value) = environment.get(name) else {
            continue;
        };
        if !name.ends_with("_FILE") {
            check_sendable(name, &value)?;
        }
        if ADDRESSES.contains(&name) && reqwest::Url::parse(&value).is_err() {
            return Err(BackupError::new(
                ErrorKind::Configuration,
                format!("{name}: not a URL"),
            ));
        }
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(builder)
}

/// The client trusts that a header can hold it.
fn check_sendable(name: &str, value: &str) -> Result<(), BackupError> {
    let is_bad = |c: char| !c.is_ascii() || c.is_ascii_control();
    if !value.contains(is_bad) {
        return Ok(());
    }
    let line = format!("{name} has a character that cannot be sent");
    Err(BackupError::new(ErrorKind::Configuration, line)
        .advise("a line feed, perhaps, from the file that it was read from"))
}

/// A static key, or what a pod or a container gets from its platform.
fn has_credentials(environment: &Environment) -> bool {
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ]
    .iter()
    .any(|name| environment.get(name).is_some())
}

fn credentials(
    mut builder: AmazonS3Builder,
    environment: &Environment,
    profile: Profile,
    has_endpoint: bool,
) -> Result<AmazonS3Builder, BackupError> {
    if has_credentials(environment) {
        let is_half = environment.get("AWS_ACCESS_KEY_ID").is_some()
            && environment.get("AWS_SECRET_ACCESS_KEY").is_none();
        return match is_half {
            false => Ok(builder),
            true => Err(BackupError::new(
                ErrorKind::Configuration,
                "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not; set both",
            )),
        };
    }
    match (profile.access_key_id, profile.secret_access_key) {
        (Some(id), Some(secret)) => {
            let token = profile.session_token.as_ref();
            let token = token.map_or("", |token| token.as_str());
            for (name, value) in [("access_key_id", id.as_str()), ("session_token", token)] {
                check_sendable(&format!("the AWS profile: aws_{name}"), value)?;
            }
            builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(secret.as_str());
            if let Some(token) = profile.session_token {
                builder = builder.with_token(token.as_str());
            }
            Ok(builder)
        }
        _ if !has_endpoint => Ok(builder), // the metadata service of a machine at AWS
        _ => Err(BackupError::new(
            ErrorKind::Configuration,
            "there are no credentials for the S3 server",
        )
        .advise(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials in AWS_PROFILE",
        )),
    }
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: Duration::from_secs(180),
    }
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, BackupError> {
    let pem = fs::read(path).map_err(|error| {
        BackupError::at(
            ErrorKind::of_io(&error),
            format!("cannot read `{}`", path.display()),
            error,
        )
        .about(Subject::CaFile)
    })?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).ok();
    found.filter(|found| !found.is_empty()).ok_or_else(|| {
        let place = path.display();
        let line = format!("`{place}` holds no certificate in PEM");
        BackupError::new(ErrorKind::Damaged, line).about(Subject::CaFile)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_it_reaches_the_client() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_CONDITIONAL_PUT", "disabled"),
            ("AWS_S3_EXPRESS", "true"),
            ("AWS_SKIP_SIGNATURE", "true"),
            ("AWS_ALLOW_INVALID_CERTIFICATES", "true"),
            ("AWS_BUCKET", "other"),
            ("AWS_SESSION_TOKEN", ""),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let builder = from_environment(&environment.into_iter().collect()).unwrap();
        let value = |name: &str| builder.get_config_value(&name.parse().unwrap());
        assert_eq!(value("aws_access_key_id").as_deref(), Some("a"));
        let empty = AmazonS3Builder::new();
        for (name, _) in &variables[2..] {
            let name = name.to_ascii_lowercase();
            let untouched = empty.get_config_value(&name.parse().unwrap());
            assert_eq!(value(&name), untouched, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_it_is() {
        let set =
            |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into_iter().collect();
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "key\n"),
            ("AWS_SESSION_TOKEN", "t\u{e4}"),
            ("AWS_ENDPOINT_URL_STS", "sts"),
        ] {
            let failure = from_environment(&set(name, value)).unwrap_err();
            let line = failure.to_string();
            assert!(line.starts_with(name) && !line.contains(value), "{line}");
        }
        let half = credentials(
            AmazonS3Builder::new(),
            &set("AWS_ACCESS_KEY_ID", "a"),
            Profile::default(),
            true,
        );
        assert!(
            half.unwrap_err()
                .to_string()
                .contains("AWS_SECRET_ACCESS_KEY")
        );
    }

    #[test]
    fn a_checksum_goes_along_where_nothing_else_vouches_for_the_content() {
        assert_eq!(algorithm(None, true), None);
        assert_eq!(algorithm(None, false), Some(Algorithm::CRC64NVME));
        assert_eq!(algorithm(Some(Checksum::None), false), None);
        assert_eq!(
            algorithm(Some(Checksum::Sha256), true),
            Some(Algorithm::SHA256)
        );
    }
}
