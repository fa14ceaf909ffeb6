//! Certificates, tokens and users of a kubeconfig.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::Config;
use kube::config::AuthInfo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use zeroize::Zeroizing;

use super::exec::{self, Given};
use super::view::{View, read_bytes};
use super::{KubeconfigError, KubeconfigFault};

/// What the certificate of the server is held against.
pub(super) fn trust(cluster: &View<'_>, config: &mut Config) -> Result<(), KubeconfigError> {
    config.accept_invalid_certs = cluster.flag("insecure-skip-tls-verify")?;
    if let Some(name) = cluster.text("tls-server-name")? {
        if ServerName::try_from(name.as_str()).is_err() {
            return Err(cluster.wrong(".tls-server-name is no name of a host"));
        }
        config.tls_server_name = Some(name);
    }
    let Some(Pem { place, bytes }) = pem(
        cluster,
        "certificate-authority",
        "certificate-authority-data",
    )?
    else {
        return Ok(());
    };
    if config.accept_invalid_certs {
        let what =
            ": insecure-skip-tls-verify and a certificate-authority exclude each other; remove one";
        return Err(cluster.wrong(what));
    }
    let certificates = certificates(&bytes).ok_or_else(|| {
        KubeconfigError::wrong(cluster.file, format!("{place} has no certificate in PEM"))
    })?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let added = store.add(CertificateDer::from(certificate.as_slice()));
        added.map_err(|error| {
            let what = format!("{place} has a certificate that cannot be used: {error}");
            KubeconfigError::wrong(cluster.file, what)
        })?;
    }
    config.root_cert = Some(certificates);
    Ok(())
}

/// Who asks. A server without TLS is told nothing but whom to impersonate, as kubectl does.
pub(super) fn log_in(
    user: &View<'_>,
    cluster: &View<'_>,
    config: &mut Config,
) -> Result<(), KubeconfigError> {
    config.auth_info = impersonation(user)?;
    if config.cluster_url.scheme_str() != Some("https") {
        return Ok(());
    }
    let info = &mut config.auth_info;
    certificate(user, info)?;
    let token = user.text("token")?;
    let (name, password) = (user.text("username")?, user.text("password")?);
    if token.is_some() && (name.is_some() || password.is_some()) {
        return Err(user.wrong(": a token and a password exclude each other; remove one"));
    }
    if name.is_some() || password.is_some() {
        info.username = Some(name.unwrap_or_default());
        info.password = Some(password.unwrap_or_default().into());
    }
    if let Some(file) = user.path("tokenFile")? {
        of_token_file(user, info, &file.to_string_lossy(), token)?;
    } else if let Some(token) = token {
        check_token(user, "token", &token)?;
        info.token = Some(token.into());
    }
    let plugin = user.mapping("exec")?;
    if let Some(provider) = user.mapping("auth-provider")? {
        if plugin.is_some() {
            return Err(user.wrong(": exec and auth-provider exclude each other; remove one"));
        }
        of_provider(&provider, info)?;
    }
    let is_known = info.token.is_some() || info.token_file.is_some() || info.username.is_some();
    if let Some(plugin) = plugin.filter(|_| !is_known) {
        match exec::run(&plugin, cluster)? {
            Given::Token(token) => {
                check_token(&plugin, "command", &token)?;
                info.token = Some(token.to_string().into());
            }
            Given::Certificate { certificate, key } => {
                set_certificate(info, certificate.as_bytes(), key.as_bytes());
            }
            Given::ShortLived(config) => info.exec = Some(*config),
        }
    }
    Ok(())
}

/// What a file holds wins over a token beside it, if the file can be read; without one it has to be.
fn of_token_file(
    user: &View<'_>,
    info: &mut AuthInfo,
    file: &str,
    beside: Option<String>,
) -> Result<(), KubeconfigError> {
    let read = read_bytes(file.as_ref()).map(Zeroizing::new);
    let text = match (read, beside) {
        (Ok(bytes), _) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
        (Err(_), Some(token)) => {
            check_token(user, "token", &token)?;
            info.token = Some(token.into());
            return Ok(());
        }
        (Err(error), None) => {
            let place = format!("{}: `{file}` ", user.place_of("tokenFile"));
            return Err(KubeconfigError::unreadable(user.file, &place, &error));
        }
    };
    let token = text.trim();
    check_token(user, "tokenFile", token)?;
    if token.is_empty() {
        return Err(user.wrong(".tokenFile names an empty file"));
    }
    if token == *text {
        info.token_file = Some(file.to_owned());
    } else {
        // The client reads the file anew once a minute, and takes a line feed for a part of the token. Files with one are
        // written by people, and stay as they are.
        info.token = Some(token.to_owned().into());
    }
    Ok(())
}

fn impersonation(user: &View<'_>) -> Result<AuthInfo, KubeconfigError> {
    let (name, uid) = (user.text("as")?, user.text("as-uid")?);
    let groups = user.texts("as-groups")?;
    let extra = user.lists("as-user-extra")?;
    let has_more = uid.is_some() || !groups.is_empty() || !extra.is_empty();
    if name.is_none() && has_more {
        return Err(user.wrong(".as is missing; as-uid, as-groups and as-user-extra need it"));
    }
    let all = name.iter().chain(&uid).chain(&groups);
    if let Some(_text) = all
        .chain(extra.iter().flat_map(|(_, texts)| texts))
        .find(|text| !is_header(text))
    {
        return Err(user.wrong(": `as` and the fields with it must not have control characters"));
    }
    Ok(AuthInfo {
        impersonate: name,
        impersonate_uid: uid,
        impersonate_groups: (!groups.is_empty()).then_some(groups),
        impersonate_user_extra: (!extra.is_empty()).then(|| extra.into_iter().collect()),
        ..AuthInfo::default()
    })
}

fn certificate(user: &View<'_>, info: &mut AuthInfo) -> Result<(), KubeconfigError> {
    let certificate = pem(user, "client-certificate", "client-certificate-data")?;
    let Some(certificate) = certificate else {
        return Ok(());
    };
    let Some(key) = pem(user, "client-key", "client-key-data")? else {
        return Err(user.wrong(".client-key-data is missing, and so is client-key"));
    };
    let wrong = |what: String| KubeconfigError::wrong(user.file, what);
    if certificates(&certificate.bytes).is_none() {
        return Err(wrong(format!(
            "{} has no certificate in PEM",
            certificate.place
        )));
    }
    if PrivateKeyDer::from_pem_slice(&key.bytes).is_err() {
        let what = format!(
            "{} has no private key in PEM, or an encrypted one",
            key.place
        );
        return Err(wrong(what));
    }
    set_certificate(info, &certificate.bytes, &key.bytes);
    Ok(())
}

fn set_certificate(info: &mut AuthInfo, certificate: &[u8], key: &[u8]) {
    info.client_certificate_data = Some(BASE64.encode(certificate));
    info.client_key_data = Some(BASE64.encode(key).into());
}

/// `oidc` may hold a token that is still good. kubectl itself has none of the others since 1.26.
fn of_provider(provider: &View<'_>, info: &mut AuthInfo) -> Result<(), KubeconfigError> {
    let name = provider.text("name")?.unwrap_or_default();
    let config = provider.mapping("config")?;
    let token = config.map(|config| config.text("id-token")).transpose()?;
    match (name.as_str(), token.flatten()) {
        ("oidc", Some(token)) => {
            check_token(provider, "config.id-token", &token)?;
            info.token = Some(token.into());
            Ok(())
        }
        ("oidc", None) => Err(provider.unsupported(
            ": there is no id-token, and fetching one is not supported; run kubectl once, or use a credential plugin (`exec`)",
        )),
        _ => Err(provider.unsupported(format!(
            ": the provider `{}` is not supported, and no longer by kubectl; use a credential plugin (`exec`) or a token",
            name.escape_debug()
        ))),
    }
}

fn check_token(view: &View<'_>, field: &str, token: &str) -> Result<(), KubeconfigError> {
    match is_header(token) {
        true => Ok(()),
        false => Err(view.wrong(format!(
            ".{field} gives a token with control characters; write it on one line"
        ))),
    }
}

/// Whether it can be sent in a header.
fn is_header(text: &str) -> bool {
    http::HeaderValue::from_str(text).is_ok()
}

/// Text in PEM, and the field that it comes from.
struct Pem {
    place: String,
    bytes: Zeroizing<Vec<u8>>,
}

/// Of a field with the path of a file, or of one with base64. Both are a mistake, with kubectl too.
fn pem(
    view: &View<'_>,
    file_field: &str,
    data_field: &str,
) -> Result<Option<Pem>, KubeconfigError> {
    let (file, data) = (view.path(file_field)?, view.text(data_field)?);
    match (file, data) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(view.wrong(format!(
            ": {file_field} and {data_field} exclude each other; remove one"
        ))),
        (Some(file), None) => {
            let place = format!("{}: `{}` ", view.place_of(file_field), file.display());
            let read = read_bytes(&file);
            let bytes =
                read.map_err(|error| KubeconfigError::unreadable(view.file, &place, &error))?;
            let (place, bytes) = (place.trim_end().to_owned(), Zeroizing::new(bytes));
            Ok(Some(Pem { place, bytes }))
        }
        (None, Some(data)) => {
            // Go skips line breaks.
            let data: String = data.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let data = Zeroizing::new(data);
            let bytes = BASE64.decode(data.as_bytes()).map_err(|error| {
                let what = match error {
                    base64::DecodeError::InvalidByte(offset, _) => {
                        format!(
                            " is no base64: character {} is none of its alphabet",
                            offset + 1
                        )
                    }
                    _ => {
                        " is no base64: its length or its end is wrong; was it cut off?".to_owned()
                    }
                };
                let place = view.place_of(data_field);
                KubeconfigError::new(view.file, KubeconfigFault::Wrong, format!("{place}{what}"))
            })?;
            let bytes = Zeroizing::new(bytes);
            let place = view.place_of(data_field);
            Ok(Some(Pem { place, bytes }))
        }
    }
}

/// All of them in DER; `None` if there is none, or something that is damaged.
fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found: Vec<_> = found.ok()?.iter().map(|der| der.to_vec()).collect();
    (!found.is_empty()).then_some(found)
}
