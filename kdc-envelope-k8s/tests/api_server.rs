//! How kube-apiserver is started, from files of every form; that each form is read as its own program reads it is told by the
//! cases of `kdc plugin doctor` and by the real kube-apiserver.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kdc_envelope_k8s::api_server::{
    ApiServer, CONFIG_FLAG, Files, FlagValue, MAX_LEN, Place, RELOAD_FLAG, ReadError, Source,
    Unclear,
};
use proptest::prelude::*;

/// Files by their paths, and nothing else.
#[derive(Default)]
struct Only(BTreeMap<&'static str, &'static str>);

impl Files for Only {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.0.get(path));
        text.map(|text| (*text).to_owned())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let all = self.0.keys().map(PathBuf::from);
        Ok(all.filter(|path| path.parent() == Some(folder)).collect())
    }
}

fn parse(text: &str) -> Result<ApiServer, Unclear> {
    ApiServer::parse(text, Path::new("file"), &Only::default())
}

fn config_of(text: &str) -> Option<String> {
    match parse(text).ok()?.flags.value(CONFIG_FLAG) {
        FlagValue::Known(value) => Some(value.to_owned()),
        _ => None,
    }
}

fn pod(fields: &str) -> String {
    format!("kind: Pod\nspec:\n  containers:\n  - name: kube-apiserver\n{fields}")
}

fn with_command(words: &str) -> String {
    pod(&format!("    command: {words}\n"))
}

#[test]
fn the_manifest_of_a_static_pod_is_read_from_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kube-apiserver.yaml");
    let missing = ApiServer::read(&path).unwrap_err();
    assert!(matches!(missing, ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    let words = "[kube-apiserver, --encryption-provider-config=/etc/enc.yaml]";
    std::fs::write(&path, with_command(words)).unwrap();
    let server = ApiServer::read(&path).unwrap();
    assert_eq!(
        server.flags.value(CONFIG_FLAG),
        FlagValue::Known("/etc/enc.yaml")
    );
    assert!(matches!(server.place, Place::Pod(_)));
    std::fs::write(&path, "x".repeat(MAX_LEN + 1)).unwrap();
    let too_long = ApiServer::read(&path).unwrap_err();
    assert!(matches!(too_long, ReadError::Unclear(_)), "{too_long}");
}

#[test]
fn scripts_are_read_as_shells_read_them() {
    let redirected = parse("kube-apiserver --v=2 > --encryption-provider-config=/a").unwrap();
    assert_eq!(redirected.flags.value(CONFIG_FLAG), FlagValue::Absent);
    for (script, config) in [
        (
            "kube-apiserver --v=2 \\\r\n  --encryption-provider-config=/a\r\n",
            Some("/a"),
        ),
        ("kube-apiserver --encryption-provider-config=/a", Some("/a")),
        (
            "exec kube-apiserver --encryption-provider-config '/a b'",
            Some("/a b"),
        ),
        (
            "kube-apiserver --encryption-provider-config=\"/a\"'/b'\\ c",
            Some("/a/b c"),
        ),
        (
            "kube-apiserver \\\n  --encryption-provider-config=/a \\\n  --v=2",
            Some("/a"),
        ),
        (
            "set -e; cd / && exec env A=b kube-apiserver --encryption-provider-config=/a >/log 2>&1 &",
            Some("/a"),
        ),
        (
            "kube-apiserver --encryption-provider-config=/a # --encryption-provider-config=/b",
            Some("/a"),
        ),
        (
            "kube-apiserver --v=2 > --encryption-provider-config=/a",
            None,
        ),
        (
            "echo kube-apiserver --encryption-provider-config=/b\nkube-apiserver --encryption-provider-config=/a",
            Some("/a"),
        ),
        (
            "A=/a; kube-apiserver --encryption-provider-config=${A}/b",
            Some("/a/b"),
        ),
        (
            "A='--encryption-provider-config=/a --v=2'\nkube-apiserver $A",
            Some("/a"),
        ),
        (
            "A=--v=2; A+=' --encryption-provider-config=/a'; kube-apiserver $A",
            Some("/a"),
        ),
        (
            "if true; then kube-apiserver --encryption-provider-config=/a; fi",
            Some("/a"),
        ),
        (
            "nice -n 5 /opt/bin/kube-apiserver --encryption-provider-config=/a",
            Some("/a"),
        ),
        (
            "/go-runner --log-file=/var/log/kube-apiserver.log --also-stdout=false /usr/local/bin/kube-apiserver --encryption-provider-config=/a",
            Some("/a"),
        ),
        (
            "/hyperkube kube-apiserver --encryption-provider-config=/a",
            Some("/a"),
        ),
        (
            "bash -o pipefail -c 'exec \"$@\"' bash kube-apiserver --encryption-provider-config=/a",
            Some("/a"),
        ),
        (
            "sh -c 'sh -c \"kube-apiserver --encryption-provider-config=/a\"'",
            Some("/a"),
        ),
    ] {
        assert_eq!(config_of(script).as_deref(), config, "{script}");
    }
}

#[test]
fn what_decides_when_it_runs_is_a_gap_or_unclear() {
    for script in [
        "kube-apiserver --encryption-provider-config=/a $MORE",
        "kube-apiserver --encryption-provider-config=/a `more`",
        "kube-apiserver --encryption-provider-config=/a $(more)",
        "kube-apiserver \"$@\" ${MORE[@]}",
        "if x; then A=--v=2; fi; kube-apiserver $A",
        "kube-apiserver --flag-of-tomorrow --encryption-provider-config=/a",
    ] {
        let server = parse(script).unwrap();
        assert!(!server.flags.gaps().is_empty(), "{script}");
    }
    let open = parse("kube-apiserver --encryption-provider-config=$HOME/a").unwrap();
    assert_eq!(open.flags.value(CONFIG_FLAG), FlagValue::Open("$HOME/a"));
    for script in [
        "",
        "hello",
        "kube-apiserver --a; kube-apiserver --b",
        "if x; then kube-apiserver --a; else kube-apiserver --b; fi",
        "kube-apiserver --a 'b",
        "cat <<EOF\nkube-apiserver --a\nEOF",
        "sh -c \"$SCRIPT\"",
        "/start.sh",
        "kubelet --encryption-provider-config=/a",
        "--v=2 --hostname-override=a",
        "tail -F /var/log/kube-apiserver",
    ] {
        assert!(parse(script).is_err(), "{script}");
    }
    assert!(parse(&" ".repeat(MAX_LEN + 1)).is_err());
    let doubling = format!("A=aaaa;{} kube-apiserver $A", "A=$A$A;".repeat(40));
    assert!(parse(&doubling).is_err());
}

#[test]
fn objects_of_every_kind_are_looked_through() {
    let spec = "spec: {containers: [{name: kube-apiserver, command: [kube-apiserver, --encryption-provider-config=/a]}]}";
    for text in [
        format!("kind: Pod\n{spec}"),
        format!("kind: Deployment\nspec: {{template: {{{spec}}}}}"),
        format!("kind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{{spec}}}}}}}}}"),
        format!("kind: PodTemplate\ntemplate: {{{spec}}}"),
        format!("kind: List\nitems: [{{kind: Pod, {spec}}}]"),
        format!("kind: PodList\nitems: [{{kind: Pod, {spec}}}]"),
        format!("metadata: {{namespace: k8s}}\nspec: {{kind: Pod, {spec}}}"),
        format!("kind: ConfigMap\ndata:\n  pod.yaml: |\n    kind: Pod\n    {spec}"),
        "[kube-apiserver, --encryption-provider-config=/a]".to_owned(),
        r#"{"kind": "Pod", "spec": {"containers": [{"name": "a", "args": ["kube-apiserver", "--encryption-provider-config=/a"]}]}}"#.to_owned(),
    ] {
        assert_eq!(config_of(&text).as_deref(), Some("/a"), "{text}");
    }
    for (text, why) in [
        (
            "kind: Pod\nspec: {containers: [{name: kube-apiserver, image: a}]}",
            "has no command line",
        ),
        (
            "kind: Pod\nspec: {containers: [{name: kube-apiserver, command: [/run.sh]}]}",
            "starts `/run.sh`",
        ),
        (
            "kind: Pod\nspec: {containers: [{name: a, command: [kube-apiserver]}, {name: b, command: [kube-apiserver]}]}",
            "two containers",
        ),
        (
            "kind: Pod\nspec: {containers: [{name: kube-apiserver, command: [k3s, server]}]}",
            "k3s or RKE2 in a container",
        ),
        (
            "kind: Pod\nspec: {containers: [\n",
            "line 2, column 20: neither YAML nor JSON",
        ),
        (
            "kind: Pod\nkind: Pod\n",
            "line 2, column 1: the same field twice",
        ),
        ("{\"kind\": \"Pod\",}", "line 1, column 16: no JSON"),
        ("- {op: add, path: /spec, value: {}}\n", "a patch"),
        (
            "kind: Service\n",
            "no container of kube-apiserver in Service",
        ),
        ("a: b\n", "nothing in it starts kube-apiserver"),
    ] {
        let unclear = parse(text).unwrap_err().to_string();
        assert!(unclear.contains(why), "{text}: {unclear}");
    }
}

#[test]
fn mounts_are_followed_to_the_node() {
    let text = pod("    command: [kube-apiserver]
    env: [{name: SUB, value: b}]
    volumeMounts:
    - {name: host, mountPath: /in}
    - {name: host, mountPath: /in/sub, subPathExpr: $(SUB)/c}
    - {name: host, mountPath: /in/open, subPathExpr: $(SUB)}
    - {name: empty, mountPath: /empty}
    - {name: secret, mountPath: /secret}
    - {name: none, mountPath: /none}
  volumes:
  - {name: host, hostPath: {path: /out, type: Directory}}
  - {name: empty, emptyDir: }
  - {name: secret, secret: {secretName: a}}
");
    let server = parse(&text).unwrap();
    let on_host = |inside: &str| server.on_host(Path::new(inside));
    assert_eq!(on_host("/in/a/b"), Some("/out/a/b".into()));
    assert_eq!(on_host("/in/sub/d"), Some("/out/b/c/d".into()));
    assert_eq!(on_host("/in/subway"), Some("/out/subway".into()));
    assert_eq!(on_host("/elsewhere"), None);
    let Place::Pod(pod) = &server.place else {
        unreachable!("it is a pod");
    };
    let source = |inside: &str| pod.mount_of(Path::new(inside)).unwrap().source.clone();
    assert_eq!(source("/empty/x"), Source::Empty);
    assert_eq!(source("/secret/x"), Source::Written("secret"));
    assert_eq!(source("/none/x"), Source::Missing);
}

#[test]
fn k3s_reads_more_than_its_command_line() {
    let files = Only(BTreeMap::from([
        (
            "/etc/rancher/k3s/config.yaml",
            "kube-apiserver-arg: [v=2, encryption-provider-config=/a]\n",
        ),
        (
            "/etc/rancher/k3s/config.yaml.d/1.yaml",
            "kube-apiserver-arg+: [encryption-provider-config-automatic-reload]\n",
        ),
    ]));
    let of = |text: &str| ApiServer::parse(text, Path::new("k3s.service"), &files).unwrap();
    let server = of("[Service]\nExecStart=/usr/local/bin/k3s server\n");
    assert_eq!(server.flags.value(CONFIG_FLAG), FlagValue::Known("/a"));
    assert_eq!(server.flags.value(RELOAD_FLAG), FlagValue::Known("true"));
    let over = of(
        "[Service]\nExecStart=/usr/local/bin/k3s server --kube-apiserver-arg encryption-provider-config=/b\n",
    );
    assert_eq!(over.flags.value(CONFIG_FLAG), FlagValue::Known("/b"));
    let other =
        of("[Service]\nExecStart=/usr/local/bin/k3s server -c /none --secrets-encryption\n");
    let own = "/var/lib/rancher/k3s/server/cred/encryption-config.json";
    assert_eq!(other.flags.value(CONFIG_FLAG), FlagValue::Known(own));
    assert!(ApiServer::parse("k3s agent", Path::new("a"), &files).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[ \\n\\t{}\\[\\]:,&*!|>'\"%@`$()\\\\;#=a-z0-9~-]{0,120}") {
        let _ = parse(&text);
        let _ = parse(&format!("kube-apiserver {text}"));
        let _ = parse(&format!("[Service]\nExecStart=kube-apiserver {text}"));
        let _ = parse(&with_command(&text));
        let _ = parse(&format!("kube-apiserver\0{text}\0"));
    }
}
