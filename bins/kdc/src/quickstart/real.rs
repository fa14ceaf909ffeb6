//! A real etcd and kube-apiserver, as the testbed of this repository builds and starts them.

use std::fs;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use kdc_testbed::servers::{Progress, prepare};
use kdc_testbed::{ApiError, ApiServer, Etcd, KubeMinor, Resource, Server, encryption_config};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::narration::PROVIDER;
use super::plugin::Plugin;
use super::samples::{NAMESPACE, Sample};
use super::story::key_id_of;
use super::{ControlPlane, Row};
use crate::failure::{Exit, Failure};

/// kube-apiserver asks a healthy plugin for its key id at least once a minute.
const NOTICE_LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Servers {
    api: ApiServer,
    etcd: Etcd,
    runtime: Handle,
}

impl Servers {
    /// Builds what is not built yet, and starts both servers on the plugin's socket.
    pub(super) fn start(plugin: &Plugin) -> Result<Self, Failure> {
        build()?;
        let config = plugin.keyring.with_file_name("encryption-config.yaml");
        let socket = plugin.keyring.with_file_name("kms.sock");
        fs::write(
            &config,
            encryption_config::kms_v2(&["secrets"], PROVIDER, &socket),
        )
        .map_err(|error| Failure::at(Exit::CannotCreate, config.display(), &error))?;
        let runtime = plugin.runtime.handle().clone();
        let (etcd, api) = runtime
            .block_on(async {
                let etcd = Etcd::start().await?;
                let api = ApiServer::options()
                    .encryption_config(config)
                    .start(&etcd)
                    .await?;
                Ok((etcd, api))
            })
            .map_err(|error| of_testbed(&error))?;
        Ok(Self { api, etcd, runtime })
    }

    fn read(&self, sample: &Sample) -> Result<Value, Failure> {
        let client = self.api.client();
        self.runtime
            .block_on(client.read(Resource::SECRETS, NAMESPACE, &sample.name))
            .map_err(|error| of_api(&error))
    }
}

impl ControlPlane for Servers {
    fn name(&self) -> String {
        format!("kube-apiserver {} in etcd", KubeMinor::DEFAULT)
    }

    fn create(&mut self, sample: &Sample) -> Result<Row, Failure> {
        let client = self.api.client();
        self.runtime
            .block_on(client.create(Resource::SECRETS, NAMESPACE, &sample.manifest()))
            .map_err(|error| of_api(&error))?;
        self.row(sample)
    }

    fn replace(&mut self, sample: &Sample) -> Result<Row, Failure> {
        let object = self.read(sample)?;
        let client = self.api.client();
        self.runtime
            .block_on(client.replace(Resource::SECRETS, NAMESPACE, &object))
            .map_err(|error| of_api(&error))?;
        self.row(sample)
    }

    fn row(&self, sample: &Sample) -> Result<Row, Failure> {
        let key = sample.etcd_key();
        let row = self.runtime.block_on(self.etcd.row(&key));
        let row = row.map_err(|error| of_testbed(&error))?;
        let row =
            row.ok_or_else(|| Failure::new(Exit::NoInput, format_args!("etcd has no row {key}")))?;
        Ok(Row {
            key,
            value: row.value,
        })
    }

    fn reads_back(&mut self, sample: &Sample) -> Result<bool, Failure> {
        Ok(sample.is_in(&self.read(sample)?))
    }

    /// Probes readiness, as a load balancer does, and stores a Secret of its own until its row has the new key id.
    fn until_key_id(&mut self, key_id: &str) -> Result<(), Failure> {
        let begin = Instant::now();
        let spinner = spinner("waiting for kube-apiserver to notice, up to a minute");
        let probe = Sample::probe();
        self.create(&probe)?;
        while begin.elapsed() < NOTICE_LIMIT {
            self.runtime
                .block_on(self.api.client().raw("/readyz"))
                .map_err(|error| of_api(&error))?;
            if key_id_of(&self.replace(&probe)?)? == key_id {
                spinner.finish_and_clear();
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Failure::new(
            Exit::Negative,
            format_args!(
                "kube-apiserver does not use key id {key_id} after {} s",
                NOTICE_LIMIT.as_secs()
            ),
        ))
    }
}

impl Sample {
    fn manifest(&self) -> Value {
        let data = kdc_envelope_k8s::values::object::in_base64(self.data());
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "data": data})
    }
}

/// Builds the servers; minutes the first time, nothing later.
fn build() -> Result<(), Failure> {
    for server in [
        Server::Etcd,
        Server::Etcdctl,
        Server::KubeApiserver(KubeMinor::DEFAULT),
    ] {
        let spinner = spinner(&format!(
            "building {server} from source; minutes the first time"
        ));
        let mut show = |progress: Progress| {
            if let Progress::Compiling { done, total, .. } = progress {
                spinner.set_message(format!("building {server}: package {done} of {total}"));
            }
        };
        prepare(server, &mut show).map_err(|error| of_testbed(&error))?;
        spinner.finish_and_clear();
    }
    Ok(())
}

fn spinner(message: &str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_message(message.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

fn of_testbed(error: &kdc_testbed::Error) -> Failure {
    Failure::at(Exit::Unavailable, "--with-apiserver", error)
}

fn of_api(error: &ApiError) -> Failure {
    Failure::at(Exit::Unavailable, "kube-apiserver", error)
}
