use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const KINDS: [ControlPlaneKind; 2] = [
    ControlPlaneKind::TenantControlPlane,
    ControlPlaneKind::KamajiControlPlane,
];

fn sidecar() -> Sidecar<'static> {
    Sidecar {
        cluster: "prod",
        service_account: "prod-kms-plugin",
        config_secret: "prod-encryption-config",
        image: "kms-plugin:1",
        init_image: "busybox:1",
        bao_address: "https://bao:8200",
        bao_namespace: "acme",
        bao_mount: "transit",
        bao_key: "acme-shop-prod-etcd",
        auth_mount: "k8s-host",
        role: "tcp-prod",
        audience: "openbao",
        has_authority: true,
        flags: &[],
    }
}

fn wanted() -> Attachment {
    sidecar().attachment()
}

/// With entries of a user in every list.
fn users() -> Value {
    json!({
        "metadata": {"name": "prod-cp", "annotations": {"team": "a"}, "resourceVersion": "7"},
        "spec": {"controlPlane": {"deployment": {
            "replicas": 3,
            "serviceAccountName": "default",
            "additionalInitContainers": [{"name": "warm-up", "image": "a"}],
            "additionalContainers": [{"name": "proxy", "image": "b"}],
            "additionalVolumes": [{"name": "scratch", "emptyDir": {}}],
            "additionalVolumeMounts": {
                "apiServer": [{"name": "scratch", "mountPath": "/scratch"}],
                "scheduler": [{"name": "scratch", "mountPath": "/s"}],
            },
            "extraArgs": {"apiServer": ["--event-ttl=2h"], "controllerManager": ["--v=4"]},
            "podAdditionalMetadata": {"annotations": {"a": "b"}},
            "probes": {"apiServer": {"readiness": {"failureThreshold": 5, "periodSeconds": 3}}},
        }}},
    })
}

fn attached(object: &Value, kind: ControlPlaneKind) -> Value {
    let mut object = object.clone();
    attach(&mut object, kind, &wanted()).unwrap();
    object
}

fn detached(object: &Value, kind: ControlPlaneKind) -> Value {
    let mut object = object.clone();
    detach(&mut object, kind).unwrap();
    object
}

const TCP: ControlPlaneKind = ControlPlaneKind::TenantControlPlane;

/// The names of the entries at `place`.
fn names(object: &Value, place: &str) -> Vec<String> {
    let list = object.pointer(place).unwrap().as_array().unwrap();
    let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
    list.iter().map(name).collect()
}

#[test]
fn the_entries_of_users_stay_in_every_list_and_keep_their_places() {
    let object = attached(&users(), TCP);
    assert_eq!(
        names(&object, TENANT.init_containers),
        ["warm-up", "kms-socket-folder", "kms-plugin"]
    );
    assert_eq!(names(&object, TENANT.volumes)[0], "scratch");
    assert_eq!(names(&object, TENANT.mounts)[0], "scratch");
    let flags = object.pointer(TENANT.flags).unwrap();
    assert_eq!(flags[0], "--event-ttl=2h");
    let deployment = &object["spec"]["controlPlane"]["deployment"];
    let before = &users()["spec"]["controlPlane"]["deployment"];
    for place in [
        "/replicas",
        "/additionalContainers",
        "/additionalVolumeMounts/scheduler",
        "/extraArgs/controllerManager",
        "/podAdditionalMetadata",
        "/probes/apiServer/readiness/periodSeconds",
    ] {
        assert_eq!(deployment.pointer(place), before.pointer(place), "{place}");
    }
    assert_eq!(object["metadata"]["annotations"]["team"], "a");
    assert_eq!(object["metadata"]["resourceVersion"], "7");
}

#[test]
fn every_part_of_the_sidecar_is_there() {
    let object = attached(&users(), TCP);
    let deployment = &object["spec"]["controlPlane"]["deployment"];
    assert_eq!(deployment["serviceAccountName"], "prod-kms-plugin");
    assert_eq!(deployment["automountServiceAccountToken"], false);
    assert_eq!(
        deployment["probes"]["apiServer"]["readiness"]["failureThreshold"],
        60
    );
    assert_eq!(
        deployment["probes"]["apiServer"]["startup"]["failureThreshold"],
        60
    );
    let flags = deployment["extraArgs"]["apiServer"].as_array().unwrap();
    for flag in [
        "--encryption-provider-config=/etc/kubernetes/encryption/config.yaml",
        "--encryption-provider-config-automatic-reload=true",
        "--shutdown-delay-duration=8s",
    ] {
        assert!(flags.contains(&json!(flag)), "{flag}");
    }
    let plugin = &deployment["additionalInitContainers"][2];
    assert_eq!(plugin["restartPolicy"], "Always");
    let arguments = plugin["args"].as_array().unwrap();
    for argument in [
        "--bao-namespace=acme",
        "--bao-key=acme-shop-prod-etcd",
        "--bao-role=tcp-prod",
        "--bao-ca-file=/etc/openbao/openbao-ca.crt",
        "--cluster=prod",
    ] {
        assert!(arguments.contains(&json!(argument)), "{argument}");
    }
    let volumes = deployment["additionalVolumes"].as_array().unwrap();
    let has_volume = |name: &Value| volumes.iter().any(|volume| volume["name"] == *name);
    let containers = deployment["additionalInitContainers"].as_array().unwrap();
    let mounts = containers
        .iter()
        .skip(1)
        .map(|container| &container["volumeMounts"]);
    let mounts = mounts.chain([&deployment["additionalVolumeMounts"]["apiServer"]]);
    for mount in mounts.flat_map(|mounts| mounts.as_array().unwrap()) {
        assert!(has_volume(&mount["name"]), "{mount}");
    }
}

#[test]
fn attaching_again_changes_nothing() {
    for kind in KINDS {
        let once = attached(&users(), kind);
        assert_eq!(attached(&once, kind), once);
    }
}

#[test]
fn fields_that_an_api_server_adds_to_an_entry_are_no_difference() {
    let mut object = attached(&users(), TCP);
    let place = format!("{}/2/ports/0", TENANT.init_containers);
    object.pointer_mut(&place).unwrap()["hostPort"] = json!(0);
    assert_eq!(attached(&object, TCP), object);
}

#[test]
fn detaching_takes_away_what_was_attached_and_nothing_else() {
    let object = attached(&users(), TCP);
    assert!(is_attached(&object).unwrap());
    let object = detached(&object, TCP);
    assert_eq!(object, users());
    assert!(!is_attached(&object).unwrap());
    assert_eq!(detached(&object, TCP), users());
}

#[test]
fn the_list_of_flags_stays_when_it_is_empty_or_kamaji_would_keep_them() {
    let bare = json!({"metadata": {"name": "t"}, "spec": {}});
    let object = detached(&attached(&bare, TCP), TCP);
    assert_eq!(object.pointer(TENANT.flags), Some(&json!([])));
    let rest = json!({"controlPlane": {"deployment": {"extraArgs": {"apiServer": []}}}});
    assert_eq!(object, json!({"metadata": {"name": "t"}, "spec": rest}));
}

#[test]
fn entries_that_users_add_while_attached_stay_when_detaching() {
    let mut object = attached(&users(), TCP);
    let flags = object.pointer_mut(TENANT.flags).unwrap();
    flags.as_array_mut().unwrap().push(json!("--v=2"));
    let volumes = object.pointer_mut(TENANT.volumes).unwrap();
    volumes
        .as_array_mut()
        .unwrap()
        .insert(1, json!({"name": "more", "emptyDir": {}}));
    let again = attached(&object, TCP);
    assert_eq!(again, object, "nothing is moved");
    let object = detached(&object, TCP);
    assert_eq!(names(&object, TENANT.volumes), ["scratch", "more"]);
    assert_eq!(
        object.pointer(TENANT.flags),
        Some(&json!(["--event-ttl=2h", "--v=2"]))
    );
}

#[test]
fn a_field_that_a_user_changed_meanwhile_stays_when_detaching() {
    let mut object = attached(&users(), TCP);
    *object.pointer_mut(TENANT.readiness).unwrap() = json!(90);
    assert_eq!(
        attached(&object, TCP).pointer(TENANT.readiness),
        Some(&json!(90))
    );
    assert_eq!(
        detached(&object, TCP).pointer(TENANT.readiness),
        Some(&json!(90))
    );
}

#[test]
fn a_higher_threshold_of_a_user_is_left_alone() {
    let mut object = users();
    *object.pointer_mut(TENANT.readiness).unwrap() = json!(100);
    let object = attached(&object, TCP);
    assert_eq!(object.pointer(TENANT.readiness), Some(&json!(100)));
}

#[test]
fn what_was_removed_or_changed_by_hand_comes_back() {
    let whole = attached(&users(), TCP);
    let mut object = whole.clone();
    let containers = object.pointer_mut(TENANT.init_containers).unwrap();
    containers[2]["args"] = json!(["--socket=/elsewhere"]);
    containers.as_array_mut().unwrap().remove(1);
    let flags = object.pointer_mut(TENANT.flags).unwrap();
    flags[1] = json!("--encryption-provider-config=/elsewhere");
    *object.pointer_mut(TENANT.service_account).unwrap() = json!("default");
    let object = attached(&object, TCP);
    assert_eq!(names(&object, TENANT.init_containers).len(), 3);
    assert_eq!(object.pointer(TENANT.flags), whole.pointer(TENANT.flags));
    assert_eq!(
        object.pointer(TENANT.service_account),
        Some(&json!("prod-kms-plugin"))
    );
    assert_eq!(detached(&object, TCP), users());
}

#[test]
fn a_new_image_replaces_the_old_one_in_its_place() {
    let mut object = attached(&users(), TCP);
    let newer = Sidecar {
        image: "kms-plugin:2",
        has_authority: false,
        ..sidecar()
    };
    attach(&mut object, TCP, &newer.attachment()).unwrap();
    let containers = object.pointer(TENANT.init_containers).unwrap();
    assert_eq!(containers[2]["image"], "kms-plugin:2");
    assert!(!names(&object, TENANT.volumes).contains(&"kdc-openbao-ca".to_owned()));
    assert_eq!(detached(&object, TCP), users());
}

#[test]
fn a_control_plane_with_a_service_account_of_its_own_is_refused() {
    let mut object = users();
    *object.pointer_mut(TENANT.service_account).unwrap() = json!("mine");
    let error = attach(&mut object, TCP, &wanted()).unwrap_err();
    assert!(matches!(error, AttachError::FieldTaken { .. }), "{error}");
    assert!(error.to_string().contains("`mine`"), "{error}");
}

#[test]
fn another_encryption_configuration_of_the_user_is_refused_by_its_flag() {
    let mut object = users();
    let flag = "--encryption-provider-config=/mine";
    object.pointer_mut(TENANT.flags).unwrap()[0] = json!(flag);
    let error = attach(&mut object, TCP, &wanted()).unwrap_err();
    assert!(error.to_string().contains(flag), "{error}");
}

#[test]
fn a_shutdown_delay_of_the_user_is_left_alone() {
    let mut object = users();
    object.pointer_mut(TENANT.flags).unwrap()[0] = json!("--shutdown-delay-duration=1m");
    let before = object.clone();
    let object = attached(&object, TCP);
    let flags = object.pointer(TENANT.flags).unwrap().as_array().unwrap();
    assert_eq!(flags.len(), 3, "{flags:?}");
    assert_eq!(detached(&object, TCP), before);
}

#[test]
fn an_entry_of_another_writer_under_one_of_the_names_is_refused() {
    let mut object = users();
    object.pointer_mut(TENANT.init_containers).unwrap()[0]["name"] = json!("kms-plugin");
    let error = attach(&mut object, TCP, &wanted()).unwrap_err();
    let line = error.to_string();
    assert!(
        line.contains("`kms-plugin`") && line.contains(TENANT.init_containers),
        "{line}"
    );
}

#[test]
fn an_object_without_its_record_is_taken_over_if_its_entries_are_the_same() {
    let mut object = attached(&users(), TCP);
    Record::remove(&mut object);
    let object = attached(&object, TCP);
    assert_eq!(names(&object, TENANT.init_containers).len(), 3);
    let object = detached(&object, TCP);
    assert_eq!(names(&object, TENANT.init_containers), ["warm-up"]);
    assert!(
        !object.to_string().contains("--encryption-provider-config"),
        "{object}"
    );
}

#[test]
fn a_damaged_record_stops_everything() {
    let mut object = attached(&users(), TCP);
    object["metadata"]["annotations"]["k8s.kube-dc.com/encryption-attachment"] = json!("{");
    assert!(matches!(
        is_attached(&object),
        Err(AttachError::Record { .. })
    ));
    assert!(attach(&mut object, TCP, &wanted()).is_err());
    assert!(detach(&mut object, TCP).is_err());
}

#[test]
fn a_field_of_another_type_is_named() {
    let mut object = json!({"spec": {"controlPlane": {"deployment": {"extraArgs": "x"}}}});
    let error = attach(&mut object, TCP, &wanted()).unwrap_err();
    assert!(error.to_string().contains("/extraArgs"), "{error}");
}

fn entries() -> impl Strategy<Value = Value> {
    let entry = "[a-z]{1,8}".prop_map(|name| json!({"name": format!("user-{name}"), "x": 1}));
    prop::collection::vec(entry, 0..4).prop_map(Value::Array)
}

fn flag_texts() -> impl Strategy<Value = Value> {
    let flag = prop_oneof![
        "[a-z]{1,8}".prop_map(|name| json!(format!("--user-{name}=1"))),
        Just(json!("--shutdown-delay-duration=8s")),
        Just(json!("--shutdown-delay-duration=20s")),
    ];
    prop::collection::vec(flag, 0..4).prop_map(Value::Array)
}

/// An object with any of the fields, which users may have set or not.
fn objects(kind: ControlPlaneKind) -> impl Strategy<Value = Value> {
    let places = kind.places();
    let some = |strategy: BoxedStrategy<Value>| prop::option::of(strategy);
    let threshold = || some((1..200u64).prop_map(|count| json!(count)).boxed());
    let account = prop_oneof![Just(json!("default")), Just(json!("prod-kms-plugin"))];
    let fields = (
        some(entries().boxed()),
        some(entries().boxed()),
        some(entries().boxed()),
        some(flag_texts().boxed()),
        some(account.boxed()),
        threshold(),
        threshold(),
        some(any::<bool>().prop_map(Value::Bool).boxed()),
        some(Just(json!({"team": "a"})).boxed()),
    );
    fields.prop_map(move |fields| {
        let (init, volumes, mounts, flags, account, readiness, startup, automount, annotations) =
            fields;
        let mut object = json!({"metadata": {"name": "t"}, "spec": Map::new()});
        let all = [
            (Some(places.init_containers), init),
            (Some(places.volumes), volumes),
            (Some(places.mounts), mounts),
            (Some(places.flags), flags),
            (Some(places.service_account), account),
            (Some(places.readiness), readiness),
            (Some(places.startup), startup),
            (places.automount, automount),
            (Some("/metadata/annotations"), annotations),
        ];
        for (place, value) in all {
            if let (Some(place), Some(value)) = (place, value) {
                set(&mut object, place, value, &mut BTreeSet::new()).unwrap();
            }
        }
        object
    })
}

/// As it is after detaching: with a list of flags.
fn with_flags(object: &Value, kind: ControlPlaneKind) -> Value {
    let mut object = object.clone();
    ensure(
        &mut object,
        kind.places().flags,
        &json!([]),
        &mut BTreeSet::new(),
    )
    .unwrap();
    object
}

proptest! {
    #[test]
    fn detaching_is_the_inverse_of_attaching(
        (kind, object) in prop::sample::select(&KINDS[..])
            .prop_flat_map(|kind| (Just(kind), objects(kind)))
    ) {
        let whole = attached(&object, kind);
        prop_assert_eq!(&attached(&whole, kind), &whole, "attaching again");
        let mut newer = whole.clone();
        let other = Sidecar { image: "kms-plugin:2", has_authority: false, ..sidecar() };
        attach(&mut newer, kind, &other.attachment()).unwrap();
        prop_assert_eq!(attached(&newer, kind), attached(&attached(&newer, kind), kind));
        for object_attached in [whole, newer] {
            prop_assert_eq!(detached(&object_attached, kind), with_flags(&object, kind));
        }
    }
}
