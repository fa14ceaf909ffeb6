# For whoever restores snapshots of cluster CLUSTER: opens data keys, and makes none.
path "transit/decrypt/etcd-CLUSTER" {
  capabilities = ["update"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
