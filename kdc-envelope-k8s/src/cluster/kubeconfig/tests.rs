use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::client::ClientBuilder;
use tempfile::TempDir;

use super::*;

/// A certificate that is valid until 2126, its key, and a certificate of another key.
const CERTIFICATE: &str = include_str!("testdata/certificate.pem");
const KEY: &str = include_str!("testdata/key.pem");

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn of_file(text: &str) -> Result<Target, KubeconfigError> {
    let folder = folder(&[
        ("config", text),
        ("ca.pem", CERTIFICATE),
        ("key.pem", KEY),
        ("token", "from-file\n"),
    ]);
    target(&[&folder.path().join("config")], None)
}

fn target(paths: &[&Path], context: Option<&str>) -> Result<Target, KubeconfigError> {
    let files = read_all(
        &paths
            .iter()
            .map(|path| path.to_path_buf())
            .collect::<Vec<_>>(),
    )?;
    Files(files).target(context, None, &proxy::Environment::default())
}

/// A file with one context, cluster and user, of which these are the fields.
fn one(cluster: &str, user: &str) -> String {
    format!(
        "clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
    )
}

fn url(text: &str) -> String {
    of_file(text).unwrap().config.cluster_url.to_string()
}

/// The line that is shown.
fn refused(text: &str) -> String {
    let error = of_file(text).expect_err(text).to_string();
    assert!(
        !error.contains('\n') && error.contains("config`: "),
        "{error}"
    );
    error
}

#[test]
fn a_server_without_a_scheme_is_http_and_gets_no_credentials() {
    // What kubectl does: it reads credentials and certificates only for https.
    let text = one(
        "server: '127.0.0.1:6443', insecure-skip-tls-verify: true",
        "token: t",
    );
    let target = of_file(&text).unwrap();
    assert_eq!(
        target.config.cluster_url.to_string(),
        "http://127.0.0.1:6443/"
    );
    assert!(target.config.auth_info.token.is_none());
    assert!(!target.config.accept_invalid_certs);
    let text = one("server: 'https://127.0.0.1:6443'", "token: t");
    assert!(of_file(&text).unwrap().config.auth_info.token.is_some());
}

#[test]
fn files_are_merged_and_the_first_one_wins() {
    let folder = folder(&[
        (
            "a",
            "current-context: x\nclusters: [{name: c, cluster: {server: 'https://a'}}]\nusers: null\n",
        ),
        ("b", &one("server: 'https://b'", "tokenFile: token")),
        ("token", "of b"),
        ("empty", ""),
    ]);
    let path = |name: &str| folder.path().join(name);
    let (a, b, empty, away) = (path("a"), path("b"), path("empty"), path("away"));
    let found = target(&[&away, &empty, &a, &b, &a], None).unwrap();
    assert_eq!(found.config.cluster_url.to_string(), "https://a/");
    // Relative to the file that names it.
    let token_file = found.config.auth_info.token_file.unwrap();
    assert_eq!(Path::new(&token_file), path("token"));
    let found = target(&[&b, &a], None).unwrap();
    assert_eq!(found.config.cluster_url.to_string(), "https://b/");
    let error = target(&[&away], None).unwrap_err();
    assert_eq!(error.fault, KubeconfigFault::Missing);
}

#[test]
fn one_damaged_file_of_several_is_named() {
    let folder = folder(&[
        ("good", &one("server: 'https://a'", "token: t")),
        ("bad", "clusters: [{name: 'hunter2"),
    ]);
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    let error = target(&[&good, &bad], None).unwrap_err();
    assert_eq!(
        (error.file.clone(), error.fault),
        (bad, KubeconfigFault::Wrong)
    );
    assert!(
        error.what.contains("line 1") && !error.what.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn what_kubectl_takes_is_taken() {
    let data = BASE64.encode(CERTIFICATE);
    let key = BASE64.encode(KEY);
    let wrapped = data.as_bytes().chunks(64);
    let wrapped: Vec<_> = wrapped.map(|line| String::from_utf8_lossy(line)).collect();
    let wrapped = wrapped.join("\\n");
    let https = "server: 'https://h:6443'";
    let taken = [
        one(https, ""),
        one(https, "token: ''"),
        one(https, "username: u, password: p"),
        one(
            &format!("{https}, certificate-authority: ca.pem"),
            "token: t",
        ),
        one(
            &format!("{https}, certificate-authority-data: {data}"),
            "token: t",
        ),
        one(
            &format!("{https}, certificate-authority-data: \"{wrapped}\""),
            "token: t",
        ),
        one(
            &format!("{https}, certificate-authority: '', tls-server-name: other"),
            "",
        ),
        one(
            &format!("{https}, tls-server-name: 10.0.0.1, insecure-skip-tls-verify: true"),
            "",
        ),
        one(https, "client-certificate: ca.pem, client-key: key.pem"),
        one(
            https,
            &format!("client-certificate-data: {data}, client-key-data: {key}"),
        ),
        one(https, "tokenFile: token"),
        one(https, "token: t, tokenFile: away"),
        one(
            https,
            "as: someone, as-groups: [a, b], as-uid: u, as-user-extra: {k: [v]}",
        ),
        one(https, "auth-provider: {name: oidc, config: {id-token: t}}"),
        one(
            https,
            "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, \
                    args: [-c, 'echo \"{status: {token: t}}\"']}",
        ),
        one(
            "server: 'https://h', proxy-url: 'http://p:3128'",
            "token: t",
        ),
        one(
            "server: 'https://h', proxy-url: 'socks5://p:1080', disable-compression: true",
            "",
        ),
        format!("# comment\n---\n{}", one(https, "token: t")),
        format!("\u{feff}{}", one(https, "token: t")),
        format!(
            "{}preferences: {{}}\nkind: Config\napiVersion: v1\nunknown: 1\n",
            one(https, "")
        ),
        // kubectl sends no credentials then.
        one(https, "").replace("user: u}", "user: away}"),
        one(https, "").replace(", user: u}", "}"),
        // Entries that are not used may be anything.
        format!("{}# ", one(https, ""))
            .replace("users: [", "users: [{name: z, user: {exec: {}}}, "),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    for text in taken {
        let target = of_file(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        let built = ClientBuilder::try_from(target.config);
        assert!(built.is_ok(), "{text}\n{:?}", built.err());
    }
}

#[test]
fn what_is_wrong_or_not_supported_is_named_by_its_field_and_never_quoted() {
    let https = "server: 'https://h:6443'";
    let with = |cluster: &str| one(&format!("{https}, {cluster}"), "");
    let of = |user: &str| one(https, user);
    let exec = |fields: &str| {
        of(&format!(
            "exec: {{apiVersion: v1, interactiveMode: Never, {fields}}}"
        ))
    };
    let shell = |script: &str| exec(&format!("command: sh, args: [-c, '{script}']"));
    let data = BASE64.encode(CERTIFICATE);
    for (text, field) in [
        (String::new(), "current-context is missing"),
        ("hunter2".to_owned(), "no fields"),
        ("[1, 2]".to_owned(), "no fields"),
        ("kind: Pod".to_owned(), "kind is `Pod`"),
        (
            "clusters: hunter2\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: c}}]"
                .to_owned(),
            "clusters has to be a list",
        ),
        (
            "current-context: [1]".to_owned(),
            "current-context has to be text",
        ),
        ("current-context: x".to_owned(), "there is no context `x`"),
        (
            "current-context: x\ncontexts: [hunter2]".to_owned(),
            "contexts[0] has to be a mapping",
        ),
        (
            "current-context: x\ncontexts: [{name: x, context: {user: u}}]".to_owned(),
            "contexts[x].context.cluster is missing",
        ),
        (
            one(https, "").replace("cluster: c,", "cluster: away,"),
            "there is no cluster `away`",
        ),
        (
            one(https, "").replace("clusters: [", "clusters: [{name: c}, "),
            "`c` is there twice",
        ),
        (one("", ""), "clusters[c].cluster.server is missing"),
        (
            one("server: 5", ""),
            "clusters[c].cluster.server has to be text",
        ),
        (
            one("server: 'ftp://h'", ""),
            "clusters[c].cluster.server: the scheme `ftp`",
        ),
        (
            one("server: 'https://u:hunter2@h'", ""),
            "clusters[c].cluster.server: credentials",
        ),
        (
            one("server: 'h:99999'", ""),
            "clusters[c].cluster.server: its port",
        ),
        (
            with("proxy-url: 'ftp://hunter2@p'"),
            "clusters[c].cluster.proxy-url",
        ),
        (with("proxy-url: 'p:3128'"), "clusters[c].cluster.proxy-url"),
        (
            with("tls-server-name: 'a b'"),
            "clusters[c].cluster.tls-server-name",
        ),
        (
            with("insecure-skip-tls-verify: 'hunter2'"),
            "clusters[c].cluster.insecure-skip-tls-verify",
        ),
        (
            with("certificate-authority: away.pem"),
            "clusters[c].cluster.certificate-authority: `",
        ),
        (
            with("certificate-authority: token"),
            "has no certificate in PEM",
        ),
        (
            with("certificate-authority-data: 'aGkh hunter2'"),
            "certificate-authority-data is no base64: character 5",
        ),
        (
            with("certificate-authority-data: aGk"),
            "certificate-authority-data is no base64",
        ),
        (
            with("certificate-authority-data: aGVsbG8="),
            "certificate-authority-data has no certificate",
        ),
        (
            with(&format!(
                "certificate-authority: ca.pem, certificate-authority-data: {data}"
            )),
            "exclude each other",
        ),
        (
            with("certificate-authority: ca.pem, insecure-skip-tls-verify: true"),
            "exclude each other",
        ),
        (
            of("client-certificate: ca.pem"),
            "users[u].user.client-key-data is missing",
        ),
        (
            of("client-certificate: ca.pem, client-key: ca.pem"),
            "users[u].user.client-key",
        ),
        (
            of("client-certificate: key.pem, client-key: key.pem"),
            "users[u].user.client-certificate",
        ),
        (
            of("client-certificate: away, client-key: key.pem"),
            "users[u].user.client-certificate",
        ),
        (of("token: 5"), "users[u].user.token has to be text"),
        (
            of("token: \"a\\nhunter2\""),
            "users[u].user.token gives a token with control characters",
        ),
        (
            of("token: hunter2, username: u, password: p"),
            "exclude each other",
        ),
        (of("tokenFile: away"), "users[u].user.tokenFile: `"),
        (of("tokenFile: ."), "users[u].user.tokenFile: `"),
        (of("as-groups: [hunter2]"), "users[u].user.as is missing"),
        (of("as: \"a\\nb\""), "control characters"),
        (
            of("auth-provider: {name: gcp, config: {access-token: hunter2}}"),
            "users[u].user.auth-provider: the provider `gcp`",
        ),
        (
            of("auth-provider: {name: oidc}"),
            "users[u].user.auth-provider: there is no id-token",
        ),
        (of("exec: {}"), "users[u].user.exec.command is missing"),
        (
            exec("command: /away/plugin, installHint: 'brew install it'"),
            "cannot run the credential plugin `/away/plugin`",
        ),
        (
            exec("command: sh, env: [{value: hunter2}]"),
            "users[u].user.exec.env[0].name is missing",
        ),
        (
            shell("echo hunter2; echo log in first >&2; exit 3"),
            "log in first",
        ),
        (shell("echo hunter2"), "printed no ExecCredential"),
        (
            shell("echo \"{status: {}}\""),
            "neither a token nor a certificate",
        ),
        (
            exec("command: echo, args: ['{\"status\": {\"token\": \"a\\nhunter2\"}}']"),
            "gives a token with control characters",
        ),
    ] {
        let error = refused(&text);
        assert!(error.contains(field), "{text}\n{error}");
        assert!(!error.contains("hunter2"), "{text}\n{error}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for bytes in [
        &[0xff, 0xfe, b'a'][..],
        &[0xfe, 0xff, 0xd8, 0x00],
        &[0xef, 0xbb, 0xbf, 0xff],
        &[0x80],
        b"\0",
        &b"&a [*a, *a]".repeat(50),
        &b"[".repeat(5000),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, bytes).unwrap();
        let error = target(&[&path], None).unwrap_err();
        assert_eq!(error.fault, KubeconfigFault::Wrong, "{error}");
    }
    let wide: Vec<u8> = one("server: 'https://wide'", "")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    fs::write(&path, [&[0xff, 0xfe][..], &wide].concat()).unwrap();
    let found = target(&[&path], None).unwrap();
    assert_eq!(found.config.cluster_url.to_string(), "https://wide/");
}

#[test]
fn a_context_that_is_asked_for_wins_and_the_others_are_named() {
    let text = one("server: 'https://a'", "").replace(
        "contexts: [",
        "contexts: [{name: other, context: {cluster: c}}, ",
    );
    let folder = folder(&[("config", &text)]);
    let path = folder.path().join("config");
    target(&[&path], Some("other")).unwrap();
    let error = target(&[&path], Some("z")).unwrap_err().to_string();
    assert!(
        error.ends_with("there is no context `z` (there is `other`, `x`)"),
        "{error}"
    );
}

#[test]
fn a_proxy_of_the_file_is_used_whatever_the_environment_says() {
    let text = one(
        "server: 'https://h', proxy-url: 'http://u:hunter2@p:3128'",
        "",
    );
    let target = of_file(&text).unwrap();
    let proxy = target.config.proxy_url.as_ref().map(proxy::shown);
    assert_eq!(proxy.as_deref(), Some("http://p:3128"));
    assert_eq!(url(&text), "https://h/");
}

#[test]
fn what_is_in_memory_must_stand_alone_and_is_never_shown() {
    let parse = |cluster: &str, user: &str| {
        let memory = KubeconfigInMemory::new("Secret a/b", one(cluster, user));
        assert!(!format!("{memory:?}").contains("hunter2"));
        memory.parse().map(drop).map_err(|error| {
            assert_eq!(error.fault, KubeconfigFault::Unsupported);
            error.to_string()
        })
    };
    parse(
        "server: https://h, certificate-authority: \"\"",
        "token: hunter2",
    )
    .unwrap();
    let refused = parse("server: https://h", "tokenFile: /etc/shadow").unwrap_err();
    assert_eq!(
        refused,
        "kubeconfig `Secret a/b`: users[0].user.tokenFile names what is outside of it, which is not followed from memory; write token"
    );
    for (cluster, user) in [
        ("server: https://h, certificate-authority: ca.pem", ""),
        ("server: https://h", "client-certificate: a"),
        ("server: https://h", "client-key: a"),
        ("server: https://h", "exec: {command: rm}"),
        ("server: https://h", "auth-provider: {name: oidc}"),
    ] {
        parse(cluster, user).expect_err(user);
    }
}
