//! What takes snapshots in `deploy/backup`: the command lines are ones that the program understands.

use std::fs;
use std::path::Path;

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

#[test]
fn every_timer_starts_the_service_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/backup");
    for verb in ["run", "prune"] {
        let timer = folder.join(format!("kdc-backup-{verb}.timer"));
        let text = fs::read_to_string(timer).unwrap();
        assert!(text.contains("OnCalendar=") && text.contains("WantedBy=timers.target"));
        assert!(
            !text.contains("Unit="),
            "systemd takes the service of the same name"
        );
        assert!(folder.join(format!("kdc-backup-{verb}.service")).exists());
    }
}
