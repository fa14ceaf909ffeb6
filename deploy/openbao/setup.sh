#!/bin/sh
# What an administrator of OpenBao does once for a cluster: a key that cannot leave, a policy for it alone, a role to log in with.
#
#   export BAO_ADDR=https://openbao.example.com:8200 BAO_CACERT=ca.pem BAO_TOKEN=...
#   ./setup.sh kubernetes                             # for the sidecar
#   (umask 077 && ./setup.sh approle > secret-id)     # for a static pod or systemd
#   ./setup.sh backup                                 # for backup/cronjob.yaml: a key, a policy and a role of their own
#
# May be run again: nothing is made twice. For Vault: BAO=vault, and VAULT_ADDR, VAULT_CACERT, VAULT_TOKEN.
set -eu

# The names of the samples. Change them here, in policy.hcl, and in the settings of kms-plugin.
: "${BAO:=bao}"
: "${NAMESPACE=acme}" # of the organization; empty for none
: "${KEY:=acme-shop-prod-etcd}"
: "${ROLE:=tcp-prod}" # of the role, and of its policy
: "${SERVICE_ACCOUNT:=prod-kms-plugin}"
: "${KUBERNETES_NAMESPACE:=acme-shop}"
: "${CLUSTER:=prod}" # of `backup`: the key is etcd-CLUSTER, the ServiceAccount etcd-backup in kube-system
: "${BACKUP_ROLE:=etcd-backup}"
: "${KUBERNETES_HOST:=https://kubernetes.default.svc}"
: "${KUBERNETES_CA_FILE:=}" # these two if OpenBao runs outside of that cluster
: "${REVIEWER_TOKEN_FILE:=}"

method=${1:-}
case "$method" in
kubernetes | approle) policy() { cat "$(dirname "$0")/policy.hcl"; } ;;
backup)
    KEY=etcd-$CLUSTER ROLE=$BACKUP_ROLE SERVICE_ACCOUNT=etcd-backup KUBERNETES_NAMESPACE=kube-system
    policy() { sed "s/CLUSTER/$CLUSTER/g" "$(dirname "$0")/backup-policy.hcl"; }
    ;;
*)
    echo "usage: $0 kubernetes|approle|backup" >&2
    exit 64
    ;;
esac
# Standard output is for the secret id alone.
exec 3>&1 >&2
there() { "$BAO" read "$1" >/dev/null 2>&1; }

if [ -n "$NAMESPACE" ]; then
    "$BAO" namespace lookup "$NAMESPACE" >/dev/null 2>&1 || "$BAO" namespace create "$NAMESPACE"
    export BAO_NAMESPACE="$NAMESPACE" VAULT_NAMESPACE="$NAMESPACE"
fi

there sys/mounts/transit || "$BAO" secrets enable transit
# It can be neither exported nor deleted unless an administrator changes that, of which kms-plugin warns. Rotate it with
# `bao write -f transit/keys/NAME/rotate`, one at a time, or let OpenBao do so with auto_rotate_period; not both.
there "transit/keys/$KEY" || "$BAO" write "transit/keys/$KEY" type=aes256-gcm96
policy | "$BAO" policy write "$ROLE" -

# kms-plugin renews its token after two thirds of token_ttl, and logs in again at token_max_ttl.
# token_no_default_policy: why is in policy.hcl.
set -- token_policies="$ROLE" token_no_default_policy=true token_ttl=1h token_max_ttl=24h

if [ "$method" != approle ]; then
    there sys/auth/k8s-host || "$BAO" auth enable -path=k8s-host kubernetes
    # OpenBao asks the TokenReview API whether a ServiceAccount's token is good: within the cluster with its own token, from outside
    # with one that you give it. Either one's ServiceAccount needs the ClusterRole system:auth-delegator.
    # The configuration is that of all roles of the mount, so it is written only if there is none.
    if ! there auth/k8s-host/config; then
        if [ -n "$KUBERNETES_CA_FILE" ]; then
            "$BAO" write auth/k8s-host/config kubernetes_host="$KUBERNETES_HOST" disable_local_ca_jwt=true \
                kubernetes_ca_cert=@"$KUBERNETES_CA_FILE" token_reviewer_jwt=@"$REVIEWER_TOKEN_FILE"
        else
            "$BAO" write auth/k8s-host/config kubernetes_host="$KUBERNETES_HOST"
        fi
    fi
    # The audience makes a token that was meant for another server worthless here.
    "$BAO" write "auth/k8s-host/role/$ROLE" "$@" audience=openbao \
        bound_service_account_names="$SERVICE_ACCOUNT" \
        bound_service_account_namespaces="$KUBERNETES_NAMESPACE"
else
    if ! there sys/auth/approle; then
        "$BAO" auth enable approle
        # Else a client that knows the name of a role locks it out for 15 minutes with five wrong secret ids.
        "$BAO" auth tune -user-lockout-disable=true approle/
    fi
    # Bind it to the nodes where you can: secret_id_bound_cidrs=... token_bound_cidrs=...
    # The secret id is good until it is revoked. With a secret_id_ttl something must replace the file in time; it is read at each login.
    "$BAO" write "auth/approle/role/$ROLE" "$@" secret_id_num_uses=0 secret_id_ttl=0
    # A name instead of a UUID, which is no secret.
    "$BAO" write "auth/approle/role/$ROLE/role-id" role_id="$ROLE"
    # One for each node, so that each can be revoked. To hand it over unseen: -wrap-ttl=10m -field=wrapping_token instead, and
    # --bao-secret-id-wrapped for kms-plugin.
    "$BAO" write -f -field=secret_id "auth/approle/role/$ROLE/secret-id" >&3
fi
