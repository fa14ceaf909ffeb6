//! Where a bucket is: from flags, environment and profile to a URL.

use http::Uri;

use super::environment::Environment;
use super::profile::Profile;
use super::settings::{Addressing, S3Settings};
use crate::error::{BackupError, BackupErrorKind as ErrorKind, Subject};

const DEFAULT_REGION: &str = "us-east-1";

/// Where requests go.
#[derive(Debug)]
pub(super) struct Address {
    /// For messages.
    pub(super) name: String,
    pub(super) region: String,
    /// What the client puts names of objects behind, after that of the bucket if it is not in here.
    pub(super) base: String,
    /// The bucket itself.
    pub(super) bucket_url: Uri,
    pub(super) is_virtual: bool,
    /// Whether it is another server than that of AWS.
    pub(super) is_own: bool,
}

impl Address {
    pub(super) fn new(
        settings: &S3Settings,
        environment: &Environment,
        profile: &Profile,
    ) -> Result<Self, BackupError> {
        let region = region(settings, environment, profile)?;
        let endpoint = endpoint(settings, environment, profile)?;
        let is_own = endpoint.is_some();
        let aws = || {
            let server = format!("https://s3.{region}.amazonaws.com");
            (Subject::Region, server)
        };
        let (source, server) = endpoint.unwrap_or_else(aws);
        let is_virtual = settings.addressing == Addressing::Virtual;
        let bucket = settings.bucket.as_str();
        let base = match is_virtual {
            true => with_bucket(&server, bucket)?,
            false => server,
        };
        let bucket_url = match is_virtual {
            true => base.clone(),
            false => format!("{base}/{bucket}"),
        };
        let name = match is_own {
            true => base.clone(),
            false => format!("AWS in {region}"),
        };
        // The client trusts that it can be parsed.
        let is_url = reqwest::Url::parse(&bucket_url).is_ok();
        let Some(bucket_url) = bucket_url.parse().ok().filter(|_| is_url) else {
            let reason = format!("`{base}` is not the URL of a server");
            return Err(bad(source, &reason));
        };
        Ok(Self {
            name,
            region,
            base,
            bucket_url,
            is_virtual,
            is_own,
        })
    }

    /// Whether requests can be read on their way.
    pub(super) fn is_plain(&self) -> bool {
        is_plain(&self.base)
    }
}

fn region(
    settings: &S3Settings,
    environment: &Environment,
    profile: &Profile,
) -> Result<String, BackupError> {
    let given = first([
        (Subject::Region, settings.region.clone()),
        (Subject::Named("AWS_REGION"), environment.get("AWS_REGION")),
        (
            Subject::Named("AWS_DEFAULT_REGION"),
            environment.get("AWS_DEFAULT_REGION"),
        ),
        (
            Subject::Named("region of the AWS profile"),
            profile.region.clone(),
        ),
    ]);
    let Some((source, region)) = given else {
        return Ok(DEFAULT_REGION.to_owned());
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !region.is_empty() && region.bytes().all(is_part) {
        true => Ok(region),
        false => Err(bad(
            source,
            &format!("`{region}` is not the name of a region"),
        )),
    }
}

/// The first that is given, with its name.
fn first<const N: usize>(sources: [(Subject, Option<String>); N]) -> Option<(Subject, String)> {
    let mut sources = sources.into_iter();
    sources.find_map(|(name, value)| Some((name, value?)))
}

/// Where it is given, and what.
fn endpoint(
    settings: &S3Settings,
    environment: &Environment,
    profile: &Profile,
) -> Result<Option<(Subject, String)>, BackupError> {
    let given = first([
        (Subject::Endpoint, settings.endpoint.clone()),
        (
            Subject::Named("AWS_ENDPOINT_URL_S3"),
            environment.get("AWS_ENDPOINT_URL_S3"),
        ),
        (
            Subject::Named("AWS_ENDPOINT_URL"),
            environment.get("AWS_ENDPOINT_URL"),
        ),
        (
            Subject::Named("endpoint_url of the AWS profile"),
            profile.endpoint.clone(),
        ),
    ]);
    let Some((source, endpoint)) = given else {
        return Ok(None);
    };
    // Not repeated: what is before it may be a password.
    if endpoint.contains('@') {
        return Err(bad(source, "has credentials in it").advise("give them in the environment"));
    }
    let rest = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        let reason = format!("`{endpoint}` is not a URL that begins with https:// or http://");
        return Err(bad(source, &reason));
    };
    if rest.contains(['?', '#']) || rest.chars().any(|c| c.is_control() || c == ' ') {
        let reason = format!("`{endpoint}` has more than scheme, host and port");
        return Err(bad(source, &reason));
    }
    if is_plain(&endpoint) && !settings.allow_http {
        return Err(bad(source, &format!("`{endpoint}` has no TLS"))
            .advise("use https://, or say {allow_http} if the network is trusted"));
    }
    Ok(Some((source, endpoint.trim_end_matches('/').to_owned())))
}

/// The same server with the bucket in its name.
fn with_bucket(server: &str, bucket: &str) -> Result<String, BackupError> {
    let (scheme, rest) = server.split_once("://").unwrap_or(("https", server));
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    let is_number = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_number {
        let line = format!("`{server}` has no name that a bucket can be put before");
        return Err(BackupError::new(ErrorKind::InvalidInput, line)
            .about(Subject::VirtualAddressing)
            .advise("give the server's name in {endpoint}, or {addressing} path"));
    }
    // It may be given with the bucket.
    match host
        .strip_prefix(bucket)
        .is_some_and(|rest| rest.starts_with('.'))
    {
        true => Ok(server.to_owned()),
        false => Ok(format!("{scheme}://{bucket}.{rest}")),
    }
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

fn bad(subject: Subject, reason: &str) -> BackupError {
    BackupError::new(ErrorKind::InvalidInput, reason).about(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: Option<&str>, addressing: Addressing) -> Result<Address, BackupError> {
        let settings = S3Settings {
            endpoint: endpoint.map(str::to_owned),
            addressing,
            allow_http: true,
            ..S3Settings::new("b")
        };
        let (environment, profile) = (Environment::default(), Profile::default());
        Address::new(&settings, &environment, &profile)
    }

    #[test]
    fn a_bucket_is_in_the_path_or_in_the_name_of_its_server() {
        let url = |endpoint, addressing| {
            let address = address(endpoint, addressing).unwrap();
            address
                .bucket_url
                .to_string()
                .trim_end_matches('/')
                .to_owned()
        };
        use Addressing::{Path, Virtual};
        let server = Some("https://s3.example:9000/");
        assert_eq!(url(server, Path), "https://s3.example:9000/b");
        assert_eq!(url(server, Virtual), "https://b.s3.example:9000");
        assert_eq!(
            url(Some("https://b.s3.example"), Virtual),
            "https://b.s3.example"
        );
        assert_eq!(url(None, Path), "https://s3.us-east-1.amazonaws.com/b");
        assert_eq!(url(None, Virtual), "https://b.s3.us-east-1.amazonaws.com");
        for number in ["http://127.0.0.1:9000", "http://[::1]:9000"] {
            let failure = address(Some(number), Virtual).unwrap_err();
            assert_eq!(failure.subject(), Some(Subject::VirtualAddressing));
            assert!(address(Some(number), Path).is_ok());
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_here() {
        for bad in [
            "s3.example",
            "https://",
            "https://:9000",
            "https://a:99999",
            "https://[::1",
            "https://a b",
            "https://user@a",
            "https://a?x",
            "https://a%zz",
        ] {
            let failure = address(Some(bad), Addressing::Path).unwrap_err();
            assert_eq!(failure.subject(), Some(Subject::Endpoint), "{bad}");
        }
        let secret = address(Some("https://user:pw@a"), Addressing::Path).unwrap_err();
        assert!(!secret.to_string().contains("pw"));
    }

    #[test]
    fn a_bad_value_is_told_with_where_it_came_from() {
        let settings = S3Settings::new("b");
        for (name, value) in [
            ("AWS_DEFAULT_REGION", "eu\nwest"),
            ("AWS_ENDPOINT_URL", "s3.example"),
            ("AWS_ENDPOINT_URL_S3", "http://s3.example"),
        ] {
            let variable = (name.to_owned(), value.to_owned());
            let environment = [variable].into_iter().collect();
            let failure = Address::new(&settings, &environment, &Profile::default());
            let failure = failure.unwrap_err();
            assert!(
                failure.to_string().starts_with(&format!("{name}: ")),
                "{failure:?}"
            );
        }
    }
}
