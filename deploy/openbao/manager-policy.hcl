# All that kdc-manager may do in OpenBao. It belongs into the namespace above those of the organizations, where the program logs in; `+` stands
# for the namespace of an organization. It cannot encrypt, decrypt, export or list, and it cannot raise min_decryption_version.

# The namespace and the Transit engine of an organization, made with its first key. Leave the first one out if namespaces are made elsewhere.
path "sys/namespaces/+"       { capabilities = ["read", "create", "update"] }
path "+/sys/mounts/transit"   { capabilities = ["read", "create", "update"] }

# Keys: made, read, rotated; deleted at the end of a countdown.
path "+/transit/keys/+"        { capabilities = ["read", "create", "update", "delete"] }
path "+/transit/keys/+/rotate" { capabilities = ["update"] }
path "+/transit/keys/+/config" {
  capabilities       = ["update"]
  allowed_parameters = { "deletion_allowed" = [], "auto_rotate_period" = [] }
}

# Policies and roles of clusters.
path "+/sys/policies/acl/tcp-*"     { capabilities = ["read", "create", "update"] }
path "+/auth/k8s-host/role/tcp-*"   { capabilities = ["read", "create", "update"] }

# Its own token.
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
