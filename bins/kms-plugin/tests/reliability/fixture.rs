//! Everything that a fault needs: servers, a plugin between them, and clients that use them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_testbed::bao::{AppRole, Bao, Caller, Grant, kms_plugin_policy};
use kdc_testbed::fixtures::{
    ControlPlane, Launch, Plugin, PluginOptions, Prober, SEED_FILL, SOON, Tallies, put_credential,
    secret, wrap_seeds,
};
use kdc_testbed::proxy::Proxy;
use kdc_testbed::{KubeMinor, Resource, encryption_config};
use serde_json::json;
use tempfile::TempDir;

use crate::table::{Row, Table};

/// After a fault has ended, every kind of call must succeed again within this time.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// The servers, the plugin and the clients of one test. Fields are dropped in this order.
pub(crate) struct Fixture<B> {
    prober: Prober,
    pub(crate) plugin: Plugin,
    pub(crate) role: AppRole,
    pub(crate) backend: B,
    table: Table,
    secrets: Vec<String>,
    last_recovery: Duration,
    folder: TempDir,
    control_plane: Option<ControlPlane>,
}

/// The size of a [`Fixture`], and how its plugin is run.
#[derive(Clone, Copy)]
pub(crate) struct Scale<'a> {
    /// Seeds that no call has requested yet; the prober uses five a second.
    pub(crate) seeds: u32,
    pub(crate) with_api_server: bool,
    /// How long the plugin remembers a seed.
    pub(crate) cache_ttl: &'a str,
    /// How the plugin is run, if not directly.
    pub(crate) launch: Option<Launch<'a>>,
}

impl<'a> Scale<'a> {
    /// Without an API server, and with a cache that forgets within seconds.
    pub(crate) const fn of(seeds: u32) -> Self {
        Self {
            seeds,
            with_api_server: false,
            cache_ttl: "3s",
            launch: None,
        }
    }

    pub(crate) const fn with_launch(mut self, launch: Launch<'a>) -> Self {
        self.launch = Some(launch);
        self
    }

    pub(crate) const fn with_api_server(mut self) -> Self {
        self.with_api_server = true;
        self
    }
}

/// One server behind a proxy.
pub(crate) struct Proxied {
    pub(crate) bao: Bao,
    pub(crate) proxy: Proxy,
}

/// A key, a policy, and a role that has it.
pub(crate) async fn set_up(root: &Caller) -> AppRole {
    root.enable_transit("transit").await.unwrap();
    root.create_key("transit", "etcd").await.unwrap();
    root.write_policy("kms", &kms_plugin_policy("etcd"))
        .await
        .unwrap();
    root.enable_auth("approle", "approle").await.unwrap();
    // After five wrong secret ids OpenBao would refuse the right one, too, for 15 minutes.
    let tune = json!({"user_lockout_config": {"lockout_disable": true}});
    root.call("POST", "sys/auth/approle/tune", Some(tune))
        .await
        .unwrap();
    root.create_approle("approle", "kms", &grant())
        .await
        .unwrap()
}

pub(crate) fn grant() -> Grant {
    Grant::of(["kms"]).without_default_policy()
}

impl Fixture<Proxied> {
    /// A plugin that reaches OpenBao through the proxy; with an API server if it is asked for.
    pub(crate) async fn proxied(table: Table, scale: Scale<'_>) -> Self {
        let bao = Bao::options().persistent().start().await.unwrap();
        let role = set_up(bao.root()).await;
        let proxy = Proxy::start(bao.address()).await.unwrap();
        // No server listens on the first address.
        let addresses = format!("http://127.0.0.1:1,{}", proxy.address());
        let root_token = bao.root_token().to_owned();
        let backend = Proxied { bao, proxy };
        Self::start(table, scale, backend, (role, &addresses, root_token)).await
    }
}

impl<B> Fixture<B> {
    pub(crate) async fn start(
        table: Table,
        scale: Scale<'_>,
        backend: B,
        (role, addresses, root_token): (AppRole, &str, String),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret_id = folder.path().join("secret-id");
        put_credential(&secret_id, &role.secret_id);
        let arguments = [
            ["--bao-address", addresses],
            ["--bao-auth", "approle"],
            ["--bao-role-id", &role.role_id],
            ["--bao-secret-id-file", secret_id.to_str().unwrap()],
            ["--bao-hold", "1s"],
            ["--cache-ttl", scale.cache_ttl],
        ];
        let log = folder.path().join("plugin.log");
        let options = plugin_options(folder.path(), &log, arguments.as_flattened());
        let plugin = match scale.launch {
            None => options.start().await,
            Some(launch) => options.launch(launch).await,
        };
        plugin.healthy().await;
        let known = wrap_seeds(&plugin.client, scale.seeds).await;
        let control_plane = match scale.with_api_server {
            true => Some(control_plane(&plugin).await),
            false => None,
        };
        let api = control_plane
            .as_ref()
            .map(|control_plane| control_plane.client().clone());
        // The part that all seeds share, as a log would show it: a search for each would take longer than the tests.
        let seeds = [
            STANDARD.encode([SEED_FILL; 18]),
            hex::encode([SEED_FILL; 18]),
        ];
        let mut secrets = vec![role.secret_id.clone(), root_token];
        secrets.extend(seeds);
        Self {
            prober: Prober::start(&plugin.client, known, api),
            plugin,
            role,
            backend,
            table,
            secrets,
            last_recovery: Duration::ZERO,
            folder,
            control_plane,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Lets a fault last for a while, heals it, and waits until all is well.
    pub(crate) async fn fault(
        &mut self,
        name: &'static str,
        begin: impl AsyncFnOnce(&mut Self),
        lasts: Duration,
        end: impl AsyncFnOnce(&mut Self),
    ) {
        self.all_well(name, Instant::now()).await;
        self.prober.take();
        begin(self).await;
        tokio::time::sleep(lasts).await;
        end(self).await;
        let healed = Instant::now();
        let seen = self.prober.tallies();
        let recovery = self.all_well(name, healed).await;
        assert!(
            recovery <= RECOVERY_LIMIT,
            "{name}: {recovery:?}\n{}",
            self.plugin.process.log_tail()
        );
        let after = self.prober.tallies();
        let wrong =
            after.known_seeds.wrong + after.new_seeds.wrong + after.wraps.wrong + after.reads.wrong;
        assert_eq!(wrong, 0, "{name}: wrong answers");
        self.plugin.process.ensure_running().unwrap();
        self.last_recovery = recovery;
        self.table.add(Row {
            fault: name,
            lasts,
            seen,
            recovery,
        });
    }

    /// How long after `moment` calls of every kind that began since then had gone well.
    async fn all_well(&mut self, name: &str, moment: Instant) -> Duration {
        let begin = Instant::now();
        loop {
            let seen = self.prober.tallies();
            let has_api = self.control_plane.is_some();
            let plugin = [seen.status, seen.wraps, seen.known_seeds, seen.new_seeds];
            let api = [seen.reads, seen.writes];
            let is_well = plugin.iter().all(|tally| tally.is_well_since(moment))
                && (!has_api || api.iter().all(|tally| tally.is_well_since(moment)));
            if is_well {
                return moment.elapsed();
            }
            self.plugin.process.ensure_running().unwrap();
            assert!(
                begin.elapsed() < SOON,
                "{name}: not well: {seen:?}\n{}",
                self.plugin.process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was seen since the last fault began.
    pub(crate) fn tallies(&self) -> Tallies {
        self.prober.tallies()
    }

    /// How long the last fault took to heal.
    pub(crate) const fn last_recovery(&self) -> Duration {
        self.last_recovery
    }

    /// Ends the calls of the prober.
    pub(crate) fn stop_probing(&self) {
        self.prober.stop();
    }

    /// Nothing that the plugin printed may hold a secret.
    pub(crate) fn finish(self) {
        let log = self.plugin.process.log();
        assert!(log.contains("OpenBao login ok"), "the log is the plugin's");
        for secret in &self.secrets {
            assert!(!log.contains(secret), "a secret is in the log");
        }
        // Tokens of OpenBao begin so, and nothing else.
        let token = log
            .lines()
            .find(|line| line.contains("\"s.") || line.contains("hvs."));
        assert_eq!(token, None, "a token is in the log");
        self.table.write();
    }
}

async fn control_plane(plugin: &Plugin) -> ControlPlane {
    let config = encryption_config::kms_v2(&["secrets"], "kube-dc-kms-plugin", &plugin.socket);
    let control_plane = ControlPlane::start(KubeMinor::usual().unwrap(), &config).await;
    let mut demo = secret("demo", "hunter2");
    demo["metadata"]["annotations"] = json!({"count": "0"});
    let created = control_plane
        .client()
        .create(Resource::SECRETS, "default", &demo);
    created.await.unwrap();
    control_plane
}

/// A plugin with the key `etcd` in OpenBao, its socket in `folder`, and further `arguments`.
pub(crate) fn plugin_options(folder: &Path, log: &Path, arguments: &[&str]) -> PluginOptions {
    PluginOptions::new(folder, "kms")
        .log(log)
        .arguments(["--bao-key", "etcd", "--bao-insecure-http"])
        .arguments(["--bao-poll-interval", "2s", "--log-level", "debug"])
        .arguments(arguments.iter().copied())
}
