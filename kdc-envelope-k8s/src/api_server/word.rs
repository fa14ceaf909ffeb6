//! Words of a command line, of which parts may be decided elsewhere.

use std::collections::BTreeMap;

/// One argument of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What is known of it. A part that is not known stands as it was written, such as `$EXTRA`.
    pub(super) text: String,
    /// Whether part of it is not known.
    pub(super) is_open: bool,
}

impl Word {
    pub(super) fn known(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_open: false,
        }
    }

    pub(super) fn open(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_open: true,
        }
    }

    /// Whether the word as a whole is not known, so that it may be any arguments.
    pub(super) fn is_all_open(&self) -> bool {
        self.is_open && self.text.starts_with(['$', '`', '%'])
    }

    /// The file name of a program's path.
    pub(super) fn base(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }
}

/// Variables of the environment; `None` for one whose value is not known.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    known: BTreeMap<String, Option<String>>,
    /// Whether there may be others.
    pub(super) is_open: bool,
}

/// What a variable is.
pub(super) enum Variable<'v> {
    Value(&'v str),
    /// Set where it cannot be read, such as by the program that starts this one.
    Unknown,
    Unset,
}

impl Variables {
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        self.known.insert(name.to_owned(), value);
    }

    pub(super) fn get(&self, name: &str) -> Variable<'_> {
        match self.known.get(name) {
            Some(Some(value)) => Variable::Value(value),
            Some(None) => Variable::Unknown,
            None if self.is_open => Variable::Unknown,
            None => Variable::Unset,
        }
    }
}

/// Whether a text can name a variable.
pub(super) fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// An assignment as shells and environment files have it.
pub(super) fn assignment(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| is_name(name))
}

/// A text of a container's `command` or `args`, with `$(NAME)` expanded as kubelet does: what is not set stays as it is, and
/// `$$` is one `$`.
pub(super) fn of_container(text: &str, variables: &Variables) -> Word {
    let mut out = String::new();
    let mut is_open = false;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let reference = from
            .strip_prefix("$(")
            .and_then(|rest| rest.split_once(')'));
        rest = match reference {
            _ if from.starts_with("$$") => {
                out.push('$');
                from.get(2..).unwrap_or_default()
            }
            Some((name, after)) => {
                match variables.get(name) {
                    Variable::Value(value) => out.push_str(value),
                    Variable::Unknown => {
                        is_open = true;
                        out.push_str(&format!("$({name})"));
                    }
                    Variable::Unset => out.push_str(&format!("$({name})")),
                }
                after
            }
            None => {
                out.push('$');
                from.get(1..).unwrap_or_default()
            }
        };
    }
    out.push_str(rest);
    Word { text: out, is_open }
}
