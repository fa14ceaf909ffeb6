//! Namespaces.

use std::collections::BTreeMap;

use kdc_envelope_bao::admin::{Admin, AdminError, Change, KeyConfig};
use kdc_envelope_bao::{BaoError, BaoErrorClass};
use serde_json::json;

use crate::fixture::{each_version, key, namespace, transit};

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Waits until the deletion is over.
async fn gone(admin: &Admin, path: &str) {
    for _ in 0..200 {
        if admin
            .namespaces()
            .read(&namespace(path))
            .await
            .unwrap()
            .is_none()
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("namespace {path} is still there");
}

#[tokio::test]
async fn a_namespace_is_made_once_and_keeps_the_metadata_of_others() {
    for set in each_version().await {
        let (namespaces, org) = (set.admin.namespaces(), namespace("org"));
        let wanted = metadata(&[("managed-by", "us")]);
        let made = namespaces.ensure(&org, &wanted).await.unwrap();
        assert_eq!(made, Change::Created);
        let id = namespaces.read(&org).await.unwrap().unwrap().id;

        let others = json!({"custom_metadata": {"managed-by": "us", "billing": "42"}});
        set.done("POST", "sys/namespaces/org", others).await;
        let again = namespaces.ensure(&org, &wanted).await.unwrap();
        assert_eq!(again, Change::Unchanged);

        let wanted = metadata(&[("managed-by", "us too")]);
        let changed = namespaces.ensure(&org, &wanted).await.unwrap();
        let fields = vec!["custom_metadata"];
        assert_eq!(changed, Change::Updated { fields });
        let found = namespaces.read(&org).await.unwrap().unwrap();
        assert_eq!(found.id, id);
        let both = metadata(&[("managed-by", "us too"), ("billing", "42")]);
        assert_eq!(found.custom_metadata, both);
    }
}

#[tokio::test]
async fn namespaces_lie_within_each_other_and_their_keys_apart() {
    for set in each_version().await {
        let (admin, none) = (&set.admin, BTreeMap::new());
        for path in ["org", "org/project"] {
            let made = admin.namespaces().ensure(&namespace(path), &none).await;
            assert_eq!(made.unwrap(), Change::Created);
        }
        let inside = admin.in_namespace(Some(namespace("org")));
        let project = namespace("project");
        let again = inside.namespaces().ensure(&project, &none).await;
        assert_eq!(again.unwrap(), Change::Unchanged);
        let found = inside.namespaces().list().await.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["project"]);
        assert_eq!(found["project"].path, "org/project/");

        inside.mounts().ensure_transit(&transit()).await.unwrap();
        let (change, _) = inside
            .keys()
            .ensure(&key("k"), &KeyConfig::safe())
            .await
            .unwrap();
        assert_eq!(change, Change::Created);
        assert!(inside.keys().read(&key("k")).await.unwrap().is_some());
        assert!(admin.keys().read(&key("k")).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_missing_parent_is_an_error_and_no_absence() {
    for set in each_version().await {
        let namespaces = set.admin.namespaces();
        let child = namespace("nowhere/project");
        for result in [
            namespaces.read(&child).await.map(drop),
            namespaces.ensure(&child, &BTreeMap::new()).await.map(drop),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.class(), BaoErrorClass::Missing, "{error:?}");
        }
        let lost = set.admin.in_namespace(Some(namespace("nowhere")));
        let error = lost.keys().read(&key("k")).await.unwrap_err();
        assert!(
            matches!(error, AdminError::Bao(BaoError::NotFound { .. })),
            "{error:?}"
        );
        let error = lost.mounts().read(&transit()).await.unwrap_err();
        assert_eq!(error.class(), BaoErrorClass::Missing, "{error:?}");
    }
}

#[tokio::test]
async fn deletion_begins_once_no_namespace_lies_below() {
    for set in each_version().await {
        let (namespaces, none) = (set.admin.namespaces(), BTreeMap::new());
        for path in ["org", "org/project"] {
            namespaces.ensure(&namespace(path), &none).await.unwrap();
        }
        let refused = namespaces.delete(&namespace("org")).await.unwrap_err();
        assert_eq!(refused.class(), BaoErrorClass::Rejected, "{refused:?}");
        for path in ["org/project", "org"] {
            namespaces.delete(&namespace(path)).await.unwrap();
            gone(&set.admin, path).await;
        }
        namespaces.delete(&namespace("org")).await.unwrap();
        assert!(namespaces.list().await.unwrap().is_empty());
    }
}
