//! What takes snapshots in `deploy/backup`: the command lines are ones that the program understands.

use crate::support::Scene;

const UNIT: &str = include_str!("../../../../deploy/backup/kdc-backup-run.service");
const CRON_JOB: &str = include_str!("../../../../deploy/backup/cronjob.yaml");

/// Nothing of what it needs is on this machine, but every flag is understood.
fn is_understood(words: &[&str]) {
    Scene::new()
        .kdc(words)
        .fails(66, "--etcd-cacert: cannot read");
}

#[test]
fn the_unit() {
    let start = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let (program, words) = start.unwrap().split_once(' ').unwrap();
    assert_eq!(program, "/usr/local/bin/kdc");
    is_understood(&words.split(' ').collect::<Vec<_>>());
}

#[test]
fn the_cron_job() {
    let (_, job) = CRON_JOB.split_once("\n---\n").unwrap();
    let job: serde_json::Value = serde_saphyr::from_str(job).unwrap();
    let container = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"][0], "kdc");
    let arguments = container["args"].as_array().unwrap();
    let words = arguments.iter().map(|word| word.as_str().unwrap());
    is_understood(&words.collect::<Vec<_>>());
}
