//! The program with its key in a real OpenBao, which it reaches through a proxy that counts and can refuse.

mod calls;
mod grace;
mod hostile;
mod logins;
mod outages;
mod secrecy;
mod several;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fixture::{
    Client, Place, Running, decrypt, encrypt, eventually, get, http_address, program, status,
};
use kdc_testbed::bao::{Bao, Grant, kms_plugin_policy};
use kdc_testbed::proxy::Proxy;

const SEED: [u8; 32] = *b"a seed that no log line may hold";

/// A server with the key `transit/etcd` and the policy `tcp` for it, and a place for the program.
struct Backend {
    bao: Bao,
    proxy: Proxy,
    place: Place,
}

impl Backend {
    async fn start() -> Self {
        Self::of(Bao::start().await.unwrap()).await
    }

    async fn of(bao: Bao) -> Self {
        let root = bao.root();
        root.enable_transit("transit").await.unwrap();
        root.create_key("transit", "etcd").await.unwrap();
        let policy = kms_plugin_policy("etcd");
        root.write_policy("tcp", &policy).await.unwrap();
        // With TLS the proxy cannot stand in between, and is not used.
        let proxy = Proxy::start(bao.address()).await.unwrap();
        Self {
            bao,
            proxy,
            place: Place::new(),
        }
    }

    /// What tokens of the policy `tcp` get.
    fn grant() -> Grant {
        Grant::of(["tcp"])
            .ttl(Duration::from_secs(3_600))
            .without_default_policy()
    }

    async fn token(&self) -> String {
        self.bao.root().create_token(&Self::grant()).await.unwrap()
    }

    /// A private file.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.place.path(name);
        write_private(&path, content);
        path
    }

    /// The program with the key, probes, and the login that `flags` say; logs of one line each. Status has no grace unless they give one.
    fn command(&self, flags: &[&str]) -> Command {
        let mut command = program();
        command.arg("--socket").arg(&self.place.socket);
        command.args([
            "--bao-address",
            &self.proxy.address(),
            "--bao-insecure-http",
        ]);
        command.args(["--bao-key", "etcd", "--http-address", "127.0.0.1:0"]);
        command.args(["--bao-poll-interval", "1s"]).args(flags);
        if !flags.contains(&"--status-grace") {
            command.args(["--status-grace", "0"]);
        }
        command
    }

    /// The program with a token in a file, serving.
    async fn serving(&self, flags: &[&str]) -> (Running, Client) {
        let token = self.file("token", &self.token().await);
        let login = [
            "--bao-auth",
            "token",
            "--bao-token-file",
            token.to_str().unwrap(),
        ];
        let running = self
            .place
            .start(self.command(&[&login, flags].concat()))
            .await;
        let mut client = self.place.client().await;
        healthy(&mut client).await;
        (running, client)
    }

    /// The answer of one of the probes.
    fn probe(&self, path: &str) -> String {
        get(&http_address(&self.place.log()), path)
    }

    /// The sum of all series whose line begins so.
    fn metric(&self, start: &str) -> f64 {
        let text = self.probe("/metrics");
        let values = text.lines().filter(|line| line.starts_with(start));
        values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

/// Takes the place of what is there, as kubelet does.
fn write_private(path: &Path, content: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).unwrap();
    fs::set_permissions(&fresh, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&fresh, path).unwrap();
}

async fn healthy(client: &mut Client) {
    eventually("Status is good", async || status(client).await.is_ok()).await;
}

async fn unhealthy(client: &mut Client) {
    eventually("Status is an error", async || status(client).await.is_err()).await;
}

async fn round_trip(client: &mut Client) {
    let wrapped = encrypt(client, &SEED).await.unwrap();
    assert_eq!(decrypt(client, &wrapped).await.unwrap(), SEED);
}
