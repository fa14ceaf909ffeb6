//! A key in OpenBao, from its files to one wrap and one unwrap. Each step needs those before it.

use kdc_envelope_bao::{BaoAddress, Client, ClientConfig, LoginMethod, Session, TlsConfig};
use kdc_shared::plugin::BaoSource;

use super::files;
use super::finding::{Check, Findings};
use super::words::described;
use super::{STEP_LIMIT, key, login, reach, rights, tls, token, trial};
use crate::failure::chain;

/// The servers that were looked at, so that keys on the same ones do not look again.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<KnownServers>);

#[derive(Debug)]
struct KnownServers {
    addresses: Vec<BaoAddress>,
    tls: TlsConfig,
    has_jwt: bool,
    usable: Vec<BaoAddress>,
    key: String,
}

/// Looks at the key `name`.
pub(super) async fn check(
    source: &BaoSource,
    name: &str,
    known: &mut Known,
    findings: &mut Findings<'_>,
) {
    let method = source.connection.login_method();
    let claims = files::check_login(&method, findings);
    let usable = reachable(source, name, known, findings).await;
    let (claims, usable) = match (claims, usable) {
        (Ok(claims), Ok(usable)) => (claims, usable),
        (Err(()), _) => {
            return skip_login(findings, source, "what to log in with cannot be read");
        }
        (_, Err(why)) => return skip_login(findings, source, why),
    };
    let mut config = patient(source);
    config.addresses = usable;
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => return skip_login(findings, source, &chain(&error)),
    };
    let session = Session::new(client, method, source.connection.login_namespace());
    if let Err(why) = login::check(&session, claims.as_ref(), findings).await {
        findings.skip(&Check::OF_TOKEN, source.transit.key_name(), why);
        return;
    }
    examine(source, &session, findings).await;
}

/// What needs a token.
async fn examine(source: &BaoSource, session: &Session, findings: &mut Findings<'_>) {
    let name = source.transit.key_name();
    let looked_up = token::check(session, findings).await;
    let found = key::read(session, &name).await;
    let asked = rights::ask(session, &name, &looked_up, &found).await;
    rights::report(&asked, &name, findings);
    key::report(&found, &source.transit, &asked, findings);
    let limit = source.connection.client_config().attempt_timeout;
    trial::report(&asked.trial, &name, limit, findings);
}

/// The settings with more time, so that a slow answer can be told from none.
fn patient(source: &BaoSource) -> ClientConfig {
    let mut config = source.connection.client_config();
    config.attempt_timeout = STEP_LIMIT;
    config.call_timeout = STEP_LIMIT;
    config
}

fn skip_login(findings: &mut Findings<'_>, source: &BaoSource, why: &str) {
    findings.skip(
        &[Check::LOGIN],
        described(&source.connection.login_method()),
        why,
    );
    findings.skip(
        &Check::OF_TOKEN,
        source.transit.key_name(),
        "there was no login",
    );
}

/// The addresses that can serve, or why none can.
async fn reachable(
    source: &BaoSource,
    name: &str,
    known: &mut Known,
    findings: &mut Findings<'_>,
) -> Result<Vec<BaoAddress>, &'static str> {
    const NONE: &str = "no address of OpenBao can serve";
    let config = patient(source);
    let has_jwt = matches!(
        source.connection.login_method(),
        LoginMethod::Kubernetes { .. } | LoginMethod::Jwt { .. }
    );
    let is_same = |servers: &&KnownServers| {
        servers.addresses == config.addresses
            && servers.tls == config.tls
            && servers.has_jwt == has_jwt
    };
    if let Some(servers) = known.0.iter().find(is_same) {
        let why = format!("looked at for key `{}`", servers.key);
        let addresses: Vec<String> = servers.addresses.iter().map(ToString::to_string).collect();
        findings.skip(&Check::OF_ADDRESS, addresses.join(", "), &why);
        return Some(servers.usable.clone())
            .filter(|all| !all.is_empty())
            .ok_or(NONE);
    }
    let Ok(prober) = tls::check_files(&config, findings) else {
        let why = "the files for TLS cannot be used";
        for address in &config.addresses {
            findings.skip(&Check::OF_ADDRESS, address, why);
        }
        return Err(why);
    };
    let usable = reach::check(&config, prober.as_ref(), has_jwt, findings).await;
    known.0.push(KnownServers {
        addresses: config.addresses,
        tls: config.tls,
        has_jwt,
        usable: usable.clone(),
        key: name.to_owned(),
    });
    Some(usable).filter(|all| !all.is_empty()).ok_or(NONE)
}
