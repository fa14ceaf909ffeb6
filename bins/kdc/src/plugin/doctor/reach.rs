//! The way to OpenBao, step by step for each address: name, connection, TLS, health, version, clock.

use std::net::SocketAddr;
use std::time::Duration;

use kdc_envelope_bao::{BaoAddress, BaoError, Client, ClientConfig, ServerHealth};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::STEP_LIMIT;
use super::finding::{Check, Finding, Findings};
use super::tls::Prober;
use crate::clock;
use crate::failure::chain;

/// Versions of OpenBao that the plugin is tested with.
const SUPPORTED: [&str; 2] = ["2.6.", "2.7."];
/// More of the addresses of a name are not tried.
const MAX_ADDRESSES: usize = 8;
/// How far the clocks may be apart, in seconds.
const SKEW_WARNS: i64 = 5;
const SKEW_FAILS: i64 = 60;

/// One address with all that is needed to look at it.
#[derive(Debug, Clone)]
struct Probe {
    address: BaoAddress,
    config: ClientConfig,
    /// None if no address needs TLS.
    prober: Option<Prober>,
    /// Whether logins bring a token with times in it.
    has_jwt: bool,
}

/// The addresses at which OpenBao can serve, in the order of the settings. All are probed at once.
pub(super) async fn check(
    config: &ClientConfig,
    prober: Option<&Prober>,
    has_jwt: bool,
    findings: &mut Findings<'_>,
) -> Vec<BaoAddress> {
    let mut running = JoinSet::new();
    for (index, address) in config.addresses.iter().enumerate() {
        let mut alone = config.clone();
        alone.addresses = vec![address.clone()];
        let probe = Probe {
            address: address.clone(),
            config: alone,
            prober: prober.cloned(),
            has_jwt,
        };
        running.spawn(async move { (index, probe.run().await) });
    }
    let mut all = running.join_all().await;
    all.sort_by_key(|(index, _)| *index);
    let mut reached = Vec::new();
    for (address, (_, (found, health))) in config.addresses.iter().zip(all) {
        let done: Vec<Check> = found.iter().map(|finding| finding.check).collect();
        let failed = found.iter().rev().find(|finding| finding.is_failure());
        let why = failed.map(|failed| format!("`{}` failed", failed.check.as_str()));
        found.into_iter().for_each(|finding| findings.add(finding));
        for check in Check::OF_ADDRESS {
            if let (false, Some(why)) = (done.contains(&check), &why) {
                findings.add(Finding::skip(check, address, why));
            }
        }
        reached.extend(health.map(|health| (address.clone(), health)));
    }
    if config.addresses.len() > 1 {
        findings.add(cluster(&reached));
    }
    reached.into_iter().map(|(address, _)| address).collect()
}

impl Probe {
    /// What was found up to the first failure, and the health if OpenBao can serve there.
    async fn run(self) -> (Vec<Finding>, Option<ServerHealth>) {
        let mut found = Vec::new();
        let Some(addresses) = keep(self.resolve().await, &mut found) else {
            return (found, None);
        };
        let Some(stream) = keep(self.connect(&addresses).await, &mut found) else {
            return (found, None);
        };
        found.extend(self.tls(stream).await);
        if found.iter().any(Finding::is_failure) {
            return (found, None);
        }
        let Some(health) = keep(self.health().await, &mut found) else {
            return (found, None);
        };
        found.push(version(&self.address, &health));
        found.push(self.clock(&health));
        (found, Some(health))
    }

    async fn resolve(&self) -> Result<(Finding, Vec<SocketAddr>), Finding> {
        let host = self.address.host();
        // IPv6 addresses stand in brackets in a URL.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = timeout(STEP_LIMIT, lookup_host((host, self.address.port()))).await;
        let cure = "correct the name in --bao-address, or the resolver of this machine (/etc/resolv.conf; in a pod its dnsPolicy)";
        let detail = match found {
            Err(_) => format!("no answer of the resolver within {STEP_LIMIT:?}"),
            Ok(Err(error)) => format!("the name cannot be resolved: {error}"),
            Ok(Ok(found)) => {
                let all: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
                let shown: Vec<String> = all.iter().map(|one| one.ip().to_string()).collect();
                if !all.is_empty() {
                    let detail = match host.parse::<std::net::IpAddr>() {
                        Ok(_) => "needs no resolver".to_owned(),
                        Err(_) => shown.join(", "),
                    };
                    return Ok((Finding::pass(Check::DNS, host, detail), all));
                }
                "the name has no address".to_owned()
            }
        };
        Err(Finding::fail(Check::DNS, host, detail, cure))
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<(Finding, TcpStream), Finding> {
        let mut running = JoinSet::new();
        for address in addresses.iter().copied() {
            running.spawn(async move {
                let result = timeout(STEP_LIMIT, TcpStream::connect(address)).await;
                let result = match result {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {STEP_LIMIT:?}")),
                };
                (address, result)
            });
        }
        let (mut stream, mut count, mut refusals) = (None, 0, Vec::new());
        for (address, result) in running.join_all().await {
            match result {
                Ok(connected) => {
                    count += 1;
                    stream = Some(connected);
                }
                Err(words) => refusals.push(format!("{address}: {words}")),
            }
        }
        let (subject, refusals) = (&self.address, refusals.join("; "));
        let cure = "see whether OpenBao listens there, and whether firewalls and network policies let this machine through";
        let Some(stream) = stream else {
            return Err(Finding::fail(Check::TCP, subject, refusals, cure));
        };
        let finding = match refusals.is_empty() {
            true => Finding::pass(
                Check::TCP,
                subject,
                format_args!("{count} of {count} connect"),
            ),
            false => {
                let detail = format_args!("{count} of {} connect; {refusals}", addresses.len());
                Finding::warn(Check::TCP, subject, detail, cure)
            }
        };
        Ok((finding, stream))
    }

    async fn tls(&self, stream: TcpStream) -> Vec<Finding> {
        if let Some(prober) = self
            .prober
            .as_ref()
            .filter(|_| !self.address.is_plaintext())
        {
            return prober.shake_hands(&self.address, stream).await;
        }
        let subject = &self.address;
        let host = self.address.host().trim_matches(['[', ']']);
        let is_local = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let finding = match is_local {
            true => Finding::skip(Check::TLS, subject, "http:// to this machine"),
            false => {
                let detail = "http:// sends tokens and keys readable by anybody on the way";
                let cure = "turn TLS on in OpenBao's listener, and use https://";
                Finding::warn(Check::TLS, subject, detail, cure)
            }
        };
        let skipped = [Check::TLS_NAME, Check::TLS_EXPIRY];
        let skipped = skipped.map(|check| Finding::skip(check, subject, "there is no TLS"));
        [finding].into_iter().chain(skipped).collect()
    }

    async fn health(&self) -> Result<(Finding, ServerHealth), Finding> {
        let subject = &self.address;
        let failed = |detail: &dyn std::fmt::Display, cure: &str| {
            Err(Finding::fail(Check::HEALTH, subject, detail, cure))
        };
        let client = match Client::new(self.config.clone()) {
            Ok(client) => client,
            Err(error) => return failed(&chain(&error), "see the findings about files"),
        };
        let answer = client.health().await.into_iter().next();
        let health = match answer.map(|(_, answer)| answer) {
            Some(Ok(health)) => health,
            Some(Err(error)) => return failed(&chain(&error), unhealthy_cure(&error)),
            None => return failed(&"not asked", "name an address"),
        };
        if !health.initialized {
            return failed(
                &"OpenBao is not initialised",
                "initialise it: `bao operator init`",
            );
        }
        if health.sealed {
            let cure =
                "unseal it (`bao operator unseal`), or see in its log why auto-unseal does not";
            return failed(&"OpenBao is sealed", cure);
        }
        let role = match health.standby {
            true => "standby: reads itself, passes logins on to the active node",
            false => "active",
        };
        let detail = format_args!("unsealed, {role}, cluster `{}`", health.cluster_name);
        Ok((Finding::pass(Check::HEALTH, subject, detail), health))
    }

    fn clock(&self, health: &ServerHealth) -> Finding {
        let subject = &self.address;
        let here = i64::try_from(clock::now()).unwrap_or(i64::MAX);
        let skew = health.server_time_utc.saturating_sub(here);
        let by = humantime::format_duration(Duration::from_secs(skew.unsigned_abs()));
        let detail = match skew {
            -1..=1 => "the same as here".to_owned(),
            2.. => format!("{by} ahead of the clock here"),
            _ => format!("{by} behind the clock here"),
        };
        let cure = "synchronise both clocks (NTP)";
        match skew.abs() {
            apart if apart > SKEW_FAILS && self.has_jwt => {
                let detail = format_args!("{detail}; tokens with times in them are refused");
                Finding::fail(Check::CLOCK, subject, detail, cure)
            }
            apart if apart > SKEW_WARNS => Finding::warn(Check::CLOCK, subject, detail, cure),
            _ => Finding::pass(Check::CLOCK, subject, detail),
        }
    }
}

/// The value of a step that went well; its finding goes to the others in any case.
fn keep<T>(step: Result<(Finding, T), Finding>, found: &mut Vec<Finding>) -> Option<T> {
    match step {
        Ok((finding, value)) => {
            found.push(finding);
            Some(value)
        }
        Err(finding) => {
            found.push(finding);
            None
        }
    }
}

fn unhealthy_cure(error: &BaoError) -> &'static str {
    match error {
        BaoError::Unintelligible { .. } => {
            "correct the address: another server, or the page of a proxy, answers there"
        }
        BaoError::Unreachable { .. } => {
            "check OpenBao's log; does the listener demand another client certificate?"
        }
        BaoError::Timeout { .. } => "see whether OpenBao, or what is in front of it, is overloaded",
        BaoError::Redirected { .. } => "add the host with --bao-redirect-host if it is right",
        _ => "check OpenBao's log",
    }
}

/// Which server it is; Vault has the same prefix everywhere, and its own version numbers.
fn version(address: &BaoAddress, health: &ServerHealth) -> Finding {
    let version = &health.version;
    let cure = "run OpenBao 2.6 or 2.7, or try everything before you rely on it";
    if health.enterprise.is_some() || version.starts_with("1.") {
        let detail =
            format_args!("Vault {version}, which is not tested; it speaks the same protocol");
        return Finding::warn(Check::VERSION, address, detail, cure);
    }
    if SUPPORTED.iter().any(|known| version.starts_with(known)) {
        return Finding::pass(Check::VERSION, address, format_args!("OpenBao {version}"));
    }
    let detail = format_args!("OpenBao {version}; tested are 2.6 and 2.7");
    Finding::warn(Check::VERSION, address, detail, cure)
}

/// Whether the addresses are nodes of one cluster, and one of them leads.
fn cluster(reached: &[(BaoAddress, ServerHealth)]) -> Finding {
    let check = Check::CLUSTER;
    let subject = "all addresses";
    let Some((_, first)) = reached.first() else {
        return Finding::skip(check, subject, "none of them is healthy");
    };
    let stranger = reached
        .iter()
        .find(|(_, health)| health.cluster_name != first.cluster_name);
    if let Some((address, health)) = stranger {
        let detail = format_args!(
            "{address} belongs to cluster `{}`, another one to `{}`: what one wraps, the other cannot unwrap",
            health.cluster_name, first.cluster_name
        );
        let cure = "name only the nodes of one cluster in --bao-address";
        return Finding::fail(check, subject, detail, cure);
    }
    let active = reached.iter().find(|(_, health)| !health.standby);
    match active {
        Some((address, _)) => {
            let detail = format_args!("{} healthy, active is {address}", reached.len());
            Finding::pass(check, subject, detail)
        }
        None => {
            let detail = format_args!("{} healthy, none is active", reached.len());
            let cure =
                "add the address of the active node, and see whether there is one: logins need it";
            Finding::warn(check, subject, detail, cure)
        }
    }
}
