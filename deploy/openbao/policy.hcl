# All that kms-plugin may do in OpenBao, for the Transit key `acme-shop-prod-etcd`.
# Not `create`: with it, a misspelt name would make a new key. Nothing rotates, configures, exports or lists.
path "transit/encrypt/acme-shop-prod-etcd" { capabilities = ["update"] }
path "transit/decrypt/acme-shop-prod-etcd" { capabilities = ["update"] }
path "transit/keys/acme-shop-prod-etcd"    { capabilities = ["read"] }

# Its own token. The policy `default` would grant this too, but evaluating it costs almost half of OpenBao's throughput;
# so the role has token_no_default_policy, and these three are granted here: renewing it, looking how long it lasts, and giving it
# back when another one has taken its place.
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
