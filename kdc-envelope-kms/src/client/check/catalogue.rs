//! The checks by name, what each verifies, and what depends on it.

use core::fmt;

use serde::Serialize;

/// One thing that a KMS v2 plugin has to get right. Serialised by its [name](Self::as_str).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "`verifies` says what each one is")]
pub enum Check {
    Socket,
    Authority,
    StatusHealthz,
    StatusVersion,
    StatusKeyId,
    StatusLatency,
    StatusSteady,
    EncryptCiphertext,
    EncryptKeyId,
    EncryptAnnotations,
    EncryptConceals,
    EncryptFresh,
    DecryptRoundTrip,
    EmptyUid,
    OtherLengths,
    UnknownKeyId,
    AlteredKeyId,
    TamperedCiphertext,
    TruncatedCiphertext,
    ChangedAnnotations,
    LargestMessages,
    ErrorCodes,
    Parallel,
    StatusUnderLoad,
    AbandonedCalls,
    Alive,
}

impl Check {
    /// All checks in the order in which they are made.
    pub const ALL: [Self; 26] = [
        Self::Socket,
        Self::Authority,
        Self::StatusHealthz,
        Self::StatusVersion,
        Self::StatusKeyId,
        Self::StatusLatency,
        Self::StatusSteady,
        Self::EncryptCiphertext,
        Self::EncryptKeyId,
        Self::EncryptAnnotations,
        Self::EncryptConceals,
        Self::EncryptFresh,
        Self::DecryptRoundTrip,
        Self::EmptyUid,
        Self::OtherLengths,
        Self::UnknownKeyId,
        Self::AlteredKeyId,
        Self::TamperedCiphertext,
        Self::TruncatedCiphertext,
        Self::ChangedAnnotations,
        Self::LargestMessages,
        Self::ErrorCodes,
        Self::Parallel,
        Self::StatusUnderLoad,
        Self::AbandonedCalls,
        Self::Alive,
    ];

    /// Its name in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.texts().0
    }

    /// What it verifies.
    #[must_use]
    pub const fn verifies(self) -> &'static str {
        self.texts().1
    }

    /// What kube-apiserver, or a client behind it, does with a plugin that fails here.
    #[must_use]
    pub const fn on_failure(self) -> &'static str {
        self.texts().2
    }

    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Socket => (
                "socket",
                "the socket takes a connection within the timeout of a call",
                "every call waits for the socket and ends as DeadlineExceeded; kube-apiserver is not ready, and after a restart it neither reads nor writes encrypted resources",
            ),
            Self::Authority => (
                "authority",
                "requests with :authority `localhost` are answered",
                "no call gets through, as if the plugin were down",
            ),
            Self::StatusHealthz => (
                "status-healthz",
                "Status answers, and healthz is exactly `ok`",
                "/readyz fails and the plugin is asked again every 10 s; after a gRPC error writes end within 3 minutes, after another text they go on as long as the key id is known",
            ),
            Self::StatusVersion => (
                "status-version",
                "version is `v2` or `v2beta1`",
                "/readyz fails for as long as it is anything else",
            ),
            Self::StatusKeyId => (
                "status-key-id",
                "the key id in Status has 1 to 1024 bytes",
                "/readyz fails, no seed is made, and writes end within 3 minutes",
            ),
            Self::StatusLatency => (
                "status-latency",
                "Status answers well within the timeout of a call",
                "a slow Status is a failed check: /readyz fails, and writes end after 3 minutes of it",
            ),
            Self::StatusSteady => (
                "status-steady",
                "Status repeats the same key id and version",
                "each change of key id costs a new seed, and makes every row stale and due for rewriting; a changed version fails /readyz until the next restart",
            ),
            Self::EncryptCiphertext => (
                "encrypt-ciphertext",
                "Encrypt answers 32 bytes with a ciphertext of 1 to 1024 bytes",
                "no seed: /readyz fails, and after a restart it neither reads nor writes encrypted resources",
            ),
            Self::EncryptKeyId => (
                "encrypt-key-id",
                "Encrypt names the key id that Status names",
                "the seed is thrown away and Encrypt called again with every check; writes end 3 minutes after the last match",
            ),
            Self::EncryptAnnotations => (
                "encrypt-annotations",
                "annotation keys are fully qualified domain names, all annotations together at most 32 KiB",
                "the seed is thrown away, as if Encrypt had failed",
            ),
            Self::EncryptConceals => (
                "encrypt-conceals",
                "neither ciphertext nor annotations contain the plaintext",
                "nothing notices: the seed is stored in etcd in the clear beside the data it protects",
            ),
            Self::EncryptFresh => (
                "encrypt-fresh",
                "the same plaintext is never wrapped into the same ciphertext",
                "nothing notices; equal keys can be recognised by who reads etcd",
            ),
            Self::DecryptRoundTrip => (
                "decrypt-round-trip",
                "Decrypt gives back the exact bytes that Encrypt was given",
                "every row written before the last restart is unreadable; lists and watches of the resource fail",
            ),
            Self::EmptyUid => (
                "empty-uid",
                "calls without a request uid are served",
                "nothing: kube-apiserver always sends one; other clients may not",
            ),
            Self::OtherLengths => (
                "other-lengths",
                "plaintexts of other lengths are given back exactly, or refused",
                "nothing: kube-apiserver sends 32 bytes; other clients would lose keys",
            ),
            Self::UnknownKeyId => (
                "unknown-key-id",
                "a key id that never existed is refused with an error",
                "nothing at once; the plugin cannot tell which key a row needs, so that a replaced key is noticed only when rows are lost",
            ),
            Self::AlteredKeyId => (
                "altered-key-id",
                "key ids that only resemble the current one are refused with an error",
                "nothing at once; who changes key ids in etcd stays unnoticed",
            ),
            Self::TamperedCiphertext => (
                "tampered-ciphertext",
                "a changed ciphertext is refused with an error",
                "rows fail later, with an error that points at the data and not at the key; a tampered key is not noticed as such",
            ),
            Self::TruncatedCiphertext => (
                "truncated-ciphertext",
                "shortened and empty ciphertexts are refused with an error",
                "one damaged row can take the plugin down, and with it the whole cluster",
            ),
            Self::ChangedAnnotations => (
                "changed-annotations",
                "annotations other than those of Encrypt are refused with an error",
                "nothing at once; who changes annotations in etcd stays unnoticed",
            ),
            Self::LargestMessages => (
                "largest-messages",
                "requests at and just above the size limits of KMS v2 are answered",
                "one damaged row can take the plugin down, and with it the whole cluster",
            ),
            Self::ErrorCodes => (
                "error-codes",
                "requests that can never succeed get codes that say so",
                "nothing: it treats all codes alike; people, dashboards and retrying clients are misled",
            ),
            Self::Parallel => (
                "parallel",
                "many Encrypt and Decrypt calls at once all succeed",
                "after a restart it asks for all seeds in etcd at once; calls over the timeout are 500 errors, and lists of the resource fail",
            ),
            Self::StatusUnderLoad => (
                "status-under-load",
                "Status stays quick and steady while Encrypt and Decrypt are busy",
                "/readyz fails just when it is busy, and load balancers take it away",
            ),
            Self::AbandonedCalls => (
                "abandoned-calls",
                "calls whose deadline has passed do not hold up later ones",
                "one slow moment becomes an outage: abandoned calls pile up in front of new ones",
            ),
            Self::Alive => (
                "alive",
                "after all this, a new connection works and the first ciphertext still opens",
                "what the checks before did, a damaged row or a busy moment does too",
            ),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_serialised_form_and_unique() {
        let mut names: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        for (check, name) in Check::ALL.iter().zip(&names) {
            let kebab: String = format!("{check:?}")
                .char_indices()
                .flat_map(|(at, c)| {
                    let dash = (c.is_uppercase() && at > 0).then_some('-');
                    dash.into_iter().chain(c.to_lowercase())
                })
                .collect();
            assert_eq!(kebab, *name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Check::ALL.len());
    }
}
