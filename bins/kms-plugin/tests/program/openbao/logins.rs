//! Each way to log in, and credentials that change while the program runs.

use std::time::Duration;

use super::{Backend, healthy, round_trip, unhealthy, write_private};
use crate::fixture::{eventually, program};
use kdc_testbed::bao::{Bao, JwtIssuer};

#[tokio::test]
async fn an_approle_logs_in() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "tcp", &Backend::grant())
        .await
        .unwrap();
    let secret = backend.file("secret-id", &role.secret_id);
    let id = backend.file("role-id", &role.role_id);
    let (secret, id) = (secret.to_str().unwrap(), id.to_str().unwrap());
    for role_id in [["--bao-role-id", &role.role_id], ["--bao-role-id-file", id]] {
        let login = ["--bao-auth", "approle", "--bao-secret-id-file", secret];
        let command = backend.command(&[&login[..], &role_id].concat());
        let running = backend.place.start(command).await;
        let mut client = backend.place.client().await;
        healthy(&mut client).await;
        round_trip(&mut client).await;
        assert!(running.stop().await.success());
    }
}

#[tokio::test]
async fn the_flags_of_openshift_serve() {
    let backend = Backend::of(Bao::options().tls().start().await.unwrap()).await;
    let root = backend.bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "tcp", &Backend::grant())
        .await
        .unwrap();
    let secret = backend.file("secret-id", &role.secret_id);
    let mut command = program();
    command.args([
        format!("-listen-address=unix://{}", backend.place.socket.display()),
        format!("-vault-address={}", backend.bao.address()),
        "-vault-key-path=transit/keys/etcd".to_owned(),
        format!("-approle-role-id={}", role.role_id),
        format!("-approle-secret-id-path={}", secret.display()),
        format!("-tls-ca-file={}", backend.bao.ca_file().unwrap().display()),
        "-tls-sni=localhost".to_owned(),
        "-metrics-port=0".to_owned(),
    ]);
    let running = backend.place.start(command).await;
    let mut client = backend.place.client().await;
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_wrapped_secret_id_works_once_and_a_new_one_heals() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "tcp", &Backend::grant())
        .await
        .unwrap();
    let wrapped = async || {
        root.wrapped_secret_id("approle", "tcp", Duration::from_secs(600))
            .await
            .unwrap()
    };
    let file = backend.file("wrapped", &wrapped().await);
    let login = [
        "--bao-auth",
        "approle",
        "--bao-role-id",
        &role.role_id,
        "--bao-secret-id-file",
        file.to_str().unwrap(),
        "--bao-secret-id-wrapped",
    ];
    let running = backend.place.start(backend.command(&login)).await;
    let mut client = backend.place.client().await;
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());

    // The next process finds the token used: it says so, stays up, and takes the next one.
    let running = backend.place.start(backend.command(&login)).await;
    let mut client = backend.place.client().await;
    eventually("it says why", async || {
        backend
            .place
            .log()
            .contains("was used before or has expired")
    })
    .await;
    unhealthy(&mut client).await;
    write_private(&file, &wrapped().await);
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_jwt_logs_in_and_is_read_again_at_the_next_login() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    let issuer = JwtIssuer::generate().unwrap();
    root.enable_auth("jwt", "k8s-jwt").await.unwrap();
    root.configure_jwt("k8s-jwt", &issuer).await.unwrap();
    root.create_jwt_role(
        "k8s-jwt",
        "tcp-prod",
        "openbao",
        "plugin",
        &Backend::grant(),
    )
    .await
    .unwrap();
    let stranger = JwtIssuer::generate().unwrap();
    let token = |issuer: &JwtIssuer| {
        issuer
            .token("plugin", "openbao", Duration::from_secs(600))
            .unwrap()
    };
    let file = backend.file("jwt", &token(&stranger));
    let running = backend
        .place
        .start(backend.command(&[
            "--bao-auth",
            "jwt",
            "--bao-auth-mount",
            "k8s-jwt",
            "--bao-role",
            "tcp-prod",
            "--bao-jwt-file",
            file.to_str().unwrap(),
        ]))
        .await;
    let mut client = backend.place.client().await;
    let refused = "OpenBao login (mount=k8s-jwt role=tcp-prod): 400";
    eventually(refused, async || backend.place.log().contains(refused)).await;
    unhealthy(&mut client).await;
    write_private(&file, &token(&issuer));
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(
        backend.metric("kdc_kms_bao_logins_total{key=\"kube-dc-kms-plugin\",result=\"failed\"}")
            >= 1.0
    );
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let backend = Backend::of(Bao::options().tls().start().await.unwrap()).await;
    let bao = &backend.bao;
    bao.root().enable_auth("cert", "cert").await.unwrap();
    bao.root()
        .create_cert_role("cert", "tcp", "plugin", &Backend::grant())
        .await
        .unwrap();
    let files = bao.client_certificate("plugin").unwrap();
    let mut command = program();
    command.arg("--socket").arg(&backend.place.socket);
    command.args([
        "--bao-address",
        bao.address(),
        "--bao-key",
        "etcd",
        "--bao-auth",
        "cert",
    ]);
    command
        .args(["--bao-role", "tcp", "--bao-ca-file"])
        .arg(bao.ca_file().unwrap());
    command.arg("--bao-client-cert-file").arg(&files.cert);
    command.arg("--bao-client-key-file").arg(&files.key);
    let running = backend.place.start(command).await;
    let mut client = backend.place.client().await;
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_revoked_token_heals_with_a_new_one_in_its_file() {
    let backend = Backend::start().await;
    let (running, mut client) = backend.serving(&[]).await;
    let file = backend.place.path("token");
    let token = std::fs::read_to_string(&file).unwrap();
    let body = serde_json::json!({"token": token});
    backend
        .bao
        .root()
        .call("POST", "auth/token/revoke", Some(body))
        .await
        .unwrap();
    unhealthy(&mut client).await;
    write_private(&file, &backend.token().await);
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}
