//! Runs `kdc` and says how it ended.

use std::path::Path;
use std::process::{Command, Output};

use kdc_testbed::programs;

/// Seconds after which a run counts as hung.
const LIMIT: &str = "60";
/// The exit code of `timeout -s KILL`.
const HUNG: i32 = 128 + 9;

/// A command of `kdc` in `folder`, with nothing of this environment that it would read, which is killed when it hangs.
pub(crate) fn kdc(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", LIMIT]);
    command.arg(&programs::build().unwrap().kdc);
    command.current_dir(folder).args(words);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `kdc` to its end.
pub(crate) fn run(folder: &Path, words: &[&str]) -> Ended {
    Ended::of(&kdc(folder, words).output().unwrap())
}

/// Runs `kdc`, which must end with 0.
pub(crate) fn succeed(folder: &Path, words: &[&str]) -> Ended {
    let ended = run(folder, words);
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.text);
    ended
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Everything that it printed.
    pub(crate) text: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Self {
            code: output.status.code(),
            text: text(&output.stdout) + &text(&output.stderr),
        };
        assert!(!ended.text.contains("panicked"), "{}", ended.text);
        assert_ne!(ended.code, Some(101), "{}", ended.text);
        assert_ne!(ended.code, Some(HUNG), "hung: {}", ended.text);
        ended
    }
}
