//! A manager as a process: its probes, its metrics, and its end.
#![cfg(feature = "manager")]
#![expect(clippy::panic, reason = "helpers are part of the tests")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use kdc_envelope_k8s::controller::{
    Controller, ControllerMetrics, ControllerSettings, LeaderSettings, Next, ObjectKey, Objects,
    ReconcileError, Reconciler,
};
use kdc_shared::logging::LogFormat;
use kdc_shared::manager::{self, ManagerSettings, Program, Work};
use kdc_testbed::{ApiServer, Etcd, Process, Resource};

struct Nothing;

#[async_trait]
impl Reconciler for Nothing {
    async fn reconcile(&self, _: &ObjectKey, _: &Objects) -> Result<Next, ReconcileError> {
        Ok(Next::OnChange)
    }
}

#[test]
#[ignore = "runs as a child process of `a_manager_is_ready_when_it_has_seen_everything_and_gives_its_lease_up_at_the_end`"]
fn child_that_is_a_manager() {
    let Some(kubeconfig) = std::env::var_os("KDC_TEST_KUBECONFIG") else {
        return;
    };
    let address = std::env::var("KDC_TEST_HTTP").unwrap();
    let settings = ManagerSettings {
        kubeconfig: Some(PathBuf::from(kubeconfig)),
        context: None,
        watch_namespaces: None,
        leader: LeaderSettings::new("default", "test-manager", "child"),
        http_address: Some(address.parse().unwrap()),
        log_format: LogFormat::Text,
        log_level: "info".parse().unwrap(),
    };
    let program = Program {
        name: "test-manager",
        version: "1.2.3",
        reporter: "example.com/test-manager",
        metrics: "kdc_test_manager",
    };
    let ended = manager::run(&program, &settings, |setup| {
        let metrics = ControllerMetrics::register("kdc_test_manager", &mut setup.registry);
        let settings = ControllerSettings::new("nothing");
        let controller = Controller::new(settings, setup.objects.clone());
        let mut controller = controller.with_metrics(metrics);
        controller.watch::<Secret>(None, |secret| vec![ObjectKey::of(secret)]);
        Work {
            health: vec![controller.health()],
            run: Box::pin(controller.run(Nothing, setup.stop.clone())),
        }
    });
    ended.unwrap();
}

/// The answer to a GET, with its head.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

async fn answered(address: SocketAddr, path: &str, expected: &str) -> String {
    for _ in 0..1_200 {
        if let Some(answer) = get(address, path).filter(|answer| answer.contains(expected)) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} never says {expected}: {:?}", get(address, path));
}

#[tokio::test]
async fn a_manager_is_ready_when_it_has_seen_everything_and_gives_its_lease_up_at_the_end() {
    let etcd = Etcd::start().await.unwrap();
    let server = ApiServer::options().start(&etcd).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "child_that_is_a_manager",
            "--ignored",
            "--nocapture",
        ])
        .env("KDC_TEST_KUBECONFIG", server.kubeconfig())
        .env("KDC_TEST_HTTP", address.to_string());
    let log = folder.path().join("log");
    let mut manager = Process::start("the manager", &command, &log).unwrap();
    answered(address, "/livez", "200 OK").await;
    answered(address, "/readyz", "200 OK").await;
    let metrics = answered(address, "/metrics", "kdc_test_manager_leader 1").await;
    for line in [
        "kdc_test_manager_build_info{version=\"1.2.3\"} 1",
        "kdc_test_manager_reconcile_runs_total",
        "kdc_test_manager_evicted_connections_total 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let leases = Resource::new("coordination.k8s.io/v1", "leases");
    let holder = async || {
        let lease = server
            .client()
            .read(leases, "default", "test-manager")
            .await
            .unwrap();
        lease.pointer("/spec/holderIdentity").cloned()
    };
    assert_eq!(holder().await, Some("child".into()));
    assert_eq!(manager.terminate(Duration::from_mins(1)).await.unwrap(), 0);
    assert_eq!(holder().await, None, "{}", manager.log());
    for line in [
        "test-manager started",
        "took the Lease",
        "gave the Lease up",
        "stopped",
    ] {
        assert!(manager.log().contains(line), "{line} in {}", manager.log());
    }
}
