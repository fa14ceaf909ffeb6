//! Where a bucket is: from flags, environment and profile to a URL.

use http::Uri;

use crate::backup::bucket::BucketArguments;
use crate::backup::bucket::arguments::Addressing;
use crate::backup::bucket::environment::Environment;
use crate::backup::bucket::profile::Profile;
use crate::failure::{Exit, Failure};

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
        arguments: &BucketArguments,
        environment: &Environment,
        profile: &Profile,
        bucket: &str,
    ) -> Result<Self, Failure> {
        let region = region(arguments, environment, profile)?;
        let endpoint = endpoint(arguments, environment, profile)?;
        let is_own = endpoint.is_some();
        let server = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let is_virtual = arguments.s3_addressing == Some(Addressing::Virtual);
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
            return Err(bad(&format!("`{base}` is not the URL of a server")));
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
    arguments: &BucketArguments,
    environment: &Environment,
    profile: &Profile,
) -> Result<String, Failure> {
    let region = arguments
        .s3_region
        .clone()
        .or_else(|| environment.get("AWS_REGION"))
        .or_else(|| environment.get("AWS_DEFAULT_REGION"))
        .or_else(|| profile.region.clone())
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !region.is_empty() && region.bytes().all(is_part) {
        true => Ok(region),
        false => {
            let line = format!("--s3-region: `{region}` is not the name of a region");
            Err(Failure::new(Exit::Usage, line)
                .hint("it may come from AWS_REGION, AWS_DEFAULT_REGION or the profile too"))
        }
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
        return Err(bad("not a URL that begins with https:// or http://"));
    };
    if rest.contains(['@', '?', '#']) || rest.chars().any(|c| c.is_control() || c == ' ') {
        return Err(bad(
            "give only scheme, host and port; credentials come from the environment",
        ));
    }
    if is_plain(&endpoint) && !arguments.s3_allow_http {
        return Err(bad(&format!("`{endpoint}` has no TLS"))
            .hint("use https://, or say --s3-allow-http if the network is trusted"));
    }
    Ok(Some(endpoint.trim_end_matches('/').to_owned()))
}

/// The same server with the bucket in its name.
fn with_bucket(server: &str, bucket: &str) -> Result<String, Failure> {
    let (scheme, rest) = server.split_once("://").unwrap_or(("https", server));
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    let is_number = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_number {
        let line = format!(
            "--s3-addressing virtual: `{server}` has no name that a bucket can be put before"
        );
        return Err(Failure::new(Exit::Usage, line)
            .hint("give the server's name in --s3-endpoint, or --s3-addressing path"));
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

fn bad(reason: &str) -> Failure {
    Failure::new(Exit::Usage, format!("--s3-endpoint: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: Option<&str>, addressing: Addressing) -> Result<Address, Failure> {
        let arguments = BucketArguments {
            s3_endpoint: endpoint.map(str::to_owned),
            s3_addressing: Some(addressing),
            s3_allow_http: true,
            ..BucketArguments::of("s3://b")
        };
        let (environment, profile) = (Environment::default(), Profile::default());
        Address::new(&arguments, &environment, &profile, "b")
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
            assert!(failure.line().unwrap().contains("--s3-addressing path"));
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
            assert!(
                failure.line().unwrap().starts_with("--s3-endpoint: "),
                "{bad}"
            );
        }
        let arguments = BucketArguments {
            s3_region: Some("eu\nwest".to_owned()),
            ..BucketArguments::of("s3://b")
        };
        let failure = region(&arguments, &Environment::default(), &Profile::default());
        assert!(
            failure
                .unwrap_err()
                .line()
                .unwrap()
                .starts_with("--s3-region: ")
        );
    }
}
