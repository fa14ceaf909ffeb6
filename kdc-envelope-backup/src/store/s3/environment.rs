//! The environment variables of AWS, as values: so that tests have their own.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

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
