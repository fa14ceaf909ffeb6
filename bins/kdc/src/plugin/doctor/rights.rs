//! What the token may do: all that is needed, and nothing else.
//!
//! OpenBao tells it to a token that may ask `sys/capabilities-self`. A token without the policy `default` usually may not; then the needed
//! rights are shown by using them, and the others stay unknown.

use std::collections::BTreeMap;

use kdc_envelope_bao::admin::{PluginOperation, plugin_rights};
use kdc_envelope_bao::inspect::{self, TokenInfo};
use kdc_envelope_bao::{BaoError, Session, TransitKey, TransitKeyName};

use super::finding::{Check, Finding, Findings};
use super::trial::{self, Trial};
use super::words::of_call;

/// A key that does not exist: a token that may use it may use every key.
const ANOTHER_KEY: &str = "kdc-doctor-another-key";
const RENEW: &str = "auth/token/renew-self";
const LOOK_UP: &str = "auth/token/lookup-self";

/// What was learned about the rights of the token.
#[derive(Debug)]
pub(super) struct Rights {
    /// What each path grants; `None` if the token must not ask.
    capabilities: Option<BTreeMap<String, Vec<String>>>,
    /// Why the question failed, if it was for another reason than that.
    trouble: Option<BaoError>,
    /// Whether each right was granted when it was used; missing where it was not tried.
    used: BTreeMap<String, bool>,
    is_renewable: Option<bool>,
    policies: Vec<String>,
    pub(super) trial: Trial,
}

/// Asks, and tries encryption and decryption.
pub(super) async fn ask(
    session: &Session,
    name: &TransitKeyName,
    looked_up: &Result<TokenInfo, BaoError>,
    found: &Result<TransitKey, BaoError>,
) -> Rights {
    let (capabilities, trouble) = match inspect::capabilities(session, &paths(name)).await {
        Ok(capabilities) => (Some(capabilities), None),
        Err(BaoError::Forbidden { .. }) => (None, None),
        Err(error) => (None, Some(error)),
    };
    let info = looked_up.as_ref().ok();
    let mut rights = Rights {
        capabilities,
        trouble,
        used: BTreeMap::new(),
        is_renewable: info.map(|info| info.is_renewable),
        policies: info.map_or_else(Vec::new, |info| info.policies.clone()),
        trial: Trial::default(),
    };
    rights.trial = match found {
        Ok(_) => trial::run(session, name).await,
        // With `create` an encryption would make the key.
        Err(_) => Trial::default(),
    };
    rights.note(LOOK_UP, Some(looked_up));
    rights.note(&path(name, "keys"), Some(found));
    let (encrypted, decrypted) = (
        rights.trial.encrypted.clone(),
        rights.trial.decrypted.clone(),
    );
    rights.note(&path(name, "encrypt"), encrypted.as_ref());
    rights.note(&path(name, "decrypt"), decrypted.as_ref());
    if let Some(granted) = rights.trial.may_decrypt {
        rights.used.insert(path(name, "decrypt"), granted);
    }
    if rights.capabilities.is_none() && rights.is_renewable != Some(false) {
        let renewed = inspect::renew(session).await;
        rights.note(RENEW, Some(&renewed));
    }
    rights
}

impl Rights {
    fn note<T>(&mut self, path: &str, result: Option<&Result<T, BaoError>>) {
        let granted = match result {
            Some(Ok(_)) => true,
            Some(Err(BaoError::Forbidden { .. })) => false,
            // Refused by what comes after the policies.
            Some(Err(BaoError::Rejected { .. } | BaoError::NotFound { .. })) => true,
            _ => return,
        };
        self.used.insert(path.to_owned(), granted);
    }

    fn of(&self, path: &str) -> &[String] {
        let all = self.capabilities.as_ref();
        all.and_then(|all| all.get(path)).map_or(&[], Vec::as_slice)
    }

    fn has(&self, path: &str, capability: &str) -> bool {
        let mut all = self.of(path).iter();
        all.any(|one| one == capability || one == "root")
    }

    /// Whether the token may; `None` if that is not known.
    fn may(&self, path: &str, capability: &str) -> Option<bool> {
        match self.capabilities {
            Some(_) => Some(self.has(path, capability)),
            None => self.used.get(path).copied(),
        }
    }

    /// Whether the token may rotate the key, as far as that is known.
    pub(super) fn may_rotate(&self, name: &TransitKeyName) -> bool {
        self.has(&rotate(name), "update")
    }

    fn is_root(&self, name: &TransitKeyName) -> bool {
        self.of(&rotate(name)).iter().any(|one| one == "root")
    }
}

/// The findings.
pub(super) fn report(rights: &Rights, name: &TransitKeyName, findings: &mut Findings<'_>) {
    if let Some(error) = &rights.trouble {
        findings.add(of_call(Check::MAY_TOO_MUCH, "sys/capabilities-self", error));
    }
    let all = plugin_rights(name);
    let of = |operation| all.iter().find(|right| right.operation == operation);
    for (check, operation) in [
        (Check::MAY_ENCRYPT, PluginOperation::Encrypt),
        (Check::MAY_DECRYPT, PluginOperation::Decrypt),
        (Check::MAY_READ_KEY, PluginOperation::ReadKey),
        (Check::MAY_LOOK_UP, PluginOperation::LookUpToken),
        (Check::MAY_RENEW, PluginOperation::RenewToken),
    ] {
        let finding = of(operation).map(|right| match rights.is_renewable {
            Some(false) if operation == PluginOperation::RenewToken => {
                Finding::skip(check, &right.path, "the token is not renewable")
            }
            _ => needed(rights, check, &right.path, right.capability),
        });
        if let Some(finding) = finding {
            findings.add(finding);
        }
    }
    findings.add(rewrap(rights, name));
    if rights.trouble.is_none() {
        findings.add(too_much(rights, name));
    }
}

fn needed(rights: &Rights, check: Check, path: &str, capability: &str) -> Finding {
    match rights.may(path, capability) {
        Some(true) => {
            let how = match rights.capabilities {
                Some(_) => "granted",
                None => "shown by using it",
            };
            Finding::pass(check, path, format_args!("`{capability}`, {how}"))
        }
        Some(false) => {
            let detail = format_args!("the policies of the token do not grant `{capability}`");
            let cure = format_args!(
                "add to its policy: path \"{path}\" {{ capabilities = [\"{capability}\"] }}"
            );
            Finding::fail(check, path, detail, cure)
        }
        None => {
            let why = "the token must not ask sys/capabilities-self, and it cannot be tried without the key";
            Finding::skip(check, path, why)
        }
    }
}

/// Neither good nor bad: it moves what was wrapped without associated data, and nothing of the plugin's own.
fn rewrap(rights: &Rights, name: &TransitKeyName) -> Finding {
    let path = path(name, "rewrap");
    match rights.may(&path, "update") {
        Some(true) => Finding::pass(Check::MAY_REWRAP, path, "granted; kms-plugin does without"),
        Some(false) => Finding::pass(Check::MAY_REWRAP, path, "not granted, and not needed"),
        None => Finding::skip(Check::MAY_REWRAP, path, "not needed, and not known"),
    }
}

fn too_much(rights: &Rights, name: &TransitKeyName) -> Finding {
    let check = Check::MAY_TOO_MUCH;
    let subject = "policies of the token";
    if rights.capabilities.is_none() {
        let policies = match rights.policies.is_empty() {
            true => "NAME".to_owned(),
            false => rights.policies.join("`, `bao policy read "),
        };
        let why = format_args!(
            "the token must not ask sys/capabilities-self, which is as it should be; an administrator can check: `bao policy read {policies}`"
        );
        return Finding::skip(check, subject, why);
    }
    if rights.is_root(name) {
        let detail = "the token is root: it may do everything";
        let cure =
            "make a token, or role, with a policy of the five paths above; then revoke this one";
        return Finding::warn(check, subject, detail, cure);
    }
    let excess = excess(rights, name);
    if excess.is_empty() {
        return Finding::pass(
            check,
            subject,
            "nothing that kms-plugin does not need was found",
        );
    }
    let detail = format_args!("more than is needed: {}", excess.join("; "));
    let cure = "take it out of the policy: anyone who obtains the token can do it too";
    Finding::warn(check, subject, detail, cure)
}

/// What is granted and should not be.
fn excess(rights: &Rights, name: &TransitKeyName) -> Vec<String> {
    let mut found = Vec::new();
    for (path, unwanted, what) in unwanted(name) {
        let granted: Vec<&str> = unwanted
            .iter()
            .copied()
            .filter(|capability| rights.has(&path, capability))
            .collect();
        if !granted.is_empty() {
            found.push(format!("{what} (`{}` on {path})", granted.join("`, `")));
        }
    }
    found
}

/// Paths with capabilities that a plugin does not need, and what they are good for.
fn unwanted(name: &TransitKeyName) -> Vec<(String, &'static [&'static str], &'static str)> {
    const WRITE: &[&str] = &["create", "update", "patch", "delete", "sudo"];
    let (mount, keys) = (name.mount(), path(name, "keys"));
    vec![
        (
            path(name, "encrypt"),
            &["create", "sudo"],
            "a misspelt name makes a new key",
        ),
        (keys.clone(), WRITE, "it may make or delete the key"),
        (format!("{keys}/config"), WRITE, "it may configure the key"),
        (rotate(name), WRITE, "it may rotate the key"),
        (format!("{keys}/trim"), WRITE, "it may destroy versions"),
        (
            path(name, "export/encryption-key"),
            &["read"],
            "it may export the key",
        ),
        (
            path(name, "backup"),
            &["read"],
            "it may take the key out as a backup",
        ),
        (
            format!("{mount}/decrypt/{ANOTHER_KEY}"),
            &["create", "update"],
            "it may use other keys",
        ),
        (
            "sys/policies/acl/kdc-doctor".to_owned(),
            &["create", "update"],
            "it may change policies",
        ),
    ]
}

/// Every path that is asked about.
fn paths(name: &TransitKeyName) -> Vec<String> {
    let needed = plugin_rights(name).into_iter().map(|right| right.path);
    let unwanted = unwanted(name).into_iter().map(|(path, ..)| path);
    let mut all: Vec<String> = needed.chain(unwanted).collect();
    all.push(path(name, "rewrap"));
    all.sort();
    all.dedup();
    all
}

fn path(name: &TransitKeyName, operation: &str) -> String {
    format!("{}/{operation}/{}", name.mount(), name.name())
}

fn rotate(name: &TransitKeyName) -> String {
    format!("{}/rotate", path(name, "keys"))
}
