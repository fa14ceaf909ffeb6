//! What is read from the metrics of an API server, and what is not believed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use kdc_envelope_k8s::Layout;
use kdc_envelope_k8s::rotation::metrics::{MetricsError, NotShown, ServerMetrics};
use kdc_envelope_k8s::rotation::{ConfigHash, NodeFile, SETTLE, Timestamp};
use proptest::prelude::*;

const HEX: &str = "0101010101010101010101010101010101010101010101010101010101010101";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn file(written: u64) -> NodeFile {
    NodeFile::written_at(
        ConfigHash::new([1; 32]),
        Arc::new(Layout::default()),
        at(written),
    )
}

fn parse(text: &str) -> ServerMetrics {
    ServerMetrics::parse(text).unwrap()
}

/// As a server shows them that has been reloaded once and has had two key ids.
fn newest() -> String {
    format!(
        r#"# HELP apiserver_encryption_config_controller_last_config_info [ALPHA] Information about the last applied encryption configuration.
# TYPE apiserver_encryption_config_controller_last_config_info gauge
apiserver_encryption_config_controller_last_config_info{{apiserver_id_hash="sha256:aa",hash="sha256:{HEX}"}} 1
apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds{{apiserver_id_hash="sha256:aa",status="success"}} 1.7000002e+09
apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{{apiserver_id_hash="sha256:aa",key_id_hash="sha256:new",provider_name="a \"b\"\\"}} 1.700000301123e+09
apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{{apiserver_id_hash="sha256:aa",key_id_hash="sha256:old",provider_name="a \"b\"\\"}} 1.7000001e+09
process_start_time_seconds 1.70000010041e+09
process_start_time_seconds_of_something_else nonsense
"#
    )
}

#[test]
fn a_server_that_shows_its_configuration_is_believed() {
    let metrics = parse(&newest());
    assert_eq!(metrics.config, Some(ConfigHash::new([1; 32])));
    assert_eq!(metrics.started, Some(at(1_700_000_100)));
    assert_eq!(metrics.started_exactly.as_deref(), Some("1700000100.41"));
    let loaded = metrics.loaded(&file(1_800_000_000), 36, at(0)).unwrap();
    assert_eq!(
        (loaded.hash, loaded.since),
        (ConfigHash::new([1; 32]), Some(at(1_700_000_200)))
    );
    let told = &metrics.key_ids["a \"b\"\\"];
    assert_eq!((&*told.id, told.told), ("sha256:new", at(1_700_000_301)));
}

#[test]
fn a_server_that_could_show_a_configuration_and_shows_none_has_none() {
    let metrics = parse("process_start_time_seconds 100\n");
    let loaded = metrics.loaded(&file(1), 34, at(1000)).unwrap();
    assert_eq!(
        (loaded.hash, loaded.since),
        (ConfigHash::NO_FILE, Some(at(100)))
    );
}

#[test]
fn a_key_id_counts_from_when_another_one_was_told_last() {
    let told = |id: &str, seconds: u64| {
        format!(
            "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{{apiserver_id_hash=\"sha256:s\",key_id_hash=\"{id}\",provider_name=\"p\"}} {seconds}\n"
        )
    };
    let since = |text: &str| {
        let metrics = parse(text);
        assert_eq!(metrics.server_id_hash.as_deref(), Some("sha256:s"));
        let id = metrics.kms_key_ids()["p"].clone();
        (id.id.to_string(), id.since)
    };
    assert_eq!(since(&told("a", 10)), ("a".to_owned(), at(0)));
    let orders = [
        [told("a", 10), told("b", 30), told("c", 20)],
        [told("b", 30), told("a", 10), told("c", 20)],
        [told("c", 20), told("a", 10), told("b", 30)],
    ];
    for order in orders {
        assert_eq!(since(&order.concat()), ("b".to_owned(), at(20)));
    }
}

#[test]
fn an_older_server_shows_a_start_or_a_settled_reload() {
    let reloaded = |status: &str, seconds: u64| {
        format!(
            "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds{{status=\"{status}\"}} {seconds}\n"
        )
    };
    let started = "process_start_time_seconds 100\n";
    let late = at(1000).after(SETTLE);
    let text = started.to_owned() + &reloaded("success", 1010);
    let loaded = parse(&text).loaded(&file(1000), 33, late).unwrap();
    assert_eq!(loaded.since, Some(at(1010)));
    // That reload may have been one of an earlier file.
    assert_eq!(
        parse(&text).loaded(&file(1000), 33, at(1020)),
        Err(NotShown::NotReloaded)
    );
    assert_eq!(
        parse(&text).loaded(&file(1010), 33, at(5000)),
        Err(NotShown::NotReloaded)
    );
    assert_eq!(
        parse(started).loaded(&file(1000), 33, late),
        Err(NotShown::NotReloaded)
    );
    assert!(parse(started).loaded(&file(99), 33, at(101)).is_ok());
    let failed = text + &reloaded("failure", 1011);
    assert_eq!(
        parse(&failed).loaded(&file(1000), 33, late),
        Err(NotShown::ReloadFailed)
    );
    assert_eq!(
        parse("").loaded(&file(1000), 33, late),
        Err(NotShown::NoMetrics)
    );
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let config = "apiserver_encryption_config_controller_last_config_info";
    let line = |text: &str| match ServerMetrics::parse(text) {
        Err(MetricsError::Line { line, problem }) => (line, problem),
        other => (0, Box::leak(format!("{other:?}").into_boxed_str()) as &str),
    };
    let format = "not in the text format of Prometheus";
    for text in [
        "process_start_time_seconds",
        "process_start_time_seconds x",
        "process_start_time_seconds 1 2 3",
        "process_start_time_seconds 1 x",
        "process_start_time_seconds{a=\"b 1",
        "process_start_time_seconds{a} 1",
        "process_start_time_seconds{a=\"\\x\"} 1",
        "process_start_time_seconds{",
    ] {
        assert_eq!(line(&format!("#\n{text}")), (2, format), "{text}");
    }
    for value in ["-1", "NaN", "+Inf", "1e300"] {
        assert_eq!(
            line(&format!("process_start_time_seconds {value}")),
            (1, "no time")
        );
    }
    for hash in [
        "",
        "sha256:",
        "sha256:01",
        &format!("sha512:{HEX}"),
        &format!("sha256:{}", HEX.replace('1', "g")),
    ] {
        let text = format!("{config}{{hash=\"{hash}\"}} 1");
        assert_eq!(line(&text), (1, "no SHA-256 of a configuration"), "{hash}");
    }
    let two = format!(
        "{config}{{hash=\"sha256:{HEX}\"}} 1\n{config}{{hash=\"sha256:{}\"}} 1",
        HEX.replace('1', "2")
    );
    assert_eq!(
        line(&two),
        (2, "a second configuration; ask one process only")
    );
    // One that is no longer used counts for nothing.
    assert!(parse(&two.replacen("} 1", "} 0", 1)).config.is_some());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", labels in "\\PC*", value in "[0-9eE+.NaInf -]*") {
        let _ = ServerMetrics::parse(&text);
        for name in ["process_start_time_seconds", "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds"] {
            let _ = ServerMetrics::parse(&format!("{name}{{{labels}}} {value}"));
            let _ = ServerMetrics::parse(&format!("{name}{{a=\"{labels}\"}} {value}"));
        }
    }
}
