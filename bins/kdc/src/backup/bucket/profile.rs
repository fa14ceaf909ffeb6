//! The two files of AWS profiles: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Only what names a static key, a region and an endpoint is read. Profiles that need a login of their own (SSO, roles, programs) are
//! refused by name: a tool for that puts its result into the environment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::Environment;
use crate::failure::{Exit, Failure};

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
}

/// The profile that `AWS_PROFILE` names, or `default`, out of the files that the environment names.
pub(super) fn load(environment: &Environment) -> Result<Profile, Failure> {
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
    let mut settings = BTreeMap::new();
    let mut is_found = false;
    for (path, has_prefix) in [(config, true), (credentials, false)] {
        let Some(path) = path else { continue };
        let Some(text) = read(&path)? else { continue };
        let section = section(&text, name, has_prefix);
        is_found |= section.is_some();
        settings.extend(section.unwrap_or_default());
    }
    if asked.is_some() && !is_found {
        let line = format!("AWS_PROFILE: there is no profile `{name}` in the files of AWS");
        return Err(Failure::new(Exit::Config, line)
            .hint("add it to ~/.aws/credentials, or name another one"));
    }
    profile(name, &mut settings)
}

fn profile(
    name: &str,
    settings: &mut BTreeMap<String, Zeroizing<String>>,
) -> Result<Profile, Failure> {
    let has_key = settings.contains_key("aws_access_key_id");
    let login = LOGINS.iter().find(|key| settings.contains_key(**key));
    if let Some(key) = login.filter(|_| !has_key) {
        let line = format!("the AWS profile `{name}` has `{key}`, which kdc does not do");
        return Err(Failure::new(Exit::Config, line).hint(
            "put the credentials into the environment, for example with \
             `eval \"$(aws configure export-credentials --format env)\"`",
        ));
    }
    let mut take = |key: &str| settings.remove(key);
    let plain = |value: Zeroizing<String>| (*value).clone();
    Ok(Profile {
        access_key_id: take("aws_access_key_id").map(plain),
        secret_access_key: take("aws_secret_access_key"),
        session_token: take("aws_session_token"),
        region: take("region").map(plain),
        endpoint: take("endpoint_url").map(plain),
    })
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    let unreadable = |error: &io::Error| {
        let place = format!("cannot read `{}`", path.display());
        Failure::at(crate::failure::exit_of_io(error), place, error)
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_LEN => {
            let line = format!("`{}` has more than 1 MiB", path.display());
            Err(Failure::new(Exit::Config, line))
        }
        Ok(_) => fs::read_to_string(path)
            .map(|text| Some(Zeroizing::new(text)))
            .map_err(|error| unreadable(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

/// The settings of one section. Names are in lower case; lines that are indented belong to settings that we do not read.
fn section(
    text: &str,
    name: &str,
    has_prefix: bool,
) -> Option<BTreeMap<String, Zeroizing<String>>> {
    let mut found: Option<BTreeMap<String, Zeroizing<String>>> = None;
    let mut is_inside = false;
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            let heading = heading.split(']').next().unwrap_or_default().trim();
            is_inside = is_heading(heading, name, has_prefix);
            if is_inside {
                found.get_or_insert_default();
            }
        } else if let (true, false, Some((key, value))) =
            (is_inside, is_indented, line.split_once('='))
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            let value = Zeroizing::new(value.to_owned());
            found
                .get_or_insert_default()
                .insert(key.trim().to_ascii_lowercase(), value);
        }
    }
    found
}

fn is_heading(heading: &str, name: &str, has_prefix: bool) -> bool {
    if !has_prefix || name == "default" && heading == "default" {
        return heading == name;
    }
    heading
        .strip_prefix("profile")
        .is_some_and(|rest| rest.starts_with([' ', '\t']) && rest.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# comment
[default]
region = eu-central-1
[profile  backup]
region=eu-west-1
s3 =
  endpoint_url = https://nested.example
endpoint_url = https://s3.example # ours
";

    #[test]
    fn a_section_is_found_by_its_name() {
        let get = |name: &str, key: &str| {
            let section = section(CONFIG, name, true)?;
            section.get(key).map(|value| (**value).clone())
        };
        assert_eq!(get("default", "region").as_deref(), Some("eu-central-1"));
        assert_eq!(get("backup", "region").as_deref(), Some("eu-west-1"));
        assert_eq!(
            get("backup", "endpoint_url").as_deref(),
            Some("https://s3.example")
        );
        assert_eq!(get("other", "region"), None);
        let credentials = "[backup]\nAWS_ACCESS_KEY_ID = AKIA\naws_secret_access_key= a/b=\n";
        let section = section(credentials, "backup", false).unwrap();
        assert_eq!(&**section.get("aws_access_key_id").unwrap(), "AKIA");
        assert_eq!(&**section.get("aws_secret_access_key").unwrap(), "a/b=");
    }

    #[test]
    fn a_profile_with_a_login_of_its_own_is_refused_by_name() {
        let mut settings = section("[x]\nrole_arn = arn\n", "x", false).unwrap();
        let failure = profile("x", &mut settings).err().unwrap();
        assert!(failure.line().unwrap().contains("`role_arn`"));
    }

    #[test]
    fn hostile_files_do_no_harm() {
        for text in ["[", "[]", "=", "[x", "[x]\n=\n==\n", "\u{0}\u{feff}[x]"] {
            let _ = section(text, "x", false);
            let _ = section(text, "x", true);
        }
    }
}
