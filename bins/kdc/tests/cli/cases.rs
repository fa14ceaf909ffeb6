//! The corpus in `tests/cases`: inputs that are easy to misread, and what is right for each. Its README.md says the format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// So many are there at least; fewer means that the walk missed some.
const AT_LEAST: usize = 75;
/// Stands for the path of the working folder, in files and commands.
const FOLDER: &str = "@folder@";
/// No command of a case takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a running command is polled.
const GLANCE: Duration = Duration::from_millis(5);

/// One file of the corpus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Files of text by their names in the working folder.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Files of any bytes, in base64.
    #[serde(default)]
    binary: BTreeMap<String, String>,
    /// Commands that come first, and succeed.
    #[serde(default)]
    setup: Vec<Vec<String>>,
    /// The command that is judged.
    run: Vec<String>,
    /// The file on its standard input.
    stdin: Option<String>,
    exit: i32,
    #[serde(default)]
    stdout: Vec<String>,
    #[serde(default)]
    stderr: Vec<String>,
    /// What must be in neither.
    #[serde(default)]
    never: Vec<String>,
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[test]
fn each_case_ends_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let cases = found(&root);
    assert!(cases.len() >= AT_LEAST, "only {} cases", cases.len());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let faults: Vec<String> = thread::scope(|scope| {
        let share = cases.len().div_ceil(workers);
        let workers: Vec<_> = cases
            .chunks(share)
            .map(|share| {
                scope.spawn(move || {
                    share
                        .iter()
                        .filter_map(|path| fault(path))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().collect()
    });
    assert!(
        faults.is_empty(),
        "{} of {} cases:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

/// The cases below the folder; whatever else lies there is an error.
fn found(root: &Path) -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for kind in fs::read_dir(root).unwrap() {
        let kind = kind.unwrap().path();
        if kind.file_name().is_some_and(|name| name == "README.md") {
            continue;
        }
        let before = cases.len();
        for case in fs::read_dir(&kind).unwrap() {
            let case = case.unwrap().path();
            let is_case = case
                .extension()
                .is_some_and(|extension| extension == "yaml");
            assert!(is_case, "{} is no case", case.display());
            cases.push(case);
        }
        assert!(cases.len() > before, "{} is empty", kind.display());
    }
    cases.sort();
    cases
}

/// What is wrong with a case, with its name.
fn fault(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).unwrap();
    let faults = match serde_saphyr::from_str::<Case>(&text) {
        Ok(_) if !text.starts_with("# ") => "says not why it is there\n".to_owned(),
        Ok(case) => case.faults(),
        Err(error) => format!("cannot be read: {error}\n"),
    };
    let name = path.iter().rev().take(2).collect::<Vec<_>>();
    let name: PathBuf = name.into_iter().rev().collect();
    (!faults.is_empty()).then(|| format!("{}: {faults}", name.display()))
}

impl Case {
    /// What is not as it says, a line each.
    fn faults(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        for (name, text) in &self.files {
            write(folder.path(), name, text.replace(FOLDER, path).as_bytes());
        }
        for (name, text) in &self.binary {
            write(folder.path(), name, &STANDARD.decode(text).unwrap());
        }
        for command in &self.setup {
            let ended = run(folder.path(), command, None);
            if ended.code != Some(0) {
                return format!("{command:?} ended with {:?}: {}", ended.code, ended.stderr);
            }
        }
        let ended = run(folder.path(), &self.run, self.stdin.as_deref());
        let mut faults = String::new();
        if ended.code != Some(self.exit) {
            writeln!(faults, "exit code {:?}, not {}", ended.code, self.exit).unwrap();
        }
        let outputs = [
            ("stdout", &self.stdout, &ended.stdout),
            ("stderr", &self.stderr, &ended.stderr),
        ];
        for (name, wanted, text) in outputs {
            for words in wanted.iter().filter(|words| !text.contains(*words)) {
                writeln!(faults, "`{words}` is not on {name}").unwrap();
            }
            for words in self.never.iter().filter(|words| text.contains(*words)) {
                writeln!(faults, "`{words}` is on {name}").unwrap();
            }
        }
        if ended.stderr.contains("panicked") {
            writeln!(faults, "it panicked").unwrap();
        }
        if !faults.is_empty() {
            write!(faults, "---\n{}{}---", ended.stdout, ended.stderr).unwrap();
        }
        faults
    }
}

/// Writes a file that only its owner can read, and the folders above it.
fn write(folder: &Path, name: &str, content: &[u8]) {
    let is_below = Path::new(name)
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    assert!(is_below, "`{name}` is not in the folder of the case");
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs a program of ours in `folder`, with nothing of this process's environment.
fn run(folder: &Path, command: &[String], stdin: Option<&str>) -> Ended {
    let (program, arguments) = command.split_first().unwrap();
    let program = match program.as_str() {
        "kdc" => PathBuf::from(env!("CARGO_BIN_EXE_kdc")),
        "kms-plugin" => kdc_testbed::programs::build().unwrap().kms_plugin.clone(),
        other => panic!("`{other}` is neither `kdc` nor `kms-plugin`"),
    };
    let path = folder.to_str().unwrap();
    let mut child = Command::new(program)
        .args(
            arguments
                .iter()
                .map(|argument| argument.replace(FOLDER, path)),
        )
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = stdin.map(|name| fs::read(folder.join(name)).unwrap());
    let (mut standard_input, stdout, stderr) = (
        child.stdin.take().unwrap(),
        child.stdout.take().unwrap(),
        child.stderr.take().unwrap(),
    );
    thread::scope(|scope| {
        scope.spawn(move || {
            // A program that has its answer need not read on.
            let _ = standard_input.write_all(&input.unwrap_or_default());
        });
        let stdout = scope.spawn(|| text_of(stdout));
        let stderr = scope.spawn(|| text_of(stderr));
        let code = wait(&mut child);
        Ended {
            code,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    })
}

fn text_of(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The exit code; `None` of what was killed, by itself or because it hung.
fn wait(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
        }
        thread::sleep(GLANCE);
    }
}
