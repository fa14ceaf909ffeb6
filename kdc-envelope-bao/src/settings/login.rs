//! Which settings belong to which way to log in, and what they come to.

use std::path::PathBuf;

use super::args::{AuthMethod, ConnectionArgs};
use super::error::{BaoSettingsError, value};
use crate::admin::MountPath;
use crate::login::{LoginMethod, RoleId};

/// Where a projected token of audience `openbao` is expected, if `--bao-jwt-file` does not say otherwise.
pub const DEFAULT_JWT_FILE: &str = "/var/run/secrets/tokens/openbao";

/// Where Kubernetes auth is expected, if `--bao-auth-mount` does not say otherwise.
pub const DEFAULT_KUBERNETES_MOUNT: &str = "k8s-host";

/// Finds settings that belong to other methods.
pub(super) fn check_foreign(given: &ConnectionArgs, faults: &mut Vec<BaoSettingsError>) {
    use AuthMethod::{Approle, Cert, Jwt, Kubernetes, Token};

    let method = given.bao_auth.unwrap_or_default();
    let mut check = |setting, is_given: bool, methods: &[AuthMethod], belongs| {
        if is_given && !methods.contains(&method) {
            faults.push(BaoSettingsError::Foreign {
                setting,
                method,
                belongs,
            });
        }
    };
    let mounted = "kubernetes, jwt, approle and cert";
    let is_given = given.bao_auth_mount.is_some();
    check(
        "bao-auth-mount",
        is_given,
        &[Kubernetes, Jwt, Approle, Cert],
        mounted,
    );
    let is_given = given.bao_role.is_some();
    check(
        "bao-role",
        is_given,
        &[Kubernetes, Jwt, Cert],
        "kubernetes, jwt and cert",
    );
    let is_given = given.bao_jwt_file.is_some();
    check(
        "bao-jwt-file",
        is_given,
        &[Kubernetes, Jwt],
        "kubernetes and jwt",
    );
    for (setting, is_given) in [
        ("bao-role-id", given.bao_role_id.is_some()),
        ("bao-role-id-file", given.bao_role_id_file.is_some()),
        ("bao-secret-id-file", given.bao_secret_id_file.is_some()),
        (
            "bao-secret-id-wrapped",
            given.bao_secret_id_wrapped.is_some(),
        ),
    ] {
        check(setting, is_given, &[Approle], "approle");
    }
    check(
        "bao-token-file",
        given.bao_token_file.is_some(),
        &[Token],
        "token",
    );
}

/// The method with all that it needs.
pub(super) fn method(given: &ConnectionArgs) -> Result<LoginMethod, BaoSettingsError> {
    let method = given.bao_auth.unwrap_or_default();
    match method {
        AuthMethod::Kubernetes => Ok(LoginMethod::Kubernetes {
            mount: mount(given, DEFAULT_KUBERNETES_MOUNT)?,
            role: required(
                "bao-role",
                given.bao_role.as_ref().filter(|role| !role.is_empty()),
                "kubernetes auth logs in with a role",
            )?,
            token_file: given
                .bao_jwt_file
                .clone()
                .unwrap_or_else(|| PathBuf::from(DEFAULT_JWT_FILE)),
        }),
        AuthMethod::Jwt => Ok(LoginMethod::Jwt {
            mount: mount(given, method.as_str())?,
            role: given.bao_role.clone().unwrap_or_default(),
            token_file: required(
                "bao-jwt-file",
                given.bao_jwt_file.as_ref(),
                "jwt auth logs in with a token from a file",
            )?,
        }),
        AuthMethod::Approle => Ok(LoginMethod::AppRole {
            mount: mount(given, method.as_str())?,
            role_id: role_id(given)?,
            secret_id_file: required(
                "bao-secret-id-file",
                given.bao_secret_id_file.as_ref(),
                "approle auth logs in with a secret id from a file",
            )?,
            is_wrapped: given.bao_secret_id_wrapped == Some(true),
        }),
        AuthMethod::Cert => {
            let role = given.bao_role.clone().unwrap_or_default();
            required(
                "bao-client-cert-file",
                given.bao_client_cert_file.as_ref(),
                "cert auth logs in with a client certificate",
            )?;
            Ok(LoginMethod::Certificate {
                mount: mount(given, method.as_str())?,
                role,
            })
        }
        AuthMethod::Token => required(
            "bao-token-file",
            given.bao_token_file.as_ref(),
            "token auth takes a token from a file",
        )
        .map(LoginMethod::TokenFile),
    }
}

fn role_id(given: &ConnectionArgs) -> Result<RoleId, BaoSettingsError> {
    match (&given.bao_role_id, &given.bao_role_id_file) {
        (Some(_), Some(_)) => Err(BaoSettingsError::Both {
            one: "bao-role-id",
            other: "bao-role-id-file",
        }),
        (Some(id), None) if id.is_empty() => Err(value("bao-role-id", "is empty")),
        (Some(id), None) => Ok(RoleId::Value(id.clone())),
        (None, Some(file)) => Ok(RoleId::File(file.clone())),
        (None, None) => Err(BaoSettingsError::Missing {
            setting: "bao-role-id",
            why: "approle auth logs in with a role id, given itself or by --bao-role-id-file",
        }),
    }
}

/// Where the method is mounted, without slashes around it.
fn mount(given: &ConnectionArgs, default: &str) -> Result<String, BaoSettingsError> {
    const SETTING: &str = "bao-auth-mount";
    let Some(text) = &given.bao_auth_mount else {
        return Ok(default.to_owned());
    };
    if text.starts_with("auth/") {
        return Err(value(
            SETTING,
            "begins with auth/, which is added to it; leave that away",
        ));
    }
    let path = text
        .parse::<MountPath>()
        .map_err(|fault| value(SETTING, fault.to_string()))?;
    Ok(path.to_string())
}

fn required<T: Clone>(
    setting: &'static str,
    given: Option<&T>,
    why: &'static str,
) -> Result<T, BaoSettingsError> {
    given
        .cloned()
        .ok_or(BaoSettingsError::Missing { setting, why })
}
