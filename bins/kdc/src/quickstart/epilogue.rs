//! How to have the same for real.

use std::time::Duration;

use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::encryption_config::render_kms_v2;

use super::narration::{PROVIDER, command, heading, say};
use crate::failure::{Exit, Failure};
use crate::output::Output;

const KEYRING: &str = "/etc/kms-plugin/keyring";
const SOCKET: &str = "/run/kms-plugin/kms.sock";
const CONFIG: &str = "/etc/kubernetes/encryption.yaml";

pub(super) fn tell(out: &mut Output) -> Result<(), Failure> {
    heading(out, 5, "For real, on every control plane node")?;
    say(
        out,
        format_args!(
            "make the keyring once, copy it to every node, and keep a copy in a safe place:"
        ),
    )?;
    command(out, format_args!("kdc keyring init {KEYRING}"))?;
    command(
        out,
        format_args!("kms-plugin --socket {SOCKET} --keyring {KEYRING}"),
    )?;
    command(
        out,
        format_args!("kdc plugin check --socket unix://{SOCKET}"),
    )?;
    say(out, format_args!("{CONFIG}:"))?;
    for line in encryption_configuration()?.lines() {
        out.line(format_args!("  {line}"))?;
    }
    say(
        out,
        format_args!(
            "flags of kube-apiserver, with the folder of the socket mounted into its pod:"
        ),
    )?;
    out.line(format_args!("  --encryption-provider-config={CONFIG}"))?;
    out.line("  --encryption-provider-config-automatic-reload=true")?;
    say(
        out,
        format_args!(
            "then encrypt what is there already, and see what is encrypted under which key:"
        ),
    )?;
    command(
        out,
        format_args!("kdc encryption rewrite secrets configmaps"),
    )?;
    command(
        out,
        format_args!(
            "kdc value inspect --etcd-prefix /registry/secrets/ --etcd-endpoints https://127.0.0.1:2379 \
         --etcd-cacert CA --etcd-cert CERT --etcd-keyfile KEY"
        ),
    )
}

fn encryption_configuration() -> Result<String, Failure> {
    let provider = ProviderName::new(PROVIDER).map_err(|error| Failure::of(Exit::Io, &error))?;
    let resources = ["secrets", "configmaps"].map(GroupResource::from_text);
    render_kms_v2(
        &resources,
        &provider,
        &format!("unix://{SOCKET}"),
        Duration::from_secs(3),
    )
    .map_err(|error| Failure::of(Exit::Io, &error))
}
