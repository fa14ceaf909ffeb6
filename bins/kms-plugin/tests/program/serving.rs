//! The program as a service manager and kube-apiserver see it.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use crate::fixture::{
    Place, decrypt, encrypt, eventually, get, http_address, output, status, stderr,
};
use kdc_envelope::local::{Keyring, keyring_file};
use rustix::process::{Pid, Resource, Rlimit, Signal};

const SEED: [u8; 32] = *b"a seed that no log line may hold";

#[tokio::test]
async fn socket_and_keyring_are_all_it_needs() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let mut client = place.client().await;
    let wrapped = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    let log = place.log();
    let listening = log.lines().find(|l| l.contains("kms-plugin listening"));
    assert!(
        listening.is_some_and(|l| l.contains(place.socket.to_str().unwrap())),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "no colours in a file");
    assert!(running.stop().await.success());
    assert!(!place.socket.exists());
}

#[tokio::test]
async fn sigterm_ends_with_0_after_the_call_in_flight() {
    let place = Place::new();
    let mut running = place.start(place.command()).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(place.client().await);
    }
    let callers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                loop {
                    // A refused call is one the server never took; an aborted answer would be another code.
                    if let Err(refused) = encrypt(&mut client, &SEED).await {
                        return refused;
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0));
    for caller in callers {
        let refused = caller.await.unwrap();
        assert!(
            !refused.message().contains("h2 protocol error"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn after_kill_9_the_next_one_takes_the_socket_and_reads_the_old_seeds() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let wrapped = encrypt(&mut place.client().await, &SEED).await.unwrap();
    running.kill().await;
    assert!(place.socket.exists(), "left behind");
    let running = place.start(place.command()).await;
    let opened = decrypt(&mut place.client().await, &wrapped).await.unwrap();
    assert_eq!(opened, SEED);
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_second_one_leaves_the_first_alone() {
    let place = Place::new();
    let _running = place.start(place.command()).await;
    let second = place.command().output().unwrap();
    assert_eq!(second.status.code(), Some(73));
    let line = stderr(&second);
    assert!(
        line.starts_with("kms-plugin: error: another process listens on"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(status(&mut place.client().await).await.is_ok());
}

#[tokio::test]
async fn the_umask_decides_nothing() {
    for (umask, arguments, mode) in [("0", "", 0o600), ("0777", "--socket-mode 0660", 0o660)] {
        let place = Place::new();
        let line = format!(
            "umask {umask}; exec {} --socket {} --keyring {} {arguments}",
            env!("CARGO_BIN_EXE_kms-plugin"),
            place.socket.display(),
            place.keyring.display(),
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]);
        let _running = place.start(shell).await;
        let found = fs::metadata(&place.socket).unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "umask {umask}");
    }
}

#[tokio::test]
async fn a_changed_keyring_is_taken_over_and_a_bad_one_is_not() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--http-address", "127.0.0.1:0"]);
    let running = place.start(command).await;
    let http = http_address(&place.log());
    let mut client = place.client().await;
    let first = status(&mut client).await.unwrap().key_id;
    let wrapped = encrypt(&mut client, &SEED).await.unwrap();

    // Added: readable, nothing else changes. Promoted: it wraps.
    keyring_file::edit(&place.keyring, |keyring| keyring.add(2)).unwrap();
    reloads(&http, "ok", 1).await;
    assert_eq!(status(&mut client).await.unwrap().key_id, first);
    keyring_file::edit(&place.keyring, |keyring| keyring.promote(2)).unwrap();
    reloads(&http, "ok", 2).await;
    let second = status(&mut client).await.unwrap().key_id;
    assert_ne!(second, first);
    assert_eq!(encrypt(&mut client, &SEED).await.unwrap().key_id, second);
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);

    // Damaged, gone, of another identity, open to others: refused once each, and the key in use stays.
    let good = fs::read(&place.keyring).unwrap();
    fs::write(&place.keyring, "damaged").unwrap();
    reloads(&http, "refused", 1).await;
    fs::remove_file(&place.keyring).unwrap();
    reloads(&http, "refused", 2).await;
    keyring_file::create(&place.keyring, &Keyring::generate(9).unwrap()).unwrap();
    reloads(&http, "refused", 3).await;
    fs::set_permissions(&place.keyring, Permissions::from_mode(0o644)).unwrap();
    reloads(&http, "refused", 4).await;
    assert_eq!(status(&mut client).await.unwrap().key_id, second);
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let complaints = place.log().matches("the key in use stays").count();
    assert_eq!(complaints, 4, "once per change:\n{}", place.log());
    let usable = |value| format!("kdc_kms_keyring_usable{{key=\"kube-dc-kms-plugin\"}} {value}\n");
    assert!(get(&http, "/metrics").contains(&usable(0)));
    let ready = get(&http, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(
        ready.contains("\r\n\r\nok\nwarning: key kube-dc-kms-plugin: key file `"),
        "{ready}"
    );

    fs::set_permissions(&place.keyring, Permissions::from_mode(0o600)).unwrap();
    reloads(&http, "refused", 5).await;
    fs::write(&place.keyring, good).unwrap();
    reloads(&http, "ok", 3).await;
    assert_eq!(status(&mut client).await.unwrap().key_id, second);
    assert!(get(&http, "/metrics").contains(&usable(1)));
    assert!(get(&http, "/readyz").ends_with("\r\n\r\nok\n"));
    assert!(running.stop().await.success());
}

/// A lack of file descriptors passes, and the file does not change for it.
#[tokio::test]
async fn a_change_that_could_not_be_read_is_taken_over_as_soon_as_it_can_be() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let mut client = place.client().await;
    let first = status(&mut client).await.unwrap().key_id;
    let pid = Pid::from_raw(i32::try_from(running.id()).unwrap());
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    let before = rustix::process::prlimit(pid, Resource::Nofile, limit(3)).unwrap();
    keyring_file::edit(&place.keyring, |keyring| keyring.add(2)).unwrap();
    keyring_file::edit(&place.keyring, |keyring| keyring.promote(2)).unwrap();
    eventually("it is told", async || {
        place.log().contains("Too many open files")
    })
    .await;
    assert_eq!(status(&mut client).await.unwrap().key_id, first);
    rustix::process::prlimit(pid, Resource::Nofile, before).unwrap();
    eventually("the promoted version wraps", async || {
        status(&mut client).await.unwrap().key_id != first
    })
    .await;
    let complaints = place.log().matches("the key in use stays").count();
    assert!(complaints <= 2, "once per change:\n{}", place.log());
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_copy_from_before_a_version_was_added_is_not_taken() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--http-address", "127.0.0.1:0"]);
    let running = place.start(command).await;
    let http = http_address(&place.log());
    let old = fs::read(&place.keyring).unwrap();
    keyring_file::edit(&place.keyring, |keyring| keyring.add(2)).unwrap();
    reloads(&http, "ok", 1).await;
    let copy = place.path("copy");
    fs::write(&copy, old).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&copy, &place.keyring).unwrap();
    reloads(&http, "refused", 1).await;
    let log = place.log();
    assert!(log.contains("version 2 is missing"), "{log}");
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn signals_that_ask_for_nothing_change_nothing() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let mut client = place.client().await;
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::IO, "SIGIO"),
    ] {
        running.signal(signal);
        eventually(name, async || {
            place.log().contains(&format!("signal=\"{name}\""))
        })
        .await;
        assert!(status(&mut client).await.is_ok(), "{name}");
    }
    running.signal(Signal::QUIT);
    let mut running = running;
    assert_eq!(running.ended().await.code(), Some(0), "in good order");
    assert!(!place.socket.exists());
}

#[tokio::test]
async fn refused_calls_do_not_fill_the_log() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let mut client = place.client().await;
    for _ in 0..1_000 {
        assert!(encrypt(&mut client, &[]).await.is_err());
    }
    let lines = place.log().lines().count();
    assert!((100..400).contains(&lines), "{lines}");
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn its_keys_are_in_no_core_dump() {
    let place = Place::new();
    let line = format!(
        "ulimit -c unlimited; cd {}; exec {} --socket {} --keyring {}",
        place.folder.path().display(),
        env!("CARGO_BIN_EXE_kms-plugin"),
        place.socket.display(),
        place.keyring.display(),
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]);
    let mut running = place.start(shell).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);
    running.signal(Signal::ABORT);
    let status = running.ended().await;
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    assert!(!place.path("core").exists());
}

#[tokio::test]
async fn a_root_secret_serves_too_and_is_the_same_key_after_a_restart() {
    let place = Place::new();
    let secret = place.path("root-secret");
    fs::write(&secret, SEED).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let command = || {
        let mut command = crate::fixture::program();
        command.arg("--socket").arg(&place.socket);
        command.arg("--root-secret").arg(&secret);
        command
    };
    let running = place.start(command()).await;
    let wrapped = encrypt(&mut place.client().await, &[9; 32]).await.unwrap();
    assert!(running.stop().await.success());
    let running = place.start(command()).await;
    let opened = decrypt(&mut place.client().await, &wrapped).await.unwrap();
    assert_eq!(opened, [9; 32]);
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn systemd_is_told_by_path_and_by_abstract_name() {
    let place = Place::new();
    let path = place.path("notify");
    let by_path = UnixDatagram::bind(&path).unwrap();
    let name = format!("kdc-test-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixDatagram::bind_addr(&address).unwrap();
    for (receiver, target) in [
        (by_path, path.to_str().unwrap().to_owned()),
        (by_name, format!("@{name}")),
    ] {
        receiver
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut command = place.command();
        command.env("NOTIFY_SOCKET", target);
        let running = place.start(command).await;
        assert_eq!(datagram(&receiver), "READY=1");
        assert!(running.stop().await.success());
        assert_eq!(datagram(&receiver), "STOPPING=1");
    }
}

fn datagram(receiver: &UnixDatagram) -> String {
    let mut buffer = [0; 64];
    let len = receiver.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[tokio::test]
async fn json_logs_are_json_to_the_last_line() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--log-format", "json", "--log-level", "debug"]);
    let running = place.start(command).await;
    let mut client = place.client().await;
    encrypt(&mut client, &SEED).await.unwrap();
    assert!(encrypt(&mut client, &[]).await.is_err());
    assert!(running.stop().await.success());
    let log = place.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let with = |message: &str| lines.iter().find(|line| line["message"] == message);
    assert_eq!(
        with("kms-plugin listening").unwrap()["socket"],
        place.socket.to_str().unwrap()
    );
    let refused = with("refused").unwrap();
    assert_eq!(refused["level"], "WARN");
    assert_eq!(refused["span"]["name"], "encrypt");
    assert_eq!(refused["span"]["uid"], "test-uid");
    let second = place.path("missing");
    let failed = crate::fixture::program()
        .args(["--log-format", "json", "--socket"])
        .arg(&place.socket)
        .arg("--keyring")
        .arg(second)
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(66));
    let line: serde_json::Value = serde_json::from_slice(&failed.stderr).unwrap();
    assert_eq!(line["level"], "ERROR");
}

#[tokio::test]
async fn no_secret_is_in_the_log_even_at_trace() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    let place = Place::new();
    let root = *b"a root secret that must not leak";
    let secret = place.path("root-secret");
    fs::write(&secret, root).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let mut command = crate::fixture::program();
    command.arg("--socket").arg(&place.socket);
    command.arg("--root-secret").arg(&secret);
    command.args(["--log-level", "trace", "--http-address", "127.0.0.1:0"]);
    let running = place.start(command).await;
    let mut client = place.client().await;
    let mut wrapped = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    wrapped.key_id.push('x');
    assert!(decrypt(&mut client, &wrapped).await.is_err());
    let metrics = get(&http_address(&place.log()), "/metrics");
    assert!(running.stop().await.success());
    let haystack = [place.log(), metrics].concat();
    assert!(haystack.contains("TRACE"), "it was a trace");
    for bytes in [&SEED[..], &root, &wrapped.ciphertext] {
        let list = format!("{bytes:?}");
        let needles = [
            String::from_utf8_lossy(bytes).into_owned(),
            bytes.escape_ascii().to_string(),
            hex::encode(bytes),
            hex::encode_upper(bytes),
            STANDARD.encode(bytes),
            URL_SAFE.encode(bytes),
            list.trim_matches(['[', ']']).to_owned(),
        ];
        for needle in needles {
            // A part gives it away as well as the whole.
            for part in [needle.as_str(), tail(&needle)] {
                assert!(!haystack.contains(part), "`{part}` is in the log");
            }
        }
    }
}

/// The last twelve characters at least.
fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(12);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    &text[from..]
}

#[tokio::test]
async fn a_failed_http_address_is_a_clear_error() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = output(&[
        "--socket",
        place.socket.to_str().unwrap(),
        "--keyring",
        place.keyring.to_str().unwrap(),
        "--http-address",
        &address,
    ]);
    assert_eq!(failed.status.code(), Some(73), "{}", stderr(&failed));
    assert!(stderr(&failed).contains(&address));
    assert!(!place.socket.exists());
}

async fn reloads(http: &str, result: &str, count: u32) {
    let line = format!(
        "kdc_kms_keyring_reloads_total{{key=\"kube-dc-kms-plugin\",result=\"{result}\"}} {count}\n"
    );
    eventually(&line, async || get(http, "/metrics").contains(&line)).await;
}
