//! `kdc encryption` as its users run it, on real API servers that share one etcd, while clients read and write.
//!
//! * `KDC_CHAOS_KILLS=500` and `KDC_CHAOS_SEED=N`: how often something is killed in `chaos`, and in which order;
//! * `KDC_TESTBED_SLOW=1`: also what has to wait five minutes for KMS plugins to agree.
//!
//! | what goes wrong elsewhere | test |
//! |---|---|
//! | two API servers with different keys | `transitions`, `chaos`: a reader lists through every server all the time |
//! | a node is down during a rotation | `stories::a_server_that_is_away_stops_the_change_until_it_is_back` |
//! | a second rotation during the first | `stories::a_second_change_waits_for_the_first` |
//! | the configuration names what is not installed | `stories::a_configuration_that_names_what_is_not_installed_is_worked_with_and_the_name_is_told` |
//! | a proxy of the environment, several kubeconfigs | `stories` |
//! | a foreign file | `stories::a_foreign_file_is_adopted_with_all_its_keys` |
//! | a file that cannot be understood is overwritten | `stories::a_file_that_cannot_be_understood_is_left_alone` |
//! | a file is taken away, or an earlier version put in its place | `lost_files` |
//! | the API server never sees the new file | `stories::a_file_that_is_mounted_alone_is_never_taken_for_loaded` |
//! | a slow reload is taken for a failure | `reload` |
//! | an object that cannot be decrypted, a list that expires, conflicts, refusals | the test binary `rewrite` |
//! | rows are read under the prefix of another API server | `prefixes` |
//! | a key leaves that a retained snapshot needs | `backups` |
//! | the disk is full at any write | `full_disk` |
//! | the tool or an API server dies at any point | `chaos` |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "the fixture is part of the tests"
)]

mod backups;
mod bad_input;
mod chaos;
mod fixture;
mod full_disk;
mod lost_files;
mod prefixes;
mod reload;
mod stories;
mod transitions;
