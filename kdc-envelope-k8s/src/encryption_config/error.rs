//! What can be wrong with a file: the place, the problem, the cure.

use kdc_envelope::providers::InvalidKey;

use super::{Base64Fault, GroupResource};

/// The file is no valid EncryptionConfiguration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Longer than [`MAX_LEN`](super::MAX_LEN).
    #[error("the file has {0} bytes; at most 1048576 are read")]
    TooLong(usize),
    /// Not one document of YAML or JSON.
    #[error("line {line}, column {column}: {problem}")]
    Syntax {
        /// Counted from 1; 0 if unknown.
        line: u64,
        /// Counted from 1; 0 if unknown.
        column: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A field is wrong.
    #[error("{place}: {problem}")]
    Field {
        /// The path to it, such as `resources[0].providers[1].aesgcm.keys[0].secret`.
        place: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a field, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// kube-apiserver decodes strictly.
    #[error("unknown field; known here: {known}")]
    UnknownField {
        /// The fields that could have been meant.
        known: &'static str,
    },
    /// Another type of value.
    #[error("must be {expected}")]
    Type {
        /// What it must be.
        expected: &'static str,
    },
    /// Missing or empty.
    #[error("is required")]
    Required,
    /// A list without elements.
    #[error("is empty; give at least one {element}")]
    Empty {
        /// What it lists.
        element: &'static str,
    },
    /// Not the kind of object that is read here.
    #[error(
        "no EncryptionConfiguration; write `apiVersion: apiserver.config.k8s.io/v1` and `kind: EncryptionConfiguration`"
    )]
    Kind,
    /// An element of `providers` says nothing.
    #[error("no provider; give one of aesgcm, aescbc, secretbox, identity, kms")]
    NoProvider,
    /// An element of `providers` says too much.
    #[error("more than one provider in a list element; give each an element of its own")]
    SeveralProviders,
    /// The secret of a key does not decode.
    #[error("not base64: {0}")]
    Base64(Base64Fault),
    /// The key does not fit its provider.
    #[error(transparent)]
    Key(InvalidKey),
    /// Resource names are lower case.
    #[error("has capital letters; write the plural resource name in lower case")]
    CapitalLetters,
    /// `*` alone.
    #[error("`*` is ambiguous; write `*.` for the core group or `*.*` for everything")]
    BareStar,
    /// Stored, but without a REST API, and never encrypted.
    #[error("has no REST API and cannot be encrypted; remove it")]
    NoRestApi,
    /// Events are stored in the core group.
    #[error("events are stored in the core group; write `events`")]
    EventsGroup,
    /// The group is gone.
    #[error(
        "the group `extensions` was removed from Kubernetes; name the group that has the resource now"
    )]
    ExtensionsGroup,
    /// `resource.*`.
    #[error("a resource cannot be named across groups; name each `resource.group`")]
    ResourceAcrossGroups,
    /// Twice in one list.
    #[error("`{0}` is listed twice; remove one")]
    DuplicateResource(GroupResource),
    /// A wildcard and what it includes in one list.
    #[error("`{wildcard}` includes `{resource}` in the same list; remove one")]
    OverlappingResources {
        /// The wider one.
        wildcard: GroupResource,
        /// The narrower one.
        resource: GroupResource,
    },
    /// An earlier wildcard leaves nothing for this resource.
    #[error("masked by the earlier `{wildcard}`; move this entry before it")]
    Masked {
        /// The earlier one.
        wildcard: GroupResource,
    },
    /// Neither v1 nor v2.
    #[error("unknown KMS API version; write `apiVersion: v2`")]
    KmsApiVersion,
    /// A `:` would end the name early in every row.
    #[error("the name of a KMS v2 provider must not contain `:`")]
    KmsNameColon,
    /// Rows name their provider.
    #[error("the name of a KMS v2 provider must be unique; {first} has it too")]
    KmsNameTaken {
        /// The place of the other one.
        first: String,
    },
    /// v2 has no cache size.
    #[error("not supported by KMS v2; remove it")]
    CacheSizeOfV2,
    /// Neither on nor off.
    #[error("must be positive, or negative to turn the cache off")]
    CacheSizeZero,
    /// Not a Go duration.
    #[error("no duration; write a number with a unit, such as `3s` or `500ms`")]
    Duration,
    /// A call needs time.
    #[error("must be more than zero")]
    NotPositive,
    /// Not a Unix socket.
    #[error("must be a URL with the scheme `unix`, such as `unix:///run/kms/kms.sock`")]
    Endpoint,
}
