# For whoever moves data keys of snapshots of cluster CLUSTER to a new version of the key, without seeing one.
path "transit/rewrap/etcd-CLUSTER" {
  capabilities = ["update"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
