//! The environment variables of AWS, as values: so that tests have their own.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::settings::S3Credentials;

/// Variables that begin with `AWS_`, and `HOME`.
#[derive(Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, Zeroizing<String>>,
}

impl Environment {
    pub(super) fn of_this_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let is_ours = name.starts_with("AWS_") || name == "HOME";
            let value = value.into_string().ok().filter(|_| is_ours)?;
            Some((name, value))
        });
        variables.collect()
    }

    /// The same with these credentials instead of its own.
    pub(super) fn with_credentials(mut self, credentials: &S3Credentials) -> Self {
        let token = credentials.session_token.clone().unwrap_or_default();
        let id = Zeroizing::new(credentials.access_key_id.clone());
        let secret = credentials.secret_access_key.clone();
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", id),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_SESSION_TOKEN", token),
        ] {
            self.variables.insert(name.to_owned(), value);
        }
        self
    }

    /// One that is set to something.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then(|| value.to_string())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self {
            variables: variables
                .map(|(name, value)| (name, Zeroizing::new(value)))
                .collect(),
        }
    }
}
