//! Why a control plane does not take an attachment.

/// The object has something of another writer where the attachment belongs, or is not as its CRD has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Another entry has the name.
    #[error("{place} has an entry `{name}` of another writer; give it another name")]
    NameTaken {
        /// The list, as a JSON pointer.
        place: Box<str>,
        /// The name.
        name: Box<str>,
    },
    /// kube-apiserver has the flag already.
    #[error("kube-apiserver has the flag `{flag}` already; remove it")]
    FlagTaken {
        /// With its value.
        flag: Box<str>,
    },
    /// A field has another value that must not be lost.
    #[error("{place} is `{value}`; remove it, because the pods need a ServiceAccount of their own")]
    FieldTaken {
        /// The field, as a JSON pointer.
        place: Box<str>,
        /// Its value.
        value: Box<str>,
    },
    /// A field has another type than in the CRD.
    #[error("{place} is not what the CRD has there")]
    Shape {
        /// As a JSON pointer.
        place: Box<str>,
    },
    /// The record of what was added is damaged, so nothing can be taken away by it.
    #[error("the annotation {annotation} cannot be understood; put back the one that was there")]
    Record {
        /// Its name.
        annotation: &'static str,
    },
}
