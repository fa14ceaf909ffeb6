//! The files for OpenBao's administrator, run against a real OpenBao.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use kdc_testbed::bao::{Bao, Caller};
use kdc_testbed::{BaoVersion, Server, servers};
use serde_json::{Value, json};

use super::{BAO_SAMPLE, deploy, text};
use crate::fixture::{Place, Running, encrypt, eventually, http_address, program, stderr};

/// The defaults of the variables of `setup.sh`.
pub(super) fn defaults() -> BTreeMap<String, String> {
    text("openbao/setup.sh")
        .lines()
        .filter_map(|line| {
            line.strip_prefix(": \"${")?
                .split_once("}\"")?
                .0
                .split_once('=')
        })
        .map(|(name, value)| (name.trim_end_matches(':').to_owned(), value.to_owned()))
        .collect()
}

/// Paths and capabilities of `policy.hcl`.
fn granted() -> BTreeMap<String, String> {
    text("openbao/policy.hcl")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let mut quoted = line.split('"').skip(1).step_by(2);
            let path = quoted.next().unwrap().to_owned();
            (path, quoted.collect::<Vec<_>>().join(","))
        })
        .collect()
}

#[test]
fn the_policy_grants_what_the_plugin_needs_and_nothing_else() {
    let key = &defaults()["KEY"];
    let expected = [
        (format!("transit/encrypt/{key}"), "update"),
        (format!("transit/decrypt/{key}"), "update"),
        (format!("transit/keys/{key}"), "read"),
        ("auth/token/renew-self".to_owned(), "update"),
        ("auth/token/lookup-self".to_owned(), "read"),
        ("auth/token/revoke-self".to_owned(), "update"),
    ];
    let expected: BTreeMap<String, String> = expected
        .map(|(path, capability)| (path, capability.to_owned()))
        .into();
    assert_eq!(granted(), expected);
}

/// A real OpenBao with TLS, and a folder beside it.
pub(super) struct Prepared {
    pub(super) bao: Bao,
    pub(super) place: Place,
}

impl Prepared {
    pub(super) async fn start() -> Self {
        Self {
            bao: Bao::options().tls().start().await.unwrap(),
            place: Place::new(),
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.place.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn set_up(&self, method: &str, variables: &[(&str, &str)]) -> Output {
        // Installed already: it runs.
        let cli = servers::prepare(Server::Bao(BaoVersion::DEFAULT), &mut |_| {}).unwrap();
        let done = Command::new(deploy("openbao/setup.sh"))
            .arg(method)
            .env("BAO", cli)
            .env("BAO_ADDR", self.bao.address())
            .env("BAO_CACERT", self.bao.ca_file().unwrap())
            .env("BAO_TOKEN", self.bao.root_token())
            .env("HOME", self.place.folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        done
    }

    /// The secret id that the script makes, in a file.
    pub(super) fn set_up_approle(&self) -> PathBuf {
        let secret_id = self.set_up("approle", &[]).stdout;
        assert_eq!(secret_id.len(), 36, "and nothing else");
        self.file("secret-id", &secret_id)
    }

    /// An API caller in the namespace of the samples.
    fn caller(&self) -> Caller {
        self.bao.root().in_namespace(&defaults()["NAMESPACE"])
    }

    /// The plugin with the sample settings, but for what differs from machine to machine; it wraps already.
    pub(super) async fn serve(&self, secret_id: &PathBuf) -> (Running, String) {
        let mut command = program();
        command.arg("--config").arg(deploy(BAO_SAMPLE));
        command.arg("--socket").arg(&self.place.socket);
        command.args(["--bao-address", self.bao.address()]);
        command
            .arg("--bao-ca-file")
            .arg(self.bao.ca_file().unwrap());
        command.arg("--bao-secret-id-file").arg(secret_id);
        command.args(["--http-address", "127.0.0.1:0", "--log-format", "text"]);
        let running = self.place.start(command).await;
        let mut client = self.place.client().await;
        eventually("it wraps", async || {
            encrypt(&mut client, &[7; 32]).await.is_ok()
        })
        .await;
        let http = http_address(&self.place.log());
        (running, http)
    }
}

async fn role(caller: &Caller, path: &str) -> Value {
    caller.call("GET", path, None).await.unwrap()["data"].take()
}

#[tokio::test]
async fn the_setup_makes_a_role_with_which_the_sample_settings_serve() {
    let prepared = Prepared::start().await;
    prepared.set_up_approle();
    let secret_id = prepared.set_up_approle();
    let (running, _) = prepared.serve(&secret_id).await;
    let log = prepared.place.log();
    assert!(log.contains("OpenBao login ok"), "{log}");
    assert!(running.stop().await.success());

    let caller = prepared.caller();
    let name = &defaults()["ROLE"];
    let found = role(&caller, &format!("auth/approle/role/{name}")).await;
    check_token(&found);

    // Wrong secret ids do not lock the role out.
    for _ in 0..6 {
        let wrong = json!({"role_id": name, "secret_id": "wrong"});
        let login = caller.call("POST", "auth/approle/login", Some(wrong));
        login.await.unwrap_err();
    }
    let id = json!({"role_id": name, "secret_id": fs::read_to_string(&secret_id).unwrap()});
    let login = caller
        .call("POST", "auth/approle/login", Some(id))
        .await
        .unwrap();
    assert_eq!(login["auth"]["policies"], json!([name]));
    check_rights(&caller, login["auth"]["client_token"].as_str().unwrap()).await;
}

/// The properties of all tokens of a role.
fn check_token(role: &Value) {
    assert_eq!(role["token_policies"], json!([defaults()["ROLE"]]));
    assert_eq!(role["token_no_default_policy"], true);
    assert_eq!(role["token_ttl"], 3_600);
    assert_eq!(role["token_max_ttl"], 24 * 3_600);
    assert_eq!(role["token_num_uses"], 0);
}

/// What the server itself says that the token may do.
async fn check_rights(caller: &Caller, token: &str) {
    let key = &defaults()["KEY"];
    let mut expected = granted();
    for path in [
        format!("transit/keys/{key}/rotate"),
        format!("transit/keys/{key}/config"),
        format!("transit/export/encryption-key/{key}"),
        format!("transit/rewrap/{key}"),
        format!("transit/datakey/plaintext/{key}"),
        "transit/keys".to_owned(),
        "transit/encrypt/another".to_owned(),
        "auth/token/create".to_owned(),
        "sys/mounts".to_owned(),
    ] {
        expected.insert(path, "deny".to_owned());
    }
    let paths: Vec<&String> = expected.keys().collect();
    let question = json!({"token": token, "paths": paths});
    let answer = caller
        .call("POST", "sys/capabilities", Some(question))
        .await
        .unwrap();
    for (path, capability) in expected {
        assert_eq!(answer["data"][&path], json!([capability]), "{path}");
    }
}

#[tokio::test]
async fn the_setup_binds_the_kubernetes_role_to_one_service_account_and_audience() {
    let prepared = Prepared::start().await;
    let reviewer = prepared.file("reviewer", b"a.b.c");
    let variables = [
        (
            "KUBERNETES_CA_FILE",
            prepared.bao.ca_file().unwrap().to_str().unwrap(),
        ),
        ("REVIEWER_TOKEN_FILE", reviewer.to_str().unwrap()),
    ];
    for _ in 0..2 {
        assert!(prepared.set_up("kubernetes", &variables).stdout.is_empty());
    }
    let (caller, setup) = (prepared.caller(), defaults());
    let found = role(&caller, &format!("auth/k8s-host/role/{}", setup["ROLE"])).await;
    check_token(&found);
    assert_eq!(found["audience"], "openbao");
    assert_eq!(
        found["bound_service_account_names"],
        json!([setup["SERVICE_ACCOUNT"]])
    );
    let namespaces = json!([setup["KUBERNETES_NAMESPACE"]]);
    assert_eq!(found["bound_service_account_namespaces"], namespaces);
    let config = role(&caller, "auth/k8s-host/config").await;
    assert_eq!(config["kubernetes_host"], setup["KUBERNETES_HOST"]);
    assert_eq!(config["token_reviewer_jwt_set"], true);
}
