//! From flags, environment and profile to a client.

use std::fs;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, HeaderMap, HeaderValue, RetryConfig,
};

use crate::backup::bucket::BucketArguments;
use crate::backup::bucket::environment::Environment;
use crate::backup::bucket::profile::{self, Profile};
use crate::failure::{Exit, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a part to be sent and answered, and for each piece of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// With its pauses about six seconds; parts and reads are tried again beyond that.
const RETRIES: usize = 5;
const DEFAULT_REGION: &str = "us-east-1";

/// Where requests go, and how.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) store: AmazonS3,
    /// Sends `If-None-Match: *` with every request, for the one that completes an upload.
    pub(super) creator: AmazonS3,
    pub(super) endpoint: String,
}

pub(super) fn connect(
    arguments: &BucketArguments,
    environment: &Environment,
    name: &str,
) -> Result<Clients, Failure> {
    let profile = match has_credentials(environment) {
        true if environment.get("AWS_PROFILE").is_none() => Profile::default(),
        _ => profile::load(environment)?,
    };
    let region = arguments
        .s3_region
        .clone()
        .or_else(|| environment.get("AWS_REGION"))
        .or_else(|| environment.get("AWS_DEFAULT_REGION"))
        .or_else(|| profile.region.clone())
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let endpoint = endpoint(arguments, environment, &profile)?;
    let mut builder = from_environment(environment)
        .with_bucket_name(name)
        .with_region(&region)
        .with_allow_http(arguments.s3_allow_http)
        // One object at a time: not every server can delete several at once.
        .with_disable_bulk_delete(true)
        .with_retry(retry());
    builder = credentials(builder, environment, profile, endpoint.is_some())?;
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if !endpoint.as_deref().is_some_and(is_plain) {
        // TLS already protects what is sent; SHA-256 of every part would cost more than sealing it.
        builder = builder
            .with_unsigned_payload(true)
            .with_checksum_algorithm(Checksum::CRC64NVME);
    }
    let options = options(arguments)?;
    let mut if_absent = HeaderMap::new();
    if_absent.insert("if-none-match", HeaderValue::from_static("*"));
    let build = |options: ClientOptions| {
        let built = builder.clone().with_client_options(options).build();
        built.map_err(|error| Failure::at(Exit::Usage, format!("s3://{name}"), &error))
    };
    Ok(Clients {
        store: build(options.clone())?,
        creator: build(options.with_default_headers(if_absent))?,
        endpoint: endpoint.unwrap_or_else(|| format!("AWS in {region}")),
    })
}

/// As `AmazonS3Builder::from_env`.
fn from_environment(environment: &Environment) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in environment.iter() {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder
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
) -> Result<AmazonS3Builder, Failure> {
    if has_credentials(environment) {
        return Ok(builder);
    }
    match (profile.access_key_id, profile.secret_access_key) {
        (Some(id), Some(secret)) => {
            builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(secret.as_str());
            if let Some(token) = profile.session_token {
                builder = builder.with_token(token.as_str());
            }
            Ok(builder)
        }
        (None, None) if !has_endpoint => Ok(builder), // the metadata service of a machine at AWS
        (None, None) => Err(Failure::new(
            Exit::Config,
            "there are no credentials for the S3 server",
        )
        .hint(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials in AWS_PROFILE",
        )),
        _ => Err(Failure::new(
            Exit::Config,
            "the AWS profile has only one of aws_access_key_id and aws_secret_access_key",
        )),
    }
}

fn endpoint(
    arguments: &BucketArguments,
    environment: &Environment,
    profile: &Profile,
) -> Result<Option<String>, Failure> {
    let endpoint = arguments
        .s3_endpoint
        .clone()
        .or_else(|| environment.get("AWS_ENDPOINT_URL_S3"))
        .or_else(|| environment.get("AWS_ENDPOINT_URL"))
        .or_else(|| profile.endpoint.clone());
    let Some(endpoint) = endpoint else {
        return Ok(None);
    };
    let rest = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        let line = "--s3-endpoint: not a URL that begins with https:// or http://";
        return Err(Failure::new(Exit::Usage, line));
    };
    if rest.contains(['@', '?', '#']) || rest.chars().any(|c| c.is_control() || c == ' ') {
        let line =
            "--s3-endpoint: give only scheme, host and port; credentials come from the environment";
        return Err(Failure::new(Exit::Usage, line));
    }
    if is_plain(&endpoint) && !arguments.s3_allow_http {
        let line = format!("--s3-endpoint: `{endpoint}` has no TLS");
        return Err(Failure::new(Exit::Usage, line)
            .hint("use https://, or say --s3-allow-http if the network is trusted"));
    }
    Ok(Some(endpoint.trim_end_matches('/').to_owned()))
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
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

fn options(arguments: &BucketArguments) -> Result<ClientOptions, Failure> {
    let mut options = ClientOptions::new()
        .with_allow_http(arguments.s3_allow_http)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled()
        .with_read_timeout(ANSWER_TIMEOUT);
    if let Some(path) = &arguments.s3_ca_file {
        let pem =
            fs::read(path).map_err(|error| Failure::unreadable("--s3-ca-file", path, &error))?;
        let place = || format!("--s3-ca-file: `{}`", path.display());
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| Failure::at(Exit::Data, place(), &error))?;
        if certificates.is_empty() {
            let line = format!("{} holds no certificate in PEM", place());
            return Err(Failure::new(Exit::Data, line));
        }
        options = options.with_no_system_certificates(true);
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}
