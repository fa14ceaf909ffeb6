//! Why OpenBao refuses a login: it says few words, and the same ones for different things.

use kdc_envelope_bao::{BaoError, LoginMethod};

use super::files::of_credential;
use super::finding::{Check, Finding};
use super::jwt::Claims;

/// The finding about a login that failed. `has_mount` tells whether the auth method is there, if that was asked.
pub(super) fn explain(
    subject: &str,
    error: &BaoError,
    method: &LoginMethod,
    claims: Option<&Claims>,
    has_mount: Option<bool>,
) -> Finding {
    let (status, message) = match error {
        BaoError::LoginRefused {
            status, message, ..
        } => (*status, message.as_str()),
        BaoError::Credential(error) => return of_credential(Check::LOGIN, subject, error),
        other => {
            let cure = "check OpenBao's log and the findings above";
            return Finding::of_error(Check::LOGIN, subject, other, cure);
        }
    };
    let said = format!("OpenBao answered {status}: {message}");
    let (cause, cure) = match method {
        LoginMethod::Kubernetes { mount, role, .. } => {
            of_kubernetes(status, message, mount, role, claims, has_mount)
        }
        LoginMethod::Jwt { mount, role, .. } => of_jwt(status, message, mount, role, claims),
        LoginMethod::AppRole { mount, .. } => of_approle(status, message, mount),
        LoginMethod::Certificate { mount, role } => of_certificate(status, message, mount, role),
        _ => of_token(status),
    };
    Finding::fail(Check::LOGIN, subject, format_args!("{said}. {cause}"), cure)
}

type Explained = (String, String);

fn explained(cause: impl Into<String>, cure: impl Into<String>) -> Explained {
    (cause.into(), cure.into())
}

fn no_mount(kind: &str, mount: &str) -> Explained {
    explained(
        format!("No auth method is mounted at `{mount}` in this namespace"),
        format!(
            "correct --bao-auth-mount or --bao-auth-namespace (`bao auth list` shows what is there), or \
             `bao auth enable -path={mount} {kind}`"
        ),
    )
}

fn no_namespace() -> Explained {
    explained(
        "The namespace does not exist",
        "correct --bao-namespace or --bao-auth-namespace (`bao namespace list` shows what is there)",
    )
}

/// Words of OpenBao, what they mean here, and what to do.
type Known = (&'static str, String, String);

/// What the first of the words that are in `message` mean.
fn meaning<const N: usize>(message: &str, known: [Known; N]) -> Option<Explained> {
    let found = known
        .into_iter()
        .find(|(words, ..)| message.contains(words));
    found.map(|(_, cause, cure)| (cause, cure))
}

fn no_role(words: &'static str, mount: &str, role: &str) -> Known {
    (
        words,
        format!("There is no role `{role}` at this mount"),
        format!(
            "correct --bao-role, or write the role (`bao list auth/{mount}/role` shows what is there)"
        ),
    )
}

fn of_kubernetes(
    status: u16,
    message: &str,
    mount: &str,
    role: &str,
    claims: Option<&Claims>,
    has_mount: Option<bool>,
) -> Explained {
    let whose = claims.map_or_else(|| "the token".to_owned(), Claims::subject);
    let account = claims.and_then(Claims::service_account);
    let (namespace, account) = account.unwrap_or(("NAMESPACE", "NAME"));
    let role_path = format!("auth/{mount}/role/{role}");
    if status == 404 {
        return no_namespace();
    }
    if has_mount == Some(false) {
        return no_mount("kubernetes", mount);
    }
    let known = [
        no_role("invalid role name", mount, role),
        (
            "service account name not authorized",
            format!("The role is not for {whose}"),
            format!(
                "let the pod run under the service account of the role, or `bao write {role_path} bound_service_account_names={account}`"
            ),
        ),
        (
            "namespace not authorized",
            format!("The role is not for the namespace of {whose}"),
            format!("`bao write {role_path} bound_service_account_namespaces={namespace}`"),
        ),
        (
            "could not load backend configuration",
            "The auth method does not know its Kubernetes API yet".to_owned(),
            format!(
                "`bao write auth/{mount}/config kubernetes_host=https://...`, with CA and reviewer token from outside of the cluster"
            ),
        ),
    ];
    meaning(message, known)
        .or_else(|| of_claims(message, &role_path, "audience", claims))
        .unwrap_or_else(|| of_review(mount, &whose))
}

/// What is left when OpenBao has no words: another server did not accept the token.
fn of_review(mount: &str, whose: &str) -> Explained {
    explained(
        "Its TokenReview failed: OpenBao could not ask the Kubernetes API, or that does not accept the token",
        format!(
            "see whether OpenBao reaches kubernetes_host of auth/{mount}/config, whether its reviewer token is good and has the \
             ClusterRole system:auth-delegator, and whether {whose} and its pod still exist"
        ),
    )
}

fn of_jwt(
    status: u16,
    message: &str,
    mount: &str,
    role: &str,
    claims: Option<&Claims>,
) -> Explained {
    let role_path = format!("auth/{mount}/role/{role}");
    let whose = claims.map_or_else(|| "nobody".to_owned(), Claims::subject);
    let issuer = claims.map_or("", Claims::issuer);
    match status {
        404 => return no_namespace(),
        403 => return no_mount("jwt", mount),
        _ => {}
    }
    let known = [
        no_role("could not be found", mount, role),
        (
            "missing role",
            "The mount has no default role".to_owned(),
            "name a role with --bao-role".to_owned(),
        ),
        (
            "could not load configuration",
            "The auth method does not know whom to trust yet".to_owned(),
            format!(
                "`bao write auth/{mount}/config` with jwks_url, oidc_discovery_url or jwt_validation_pubkeys"
            ),
        ),
        (
            "issuer",
            format!("The token is of issuer `{issuer}`, which is not the one that is trusted"),
            format!(
                "take a token of the right issuer, or correct bound_issuer in auth/{mount}/config"
            ),
        ),
        (
            "subject",
            format!("The role is not for {whose}"),
            format!("use the token of another subject, or correct bound_subject in {role_path}"),
        ),
        (
            "signature",
            "The token is not signed by a key that is trusted".to_owned(),
            format!("take a token of the right issuer, or correct the keys in auth/{mount}/config"),
        ),
    ];
    meaning(message, known)
        .or_else(|| of_claims(message, &role_path, "bound_audiences", claims))
        .unwrap_or_else(|| {
            explained(
                format!("The token of {whose} does not fit the role"),
                format!("compare the claims of the token with {role_path}"),
            )
        })
}

/// Refusals about audience and time, which two methods have in common.
fn of_claims(
    message: &str,
    role_path: &str,
    field: &str,
    claims: Option<&Claims>,
) -> Option<Explained> {
    if message.contains("audience") {
        let audiences = claims.map_or_else(|| "another".to_owned(), Claims::audiences);
        return Some(explained(
            format!("The token is for audience {audiences}, which is not that of the role"),
            format!(
                "set `audience` of the projected token to that of the role ({field} in {role_path})"
            ),
        ));
    }
    if message.contains("expired") {
        return Some(explained(
            "The token in the file has expired",
            "mount a projected token, which kubelet replaces in time, or write a new one into the file",
        ));
    }
    message.contains("not yet valid").then(|| {
        explained(
            "The token is not valid yet by OpenBao's clock",
            "synchronise the clocks of OpenBao and of the issuer of the token (NTP)",
        )
    })
}

fn of_approle(status: u16, message: &str, mount: &str) -> Explained {
    match status {
        404 => return no_namespace(),
        403 => return no_mount("approle", mount),
        _ => {}
    }
    if message.contains("CIDR") {
        return explained(
            "The role or the secret id is bound to other addresses than that of this machine",
            "add this machine to secret_id_bound_cidrs, or log in from where it is meant for",
        );
    }
    explained(
        "The role id is unknown, or the secret id is unknown, expired or used up",
        format!(
            "compare --bao-role-id with `bao read auth/{mount}/role/NAME/role-id`, and write a new secret id into the file: \
             `bao write -f -field=secret_id auth/{mount}/role/NAME/secret-id`"
        ),
    )
}

fn of_certificate(status: u16, message: &str, mount: &str, role: &str) -> Explained {
    match status {
        404 => return no_namespace(),
        403 => return no_mount("cert", mount),
        _ => {}
    }
    if message.contains("no client certificate found") {
        return explained(
            "No client certificate came through",
            "see whether a load balancer in between ends TLS: it must pass connections on as they are",
        );
    }
    explained(
        "The client certificate fits no role, or did not come through",
        format!(
            "compare its authority and its names with `bao read auth/{mount}/certs/{}`; a load balancer in between must not end TLS",
            if role.is_empty() { "NAME" } else { role }
        ),
    )
}

fn of_token(status: u16) -> Explained {
    match status {
        404 => no_namespace(),
        _ => explained(
            "The token is unknown, expired or revoked, or of another namespace",
            "write a new token into the file, or correct --bao-auth-namespace",
        ),
    }
}
