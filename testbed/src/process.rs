//! Children whose end is tied to ours.
//!
//! A test may be killed with SIGKILL at any moment and must still leave
//! nothing behind. So each child is started by a tiny shell, the guard, in a
//! process group of its own. The guard holds the reading end of a pipe whose
//! writing end only we have; when we end, however that happens, the kernel
//! closes it and the guard kills its whole group, then removes the folder that
//! the child worked in. The kernel's own way
//! (`PR_SET_PDEATHSIG`) does not fit: it fires when the *thread* that started
//! the child ends, and it needs unsafe code.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::Error;

/// Starts the child and prints its process id; when it has ended, prints its exit
/// code and kills what is left of the group. The child has neither our pipe nor
/// our standard output.
///
/// The watcher in the background reads until end of file, which comes when our
/// end of the pipe is closed. Then it ends all and removes the folder that the
/// child worked in. `kill -0` succeeds until the child is reaped.
const GUARD: &str = r#"
folder=$1; shift
exec 3<&0
"$@" </dev/null >&2 3<&- &
child=$!
exec 2>/dev/null
echo "$child"
(
  read -r _ <&3
  trap '' TERM
  kill -KILL "$child"
  while kill -0 "$child"; do sleep 0.01; done
  [ -z "$folder" ] || rm -rf "$folder"
  kill -KILL 0
) &
watcher=$!
wait "$child"
status=$?
kill "$watcher"
wait "$watcher"
echo "$status"
kill -KILL 0
"#;

/// Exit code of a process that SIGKILL ended.
const KILLED: i32 = 128 + 9;
const POLL: Duration = Duration::from_millis(10);
const TAIL_LINES: usize = 40;

/// A running child. It is killed when this is dropped, and when our process
/// ends for any reason.
#[derive(Debug)]
pub struct Process {
    name: String,
    guard: Child,
    /// What the guard prints.
    said: BufReader<ChildStdout>,
    pid: Pid,
    code: Option<i32>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its standard output and error appended to the
    /// file `log`. Program, arguments, environment and working folder of
    /// `command` count; its standard streams do not.
    ///
    /// A program that does not exist shows as exit code 127.
    ///
    /// # Errors
    /// [`Error::File`] for the log, [`Error::Process`] for the start itself.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self, Error> {
        Self::start_owning(None, name, command, log)
    }

    /// [`Self::start`] for a child whose folder has to go when our process is
    /// killed. A caller that drops the child removes the folder itself.
    pub(crate) fn start_owning(
        folder: Option<&Path>,
        name: &str,
        command: &Command,
        log: &Path,
    ) -> Result<Self, Error> {
        let log_file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::file("open", log))?;
        let start_error = |source| Error::Process {
            action: "start",
            name: name.to_owned(),
            source,
        };
        let mut guard = guard_of(folder, command, log_file)
            .spawn()
            .map_err(start_error)?;
        let said = guard.stdout.take().map(BufReader::new);
        let mut said =
            said.ok_or_else(|| start_error(io::Error::other("the guard has no output")))?;
        let pid = number(&mut said).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| start_error(io::Error::other("the guard named no child")))?;
        Ok(Self {
            name: name.to_owned(),
            guard,
            said,
            pid,
            code: None,
            log: log.to_path_buf(),
        })
    }

    /// The name given at start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id of the child itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The file that takes the child's output.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All output so far; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last 40 lines of the output.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Sends a signal to the child.
    ///
    /// # Errors
    /// [`Error::Ended`] when it runs no more.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        self.ensure_running()?;
        kill_process(self.pid, signal).map_err(|errno| self.error("signal", errno.into()))
    }

    /// Stops the child with SIGSTOP and returns when none of its threads runs
    /// any more, as the signal alone may come after the next request. SIGCONT
    /// lets it go on. Works on Linux alone.
    ///
    /// # Errors
    /// As [`Self::signal`]; [`Error::Deadline`] when it still runs after 10 s.
    pub async fn pause(&mut self) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_secs(10);
        self.signal(Signal::STOP)?;
        let start = Instant::now();
        let threads = PathBuf::from(format!("/proc/{}/task", self.pid()));
        while !all_stopped(&threads).map_err(Error::file("list", &threads))? {
            if start.elapsed() >= LIMIT {
                return Err(self.deadline("stopped", LIMIT, "a thread runs"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The exit code, if the child has ended: 128 + N when signal N ended it.
    ///
    /// # Errors
    /// [`Error::Process`] when the system cannot say.
    pub fn exit_code(&mut self) -> Result<Option<i32>, Error> {
        if self.code.is_none() {
            let ended = self.guard.try_wait();
            if ended
                .map_err(|source| self.error("wait for", source))?
                .is_some()
            {
                self.code = Some(number(&mut self.said).unwrap_or(KILLED));
            }
        }
        Ok(self.code)
    }

    /// Waits for the child to end by itself and gives its exit code.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<i32, Error> {
        let start = Instant::now();
        loop {
            if let Some(code) = self.exit_code()? {
                return Ok(code);
            }
            if start.elapsed() >= limit {
                return Err(self.deadline("ended", limit, "still running"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills the child with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// As [`Self::signal`] and [`Self::wait`].
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).await.map(|_| ())
    }

    /// Asks the child to end with SIGTERM and gives its exit code.
    ///
    /// # Errors
    /// As [`Self::signal`] and [`Self::wait`].
    pub async fn terminate(&mut self, limit: Duration) -> Result<i32, Error> {
        self.signal(Signal::TERM)?;
        self.wait(limit).await
    }

    /// Fails with the end of the log if the child has ended.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn ensure_running(&mut self) -> Result<(), Error> {
        match self.exit_code()? {
            None => Ok(()),
            Some(code) => Err(Error::Ended {
                name: self.name.clone(),
                code,
                tail: self.log_tail(),
            }),
        }
    }

    pub(crate) fn deadline(&self, state: &'static str, limit: Duration, last: &str) -> Error {
        Error::Deadline {
            name: self.name.clone(),
            state,
            seconds: limit.as_secs(),
            last: last.to_owned(),
            tail: self.log_tail(),
        }
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Process {
            action,
            name: self.name.clone(),
            source,
        }
    }
}

impl Drop for Process {
    /// Returns when the child is gone for good, so that its files can go too.
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.signal(Signal::KILL);
        // `wait` would close the pipe first; the guard has to reap before.
        let pipe = self.guard.stdin.take();
        let _ = self.guard.wait();
        drop(pipe);
    }
}

/// Whether each thread of a process is in state T (proc(5)), which follows
/// the program's name in parentheses.
fn all_stopped(threads: &Path) -> io::Result<bool> {
    for thread in fs::read_dir(threads)? {
        // A thread that ended meanwhile runs no more either.
        let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        if state.is_some_and(|state| !state.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn guard_of(folder: Option<&Path>, command: &Command, log: File) -> Command {
    let mut guard = Command::new("sh");
    guard
        .args(["-c", GUARD, "guard"])
        .arg(folder.unwrap_or_else(|| Path::new("")))
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guard.env(name, value),
            None => guard.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guard.current_dir(folder);
    }
    guard
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    guard
}

/// The next line of the guard.
fn number(said: &mut BufReader<ChildStdout>) -> Option<i32> {
    let mut line = String::new();
    said.read_line(&mut line).ok()?;
    line.trim().parse().ok()
}
