# For whoever takes snapshots of cluster CLUSTER: makes data keys, and can open none.
path "transit/datakey/plaintext/etcd-CLUSTER" {
  capabilities = ["update"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
