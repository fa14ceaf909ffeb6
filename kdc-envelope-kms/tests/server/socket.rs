//! The socket: who may have it, who may use it, and what happens when another program touches its file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener as StdListener};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::fixture::{
    Fixture, Mood, Running, TestKek, at, connect, encrypt, eventually, folder, local_kek, status,
};
use kdc_envelope_kms::server::{
    BindError, ServeError, SocketAddress, SocketMode, SocketOptions, check_place,
};

const SEED: [u8; 32] = [0x5A; 32];

async fn bind_error(options: SocketOptions) -> BindError {
    match Running::try_start(local_kek(), options).await {
        Err(ServeError::Socket(error)) => error,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it was bound"),
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn the_mode_is_0600_unless_the_group_is_let_in() {
    let fixture = Fixture::new().await;
    assert_eq!(mode_of(&fixture.socket), 0o600);
    let with_group = fixture.folder.path().join("group.sock");
    let mut options = at(&with_group);
    options.mode = SocketMode::GROUP;
    options.group = Some(rustix::process::getegid().as_raw());
    let running = Running::start(local_kek(), options).await;
    assert_eq!(mode_of(&with_group), 0o660);
    running.stop().await;
}

#[test]
fn others_never_get_in() {
    for mode in [
        0o666, 0o601, 0o602, 0o604, 0o777, 0o400, 0o060, 0, 0o4600, 0o10600,
    ] {
        assert!(SocketMode::new(mode).is_err(), "{mode:o}");
    }
    for mode in [0o600, 0o660, 0o700, 0o770, 0o620] {
        assert!(SocketMode::new(mode).is_ok(), "{mode:o}");
    }
}

#[tokio::test]
async fn a_live_socket_is_never_stolen() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client().await;
    let inode = fs::metadata(&fixture.socket).unwrap().ino();
    let error = bind_error(at(&fixture.socket)).await;
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert!(error.to_string().contains(fixture.socket.to_str().unwrap()));
    assert_eq!(fs::metadata(&fixture.socket).unwrap().ino(), inode);
    assert!(status(&mut client).await.is_ok());
    assert!(connect(&fixture.socket).await.is_ok());
}

#[tokio::test]
async fn a_stale_socket_is_taken_over() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists(), "a closed listener leaves its file");
    let running = Running::start(local_kek(), at(&path)).await;
    let mut client = connect(&path).await.unwrap();
    assert!(status(&mut client).await.is_ok());
    running.stop().await;
    assert!(!path.exists(), "removed at the end");
}

#[tokio::test]
async fn of_many_that_start_at_once_exactly_one_serves() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    drop(StdListener::bind(&path).unwrap());
    let mut starts = Vec::new();
    for _ in 0..16 {
        let options = at(&path);
        starts.push(tokio::spawn(async move {
            Running::try_start(local_kek(), options).await
        }));
    }
    let mut serving = Vec::new();
    for start in starts {
        match start.await.unwrap() {
            Ok(running) => serving.push(running),
            Err(ServeError::Socket(BindError::InUse(_))) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(serving.len(), 1);
    assert!(connect(&path).await.is_ok());
}

#[tokio::test]
async fn what_is_not_a_stale_socket_is_left_alone() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let directory = folder.path().join("directory");
    fs::create_dir(&directory).unwrap();
    let dead = folder.path().join("dead.sock");
    drop(StdListener::bind(&dead).unwrap());
    let link = folder.path().join("link");
    symlink(&dead, &link).unwrap();
    for path in [&file, &directory, &link] {
        let error = bind_error(at(path)).await;
        assert!(matches!(error, BindError::NotASocket(_)), "{error}");
        assert!(check_place(&at(path)).is_err());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.is_symlink());
    let datagram = folder.path().join("datagram");
    let _owner = UnixDatagram::bind(&datagram).unwrap();
    let error = bind_error(at(&datagram)).await;
    assert!(matches!(error, BindError::InUse(_)), "{error}");
}

#[tokio::test]
async fn the_folder_must_be_there_and_closed_to_others() {
    let folder = folder();
    let missing = folder.path().join("missing/kms.sock");
    let error = bind_error(at(&missing)).await;
    assert!(matches!(error, BindError::ParentMissing(_)), "{error}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = bind_error(at(&file.join("kms.sock"))).await;
    assert!(matches!(error, BindError::ParentNotFolder(_)), "{error}");

    for mode in [0o777, 0o1777, 0o702] {
        let open = folder.path().join(format!("{mode:o}"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        let path = open.join("kms.sock");
        let error = bind_error(at(&path)).await;
        assert!(
            matches!(error, BindError::ParentWritableByOthers { mode: m, .. } if m == mode),
            "{error}"
        );
        assert!(check_place(&at(&path)).is_err());
        assert!(!path.exists());
    }
}

/// Every user who may open the folder can lock it.
#[tokio::test]
async fn a_lock_on_the_folder_keeps_no_plugin_from_starting() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    let held = fs::File::open(folder.path()).unwrap();
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    let running = Running::start(local_kek(), at(&path)).await;
    fs::remove_file(&path).unwrap();
    eventually("the socket is back", async || connect(&path).await.is_ok()).await;
    let lock = folder.path().join(".kms.sock.lock");
    assert_eq!(mode_of(&lock), 0o600, "no other user may lock that");
    running.stop().await;
}

#[tokio::test]
async fn what_is_in_the_place_of_the_lock_is_left_alone() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    let lock = folder.path().join(".kms.sock.lock");
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &lock).unwrap();
    let error = bind_error(at(&path)).await;
    assert!(matches!(error, BindError::ForeignLock(_)), "{error}");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let error = bind_error(at(&path)).await;
    assert!(matches!(error, BindError::ForeignLock(_)), "{error}");
}

#[tokio::test]
async fn no_other_user_may_put_a_socket_in_place_of_ours() {
    let root = folder();
    let make = |name: &str, mode| {
        let folder = root.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        folder
    };
    let group = rustix::process::getegid().as_raw();
    let by_group = make("by-group", 0o770).join("kms.sock");
    let error = bind_error(at(&by_group)).await;
    assert!(
        matches!(error, BindError::ParentWritableByGroup { group: of, .. } if of == group),
        "{error}"
    );
    let mut let_in = at(&by_group);
    (let_in.group, let_in.mode) = (Some(group), SocketMode::GROUP);
    assert!(check_place(&let_in).is_ok(), "who may connect anyway");

    // A user who may write above may rename the folder; unless it is sticky, as /tmp is.
    make("open", 0o777);
    let inside = make("open/inside", 0o755);
    let error = bind_error(at(&inside.join("kms.sock"))).await;
    assert!(
        matches!(error, BindError::AncestorWritable { .. }),
        "{error}"
    );
    make("open", 0o1777);
    assert!(check_place(&at(&inside.join("kms.sock"))).is_ok());

    // A link is as safe as the folder that it is in.
    make("open", 0o777);
    let real = make("real", 0o750);
    symlink(&real, root.path().join("open/link")).unwrap();
    let error = bind_error(at(&root.path().join("open/link/kms.sock"))).await;
    assert!(
        matches!(error, BindError::AncestorWritable { .. }),
        "{error}"
    );
}

/// Needs root, who alone may give files away.
#[tokio::test]
async fn a_folder_of_another_user_is_refused_wherever_it_is_on_the_way() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = folder();
    let upper = root.path().join("upper");
    let lower = upper.join("lower");
    fs::create_dir_all(&lower).unwrap();
    for foreign in [&lower, &upper] {
        std::os::unix::fs::chown(foreign, Some(4_321), None).unwrap();
        let error = bind_error(at(&lower.join("kms.sock"))).await;
        assert!(
            matches!(&error, BindError::ForeignFolder { path, owner: 4_321 } if path == foreign),
            "{error}"
        );
        std::os::unix::fs::chown(foreign, Some(0), None).unwrap();
    }
    assert!(check_place(&at(&lower.join("kms.sock"))).is_ok());
}

#[tokio::test]
async fn a_failed_start_leaves_nothing_behind() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = kdc_envelope_kms::server::Server::of_one_key(
        local_kek(),
        "",
        at(&path),
        kdc_envelope_kms::metrics::Metrics::new("test"),
    )
    .with_http_address(taken.local_addr().unwrap());
    let error = server.bind().await.unwrap_err();
    assert!(matches!(error, ServeError::Http { .. }), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_vanishes_is_created_again() {
    let fixture = Fixture::new().await;
    let mut old = fixture.client().await;
    fs::remove_file(&fixture.socket).unwrap();
    eventually("the socket is back", async || {
        connect(&fixture.socket).await.is_ok()
    })
    .await;
    assert_eq!(mode_of(&fixture.socket), 0o600);
    assert!(status(&mut old).await.is_ok(), "old connections live on");
    let count = fixture
        .running
        .metric("kdc_kms_socket_recreations_total{key=\"default\"}");
    assert_eq!(count, Some(1.0));
    let socket = fixture.socket.clone();
    fixture.running.stop().await;
    assert!(!socket.exists(), "the new file is the one removed");
    drop(fixture.folder);
}

#[tokio::test]
async fn a_socket_replaced_by_a_dead_one_is_created_again() {
    let fixture = Fixture::new().await;
    fs::remove_file(&fixture.socket).unwrap();
    drop(StdListener::bind(&fixture.socket).unwrap());
    eventually("ours is back", async || {
        connect(&fixture.socket).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_socket_replaced_by_a_live_one_or_a_file_is_not_fought_over() {
    let fixture = Fixture::new().await;
    fs::remove_file(&fixture.socket).unwrap();
    let other = StdListener::bind(&fixture.socket).unwrap();
    let inode = fs::metadata(&fixture.socket).unwrap().ino();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(fs::metadata(&fixture.socket).unwrap().ino(), inode);
    drop(other);
    fs::remove_file(&fixture.socket).unwrap();
    fs::write(&fixture.socket, "precious").unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(fs::read_to_string(&fixture.socket).unwrap(), "precious");
    let socket = fixture.socket.clone();
    fixture.running.stop().await;
    assert!(socket.exists(), "not ours to remove");
    drop(fixture.folder);
}

#[tokio::test]
async fn an_abstract_socket_serves_us_and_is_not_stolen() {
    let name = format!("kdc-test-{}-abstract", std::process::id());
    let address: SocketAddress = format!("@{name}").parse().unwrap();
    let running = Running::start(local_kek(), SocketOptions::new(address.clone())).await;
    for origin in ["http://localhost".to_owned(), format!("http://@{name}")] {
        let path = format!("@{name}");
        let mut client = crate::fixture::connect_as(path.as_ref(), &origin)
            .await
            .unwrap();
        assert!(status(&mut client).await.is_ok(), "{origin}");
    }
    let error = bind_error(SocketOptions::new(address)).await;
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn a_peer_whose_uid_is_not_listed_is_turned_away() {
    let own = rustix::process::geteuid().as_raw();
    for (uids, served) in [
        (vec![own + 1], false),
        (vec![], false),
        (vec![own + 1, own], true),
    ] {
        let folder = folder();
        let path = folder.path().join("kms.sock");
        let mut options = at(&path);
        options.allowed_uids = Some(uids.clone());
        let running = Running::start(local_kek(), options).await;
        let answered = match connect(&path).await {
            Ok(mut client) => status(&mut client).await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(answered, served, "{uids:?}");
        let refused = running.metric("kdc_kms_refused_peers_total{key=\"default\"}");
        assert_eq!(refused > Some(0.0), !served, "{uids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_loses_no_call_in_flight() {
    let kek = TestKek::new(Mood::Slow(Duration::from_millis(700)));
    let mut fixture = Fixture::with(kek.clone()).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let mut client = fixture.client().await;
        calls.push(tokio::spawn(
            async move { encrypt(&mut client, &SEED).await },
        ));
    }
    eventually("calls run", async || {
        kek.entered.load(Ordering::SeqCst)
            && fixture
                .running
                .metric("kdc_kms_rpcs_in_flight{key=\"default\"}")
                == Some(20.0)
    })
    .await;
    fixture.running.begin_stop();
    eventually("the socket is gone first", async || {
        !fixture.socket.exists()
    })
    .await;
    let (code, body) = fixture.running.get("/readyz").await;
    assert_eq!((code, body.as_str()), (503, "not ready: shutting down\n"));
    assert_eq!(fixture.running.get("/livez").await.0, 200);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    fixture.running.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_traffic_answers_every_call_it_took() {
    for round in 0..20 {
        let kek = TestKek::new(Mood::Slow(Duration::from_millis(3)));
        let mut fixture = Fixture::with(kek.clone()).await;
        let mut callers = Vec::new();
        for _ in 0..8 {
            let mut client = fixture.client().await;
            callers.push(tokio::spawn(async move {
                let mut answered = 0u64;
                while encrypt(&mut client, &SEED).await.is_ok() {
                    answered += 1;
                }
                answered
            }));
        }
        tokio::time::sleep(Duration::from_millis(20 + round)).await;
        fixture.running.begin_stop();
        fixture.running.ended().await.unwrap();
        let mut answered = 0;
        for caller in callers {
            answered += caller.await.unwrap();
        }
        assert!(answered > 0);
        assert_eq!(answered, kek.completed.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_for_a_silent_connection() {
    let mut fixture = Fixture::new().await;
    let _silent = tokio::net::UnixStream::connect(&fixture.socket)
        .await
        .unwrap();
    fixture.running.begin_stop();
    tokio::time::timeout(Duration::from_secs(8), fixture.running.ended())
        .await
        .unwrap()
        .unwrap();
}
