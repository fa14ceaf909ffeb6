//! How a kube-apiserver is started, whatever form that is written down in: manifests of pods and what makes pods, lists of them,
//! configurations of kubeadm, k3s and RKE2, units of systemd, command lines, shell scripts, ConfigMaps that hold one of these.
//!
//! A form is understood as the program reads it that acts on it, or it is [`Unclear`], with the reason: nothing is guessed. What
//! was understood may still have gaps, such as a variable that is set elsewhere; [`Flags::gaps`] names them.

mod argv;
mod flags;
mod k3s;
mod kubeadm;
mod manifest;
mod pod;
mod probe;
mod shell;
mod static_pod;
mod unit;
mod word;

use std::io;
use std::path::{Path, PathBuf};

use argv::{PROGRAM, Started};
use word::{Variables, Word};

use crate::yaml::{self, Value};

pub use flags::{FlagValue, Flags, parse_bool};
pub use pod::{Mount, Pod, Source};
pub use probe::{Action, Dependence, KmsChecks, Probe};
pub use static_pod::{LocalFiles, ReadError};

/// The flag with the path of the EncryptionConfiguration, without `--`.
pub const CONFIG_FLAG: &str = "encryption-provider-config";
/// The flag that makes kube-apiserver read it again when it changes, without `--`.
pub const RELOAD_FLAG: &str = "encryption-provider-config-automatic-reload";
/// The longest description that is read, in bytes.
pub const MAX_LEN: usize = 1 << 20;

/// A kube-apiserver as it will be started.
#[derive(Debug)]
#[non_exhaustive]
pub struct ApiServer {
    /// What it was read from, for people: `manifest of a pod`, for one.
    pub form: &'static str,
    /// Its flags.
    pub flags: Flags,
    /// Where it runs.
    pub place: Place,
}

/// Where a kube-apiserver runs, which decides what it sees of a machine.
#[derive(Debug)]
#[non_exhaustive]
pub enum Place {
    /// On the machine itself.
    Host,
    /// In a pod.
    Pod(Pod),
    /// In a pod that is described elsewhere; the text says where, for people.
    OtherPod(&'static str),
}

/// Reads the files that a description names.
pub trait Files {
    /// The content of a file.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The paths of what lies in a folder.
    ///
    /// # Errors
    /// If it cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}

/// It cannot be told how kube-apiserver is started; the text says why, and what was found instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unclear {
    why: String,
    /// Whether nothing in it has to do with kube-apiserver.
    is_unrelated: bool,
}

impl Unclear {
    const fn new(why: String) -> Self {
        Self {
            why,
            is_unrelated: false,
        }
    }

    const fn unrelated(why: String) -> Self {
        Self {
            why,
            is_unrelated: true,
        }
    }
}

impl ApiServer {
    /// Understands the text of the file at `path`; `files` reads what it names.
    ///
    /// # Errors
    /// [`Unclear`] if it is of no form that is known, damaged, or of no kube-apiserver or of several.
    pub fn parse(text: &str, path: &Path, files: &dyn Files) -> Result<Self, Unclear> {
        if text.len() > MAX_LEN {
            return Err(Unclear::new(format!("longer than {MAX_LEN} bytes")));
        }
        parse_at(text, path, files, 0)
    }

    /// Where a path that kube-apiserver sees is on the node; `None` if that is not known.
    #[must_use]
    pub fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        match &self.place {
            Place::Host => Some(inside.to_owned()),
            Place::Pod(pod) => pod.mount_of(inside)?.on_host(inside),
            Place::OtherPod(_) => None,
        }
    }
}

/// `depth` counts descriptions inside others.
fn parse_at(
    text: &str,
    path: &Path,
    files: &dyn Files,
    depth: usize,
) -> Result<ApiServer, Unclear> {
    if text.contains('\0') {
        return of_process(text, files);
    }
    // A backslash before a line break continues the line, in files of every system.
    let text = &text.replace("\r\n", "\n");
    if unit::is_unit(text) {
        return of_unit(text, path, files);
    }
    match structure(text)? {
        Some(documents) => manifest::parse(&documents, path, files, depth),
        None => of_text(text, path, files),
    }
}

/// The documents of a text in YAML or JSON; `None` if it is plain text.
fn structure(text: &str) -> Result<Option<Vec<(u64, Value)>>, Unclear> {
    let parsed = match yaml::is_json(text) {
        true => yaml::json(text).map(|value| vec![(1, value)]),
        false => yaml::documents(text),
    };
    let is_object = |(_, value): &(u64, Value)| matches!(value, Value::Map(_) | Value::List(_));
    match parsed {
        Ok(documents) if documents.iter().any(is_object) => Ok(Some(documents)),
        Ok(_) => Ok(None),
        Err(_) if !looks_structured(text) => Ok(None),
        Err(error) => Err(Unclear::new(format!(
            "line {}, column {}: {}",
            error.line,
            error.column,
            error.fault.as_str()
        ))),
    }
}

/// Whether a text was meant to be YAML or JSON.
fn looks_structured(text: &str) -> bool {
    const FIELDS: [&str; 8] = [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "containers",
        "command",
        "items",
        "kube-apiserver-arg",
    ];
    let is_field = |line: &str| {
        let line = line.trim_start_matches([' ', '\t', '-', '"', '\'', '{']);
        FIELDS.iter().any(|field| {
            let rest = line.strip_prefix(field);
            rest.is_some_and(|rest| {
                rest.trim_start_matches(['"', '\''])
                    .trim_start()
                    .starts_with(':')
            })
        })
    };
    text.trim_start().starts_with(['{', '[']) || text.lines().any(is_field)
}

fn nothing_found() -> Unclear {
    Unclear::unrelated(format!("nothing in it starts {PROGRAM}"))
}

fn of_started(
    started: Option<Started>,
    form: &'static str,
    variables: &Variables,
    files: &dyn Files,
) -> Result<ApiServer, Unclear> {
    match started {
        None => Err(nothing_found()),
        Some(Started::ApiServer(arguments)) => Ok(ApiServer {
            form,
            flags: Flags::parse(&arguments),
            place: Place::Host,
        }),
        Some(Started::K3s { product, arguments }) => {
            k3s::of_arguments(product, &arguments, variables, files)
        }
    }
}

/// `/proc/PID/cmdline`, in which each word ends in a zero byte.
fn of_process(text: &str, files: &dyn Files) -> Result<ApiServer, Unclear> {
    let words = text.strip_suffix('\0').unwrap_or(text).split('\0');
    let words: Vec<Word> = words.map(Word::known).collect();
    let variables = Variables::default();
    of_started(
        argv::resolve(&words, &variables)?,
        "command line",
        &variables,
        files,
    )
}

fn of_unit(text: &str, path: &Path, files: &dyn Files) -> Result<ApiServer, Unclear> {
    let unit = unit::parse(text, path, files)?;
    let mut found = None;
    for command in &unit.commands {
        if let Some(started) = argv::resolve(command, &unit.variables)?
            && found.replace(started).is_some()
        {
            return Err(Unclear::new(format!("two commands that start {PROGRAM}")));
        }
    }
    let mut server = of_started(found, "systemd unit", &unit.variables, files)?;
    server.flags.add_gaps(unit.gaps);
    Ok(server)
}

/// A command line, a shell script, a line of `ps`, or a file with arguments alone.
fn of_text(text: &str, path: &Path, files: &dyn Files) -> Result<ApiServer, Unclear> {
    let variables = Variables::default();
    if let Some(started) = argv::of_script(text, &variables)? {
        return of_started(Some(started), "command line", &variables, files);
    }
    let commands = shell::commands(text, &[], &variables)?;
    let words = || commands.iter().flatten();
    if words().next().is_some() && words().all(|word| word.text.starts_with("--")) {
        return of_arguments(words().cloned().collect(), path);
    }
    // What `ps` prints has the process's other columns in front.
    let of_line = |command: &Vec<Word>| {
        let at = command
            .iter()
            .position(|word| word.base() == PROGRAM && !word.text.starts_with('-'))?;
        let arguments = command.get(at + 1..)?;
        let has_flags = arguments
            .first()
            .is_some_and(|word| word.text.starts_with("--"));
        has_flags.then(|| arguments.to_vec())
    };
    let mut found = commands.iter().filter_map(of_line);
    let started = found.next().map(Started::ApiServer);
    if found.next().is_some() {
        return Err(Unclear::new(format!("two command lines of {PROGRAM}")));
    }
    of_started(started, "command line", &variables, files)
}

/// A file of flags, as `args/kube-apiserver` of MicroK8s.
fn of_arguments(arguments: Vec<Word>, path: &Path) -> Result<ApiServer, Unclear> {
    const OF_API_SERVERS: [&str; 3] = [CONFIG_FLAG, "etcd-servers", "service-account-issuer"];
    let flags = Flags::parse(&arguments);
    let is_given = |name: &&str| flags.value(name) != FlagValue::Absent;
    let is_named = path.file_name().is_some_and(|name| name == PROGRAM);
    if !is_named && !OF_API_SERVERS.iter().any(is_given) {
        return Err(Unclear::new(
            "flags of a program that it does not name".to_owned(),
        ));
    }
    Ok(ApiServer {
        form: "file of arguments",
        flags,
        place: Place::Host,
    })
}
