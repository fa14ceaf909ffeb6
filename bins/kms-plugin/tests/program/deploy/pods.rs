//! The manifests of pods.

use kdc_envelope_bao::LoginMethod;
use kdc_shared::plugin::Settings;
use serde_json::Value;

use super::{BAO_SAMPLE, SETTINGS, files, in_bao, only_key, openbao, settings, text, yaml};

/// Every manifest, and the list that the plugin is in.
pub(super) const ALL: [(&str, &str); 4] = [
    ("native-sidecar.yaml", "initContainers"),
    (SIDECAR, "initContainers"),
    ("static-pod.yaml", "containers"),
    (STATIC_POD, "containers"),
];
const SIDECAR: &str = "native-sidecar-openbao.yaml";
const STATIC_POD: &str = "static-pod-openbao.yaml";

pub(super) fn pod(name: &str) -> Value {
    yaml(&text(name))
}

pub(super) fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    pod["spec"][list]
        .as_array()
        .unwrap()
        .iter()
        .find(|container| container["name"] == name)
        .unwrap()
}

/// The plugin in the sidecar for OpenBao.
pub(super) fn sidecar() -> Value {
    container(&pod(SIDECAR), "initContainers", "kms-plugin").clone()
}

pub(super) fn sidecar_line() -> Vec<String> {
    line_of(&sidecar())
}

fn line_of(container: &Value) -> Vec<String> {
    let arguments = container["args"].as_array().unwrap().iter();
    std::iter::once("kms-plugin")
        .chain(arguments.map(|argument| argument.as_str().unwrap()))
        .map(str::to_owned)
        .collect()
}

/// The mount that holds `path`.
fn mount_of<'a>(container: &'a Value, path: &str) -> &'a Value {
    let mounts = container["volumeMounts"].as_array().unwrap();
    mounts
        .iter()
        .find(|mount| path.starts_with(&format!("{}/", mount["mountPath"].as_str().unwrap())))
        .unwrap_or_else(|| panic!("no mount holds {path}"))
}

fn volume_of<'a>(pod: &'a Value, mount: &Value) -> &'a Value {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"])
        .unwrap()
}

/// The socket and all files must be in folders that are mounted, the files read-only, and every mount must have its volume.
fn check_mounts(pod: &Value, container: &Value, settings: &Settings) {
    let key = only_key(settings);
    let socket = mount_of(container, &key.socket.address.to_string());
    assert!(socket["readOnly"].is_null());
    for file in files(key) {
        let mount = mount_of(container, file.to_str().unwrap());
        assert_eq!(mount["readOnly"], true, "{}", file.display());
    }
    for mount in container["volumeMounts"].as_array().unwrap() {
        volume_of(pod, mount);
    }
}

#[test]
fn no_pod_gives_the_plugin_more_than_it_needs() {
    for (name, list) in ALL {
        let pod = pod(name);
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false, "{name}");
        let plugin = container(&pod, list, "kms-plugin");
        let own = &plugin["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(own["capabilities"]["drop"][0], "ALL", "{name}");
        let whole = &pod["spec"]["securityContext"];
        let seccomp = |context: &Value| context["seccompProfile"]["type"] == "RuntimeDefault";
        assert!(seccomp(own) || seccomp(whole), "{name}");
        let limits = &plugin["resources"]["limits"];
        assert!(
            limits["memory"].is_string() && limits["cpu"].is_null(),
            "{name}"
        );
        assert!(plugin["resources"]["requests"]["cpu"].is_string(), "{name}");
        assert_eq!(
            plugin["livenessProbe"]["httpGet"]["path"], "/livez",
            "{name}: never of the key"
        );
    }
}

fn check_static_pod(name: &str, sample: &str) -> (Value, Settings) {
    let pod = pod(name);
    let plugin = container(&pod, "containers", "kms-plugin");
    let settings = settings(&line_of(plugin), sample);
    check_mounts(&pod, plugin, &settings);
    let address = settings.http_address.unwrap();
    assert!(address.ip().is_loopback(), "it is on the host's network");
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(plugin[probe]["httpGet"]["port"], address.port());
    }
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        assert!(
            volume["hostPath"].is_object(),
            "a ConfigMap or Secret needs the API: {volume}"
        );
    }
    (pod, settings)
}

#[test]
fn the_static_pod_needs_no_api_and_its_line_parses() {
    check_static_pod("static-pod.yaml", "");
}

#[test]
fn the_static_pod_with_openbao_needs_no_api_either() {
    let (pod, settings) = check_static_pod(STATIC_POD, BAO_SAMPLE);
    let plugin = container(&pod, "containers", "kms-plugin");
    let folder = mount_of(plugin, SETTINGS);
    assert_eq!(
        volume_of(&pod, folder)["hostPath"]["path"],
        "/etc/kms-plugin"
    );
    assert_eq!(
        pod["spec"]["dnsPolicy"], "Default",
        "not the cluster's own resolver"
    );
    let method = in_bao(only_key(&settings)).connection.login_method();
    assert!(matches!(method, LoginMethod::AppRole { .. }), "{method:?}");
}

fn check_sidecar(pod: &Value) -> Settings {
    let plugin = container(pod, "initContainers", "kms-plugin");
    assert_eq!(plugin["restartPolicy"], "Always");
    let settings = settings(&line_of(plugin), "");
    check_mounts(pod, plugin, &settings);
    let port = plugin["ports"][0]["containerPort"].as_u64().unwrap();
    assert_eq!(u64::from(settings.http_address.unwrap().port()), port);
    let socket = only_key(&settings).socket.address.to_string();
    let apiserver = container(pod, "containers", "kube-apiserver");
    let mount = mount_of(apiserver, &socket);
    assert_eq!(mount, mount_of(plugin, &socket));
    assert!(volume_of(pod, mount)["emptyDir"].is_object());
    let folder = container(pod, "initContainers", "kms-socket-folder");
    let made = folder["command"][2].as_str().unwrap();
    let parent = socket.rsplit_once('/').unwrap().0;
    assert!(made.ends_with(parent), "{made}");
    settings
}

#[test]
fn the_sidecar_outlives_kube_apiserver_and_its_line_parses() {
    let pod = pod("native-sidecar.yaml");
    check_sidecar(&pod);
    let plugin = container(&pod, "initContainers", "kms-plugin");
    assert_eq!(plugin["startupProbe"]["httpGet"]["path"], "/readyz");
}

#[test]
fn the_sidecar_with_openbao_starts_and_stays_while_openbao_is_away() {
    let pod = pod(SIDECAR);
    check_sidecar(&pod);
    let plugin = container(&pod, "initContainers", "kms-plugin");
    assert_eq!(plugin["startupProbe"]["httpGet"]["path"], "/livez");
    assert!(plugin["readinessProbe"].is_null());
    assert_eq!(plugin["securityContext"]["runAsNonRoot"], true);
    assert!(
        pod["spec"]["securityContext"].is_null(),
        "kube-apiserver keeps the user that it has"
    );
}

#[test]
fn the_sidecar_logs_in_as_the_role_is_bound() {
    let pod = pod(SIDECAR);
    let setup = openbao::defaults();
    assert_eq!(pod["spec"]["serviceAccountName"], setup["SERVICE_ACCOUNT"]);
    assert_eq!(pod["metadata"]["namespace"], setup["KUBERNETES_NAMESPACE"]);
    let settings = settings(&sidecar_line(), "");
    let LoginMethod::Kubernetes {
        mount, token_file, ..
    } = in_bao(only_key(&settings)).connection.login_method()
    else {
        panic!("not with a ServiceAccount");
    };
    assert!(text("openbao/setup.sh").contains(&format!("auth enable -path={mount} kubernetes")));
    let plugin = sidecar();
    let file = token_file.to_str().unwrap();
    let mount = mount_of(&plugin, file);
    let token = &volume_of(&pod, mount)["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "openbao");
    let path = format!(
        "{}/{}",
        mount["mountPath"].as_str().unwrap(),
        token["path"].as_str().unwrap()
    );
    assert_eq!(path, file);
}

/// The address of a pod is reached from everywhere, unless a NetworkPolicy says otherwise.
#[test]
fn the_policy_leaves_the_port_of_probes_to_prometheus_and_that_of_kube_apiserver_to_all() {
    let policy = pod("native-sidecar-networkpolicy.yaml");
    assert_eq!(policy["kind"], "NetworkPolicy");
    let selector = &policy["spec"]["podSelector"]["matchLabels"];
    let [all, prometheus] = [0, 1].map(|at| &policy["spec"]["ingress"][at]);
    assert!(all["from"].is_null());
    assert!(prometheus["from"][0]["namespaceSelector"]["matchLabels"].is_object());
    for name in ["native-sidecar.yaml", SIDECAR] {
        let pod = pod(name);
        assert_eq!(&pod["metadata"]["labels"], selector, "{name}");
        let port = &container(&pod, "initContainers", "kms-plugin")["ports"][0]["containerPort"];
        assert_eq!(&prometheus["ports"][0]["port"], port, "{name}");
        assert_ne!(&all["ports"][0]["port"], port, "{name}");
    }
}

/// Else it diagnoses something else than what runs.
#[test]
fn the_doctor_has_the_settings_and_volumes_of_the_sidecar() {
    let doctor = pod("native-sidecar-doctor.yaml");
    let sidecar = pod(SIDECAR);
    let plugin = container(&sidecar, "initContainers", "kms-plugin");
    let words = doctor["args"].as_array().unwrap();
    assert_eq!(words[..2], ["plugin", "doctor"]);
    let settings: Vec<&Value> = plugin["args"].as_array().unwrap().iter().collect();
    let of_serving = ["--http-address", "--log-format"];
    let expected = settings.into_iter().filter(|setting| {
        let setting = setting.as_str().unwrap();
        !of_serving.iter().any(|flag| setting.starts_with(flag))
    });
    assert!(words[2..].iter().eq(expected));
    for field in ["securityContext", "volumeMounts"] {
        assert_eq!(doctor[field], plugin[field], "{field}");
    }
}
