//! `kdc plugin`, against the server of this workspace.

use crate::fixture::Fixture;

#[test]
fn check_passes_our_own_plugin() {
    let fixture = Fixture::with_keyring();
    let _plugin = fixture.serve();
    let socket = fixture.socket();
    let run = fixture.kdc(&["plugin", "check", "--socket", &socket]);
    let text = run.succeeds().text();
    assert!(text.contains("conforms to KMS v2: "), "{text}");
    assert!(text.contains(" 0 warned, 0 failed, 0 skipped"), "{text}");
    assert!(!text.contains("else the API server"), "{text}");
    let explained = fixture.kdc(&[
        "plugin",
        "check",
        "--socket",
        &socket,
        "--explain",
        "--pairs",
        "1",
    ]);
    assert!(explained.succeeds().text().contains("else the API server"));

    let report = fixture.kdc(&["plugin", "check", "--socket", &socket, "--output", "json"]);
    let report = report.succeeds().json();
    assert_eq!(report["verdict"], "conforms");
    let results = report["results"].as_array().unwrap();
    assert!(results.len() > 20);
    assert!(
        results
            .iter()
            .all(|result| result["outcome"] == "pass" && result["on_failure"].is_string())
    );
}

#[test]
fn check_of_a_socket_that_no_plugin_serves_is_a_no() {
    let fixture = Fixture::new();
    let socket = fixture.socket();
    let run = fixture.kdc(&["plugin", "check", "--socket", &socket, "--timeout", "200ms"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let text = run.text();
    assert!(text.contains("FAIL  socket"), "{text}");
    assert!(
        text.contains("else the API server: every call waits for the socket"),
        "{text}"
    );
    assert!(text.contains("violates KMS v2"), "{text}");
}

#[test]
fn bench_measures_every_kind_of_call() {
    let fixture = Fixture::with_keyring();
    let _plugin = fixture.serve();
    let socket = fixture.socket();
    for rpc in ["status", "encrypt", "decrypt", "mixed"] {
        let bench = [
            "plugin",
            "bench",
            "--socket",
            &socket,
            "--rpc",
            rpc,
            "--calls",
            "60",
            "--concurrency",
            "4",
            "--seeds",
            "3",
        ];
        let text = fixture.kdc(&bench).succeeds().text();
        assert!(text.contains("60 good answers"), "{text}");
        assert!(text.contains("p99.9"), "{text}");
        let report = fixture
            .kdc(&[&bench[..], &["--output", "json"]].concat())
            .succeeds()
            .json();
        assert_eq!(
            (&report["rpc"], &report["calls"]),
            (&rpc.into(), &60.into())
        );
        assert!(report["latency_seconds"]["p50"].as_f64().unwrap() > 0.0);
    }
    let timed = fixture.kdc(&[
        "plugin",
        "bench",
        "--socket",
        &socket,
        "--duration",
        "300ms",
        "--output",
        "json",
    ]);
    assert!(timed.succeeds().json()["seconds"].as_f64().unwrap() >= 0.3);
}

#[test]
fn bench_makes_the_burst_of_a_restart() {
    let fixture = Fixture::with_keyring();
    let _plugin = fixture.serve();
    let socket = fixture.socket();
    let burst = [
        "plugin",
        "bench",
        "--socket",
        &socket,
        "--cold-start",
        "--seeds",
        "5",
        "--duplicates",
        "3",
        "--concurrency",
        "8",
    ];
    let text = fixture.kdc(&burst).succeeds().text();
    assert!(
        text.starts_with("decrypt of 5 seeds, 3 times each, 8 in flight"),
        "{text}"
    );
    let report = fixture
        .kdc(&[&burst[..], &["--output", "json"]].concat())
        .succeeds()
        .json();
    assert_eq!(
        (&report["calls"], &report["seeds"]),
        (&15.into(), &5.into())
    );
}

#[test]
fn bench_says_why_it_cannot_measure() {
    let fixture = Fixture::new();
    let socket = fixture.socket();
    let bench = ["plugin", "bench", "--socket", &socket, "--timeout", "200ms"];
    fixture
        .kdc(&bench)
        .fails(69, "--socket: the plugin cannot be measured");
    let with = |more: &[&str]| fixture.kdc(&[&bench[..], more].concat());
    with(&["--concurrency", "0"]).fails(64, "--concurrency");
    with(&["--duration", "soon"]).fails(64, "--duration");
    with(&["--cold-start", "--rpc", "status"]).fails(64, "cannot be used with");
    with(&["--duplicates", "3"]).fails(64, "--cold-start");
}
