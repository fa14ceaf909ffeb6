//! What encryption adds to the object of a hosted control plane and takes away again: a pure merge of JSON.
//!
//! The lists of a TenantControlPlane and of a KamajiControlPlane have no merge keys, so a patch or server-side apply would
//! replace the entries of other writers. Here everything is merged by name, in one object, for one update with its
//! resourceVersion. What was added, and what stood in the place of fields that were set, is recorded in an annotation of the
//! same object: [`detach`] takes away exactly that.

mod error;
mod json;
mod record;
mod sidecar;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub use error::AttachError;
use json::{covers, ensure, entry_name, flag_name, list_mut, remove, set};
use record::{Record, Replaced};
pub use sidecar::{CA_FILE, CONFIG_FILE, SOCKET, Sidecar};

/// The kind of the object that describes a control plane. A KamajiControlPlane of Cluster API owns a TenantControlPlane and
/// writes it anew, so its own fields are the ones to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlPlaneKind {
    /// `kamaji.clastix.io/v1alpha1`.
    TenantControlPlane,
    /// `controlplane.cluster.x-k8s.io/v1alpha2`.
    KamajiControlPlane,
}

/// Where an object has what encryption needs, as JSON pointers.
struct Places {
    init_containers: &'static str,
    volumes: &'static str,
    mounts: &'static str,
    flags: &'static str,
    service_account: &'static str,
    /// Only a TenantControlPlane has it.
    automount: Option<&'static str>,
    readiness: &'static str,
    startup: &'static str,
}

const TENANT: Places = Places {
    init_containers: "/spec/controlPlane/deployment/additionalInitContainers",
    volumes: "/spec/controlPlane/deployment/additionalVolumes",
    mounts: "/spec/controlPlane/deployment/additionalVolumeMounts/apiServer",
    flags: "/spec/controlPlane/deployment/extraArgs/apiServer",
    service_account: "/spec/controlPlane/deployment/serviceAccountName",
    automount: Some("/spec/controlPlane/deployment/automountServiceAccountToken"),
    readiness: "/spec/controlPlane/deployment/probes/apiServer/readiness/failureThreshold",
    startup: "/spec/controlPlane/deployment/probes/apiServer/startup/failureThreshold",
};

const KAMAJI: Places = Places {
    init_containers: "/spec/deployment/extraInitContainers",
    volumes: "/spec/deployment/extraVolumes",
    mounts: "/spec/apiServer/extraVolumeMounts",
    flags: "/spec/apiServer/extraArgs",
    service_account: "/spec/deployment/serviceAccountName",
    automount: None,
    readiness: "/spec/apiServer/probes/readiness/failureThreshold",
    startup: "/spec/apiServer/probes/startup/failureThreshold",
};

impl ControlPlaneKind {
    const fn places(self) -> &'static Places {
        match self {
            Self::TenantControlPlane => &TENANT,
            Self::KamajiControlPlane => &KAMAJI,
        }
    }

    /// As in `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantControlPlane => "TenantControlPlane",
            Self::KamajiControlPlane => "KamajiControlPlane",
        }
    }
}

/// What is added.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Attachment {
    /// Init containers, in the order in which they run; behind those of other writers.
    pub init_containers: Vec<Value>,
    /// Volumes of the pod.
    pub volumes: Vec<Value>,
    /// Mounts of kube-apiserver.
    pub mounts: Vec<Value>,
    /// Flags of kube-apiserver.
    pub flags: Vec<Flag>,
    /// The ServiceAccount of the pods. A control plane that has one of its own is refused.
    pub service_account: String,
    /// The least `failureThreshold` of the readiness and the startup probe of kube-apiserver.
    pub failure_threshold: u64,
}

/// A flag of kube-apiserver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Flag {
    /// `--name=value`.
    pub text: String,
    /// Whether another value of the flag that is there already is left alone. Otherwise it is refused.
    pub is_optional: bool,
}

/// How a field is set.
enum Rule<'r> {
    /// To this and nothing else; a value that is none of `free` is not replaced.
    Exactly(Value, &'r [&'r str]),
    /// To this unless it is more.
    AtLeast(u64),
    /// To this unless there is something.
    IfAbsent(Value),
}

/// Whether something of an [`Attachment`] is in `object` by its record.
///
/// # Errors
/// [`AttachError::Record`] if the record cannot be understood.
pub fn is_attached(object: &Value) -> Result<bool, AttachError> {
    Ok(Record::of(object)?.is_some())
}

/// Brings `wanted` into `object`. Doing it again changes nothing; an earlier attachment is replaced where it differs.
///
/// # Errors
/// [`AttachError`]. `object` is to be thrown away then.
pub fn attach(
    object: &mut Value,
    kind: ControlPlaneKind,
    wanted: &Attachment,
) -> Result<(), AttachError> {
    let places = kind.places();
    let found = Record::of(object)?;
    let is_first = found.is_none();
    let mut record = found.unwrap_or_default();
    let Record {
        init_containers,
        volumes,
        mounts,
        flags,
        created,
        ..
    } = &mut record;
    let lists = [
        (
            places.init_containers,
            &wanted.init_containers,
            init_containers,
        ),
        (places.volumes, &wanted.volumes, volumes),
        (places.mounts, &wanted.mounts, mounts),
    ];
    for (place, entries, owned) in lists {
        let list = ensure(object, place, &json!([]), created)?;
        merge_named(list_mut(list, place)?, place, entries, owned)?;
    }
    let list = ensure(object, places.flags, &json!([]), created)?;
    merge_flags(list_mut(list, places.flags)?, &wanted.flags, flags)?;
    let account = Rule::Exactly(json!(wanted.service_account), &["default"]);
    let is_account_ours = !is_first;
    set_field(
        object,
        places.service_account,
        &account,
        is_account_ours,
        &mut record,
    )?;
    for place in [places.readiness, places.startup] {
        let rule = Rule::AtLeast(wanted.failure_threshold);
        set_field(object, place, &rule, true, &mut record)?;
    }
    if let Some(place) = places.automount {
        set_field(
            object,
            place,
            &Rule::IfAbsent(json!(false)),
            true,
            &mut record,
        )?;
    }
    record.store(object)
}

/// Takes away what [`attach`] brought, and puts back what it replaced. Fields that another writer has changed since stay.
///
/// The list of flags stays even if it is empty: Kamaji leaves the flags of a Deployment alone when there is no list.
///
/// # Errors
/// [`AttachError`]. `object` is to be thrown away then.
pub fn detach(object: &mut Value, kind: ControlPlaneKind) -> Result<(), AttachError> {
    let Some(mut record) = Record::of(object)? else {
        return Ok(());
    };
    let places = kind.places();
    let lists = [
        (places.init_containers, &record.init_containers),
        (places.volumes, &record.volumes),
        (places.mounts, &record.mounts),
    ];
    for (place, owned) in lists {
        if let Some(list) = object.pointer_mut(place) {
            let is_owned = |entry: &Value| {
                entry_name(entry).is_some_and(|name| owned.iter().any(|owned| owned == name))
            };
            list_mut(list, place)?.retain(|entry| !is_owned(entry));
        }
    }
    let flags = ensure(object, places.flags, &json!([]), &mut record.created)?;
    let is_owned = |flag: &Value| flag.as_str().is_some_and(|flag| record.has_flag(flag));
    list_mut(flags, places.flags)?.retain(|flag| !is_owned(flag));
    for (place, replaced) in &record.fields {
        if object.pointer(place) == Some(&replaced.set) {
            restore(object, place, replaced.before.clone())?;
        }
    }
    Record::remove(object);
    // What is deeper comes later in the order of the set.
    for place in record.created.iter().rev() {
        let is_empty = object.pointer(place).is_some_and(|value| match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        });
        if is_empty && place != places.flags {
            remove(object, place);
        }
    }
    Ok(())
}

/// Brings `wanted` into `list`, and takes away what is owned and wanted no more. `owned` are the names of entries that are not
/// of other writers.
fn merge_named(
    list: &mut Vec<Value>,
    place: &str,
    wanted: &[Value],
    owned: &mut Vec<String>,
) -> Result<(), AttachError> {
    let is_wanted = |name: &str| wanted.iter().any(|entry| entry_name(entry) == Some(name));
    list.retain(|entry| {
        let is_surplus = |name: &str| owned.iter().any(|owned| owned == name) && !is_wanted(name);
        !entry_name(entry).is_some_and(is_surplus)
    });
    let mut names = Vec::new();
    for entry in wanted {
        let name = entry_name(entry).unwrap_or_default();
        let mut known = list.iter_mut();
        match known.find(|known| entry_name(known) == Some(name)) {
            // The API server adds defaults to what it was given.
            Some(known) if covers(known, entry) => {}
            Some(known) if owned.iter().any(|owned| owned == name) => *known = entry.clone(),
            Some(_) => {
                return Err(AttachError::NameTaken {
                    place: place.into(),
                    name: name.into(),
                });
            }
            None => list.push(entry.clone()),
        }
        names.push(name.to_owned());
    }
    *owned = names;
    Ok(())
}

/// The same for flags. `owned` are the texts of those that are not of other writers.
fn merge_flags(
    list: &mut Vec<Value>,
    wanted: &[Flag],
    owned: &mut Vec<String>,
) -> Result<(), AttachError> {
    let is_owned = |text: &str| owned.iter().any(|owned| owned == text);
    let is_wanted = |text: &str| wanted.iter().any(|flag| flag.text == text);
    list.retain(|flag| {
        !flag
            .as_str()
            .is_some_and(|text| is_owned(text) && !is_wanted(text))
    });
    let mut texts = Vec::new();
    for flag in wanted {
        let name = flag_name(&flag.text);
        let has_name = |known: &&mut Value| known.as_str().map(flag_name) == Some(name);
        let was_owned = owned.iter().any(|owned| flag_name(owned) == name);
        match list.iter_mut().find(has_name) {
            None => list.push(json!(flag.text)),
            Some(known) if known.as_str() == Some(&flag.text) => {
                if flag.is_optional && !is_owned(&flag.text) {
                    continue;
                }
            }
            Some(known) if was_owned => *known = json!(flag.text),
            Some(_) if flag.is_optional => continue,
            Some(known) => {
                return Err(AttachError::FlagTaken {
                    flag: known.as_str().unwrap_or_default().into(),
                });
            }
        }
        texts.push(flag.text.clone());
    }
    *owned = texts;
    Ok(())
}

/// Sets a field by `rule`. `may_replace` is whether a value that is not free may be replaced.
fn set_field(
    object: &mut Value,
    place: &str,
    rule: &Rule<'_>,
    may_replace: bool,
    record: &mut Record,
) -> Result<(), AttachError> {
    let current = object
        .pointer(place)
        .filter(|value| !value.is_null())
        .cloned();
    let replaced = record.fields.remove(place);
    let unchanged = replaced.filter(|replaced| Some(&replaced.set) == current.as_ref());
    let is_set = unchanged.is_some();
    let before = unchanged.map_or(current, |replaced| replaced.before);
    let value = match rule {
        Rule::Exactly(value, free) => {
            let text = before.as_ref().and_then(Value::as_str);
            let is_free =
                text.is_none_or(|text| free.contains(&text)) || before.as_ref() == Some(value);
            if !is_free && !may_replace {
                return Err(AttachError::FieldTaken {
                    place: place.into(),
                    value: text.unwrap_or_default().into(),
                });
            }
            Some(value.clone())
        }
        Rule::AtLeast(least) => {
            let is_enough = before
                .as_ref()
                .and_then(Value::as_u64)
                .is_some_and(|has| has >= *least);
            (!is_enough).then(|| json!(least))
        }
        Rule::IfAbsent(value) => before.is_none().then(|| value.clone()),
    };
    match value {
        Some(value) => {
            set(object, place, value.clone(), &mut record.created)?;
            let replaced = Replaced { set: value, before };
            record.fields.insert(place.to_owned(), replaced);
            Ok(())
        }
        None if is_set => restore(object, place, before),
        None => Ok(()),
    }
}

/// Puts back what was there before.
fn restore(object: &mut Value, place: &str, before: Option<Value>) -> Result<(), AttachError> {
    match before {
        Some(before) => set(object, place, before, &mut BTreeSet::new()),
        None => {
            remove(object, place);
            Ok(())
        }
    }
}
