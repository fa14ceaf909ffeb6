//! The program as people and scripts meet it: arguments, files, pipes, sockets, exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod backup;
mod backup_bao;
mod backup_crash;
mod backup_deploy;
mod backup_fixture;
mod backup_hostile;
mod backup_refused;
mod backup_round_trip;
mod backup_unavailable;
mod bucket;
mod bucket_hostile;
mod cases;
mod doctor;
mod encryption;
mod etcd;
mod etcd_users;
mod fixture;
mod help;
mod keyring;
mod plugin;
mod quickstart;
mod retire;
mod terminal;
mod value;
mod value_bad_input;
