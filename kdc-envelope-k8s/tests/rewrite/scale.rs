//! Several API servers, and objects that are large.

use std::sync::Arc;

use kdc_envelope_k8s::rewrite::RewriteOptions;
use kdc_testbed::Meter;

use crate::fixture::{
    ControlPlane, Things, counts, is_encrypted, kube_client, kube_config, pass, run,
};

/// What an object may cost on the wire, both ways and with TLS.
const BYTES_PER_OBJECT: u64 = 2048;

#[test]
fn passes_through_two_api_servers_at_once_agree() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "twofold", 400).await;
        let other = control_plane
            .options()
            .start(&control_plane.etcd)
            .await
            .unwrap();
        let (one, two) = (control_plane.kube().await, kube_client(&other).await);
        let resources = things.group_resource();
        let options = RewriteOptions::default();
        let (first, second) = tokio::join!(
            pass(&one, &resources, &options),
            pass(&two, &resources, &options)
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(
            first.is_complete() && second.is_complete(),
            "{first:?} {second:?}"
        );
        assert_eq!((first.objects(), second.objects()), (400, 400));
        // A server whose cache lags behind may also count a row that the other one wrote.
        assert!(first.rewritten() + second.rewritten() >= 400);
        assert_eq!(things.stale_names().await, Vec::<String>::new());
        let report = pass(&two, &resources, &options).await.unwrap();
        assert_eq!(counts(&report), [400, 0, 400, 0, 0], "{report:?}");
    });
}

#[test]
fn large_objects_do_not_travel() {
    run(async {
        let control_plane = Arc::new(ControlPlane::start(&["*.*"], &["new"]).await);
        let text = "x".repeat(400 << 10);
        let things = Things::stale_with(&control_plane, "large", 1000, &text).await;
        let mut config = kube_config(&control_plane.server).await;
        let meter = Meter::start(control_plane.server.url()).await.unwrap();
        config.cluster_url = meter.https_url().parse().unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let resources = things.group_resource();
        let report = pass(&client, &resources, &RewriteOptions::default())
            .await
            .unwrap();
        assert_eq!(counts(&report), [1000, 1000, 0, 0, 0], "{report:?}");
        let bytes = meter.bytes();
        assert!(
            bytes <= 1000 * BYTES_PER_OBJECT,
            "{bytes} bytes for 1000 objects"
        );
        assert!(report.bytes_sent + report.bytes_received < bytes);
        // All of them at once would be half a gigabyte.
        for number in (0..1000).step_by(50) {
            let row = things.row(&Things::name(number)).await;
            assert!(is_encrypted(&row, "new") && row.value.len() > text.len());
        }
        let report = pass(&client, &resources, &RewriteOptions::default())
            .await
            .unwrap();
        assert_eq!(counts(&report), [1000, 0, 1000, 0, 0], "{report:?}");
    });
}
