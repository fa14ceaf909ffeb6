//! The two files of AWS profiles: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Only what names a static key, a region and an endpoint is read. Profiles that need a login of their own (SSO, roles, programs) are
//! refused by name: a tool for that puts its result into the environment.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::Environment;
use crate::error::{BackupError, BackupErrorKind as ErrorKind, Subject};

/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;
const LOGINS: [&str; 4] = [
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
];

/// What a profile says.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<Zeroizing<String>>,
    pub(super) session_token: Option<Zeroizing<String>>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    /// When requests carry checksums.
    pub(super) checksums: Option<String>,
}

/// The profile that `AWS_PROFILE` names, or `default`, out of the files that the environment names.
pub(super) fn load(environment: &Environment) -> Result<Profile, BackupError> {
    let home = environment.get("HOME").map(PathBuf::from);
    let path = |name: &str, below: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(below)))
    };
    let asked = environment.get("AWS_PROFILE");
    let name = asked.as_deref().unwrap_or("default");
    let credentials = path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let config = path("AWS_CONFIG_FILE", ".aws/config");
    let mut settings = Settings::new();
    let mut is_found = false;
    for (path, has_prefix) in [(&config, true), (&credentials, false)] {
        let Some(path) = path else { continue };
        let Some(text) = read(path)? else { continue };
        let section = section(&text, name, has_prefix).map_err(|damage| damage.failure(path))?;
        is_found |= section.is_some();
        settings.extend(section.unwrap_or_default());
    }
    if asked.is_some() && !is_found {
        let files: Vec<String> = [credentials, config]
            .into_iter()
            .flatten()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        let line = format!("there is no profile `{name}` in {}", files.join(" or "));
        return Err(BackupError::new(ErrorKind::Configuration, line)
            .about(Subject::Named("AWS_PROFILE"))
            .advise("add it there, or name another one"));
    }
    profile(name, &mut settings)
}

fn profile(name: &str, settings: &mut Settings) -> Result<Profile, BackupError> {
    let has_key = settings.contains_key("aws_access_key_id");
    let login = LOGINS.iter().find(|key| settings.contains_key(**key));
    if let Some(key) = login.filter(|_| !has_key) {
        let line =
            format!("the AWS profile `{name}` has `{key}`, a login that is not supported here");
        return Err(BackupError::new(ErrorKind::Configuration, line).advise(
            "put the credentials into the environment, for example with \
             `eval \"$(aws configure export-credentials --format env)\"`",
        ));
    }
    if has_key != settings.contains_key("aws_secret_access_key") {
        let line = format!(
            "the AWS profile `{name}` has only one of aws_access_key_id and aws_secret_access_key"
        );
        return Err(BackupError::new(ErrorKind::Configuration, line).advise("a profile needs both"));
    }
    let mut take = |key: &str| settings.remove(key);
    let plain = |value: Zeroizing<String>| (*value).clone();
    Ok(Profile {
        access_key_id: take("aws_access_key_id").map(plain),
        secret_access_key: take("aws_secret_access_key"),
        session_token: take("aws_session_token"),
        region: take("region").map(plain),
        endpoint: take("endpoint_url").map(plain),
        checksums: take("request_checksum_calculation").map(plain),
    })
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, BackupError> {
    let unreadable = |error: io::Error| {
        let place = format!("cannot read `{}`", path.display());
        let kind = match error.kind() {
            io::ErrorKind::InvalidData => ErrorKind::Configuration,
            _ => ErrorKind::of_io(&error),
        };
        BackupError::at(kind, place, error)
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_LEN => {
            let line = format!("`{}` has more than 1 MiB", path.display());
            Err(BackupError::new(ErrorKind::Configuration, line))
        }
        Ok(_) => fs::read_to_string(path)
            .map(|text| Some(Zeroizing::new(text)))
            .map_err(unreadable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

/// Settings by name, in lower case.
type Settings = BTreeMap<String, Zeroizing<String>>;

/// A line that is neither heading, setting nor comment, counted from 1. Its text may be a secret.
#[derive(Debug, PartialEq, Eq)]
struct Damage {
    line: usize,
    what: &'static str,
}

impl Damage {
    fn failure(&self, path: &Path) -> BackupError {
        let Self { line, what } = self;
        let line = format!("`{}`, line {line}: {what}", path.display());
        BackupError::new(ErrorKind::Configuration, line)
    }
}

/// The settings of one section. Lines that are indented belong to settings that we do not read; other sections may hold what they like.
fn section(text: &str, name: &str, has_prefix: bool) -> Result<Option<Settings>, Damage> {
    let mut found: Option<Settings> = None;
    let mut is_inside = false;
    // Some editors put it in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().zip(1..) {
        let damage = |what| Err(Damage { line: number, what });
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            let Some((heading, _)) = heading.split_once(']') else {
                return damage("a heading without `]`");
            };
            is_inside = is_heading(heading.trim(), name, has_prefix);
            if is_inside {
                found.get_or_insert_default();
            }
            continue;
        }
        let Some(settings) = found.as_mut().filter(|_| is_inside && !is_indented) else {
            continue;
        };
        let Some((key, value)) = line.split_once('=') else {
            return damage("a setting without `=`");
        };
        let value = value.split(" #").next().unwrap_or_default().trim();
        let value = Zeroizing::new(value.to_owned());
        settings.insert(key.trim().to_ascii_lowercase(), value);
    }
    Ok(found)
}

fn is_heading(heading: &str, name: &str, has_prefix: bool) -> bool {
    if !has_prefix || name == "default" && heading == "default" {
        return heading == name;
    }
    heading
        .strip_prefix("profile")
        .is_some_and(|rest| rest.starts_with([' ', '\t']) && rest.trim() == name)
}
