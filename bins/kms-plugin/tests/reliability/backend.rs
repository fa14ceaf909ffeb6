//! One OpenBao, and everything that can happen to it, to the way there, and to what the plugin may do.

use std::fs;
use std::time::Duration;

use kdc_testbed::bao::kms_plugin_policy;
use kdc_testbed::fixtures::put_credential;
use kdc_testbed::process::Signal;
use kdc_testbed::proxy::Fault;
use serde_json::json;

use crate::fixture::{Fixture, Proxied, Scale, grant};
use crate::table::Table;

/// Long enough that calls which wait for their limit end within it.
const SHORT: Duration = Duration::from_secs(3);
/// Longer than the cache keeps a seed, also during an outage.
const LONG: Duration = Duration::from_secs(7);

#[tokio::test]
async fn an_openbao_that_is_away_or_hangs_heals() {
    tokio::task::LocalSet::new()
        .run_until(Box::pin(async {
            let mut fixture =
                Fixture::proxied(Table::new("1-away"), Scale::of(1_500).with_api_server()).await;
            let s = &mut fixture;
            s.fault(
                "OpenBao killed with SIGKILL, then restarted",
                async |s| s.backend.bao.process().kill().await.unwrap(),
                SHORT,
                async |s| s.backend.bao.restart().await.unwrap(),
            )
            .await;
            for (name, lasts) in [
                (
                    "OpenBao stopped with SIGSTOP, shorter than the cache",
                    SHORT,
                ),
                ("OpenBao stopped with SIGSTOP, longer than the cache", LONG),
            ] {
                s.fault(
                    name,
                    async |s| s.backend.bao.process().pause().await.unwrap(),
                    lasts,
                    async |s| s.backend.bao.process().signal(Signal::CONT).unwrap(),
                )
                .await;
            }
            s.fault(
                "OpenBao sealed",
                async |s| s.backend.bao.seal().await.unwrap(),
                SHORT,
                async |s| s.backend.bao.unseal().await.unwrap(),
            )
            .await;
            s.fault(
                "connections refused",
                async |s| s.backend.proxy.refuse_connections().await,
                SHORT,
                async |s| s.backend.proxy.accept_connections().await.unwrap(),
            )
            .await;
            s.fault(
                "socket of the plugin removed",
                async |s| fs::remove_file(&s.plugin.socket).unwrap(),
                SHORT,
                async |_| (),
            )
            .await;
            fixture.finish();
        }))
        .await;
}

#[tokio::test]
async fn bad_answers_heal() {
    tokio::task::LocalSet::new()
        .run_until(Box::pin(async {
            let mut fixture = Fixture::proxied(Table::new("2-answers"), Scale::of(2_500)).await;
            let s = &mut fixture;
            for (name, fault) in [
                ("no answer at all", Fault::Hang),
                (
                    "answers delayed by 5 s",
                    Fault::Delay(Duration::from_secs(5)),
                ),
                (
                    "status 500, internal error",
                    Fault::status(500, "internal error"),
                ),
                (
                    "status 502 with a page of a proxy",
                    Fault::answer(502, &[], "<html>"),
                ),
                (
                    "status 503, no active node",
                    Fault::status(503, "node is not active"),
                ),
                (
                    "answers byte by byte",
                    Fault::SlowBytes(Duration::from_millis(100)),
                ),
                ("answers cut off", Fault::TruncateBody(20)),
                ("connections reset within the answer", Fault::Reset(30)),
                ("garbage instead of JSON", Fault::garbage()),
                ("a web page with status 200", Fault::html()),
                ("answers of 16 MiB", Fault::Oversized(16 << 20)),
                (
                    "a redirect to a host that is not configured",
                    Fault::answer(307, &[("location", "http://127.0.0.1:2/v1/x")], ""),
                ),
            ] {
                s.fault(
                    name,
                    async |s| s.backend.proxy.set(fault),
                    SHORT,
                    async |s| s.backend.proxy.clear(),
                )
                .await;
            }
            s.fault(
                "rate limit of one request a second",
                async |s| {
                    let quota = json!({"rate": 1, "path": "transit/"});
                    let path = "sys/quotas/rate-limit/kms";
                    s.backend
                        .bao
                        .root()
                        .call("POST", path, Some(quota))
                        .await
                        .unwrap();
                },
                SHORT,
                async |s| {
                    let path = "sys/quotas/rate-limit/kms";
                    s.backend
                        .bao
                        .root()
                        .call("DELETE", path, None)
                        .await
                        .unwrap();
                },
            )
            .await;
            fixture.finish();
        }))
        .await;
}

/// Ends every token that a login gave.
pub(crate) async fn revoke_tokens(s: &mut Fixture<Proxied>) {
    let path = "sys/leases/revoke-prefix/auth/approle";
    s.backend.bao.root().call("POST", path, None).await.unwrap();
}

/// The role, under the ids that the plugin knows.
pub(crate) async fn restore_role(s: &mut Fixture<Proxied>) {
    let root = s.backend.bao.root().clone();
    root.create_approle("approle", "kms", &grant())
        .await
        .unwrap();
    let id = json!({"role_id": s.role.role_id});
    let secret = json!({"secret_id": s.role.secret_id});
    for (path, body) in [("role-id", id), ("custom-secret-id", secret)] {
        let path = format!("auth/approle/role/kms/{path}");
        root.call("POST", &path, Some(body)).await.unwrap();
    }
}

#[tokio::test]
async fn lost_rights_and_credentials_heal() {
    tokio::task::LocalSet::new()
        .run_until(Box::pin(async {
            let mut fixture = Fixture::proxied(Table::new("3-rights"), Scale::of(2_500)).await;
            let s = &mut fixture;
            s.fault(
                "policy removed",
                async |s| {
                    let path = "sys/policies/acl/kms";
                    s.backend
                        .bao
                        .root()
                        .call("DELETE", path, None)
                        .await
                        .unwrap();
                },
                SHORT,
                async |s| {
                    s.backend
                        .bao
                        .root()
                        .write_policy("kms", &kms_plugin_policy("etcd"))
                        .await
                        .unwrap()
                },
            )
            .await;
            s.fault("token revoked", revoke_tokens, SHORT, async |_| ())
                .await;
            s.fault(
                "role removed, and its tokens revoked",
                async |s| {
                    let path = "auth/approle/role/kms";
                    s.backend
                        .bao
                        .root()
                        .call("DELETE", path, None)
                        .await
                        .unwrap();
                    revoke_tokens(s).await;
                },
                SHORT,
                restore_role,
            )
            .await;
            credential_files(s).await;
            short_tokens(s).await;
            fixture.finish();
        }))
        .await;
}

async fn credential_files(s: &mut Fixture<Proxied>) {
    for (name, content) in [
        ("credential emptied, and the token revoked", Some("")),
        (
            "credential replaced by a wrong one, and the token revoked",
            Some("wrong"),
        ),
        ("credential removed, and the token revoked", None),
    ] {
        s.fault(
            name,
            async |s| {
                match content {
                    Some(content) => put_credential(&s.path("secret-id"), content),
                    None => fs::remove_file(s.path("secret-id")).unwrap(),
                }
                revoke_tokens(s).await;
            },
            SHORT,
            async |s| put_credential(&s.path("secret-id"), &s.role.secret_id),
        )
        .await;
    }
}

async fn short_tokens(s: &mut Fixture<Proxied>) {
    let two = Duration::from_secs(2);
    for (name, short) in [
        (
            "tokens that reach their maximum after 2 s",
            grant().ttl(two).explicit_max_ttl(two),
        ),
        ("batch tokens of 2 s", grant().ttl(two).batch()),
        ("periodic tokens of 2 s", grant().period(two)),
    ] {
        s.fault(
            name,
            async |s| {
                let root = s.backend.bao.root().clone();
                root.create_approle("approle", "kms", &short).await.unwrap();
                revoke_tokens(s).await;
            },
            LONG,
            async |s| {
                let path = "auth/approle/role/kms";
                s.backend
                    .bao
                    .root()
                    .call("DELETE", path, None)
                    .await
                    .unwrap();
                restore_role(s).await;
            },
        )
        .await;
    }
}
