//! A kubeconfig file as a tree whose fields are read one by one, so that what is wrong is named by its place and without its
//! value.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::KubeconfigError;

/// Far more than any kubeconfig, and little enough to be held in memory.
const MAX_LEN: u64 = 16 << 20;

/// A mapping in a file.
pub(super) struct View<'v> {
    pub(super) file: &'v Path,
    /// Such as `clusters[c].cluster`.
    place: String,
    value: &'v Value,
}

/// Reads a file. An empty one says nothing.
pub(super) fn read(path: &Path) -> Result<(PathBuf, Value), KubeconfigError> {
    let bytes = read_bytes(path).map_err(|error| KubeconfigError::unreadable(path, "", &error))?;
    parse_bytes(path, bytes)
}

/// Understands the bytes of what is called `path` in messages.
pub(super) fn parse_bytes(
    path: &Path,
    bytes: Vec<u8>,
) -> Result<(PathBuf, Value), KubeconfigError> {
    let wrong = |what: &str| KubeconfigError::wrong(path, what);
    let text =
        text(bytes).ok_or_else(|| wrong("neither UTF-8 nor UTF-16 with a byte order mark"))?;
    let value = parse(&text).map_err(|what| wrong(&what))?;
    let view = View::root(path, &value);
    let kind = view.text("kind")?;
    match kind.as_deref() {
        None | Some("Config") => Ok((path.to_owned(), value)),
        Some(kind) => Err(wrong(&format!(
            "kind is `{kind}`, and of a kubeconfig `Config`"
        ))),
    }
}

/// A whole file, if it is not longer than [`MAX_LEN`].
pub(super) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_LEN {
        return Err(io::Error::other("it is longer than 16 MiB"));
    }
    Ok(bytes)
}

/// As UTF-8, whatever byte order mark it begins with.
fn text(bytes: Vec<u8>) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<_> = units.iter().map(|pair| unit(*pair)).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok())?
    };
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    }
}

/// The first document, which is the one that kubectl reads. Words of the parser are dropped: they may quote the file.
fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 100,
            max_anchors: 100,
            max_depth: 32,
            max_nodes: 1_000_000,
        },
        with_snippet: false,
    };
    let documents = serde_saphyr::from_multiple_with_options::<Value>(text, options);
    let documents = documents.map_err(|error| {
        let place = error.location().map_or_else(String::new, |location| {
            format!("line {}, column {}: ", location.line(), location.column())
        });
        format!("{place}neither YAML nor JSON; check indentation and quotes there, and that no field is there twice")
    })?;
    match documents.into_iter().next() {
        None | Some(Value::Null) => Ok(Value::Object(serde_json::Map::new())),
        Some(value @ Value::Object(_)) => Ok(value),
        Some(_) => Err("it has no fields, such as `clusters`; is it a kubeconfig?".to_owned()),
    }
}

impl<'v> View<'v> {
    pub(super) const fn root(file: &'v Path, value: &'v Value) -> Self {
        Self {
            file,
            place: String::new(),
            value,
        }
    }

    /// An error of this mapping; `what` begins with what comes after its place.
    pub(super) fn wrong(&self, what: impl core::fmt::Display) -> KubeconfigError {
        KubeconfigError::wrong(self.file, format!("{}{what}", self.place))
    }

    pub(super) fn unsupported(&self, what: impl core::fmt::Display) -> KubeconfigError {
        let what = format!("{}{what}", self.place);
        KubeconfigError::new(self.file, super::KubeconfigFault::Unsupported, what)
    }

    /// The place of one of its fields.
    pub(super) fn place_of(&self, field: &str) -> String {
        match self.place.is_empty() {
            true => field.to_owned(),
            false => format!("{}.{field}", self.place),
        }
    }

    fn field(&self, name: &str) -> Option<&'v Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    fn type_error(&self, field: &str, expected: &str) -> KubeconfigError {
        let place = self.place_of(field);
        KubeconfigError::wrong(self.file, format!("{place} has to be {expected}"))
    }

    /// `None` for a field that is missing or empty, which means the same.
    pub(super) fn text(&self, field: &str) -> Result<Option<String>, KubeconfigError> {
        match self.field(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok((!text.is_empty()).then(|| text.clone())),
            Some(_) => Err(self.type_error(field, "text; put it into quotes")),
        }
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, KubeconfigError> {
        match self.field(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.type_error(field, "true or false, without quotes")),
        }
    }

    pub(super) fn list(&self, field: &str) -> Result<Vec<Self>, KubeconfigError> {
        let items = match self.field(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.type_error(field, "a list")),
        };
        let item = |(index, value)| Self {
            file: self.file,
            place: self.place_of(&format!("{field}[{index}]")),
            value,
        };
        let items: Vec<_> = items.iter().enumerate().map(item).collect();
        match items.iter().find(|item| !item.value.is_object()) {
            Some(item) => Err(item.wrong(" has to be a mapping")),
            None => Ok(items),
        }
    }

    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, KubeconfigError> {
        let items = match self.field(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.type_error(field, "a list")),
        };
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        let texts: Option<Vec<_>> = texts.collect();
        texts.ok_or_else(|| self.type_error(field, "a list of text; put it into quotes"))
    }

    /// By key, a list of text each.
    pub(super) fn lists(&self, field: &str) -> Result<Vec<(String, Vec<String>)>, KubeconfigError> {
        let Some(view) = self.mapping(field)? else {
            return Ok(Vec::new());
        };
        let keys = view
            .value
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys());
        keys.map(|key| Ok((key.clone(), view.texts(key)?)))
            .collect()
    }

    pub(super) fn mapping(&self, field: &str) -> Result<Option<Self>, KubeconfigError> {
        match self.field(field) {
            None => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(Self {
                file: self.file,
                place: self.place_of(field),
                value,
            })),
            Some(_) => Err(self.type_error(field, "a mapping")),
        }
    }

    /// The mapping of a field, called `place`; an empty one if it is missing.
    pub(super) fn into_field(self, field: &str, place: String) -> Result<Self, KubeconfigError> {
        static NOTHING: Value = Value::Null;
        let view = self.mapping(field)?;
        Ok(Self {
            file: self.file,
            place,
            value: view.map_or(&NOTHING, |view| view.value),
        })
    }

    /// Any value, as it stands.
    pub(super) fn raw(&self, field: &str) -> Option<Value> {
        self.field(field).cloned()
    }

    /// A path, made absolute from the folder of the file.
    pub(super) fn path(&self, field: &str) -> Result<Option<PathBuf>, KubeconfigError> {
        Ok(self.text(field)?.map(|path| self.resolve(&path)))
    }

    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.file.parent().unwrap_or_else(|| Path::new(""));
        folder.join(path)
    }
}
