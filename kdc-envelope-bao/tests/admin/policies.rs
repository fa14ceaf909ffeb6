//! ACL policies.

use std::time::Duration;

use kdc_envelope_bao::admin::{AdminError, Change};
use kdc_envelope_bao::{BaoError, BaoErrorClass};
use kdc_testbed::proxy::{Fault, Proxy};
use serde_json::json;

use crate::fixture::{each_version, name};

const TEXT: &str =
    "path \"transit/encrypt/k\" {\r\n  capabilities = [\"update\"]  # never create\n}\n";
const OTHER: &str = "path \"transit/decrypt/k\" { capabilities = [\"update\"] }";
const PATH: &str = "sys/policies/acl/tcp-demo";

fn updated(field: &'static str) -> Change {
    // An `ensure` gives what it found, so there is no other way to make one.
    let fields = vec![field];
    Change::Updated { fields }
}

#[tokio::test]
async fn a_policy_keeps_its_text_to_the_byte() {
    for set in each_version().await {
        let (policies, demo) = (set.admin.policies(), name("tcp-demo"));
        assert_eq!(policies.ensure(&demo, TEXT).await.unwrap(), Change::Created);
        assert_eq!(
            policies.ensure(&demo, TEXT).await.unwrap(),
            Change::Unchanged
        );
        let found = policies.read(&demo).await.unwrap().unwrap();
        assert_eq!((found.text.as_str(), found.version), (TEXT, 1));
        assert!(
            policies
                .list()
                .await
                .unwrap()
                .contains(&"tcp-demo".to_owned())
        );
        policies.delete(&demo).await.unwrap();
        policies.delete(&demo).await.unwrap();
        assert!(policies.read(&demo).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn drift_of_a_policy_is_repaired_and_its_own_settings_kept() {
    for set in each_version().await {
        let (policies, demo) = (set.admin.policies(), name("tcp-demo"));
        policies.ensure(&demo, TEXT).await.unwrap();
        set.done(
            "POST",
            PATH,
            json!({"policy": OTHER, "cas": 1, "cas_required": true}),
        )
        .await;
        assert_eq!(
            policies.ensure(&demo, TEXT).await.unwrap(),
            updated("policy")
        );
        let repaired = policies.read(&demo).await.unwrap().unwrap();
        assert!(repaired.cas_required);

        let ends =
            json!({"policy": TEXT, "cas": repaired.version, "cas_required": true, "ttl": "1h"});
        set.done("POST", PATH, ends).await;
        assert_eq!(
            policies.ensure(&demo, TEXT).await.unwrap(),
            updated("expiration")
        );
        let repaired = policies.read(&demo).await.unwrap().unwrap();
        assert_eq!(repaired.expiration, None);
        assert_eq!(
            policies.ensure(&demo, TEXT).await.unwrap(),
            Change::Unchanged
        );
    }
}

#[tokio::test]
async fn what_another_administrator_writes_in_between_is_not_overwritten() {
    for set in each_version().await {
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), set.bao.root_token());
        let (policies, demo) = (admin.policies(), name("tcp-demo"));
        for round in ["new", "there already"] {
            proxy.set(Fault::Delay(Duration::from_millis(500)).on("POST /v1/sys/policies"));
            let before = proxy.counts().requests("POST");
            let ensure = policies.ensure(&demo, TEXT);
            let interfere = async {
                while proxy.counts().requests("POST") == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                set.done("POST", PATH, json!({"policy": OTHER})).await;
            };
            let (result, ()) = tokio::join!(ensure, interfere);
            let error = result.unwrap_err();
            assert!(
                matches!(error, AdminError::Bao(BaoError::Conflict { .. })),
                "{round}: {error:?}"
            );
            let found = policies.read(&demo).await.unwrap().unwrap();
            assert_eq!(found.text, OTHER);
        }
        proxy.clear();
        assert_eq!(
            policies.ensure(&demo, TEXT).await.unwrap(),
            updated("policy")
        );
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_no_conflict_with_oneself() {
    for set in each_version().await {
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), set.bao.root_token());
        proxy.set(Fault::Reset(0).on("POST /v1/sys/policies").times(1));
        let made = admin.policies().ensure(&name("tcp-demo"), TEXT).await;
        assert_eq!(made.unwrap(), Change::Created);
        assert_eq!(proxy.counts().requests("POST"), 2);
        let found = set.admin.policies().read(&name("tcp-demo")).await.unwrap();
        assert_eq!(found.unwrap().version, 1);
    }
}

#[tokio::test]
async fn a_text_that_is_no_policy_is_refused() {
    for set in each_version().await {
        for text in ["", "path", "path \"a\" { capabilities = [\"fly\"] }"] {
            let refused = set.admin.policies().ensure(&name("p"), text).await;
            let error = refused.unwrap_err();
            assert_eq!(error.class(), BaoErrorClass::Rejected, "{error:?}");
        }
        // OpenBao takes these, and stores something else: the text that is encoded, nothing, a blank.
        let encoded = "cGF0aCAiYSIgeyBjYXBhYmlsaXRpZXMgPSBbInJlYWQiXSB9";
        for text in [encoded, "\n", " "] {
            let refused = set.admin.policies().ensure(&name("p"), text).await;
            let error = refused.unwrap_err();
            assert!(
                matches!(error, AdminError::StoredOtherwise { .. }),
                "{error:?}"
            );
        }
        assert!(
            set.admin
                .policies()
                .read(&name("p"))
                .await
                .unwrap()
                .is_none()
        );
    }
}
