//! ACL policies, written with check-and-set so that no other change is overwritten unseen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::change::differing;
use super::{Admin, AdminError, Change, LowerName};
use crate::error::BaoError;

/// The check-and-set value that only creates.
const CREATE_ONLY: i64 = -1;

/// The policies of a namespace; from [`Admin::policies`]. They need the check-and-set of OpenBao, which Vault has not.
#[derive(Debug, Clone, Copy)]
pub struct Policies<'a> {
    admin: &'a Admin,
}

/// A policy as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Policy {
    /// Its text, as it was written to the last byte.
    #[serde(rename = "policy")]
    pub text: String,
    /// Grows with each write.
    pub version: i64,
    /// When it ends by itself (RFC 3339).
    #[serde(default)]
    pub expiration: Option<String>,
    /// Whether it can only be written with check-and-set.
    #[serde(default)]
    pub cas_required: bool,
}

#[derive(Serialize)]
struct Write<'a> {
    policy: &'a str,
    cas: i64,
    cas_required: bool,
}

impl<'a> Policies<'a> {
    pub(super) const fn new(admin: &'a Admin) -> Self {
        Self { admin }
    }

    /// Writes the policy unless it has this very text and never ends. Texts are compared byte by byte: one that means the same in other
    /// words is rewritten.
    ///
    /// # Errors
    /// [`AdminError::StoredOtherwise`] for a blank text, and for one in base64, which OpenBao would decode; [`AdminError::Bao`]: `Conflict` if another administrator wrote it in between; `Rejected` if the text is none.
    pub async fn ensure(self, name: &LowerName, text: &str) -> Result<Change, AdminError> {
        check(name, text)?;
        let found = self.read(name).await?;
        let fields = match &found {
            Some(policy) => policy.differences(text),
            None => Vec::new(),
        };
        if found.is_some() && fields.is_empty() {
            return Ok(Change::Unchanged);
        }
        let body = Write {
            policy: text,
            cas: found.as_ref().map_or(CREATE_ONLY, |policy| policy.version),
            cas_required: found.as_ref().is_some_and(|policy| policy.cas_required),
        };
        if let Err(conflict) = self.admin.write(&place(name), &body).await {
            // An attempt of ours whose answer was lost is no conflict, nor is another administrator who wanted the same.
            let is_settled = matches!(conflict, BaoError::Conflict { .. })
                && self
                    .read(name)
                    .await?
                    .is_some_and(|policy| policy.differences(text).is_empty());
            if !is_settled {
                return Err(conflict.into());
            }
        }
        Ok(match found {
            Some(_) => Change::Updated { fields },
            None => Change::Created,
        })
    }

    /// The policy, if there is one.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn read(self, name: &LowerName) -> Result<Option<Policy>, AdminError> {
        Ok(self.admin.read(&place(name)).await?)
    }

    /// The names of all, with `default` and `root`.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn list(self) -> Result<Vec<String>, AdminError> {
        Ok(self.admin.list(BASE).await?)
    }

    /// Deletes the policy, unless it is gone already. Tokens that name it lose what it granted at once.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn delete(self, name: &LowerName) -> Result<(), AdminError> {
        self.admin.delete(&place(name)).await?;
        Ok(())
    }
}

impl Policy {
    fn differences(&self, text: &str) -> Vec<&'static str> {
        differing([
            ("policy", self.text == text),
            ("expiration", self.expiration.is_none()),
        ])
    }
}

/// Refuses a text that OpenBao would not store as it is: it would never be as wanted.
fn check(name: &LowerName, text: &str) -> Result<(), AdminError> {
    let reason = if text.trim().is_empty() {
        "its text is blank; to take rights away, delete the policy or write one without them"
    } else if is_base64(text) {
        "its text is base64, which OpenBao decodes; give the text itself"
    } else {
        return Ok(());
    };
    Err(AdminError::StoredOtherwise {
        what: "policy",
        name: name.as_str().into(),
        reason: reason.to_owned(),
    })
}

/// As OpenBao sees it, which skips line breaks. No policy is: it has quotation marks.
fn is_base64(text: &str) -> bool {
    let mut letters = text.to_owned();
    letters.retain(|letter| !matches!(letter, '\r' | '\n'));
    STANDARD.decode(letters).is_ok()
}

fn place(name: &LowerName) -> String {
    format!("{BASE}/{name}")
}

const BASE: &str = "sys/policies/acl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_would_be_stored_otherwise_are_refused() {
        let name: LowerName = "p".parse().unwrap();
        let hcl = "path \"a\" { capabilities = [\"read\"] }";
        let encoded = STANDARD.encode(hcl);
        let broken = format!("{}\r\n{}\n", &encoded[..16], &encoded[16..]);
        for text in ["", " ", "\n\t", &encoded, &broken, "AAAA"] {
            assert!(check(&name, text).is_err(), "{text:?}");
        }
        let json = "{\"path\": {}}";
        for text in [hcl, json, "# nothing\n", "  path \"a\" {}\n", "AAA", "{}"] {
            assert!(check(&name, text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_policy_differs_by_any_byte_of_its_text_and_by_ending() {
        let json = serde_json::json!({"policy": "path \"a\" {}\r\n", "version": 3});
        let mut policy: Policy = serde_json::from_value(json).unwrap();
        assert!(policy.differences("path \"a\" {}\r\n").is_empty());
        assert_eq!(policy.differences("path \"a\" {}\n"), ["policy"]);
        policy.expiration = Some("2026-11-24T20:33:53.3Z".to_owned());
        assert_eq!(policy.differences("path \"a\" {}\r\n"), ["expiration"]);
        assert_eq!(policy.differences(""), ["policy", "expiration"]);
    }
}
