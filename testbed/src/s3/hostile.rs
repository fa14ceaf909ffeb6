//! Answers that no client of S3 may believe, or must understand: seen in the field, or made by attackers. The table of them is
//! `hostile.yaml`, beside this file.
//!
//! Each befalls some requests to a server that is otherwise sound, through a
//! [`Proxy`](crate::Proxy).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Error;
use crate::proxy::{Fault, Rule};

const TABLE: &str = include_str!("hostile.yaml");
/// What stands for the prefix of the bucket in the table.
const PREFIX: &str = "PREFIX/";

/// The kind of request that gets a hostile response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Asker {
    /// A listing.
    List,
    /// An upload of a snapshot that is shorter than a part.
    Store,
    /// An upload of a snapshot in parts.
    StoreLong,
    /// A read of metadata.
    ReadMetadata,
    /// A read of data.
    ReadData,
    /// A deletion.
    Delete,
}

/// A named answer, and how `kdc` must end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hostile {
    /// The name of the response in the table.
    pub name: String,
    /// The request that gets it.
    pub asker: Asker,
    /// What is done to the requests that it applies to.
    pub rule: Rule,
    /// The exit code with which `kdc` must end.
    pub exit: i32,
    /// What the line on standard error must contain.
    pub words: String,
}

/// All hostile responses, for a bucket whose objects are below `prefix`, which is empty
/// or ends in a slash.
///
/// # Errors
/// [`Error::Unexpected`] for a table that cannot be read.
pub fn answers(prefix: &str) -> Result<Vec<Hostile>, Error> {
    let table: Vec<Line> = serde_saphyr::from_str(TABLE).map_err(|error| unexpected(&error))?;
    let lines = table.into_iter();
    lines
        .filter(|line| !line.needs_prefix || !prefix.is_empty())
        .map(|line| line.hostile(prefix))
        .collect()
}

/// One entry of the table. Of `status`, `oversized` and `raw` it has one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    asker: Asker,
    on: Vec<String>,
    /// In a bucket without a prefix, it cannot be distinguished from a valid one.
    #[serde(default)]
    needs_prefix: bool,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    oversized: Option<usize>,
    raw: Option<String>,
    exit: i32,
    words: String,
}

impl Line {
    fn hostile(self, prefix: &str) -> Result<Hostile, Error> {
        let fault = match (self.status, self.oversized, self.raw) {
            (Some(status), None, None) => Fault::Answer {
                status,
                headers: self.headers.into_iter().collect(),
                body: self.body.replace(PREFIX, prefix).into_bytes(),
            },
            (None, Some(len), None) => Fault::Oversized(len),
            (None, None, Some(bytes)) => Fault::Raw(bytes.into_bytes()),
            _ => return Err(unexpected(&format!("`{}` is not one answer", self.name))),
        };
        let parts = self.on.iter();
        Ok(Hostile {
            name: self.name,
            asker: self.asker,
            rule: parts.fold(Rule::from(fault), |rule, part| rule.on(part)),
            exit: self.exit,
            words: self.words,
        })
    }
}

fn unexpected(detail: &dyn std::fmt::Display) -> Error {
    Error::Unexpected {
        name: "the table of hostile answers",
        detail: detail.to_string(),
    }
}
