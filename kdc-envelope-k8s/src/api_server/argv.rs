//! From the words that start something to the arguments of kube-apiserver.

use super::Unclear;
use super::shell;
use super::word::{Variables, Word, assignment};

/// The name of the program.
pub(super) const PROGRAM: &str = "kube-apiserver";

/// Shells inside shells.
const MAX_DEPTH: usize = 4;

/// What a command line starts.
#[derive(Debug)]
pub(super) enum Started {
    /// kube-apiserver with these arguments.
    ApiServer(Vec<Word>),
    /// k3s or RKE2 as a server, with these arguments.
    K3s {
        product: Product,
        arguments: Vec<Word>,
    },
}

/// Two programs with the same arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    /// Runs kube-apiserver in its own process.
    K3s,
    /// Runs it in a static pod.
    Rke2,
}

impl Product {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
        }
    }
}

/// Programs that start what stands behind their own arguments.
const WRAPPERS: [&str; 24] = [
    "catatonit",
    "chroot",
    "chrt",
    "command",
    "dumb-init",
    "exec",
    "go-runner",
    "gosu",
    "ionice",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "runuser",
    "setpriv",
    "setsid",
    "stdbuf",
    "su-exec",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "tini",
];

const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];

/// Words that stand before a command in a shell's language.
const KEYWORDS: [&str; 10] = [
    "if", "then", "else", "elif", "while", "until", "do", "{", "!", "&&",
];

/// What the words of one program start, if that is an API server.
pub(super) fn resolve(words: &[Word], variables: &Variables) -> Result<Option<Started>, Unclear> {
    resolve_at(words, variables, 0)
}

fn resolve_at(
    words: &[Word],
    variables: &Variables,
    depth: usize,
) -> Result<Option<Started>, Unclear> {
    let Some((first, rest)) = words.split_first() else {
        return Ok(None);
    };
    if depth > MAX_DEPTH {
        return Err(Unclear::new("shells inside shells".to_owned()));
    }
    let second = rest.first().map(|word| word.text.as_str());
    let deeper = |words: &[Word]| resolve_at(words, variables, depth + 1);
    match first.base() {
        PROGRAM => Ok(Some(Started::ApiServer(rest.to_vec()))),
        "hyperkube" if matches!(second, Some("apiserver" | PROGRAM)) => Ok(Some(
            Started::ApiServer(rest.iter().skip(1).cloned().collect()),
        )),
        "k3s" if second == Some("server") => Ok(Some(k3s(Product::K3s, rest))),
        "rke2" if second == Some("server") => Ok(Some(k3s(Product::Rke2, rest))),
        "k3s-server" => Ok(Some(k3s(Product::K3s, words))),
        "busybox" => deeper(rest),
        "env" => {
            let is_own =
                |word: &&Word| word.text.starts_with('-') || assignment(&word.text).is_some();
            let own = rest.iter().take_while(is_own).count();
            deeper(rest.get(own..).unwrap_or_default())
        }
        shell if SHELLS.contains(&shell) => script(rest, variables, depth),
        wrapper if WRAPPERS.contains(&wrapper) => {
            let is_program = |word: &Word| {
                let base = word.base();
                let is_known = base == PROGRAM
                    || SHELLS.contains(&base)
                    || matches!(base, "k3s" | "rke2" | "env");
                is_known && !word.text.starts_with('-') && !word.text.contains('=')
            };
            match rest.iter().position(is_program) {
                Some(at) => deeper(rest.get(at..).unwrap_or_default()),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

fn k3s(product: Product, words: &[Word]) -> Started {
    Started::K3s {
        product,
        arguments: words.iter().skip(1).cloned().collect(),
    }
}

/// What a shell starts that was given these arguments.
fn script(
    arguments: &[Word],
    variables: &Variables,
    depth: usize,
) -> Result<Option<Started>, Unclear> {
    let mut rest = arguments.iter().enumerate();
    let mut is_command = false;
    while let Some((at, word)) = rest.next() {
        let text = word.text.as_str();
        let is_option = text.len() > 1 && text.starts_with(['-', '+']);
        if is_option {
            let short = text.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
            is_command |= short.is_some_and(|letters| letters.contains('c'));
            // The name of a mode follows.
            if !text.starts_with("--") && text.ends_with(['o', 'O']) {
                rest.next();
            }
            continue;
        }
        if !is_command {
            return Ok(None);
        }
        if word.is_all_open() {
            return Err(Unclear::new(format!(
                "a shell with the script `{text}`, which is not known"
            )));
        }
        // The first one after the script is `$0`.
        let arguments = arguments.get(at + 2..).unwrap_or_default();
        return only(
            shell::commands(text, arguments, variables)?,
            variables,
            depth + 1,
        );
    }
    Ok(None)
}

/// What a script starts as a whole: the one command of it that is an API server.
pub(super) fn of_script(text: &str, variables: &Variables) -> Result<Option<Started>, Unclear> {
    only(shell::commands(text, &[], variables)?, variables, 0)
}

fn only(
    commands: Vec<Vec<Word>>,
    variables: &Variables,
    depth: usize,
) -> Result<Option<Started>, Unclear> {
    let mut found = None;
    for command in commands {
        let is_before = |word: &&Word| {
            KEYWORDS.contains(&word.text.as_str()) || assignment(&word.text).is_some()
        };
        let before = command.iter().take_while(is_before).count();
        let command = command.get(before..).unwrap_or_default();
        let Some(started) = resolve_at(command, variables, depth)? else {
            continue;
        };
        if found.replace(started).is_some() {
            return Err(Unclear::new(format!("two commands that start {PROGRAM}")));
        }
    }
    Ok(found)
}
