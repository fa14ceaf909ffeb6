//! What an operator can do about an error, in words that a program fits to its own flags.

use std::fmt;

/// Something that an [`Advice`] speaks of and each program calls by another name: a flag, a field, a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Term {
    /// The setting with the folder, or the bucket and its prefix.
    Store,
    /// The setting with the endpoint of the S3 server.
    Endpoint,
    /// The setting with the region of the bucket.
    Region,
    /// The setting with the file of certificate authorities.
    CaFile,
    /// The setting that allows requests without TLS.
    AllowHttp,
    /// The setting with the place of the bucket in requests.
    Addressing,
    /// The setting with the checksum of what is stored.
    Checksum,
    /// Deleting snapshots by retention.
    Prune,
    /// Deleting what killed runs left.
    PruneOrphans,
    /// Checking that snapshots open.
    Verify,
    /// Listing what is in the store.
    List,
    /// Telling which keys are needed.
    Inventory,
    /// The setting with the id of the snapshot.
    Snapshot,
}

const TERMS: [(&str, Term, &str); 13] = [
    ("{store}", Term::Store, "the name of the store"),
    ("{endpoint}", Term::Endpoint, "the endpoint"),
    ("{region}", Term::Region, "the region"),
    ("{ca_file}", Term::CaFile, "the CA file"),
    ("{allow_http}", Term::AllowHttp, "that HTTP is allowed"),
    ("{addressing}", Term::Addressing, "the addressing"),
    ("{checksum}", Term::Checksum, "the checksum"),
    ("{prune}", Term::Prune, "retention"),
    ("{prune_orphans}", Term::PruneOrphans, "deleting orphans"),
    ("{verify}", Term::Verify, "verifying"),
    ("{list}", Term::List, "the catalogue"),
    ("{inventory}", Term::Inventory, "the catalogue"),
    ("{snapshot}", Term::Snapshot, "the snapshot id"),
];
const DETAIL: &str = "{}";

/// What to do about an error. Its text names settings in general; [`render`](Self::render) names them as a program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Terms stand in braces, and a detail as `{}`.
    template: &'static str,
    /// Words of a server are never read as a template.
    detail: String,
}

impl Advice {
    pub(crate) fn with(template: &'static str, detail: impl Into<String>) -> Self {
        Self {
            template,
            detail: detail.into(),
        }
    }

    /// The text with each term as `name` calls it.
    pub fn render<'n>(&self, name: impl Fn(Term) -> &'n str) -> String {
        let mut text = String::new();
        let mut rest = self.template;
        while let Some((before, from)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) {
            text.push_str(before);
            let term = TERMS.iter().find(|(mark, ..)| from.starts_with(mark));
            let len = if let Some((mark, term, _)) = term {
                text.push_str(name(*term));
                mark.len()
            } else {
                text.push_str(&self.detail);
                DETAIL.len()
            };
            rest = from.get(len..).unwrap_or_default();
        }
        text.push_str(rest);
        text
    }
}

impl From<&'static str> for Advice {
    fn from(template: &'static str) -> Self {
        Self::with(template, "")
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(|term| {
            let known = TERMS.iter().find(|(_, known, _)| *known == term);
            known.map_or("", |(.., words)| words)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_named_as_the_program_does_and_details_are_left_alone() {
        let advice = Advice::with("give {region} {}, or {endpoint}", "{store}");
        assert_eq!(
            advice.to_string(),
            "give the region {store}, or the endpoint"
        );
        let flags = advice.render(|term| match term {
            Term::Region => "--region",
            _ => "--other",
        });
        assert_eq!(flags, "give --region {store}, or --other");
    }
}
