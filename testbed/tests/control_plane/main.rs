//! Real kube-apiserver, real etcd, and our `kms-plugin` and `kdc` as their users run them.
//!
//! * `KDC_TESTBED_KUBE_MINORS=1.32,1.36` runs every test on each of these API servers, one after the other;
//! * `KDC_TESTBED_SLOW=1` keeps the plugin of one test away until the API server stops writing, which takes 3 minutes.
//!
//! What upstream's own tests demand of a plugin, and where it is shown. `service` and `socket` are tests of
//! `kdc-envelope-kms`, `apiserver` is its model of kube-apiserver with a clock that tests turn.
//!
//! | behaviour | test |
//! |---|---|
//! | the client comes first, the server later | `outages::an_api_server_that_starts_first_is_not_ready_until_its_plugin_comes` |
//! | the plugin restarts while a call waits | `outages::a_read_that_needs_the_plugin_waits_for_its_restart` |
//! | slower than the timeout: `DeadlineExceeded`, and the work is cancelled | `outages::a_hung_plugin_costs_readiness_until_it_goes_on`, `service::a_slow_backend_ends_in_deadline_exceeded_before_kube_apiserver_gives_up`, `service::a_call_that_the_client_drops_counts_as_cancelled` |
//! | a hundred parallel pairs of Encrypt and Decrypt | `service::a_hundred_parallel_pairs_all_come_back` |
//! | authority `localhost`, `@name` and path | `service::authorities_that_kube_apiserver_sends_are_served`, `providers::an_abstract_socket_serves_an_api_server` |
//! | Status has exactly these fields, a constant version and a valid key id | `service::a_seed_comes_back_and_every_call_names_one_key_id`; every test here, as the API server checks it |
//! | Status and Encrypt name the same key id while it rotates | `rotation::rows_keep_their_version_until_the_kek_rotates_and_then_change_once` |
//! | old key ids decrypt after rotations and a restart | `rotation::rows_of_all_versions_are_read_after_rotations_and_restarts` |
//! | unknown key id, changed annotations, changed ciphertext | `damage`, `service::bad_decrypt_requests_are_refused_by_name` |
//! | an empty uid | `service::an_empty_uid_and_a_huge_one_are_served` |
//! | a failed state is a gRPC error, and ends | `service::an_unhealthy_kek_makes_status_an_error_and_not_a_text` |
//! | sockets: abstract and path, stale, permissions | `socket`, `outages`, `providers::an_abstract_socket_serves_an_api_server` |
//! | answers within the limits | `service::an_answer_outside_the_limits_is_never_passed_on` |
//! | the API server's intervals and its write window of 3 minutes | `apiserver`, `rotation::readiness_probes_cost_one_status_per_20_seconds`, and with `KDC_TESTBED_SLOW` the first test of `outages` |
//! | staleness: rows change once per rotation, and not by an outage | `rotation::rows_keep_their_version_until_the_kek_rotates_and_then_change_once`, `outages::a_killed_plugin_stops_neither_reading_nor_writing_and_takes_its_stale_socket_over` |
//! | a thousand objects, one wrapped seed | `rows::a_thousand_objects_share_one_wrapped_seed` |
//! | a restart reads old data | `outages::a_socket_that_is_removed_comes_back_and_serves_the_next_api_server`, `rotation::rows_of_all_versions_are_read_after_rotations_and_restarts` |
//! | two providers, the health of each | `providers::the_health_of_each_of_two_providers_is_reported` |
//! | reload: add, migrate, drop, restart; three ways to replace a file | `reload::encryption_is_switched_on_by_reload_and_plaintext_off_after_migration` |
//! | a wildcard covers all but the known exceptions | `rows::a_wildcard_encrypts_every_row_but_the_documented_exceptions` |
//! | a sealed snapshot, restored | `restored::secrets_of_a_sealed_snapshot_are_read_through_another_api_server` |
//! | metrics by method and status code | `providers::every_call_is_counted_by_method_and_status_on_both_sides`, `damage::a_row_of_another_keyring_is_refused_by_key_id_and_opens_again_with_the_right_one` |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "the fixture is part of the tests"
)]

mod damage;
mod fixture;
mod high_availability;
mod outages;
mod probes;
mod providers;
mod reload;
mod restored;
mod rotation;
mod rows;
mod secrecy;
