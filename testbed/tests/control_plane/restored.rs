//! A sealed snapshot of a control plane, restored into another etcd with an API server of its own.

use kdc_testbed::servers::{Server, prepare};
use kdc_testbed::{Etcd, Resource};

use crate::fixture::{ControlPlane, data, kdc, on_each_minor, run, secret};

#[test]
fn secrets_of_a_sealed_snapshot_are_read_through_another_api_server() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::shared(minor).await;
        let object = secret("before-the-fire", "restored");
        let created = control_plane
            .client()
            .create(Resource::SECRETS, "default", &object);
        created.await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let (bucket, data_dir) = (folder.path().join("bucket"), folder.path().join("data"));
        let backup = |verb: &str| {
            let mut command = kdc();
            command.args(["backup", verb, "--cluster", "prod", "--bucket"]);
            command
                .arg(&bucket)
                .arg("--keyring")
                .arg(&control_plane.plugin.keyring);
            command
        };
        let from = [
            "--etcd-endpoints",
            control_plane.etcd.endpoint(),
            "--etcd-timeout",
            "30s",
        ];
        run(backup("run").args(from)).done();
        let removed =
            control_plane
                .client()
                .delete(Resource::SECRETS, "default", "before-the-fire");
        removed.await.unwrap();
        let etcdutl = prepare(Server::Etcdutl, &mut |_| ()).unwrap();
        let into = ["--data-dir".as_ref(), data_dir.as_os_str()];
        run(backup("restore").args(into).arg("--etcdutl").arg(etcdutl)).done();

        let etcd = Etcd::start_on(&data_dir).await.unwrap();
        let server = control_plane.options().start(&etcd).await.unwrap();
        let read = server
            .client()
            .read(Resource::SECRETS, "default", "before-the-fire");
        assert_eq!(data(&read.await.unwrap()), "restored");
        let gone = control_plane
            .client()
            .read(Resource::SECRETS, "default", "before-the-fire");
        assert!(gone.await.is_err(), "only the restored one has it");
    });
}
