//! The way to OpenBao: names, connections, certificates, states, versions, clocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::ToSpan as _;
use kdc_testbed::bao::{Bao, JwtIssuer};
use kdc_testbed::process::Signal;
use kdc_testbed::proxy::{Fault, Proxy};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

use super::fixture::{Diagnosis, Patient, grant, on, server, token, token_file};

/// An authority, and certificates whose names and times a test chooses.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// PEM of a certificate for `name` that ends in so many days from now, or ended before; and of its key.
    fn issue(&self, name: &str, days: i64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let end = jiff::Zoned::now().checked_add(days.days()).unwrap();
        let date = |year: i16, zoned: &jiff::Zoned| {
            let (month, day) = (
                zoned.month().try_into().unwrap(),
                zoned.day().try_into().unwrap(),
            );
            rcgen::date_time_ymd(year.into(), month, day)
        };
        params.not_before = date(end.year() - 2, &end.checked_sub(2.days()).unwrap());
        params.not_after = date(end.year(), &end);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A TLS server, and a token for it.
struct Secure {
    bao: Bao,
    patient: Patient,
    token: PathBuf,
}

impl Secure {
    async fn start() -> Self {
        let bao = server(Bao::options().tls()).await;
        let mut patient = Patient::new();
        let token = token(bao.root(), &grant()).await;
        let token = patient.secret("token", &token);
        Self {
            bao,
            patient,
            token,
        }
    }

    fn examine(&self, ca: &Path, more: &[&str]) -> Diagnosis {
        let address = ["--bao-address", self.bao.address(), "--bao-key", "etcd"];
        let ca = ["--bao-ca-file", ca.to_str().unwrap()];
        let login = token_file(&self.token);
        self.patient
            .examine(&[&address[..], &ca, &login, more].concat())
    }

    /// Serves another certificate, and waits until the doctor, who trusts `ca`, says so about its time.
    async fn serve(&mut self, authority: &Authority, days: i64, ca: &Path, outcome: &str) {
        let (certificate, key) = authority.issue("127.0.0.1", days);
        fs::write(self.bao.folder().join("openbao.crt"), certificate).unwrap();
        fs::write(self.bao.folder().join("openbao.key"), key).unwrap();
        self.bao.process().signal(Signal::HUP).unwrap();
        for _ in 0..100 {
            let found = self.examine(ca, &[]);
            if found.of("tls-expiry")[0]["outcome"] == outcome {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the certificate is not served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_refused_for_chain_name_or_time() {
    let mut secure = Secure::start().await;
    let own = secure.bao.ca_file().unwrap().to_owned();
    secure.examine(&own, &[]).only(&[]);
    let other = Authority::new("another authority");
    let other_file = secure.patient.file("other.crt", &other.pem);
    secure
        .examine(&other_file, &[])
        .fails("tls", "signed by `CN=kdc-testbed`, which is not one of the trusted authorities (`CN=another authority`)", "other.crt")
        .skips("health", "`tls` failed")
        .skips("login", "no address of OpenBao can serve");
    secure
        .examine(&own, &["--bao-server-name", "bao.example.com"])
        .passes("tls", "trusted authority")
        .fails(
            "tls-name",
            "is for `127.0.0.1`, `localhost`, not for `bao.example.com`",
            "--bao-server-name",
        );
    secure
        .examine(&own, &["--bao-server-name", "localhost"])
        .passes("tls-name", "localhost")
        .only(&[]);
    let rubbish = secure.patient.file("rubbish.crt", "no certificate");
    secure
        .examine(&rubbish, &[])
        .fails("tls-files", "it holds no certificate in PEM", "-----BEGIN")
        .skips("dns", "the files for TLS cannot be used");
    let missing = secure.patient.fixture.path("missing.crt");
    secure
        .examine(&missing, &[])
        .fails("tls-files", "No such file", "create it");

    secure.serve(&other, 20, &other_file, "warn").await;
    secure
        .examine(&other_file, &[])
        .warns("tls-expiry", "expires in", "SIGHUP")
        .only(&[]);
    secure.serve(&other, -3, &other_file, "fail").await;
    secure
        .examine(&other_file, &[])
        .fails("tls-expiry", "expired on", "renew the certificate")
        .skips("tls-name", "not of this time")
        .only(&["tls-expiry"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_looked_at_before_they_are_used() {
    let secure = Secure::start().await;
    let own = secure.bao.ca_file().unwrap().to_owned();
    let authority = Authority::new("clients");
    let (soon, key) = authority.issue("plugin", 10);
    let (late, late_key) = authority.issue("plugin", -10);
    let certificate = secure.patient.file("client.crt", &soon);
    let certificate = certificate.to_str().unwrap();
    let key_file = secure.patient.file("client.key", &key);
    let key_file = key_file.to_str().unwrap();
    let files = [
        "--bao-client-cert-file",
        certificate,
        "--bao-client-key-file",
        key_file,
    ];
    secure.examine(&own, &files).warns(
        "client-certificate",
        "expires in 9 days",
        "issue a new client",
    );
    secure.patient.file("client.key", &late_key);
    secure.examine(&own, &files).fails(
        "tls-files",
        "the client key does not belong to the client certificate",
        "its own key",
    );
    secure.patient.file("client.crt", &late);
    secure
        .examine(&own, &files)
        .fails("client-certificate", "expired on", "issue a new client");

    let root = secure.bao.root();
    root.enable_auth("cert", "cert").await.unwrap();
    let good = secure.bao.client_certificate("plugin").unwrap();
    secure
        .patient
        .file("client.crt", &fs::read_to_string(good.cert).unwrap());
    secure
        .patient
        .file("client.key", &fs::read_to_string(good.key).unwrap());
    let address = ["--bao-address", secure.bao.address(), "--bao-key", "etcd"];
    let login = ["--bao-ca-file", own.to_str().unwrap(), "--bao-auth", "cert"];
    let arguments = [&address[..], &login, &files].concat();
    secure.patient.examine(&arguments).fails(
        "login",
        "fits no role",
        "bao read auth/cert/certs/NAME",
    );
    root.create_cert_role("cert", "kms", "plugin", &grant())
        .await
        .unwrap();
    secure
        .patient
        .examine(&arguments)
        .passes("login", "good for")
        .only(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_on_the_way_fails_by_its_own_name() {
    let mut bao = server(Bao::options()).await;
    let address = bao.address().to_owned();
    let mut patient = Patient::new();
    let good = token(bao.root(), &grant()).await;
    let file = patient.secret("token", &good);
    let login = token_file(&file);
    let examine = |address: &str| patient.examine(&on(address, &login));
    examine("http://nosuch.invalid:8200")
        .fails("dns", "", "--bao-address")
        .skips("tcp", "`dns` failed")
        .only(&["dns"]);
    examine("http://127.0.0.1:1")
        .fails("tcp", "refused", "firewalls")
        .skips("health", "`tcp` failed")
        .only(&["tcp"]);
    examine(&address.replace("http", "https")).fails("tls", "does not speak TLS", "turn TLS on");
    // What works of several addresses is used, and what does not is told.
    examine(&format!("http://127.0.0.1:1,{address}"))
        .passes("cluster", "1 healthy, active is")
        .passes("login", "good for")
        .only(&["tcp"]);
    let nothing = ["--bao-address", &address, "--bao-key", "etcd"];
    patient.examine(&[&nothing[..], &login].concat()).fails(
        "settings",
        "readable by anybody",
        "--bao-insecure-http",
    );

    bao.seal().await.unwrap();
    examine(&address)
        .fails("health", "OpenBao is sealed", "unseal it")
        .skips("version", "`health` failed")
        .only(&["health"]);
    bao.process().signal(Signal::STOP).unwrap();
    let started = std::time::Instant::now();
    examine(&address).fails("health", "did not answer within 5s", "overloaded");
    assert!(started.elapsed() < Duration::from_secs(20));
    bao.process().signal(Signal::CONT).unwrap();
}

/// A server behind a proxy that says something else about its health.
struct Pretender {
    bao: Bao,
    proxy: Proxy,
    health: Value,
    patient: Patient,
    token: PathBuf,
}

impl Pretender {
    async fn start() -> Self {
        let bao = server(Bao::options()).await;
        let proxy = Proxy::start(bao.address()).await.unwrap();
        let health = bao.root().call("GET", "sys/health", None).await.unwrap();
        let mut patient = Patient::new();
        let token = patient.secret("token", &token(bao.root(), &grant()).await);
        Self {
            bao,
            proxy,
            health,
            patient,
            token,
        }
    }

    /// Gives the health with this field from now on.
    fn pretend(&self, field: &str, value: impl Into<Value>) {
        let mut health = self.health.clone();
        health[field] = value.into();
        let answer = Fault::answer(200, &[], &health.to_string());
        self.proxy.set(answer.on("sys/health"));
    }

    fn examine(&self) -> Diagnosis {
        self.examine_at(&self.proxy.address())
    }

    fn examine_at(&self, address: &str) -> Diagnosis {
        self.patient.examine(&on(address, &token_file(&self.token)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers_and_versions_are_named() {
    let other = Pretender::start().await;
    for (version, words) in [
        ("1.20.1+ent", "Vault 1.20.1+ent"),
        ("2.4.4", "OpenBao 2.4.4; tested are"),
    ] {
        other.pretend("version", version);
        let found = other.examine();
        found
            .warns("version", words, "OpenBao 2.6 or 2.7")
            .only(&[]);
    }
    other.pretend("initialized", false);
    let found = other.examine();
    found.fails("health", "not initialised", "bao operator init");
    other.pretend("cluster_name", "another");
    let both = format!("{},{}", other.proxy.address(), other.bao.address());
    let words = "what one wraps, the other cannot unwrap";
    other
        .examine_at(&both)
        .fails("cluster", words, "one cluster");
    other.pretend("standby", true);
    other.examine().passes("health", "standby").only(&[]);
    other.proxy.set(Fault::html().on("sys/health"));
    let words = "is a proxy in between?";
    other
        .examine()
        .fails("health", words, "correct the address");
    let slow = Fault::Delay(Duration::from_millis(1_100));
    other.proxy.set(slow.on("transit/encrypt"));
    let words = "kms-plugin waits for 1s";
    let found = other.examine();
    found.fails("wrap", words, "bring OpenBao closer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_apart_matter_most_to_tokens_with_times() {
    let mut other = Pretender::start().await;
    let (root, issuer) = (other.bao.root(), JwtIssuer::generate().unwrap());
    root.enable_auth("jwt", "jwt").await.unwrap();
    root.configure_jwt("jwt", &issuer).await.unwrap();
    root.create_jwt_role("jwt", "kms", "openbao", "plugin", &grant())
        .await
        .unwrap();
    let jwt = issuer.token("plugin", "openbao", Duration::from_secs(3_600));
    let jwt = other.patient.secret("jwt", &jwt.unwrap());
    let with_jwt = || {
        let login = [
            ["--bao-auth", "jwt"],
            ["--bao-jwt-file", jwt.to_str().unwrap()],
            ["--bao-role", "kms"],
        ];
        let address = other.proxy.address();
        other.patient.examine(&on(&address, &login.concat()))
    };
    let now = other.health["server_time_utc"].as_i64().unwrap();
    other.pretend("server_time_utc", now + 50);
    with_jwt()
        .warns("clock", "ahead of the clock here", "NTP")
        .only(&[]);
    other.pretend("server_time_utc", now - 300);
    with_jwt().fails("clock", "tokens with times in them are refused", "NTP");
    let found = other.examine();
    found
        .warns("clock", "behind the clock here", "NTP")
        .only(&[]);
}
