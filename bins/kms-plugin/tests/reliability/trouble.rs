//! Faults that can be chosen at random: each begins, lasts, and ends by what heals it.

use std::fs;
use std::time::Duration;

use kdc_testbed::Random;
use kdc_testbed::bao::kms_plugin_policy;
use kdc_testbed::fixtures::put_credential;
use kdc_testbed::process::Signal;
use kdc_testbed::proxy::Fault;

use crate::backend::{restore_role, revoke_tokens};
use crate::fixture::{Fixture, Proxied};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    Killed,
    Stopped,
    Sealed,
    Refused,
    Hanging,
    Slow,
    Failing,
    Truncated,
    Reset,
    Garbage,
    PolicyRemoved,
    TokenRevoked,
    RoleRemoved,
    CredentialWrong,
    CredentialRemoved,
    SocketRemoved,
}

const ALL: [(Trouble, &str); 16] = [
    (Trouble::Killed, "OpenBao killed, then restarted"),
    (Trouble::Stopped, "OpenBao stopped with SIGSTOP"),
    (Trouble::Sealed, "OpenBao sealed"),
    (Trouble::Refused, "connections refused"),
    (Trouble::Hanging, "no answer at all"),
    (Trouble::Slow, "answers delayed by 300 ms"),
    (Trouble::Failing, "status 500"),
    (Trouble::Truncated, "answers cut off"),
    (Trouble::Reset, "connections reset within the answer"),
    (Trouble::Garbage, "garbage instead of JSON"),
    (Trouble::PolicyRemoved, "policy removed"),
    (Trouble::TokenRevoked, "token revoked"),
    (Trouble::RoleRemoved, "role removed, and its tokens revoked"),
    (
        Trouble::CredentialWrong,
        "wrong credential, and the token revoked",
    ),
    (
        Trouble::CredentialRemoved,
        "credential removed, and the token revoked",
    ),
    (Trouble::SocketRemoved, "socket of the plugin removed"),
];

impl Trouble {
    pub(crate) fn any(random: &mut Random) -> Self {
        random.pick(&ALL).0
    }

    pub(crate) fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// What the proxy does, if it is the one that makes trouble.
    fn at_the_proxy(self) -> Option<Fault> {
        Some(match self {
            Self::Hanging => Fault::Hang,
            Self::Slow => Fault::Delay(Duration::from_millis(300)),
            Self::Failing => Fault::status(500, "internal error"),
            Self::Truncated => Fault::TruncateBody(20),
            Self::Reset => Fault::Reset(30),
            Self::Garbage => Fault::garbage(),
            _ => return None,
        })
    }

    pub(crate) async fn begin(self, s: &mut Fixture<Proxied>) {
        if let Some(fault) = self.at_the_proxy() {
            return s.backend.proxy.set(fault);
        }
        let root = s.backend.bao.root().clone();
        match self {
            Self::Killed => s.backend.bao.process().kill().await.unwrap(),
            Self::Stopped => s.backend.bao.process().pause().await.unwrap(),
            Self::Sealed => s.backend.bao.seal().await.unwrap(),
            Self::Refused => s.backend.proxy.refuse_connections().await,
            Self::PolicyRemoved => {
                root.call("DELETE", "sys/policies/acl/kms", None)
                    .await
                    .unwrap();
            }
            Self::RoleRemoved => {
                root.call("DELETE", "auth/approle/role/kms", None)
                    .await
                    .unwrap();
                revoke_tokens(s).await;
            }
            Self::CredentialWrong => {
                put_credential(&s.path("secret-id"), "wrong");
                revoke_tokens(s).await;
            }
            Self::CredentialRemoved => {
                fs::remove_file(s.path("secret-id")).unwrap();
                revoke_tokens(s).await;
            }
            Self::SocketRemoved => fs::remove_file(&s.plugin.socket).unwrap(),
            _ => revoke_tokens(s).await,
        }
    }

    pub(crate) async fn end(self, s: &mut Fixture<Proxied>) {
        match self {
            Self::Killed => s.backend.bao.restart().await.unwrap(),
            Self::Stopped => s.backend.bao.process().signal(Signal::CONT).unwrap(),
            Self::Sealed => s.backend.bao.unseal().await.unwrap(),
            Self::Refused => s.backend.proxy.accept_connections().await.unwrap(),
            Self::PolicyRemoved => {
                let root = s.backend.bao.root();
                root.write_policy("kms", &kms_plugin_policy("etcd"))
                    .await
                    .unwrap();
            }
            Self::RoleRemoved => restore_role(s).await,
            Self::CredentialWrong | Self::CredentialRemoved => {
                put_credential(&s.path("secret-id"), &s.role.secret_id);
            }
            _ => s.backend.proxy.clear(),
        }
    }
}
