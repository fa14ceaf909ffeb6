//! Metrics of API servers: no panic, and no time beyond the year 9999.
#![no_main]

use kdc_envelope_k8s::rotation::metrics::ServerMetrics;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let names = [
        "apiserver_encryption_config_controller_last_config_info",
        "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
        "process_start_time_seconds",
        "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
    ];
    // Behind one of the names that the parser reads.
    for line in names.map(|name| format!("{name}{text}")) {
        if let Ok(metrics) = ServerMetrics::parse(&line) {
            let times = [metrics.started, metrics.reloaded, metrics.reload_failed];
            assert!(
                times
                    .iter()
                    .flatten()
                    .all(|time| time.as_secs() < 253_402_300_800)
            );
        }
    }
    let _ = ServerMetrics::parse(text);
});
