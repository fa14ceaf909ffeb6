//! What probes of kube-apiserver come to while its plugin is away.

use std::time::Duration;

use kdc_envelope_k8s::api_server::{Dependence, KmsChecks};

use crate::fixture::{ControlPlane, eventually, on_each_minor, readiness};

/// A result counts for 20 s, and the check that finds the plugin gone takes 3 s.
const NOTICE: Duration = Duration::from_secs(60);

#[test]
fn probes_fail_with_the_plugin_as_their_paths_say() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        control_plane.plugin.kill().await;
        eventually("readiness fails", NOTICE, async || {
            match readiness(control_plane.client()).await {
                Ok(()) => Err("ready".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await;
        for path in [
            "/livez",
            "/livez?verbose",
            "/livez?exclude=kms-provider-0",
            "/livez/ping",
            "/livez/kms-providers",
            "/readyz",
            "/readyz?exclude=kms-providers",
            "/readyz?verbose&exclude=etcd&exclude=kms-providers",
            "/readyz?exclude=kms%2Dproviders",
            "/readyz?exclude=etcd,kms-providers",
            "/readyz?exclude=kms-provider",
            "/readyz?exclude=kms-provider-0",
            "/readyz?Exclude=kms-providers",
            "/readyz?exclude=kms-providers;verbose",
            "/readyz/etcd",
            "/readyz/kms-providers",
            "/readyz/kms-provider-0",
            "/readyz/",
            "/healthz",
            "/healthz?exclude=kms-providers",
            "/healthz/kms-providers?exclude=kms-providers",
            "/healthz/ping",
            "/version",
        ] {
            let status = match Dependence::of_path(path, KmsChecks::One) {
                Dependence::None => 200,
                Dependence::Plugin => 500,
                Dependence::NotServed => 404,
                other => unreachable!("{path}: {other:?}"),
            };
            let answer = control_plane.client().raw(path).await.unwrap();
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
        }
    });
}
