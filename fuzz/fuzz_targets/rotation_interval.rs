//! Intervals of rotation: what is read is never zero, clusters take no more than keys, and what is spelled is read back.
#![no_main]

use kdc_envelope_k8s::crd::interval::{CLUSTER_BOUNDS, Interval, Units, spelled};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let of_key = Interval::parse(text, Units::Key);
    if let Ok(of_cluster) = Interval::parse(text, Units::Cluster) {
        assert_eq!(Ok(&of_cluster), of_key.as_ref());
        if let Ok(within) = of_cluster.within(&CLUSTER_BOUNDS) {
            assert!(CLUSTER_BOUNDS.contains(&within.duration()));
        }
    }
    let Ok(interval) = of_key else { return };
    assert!(!interval.duration().is_zero() && interval.to_string() == text);
    let again = Interval::parse(&spelled(interval.duration()), Units::Key);
    assert_eq!(again.map(|again| again.duration()), Ok(interval.duration()));
});
