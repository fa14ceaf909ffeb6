//! What takes snapshots in `deploy/backup`: the command lines are ones that the program understands.

use std::fs;
use std::path::Path;

use crate::fixture::Fixture;

const UNIT: &str = include_str!("../../../../deploy/backup/kdc-backup-run.service");
const IMAGE: &str = include_str!("../../../../deploy/backup/Containerfile");
const CRON_JOB: &str = include_str!("../../../../deploy/backup/cronjob.yaml");

/// Nothing of what it needs is on this machine, but every flag is understood.
fn is_understood(words: &[&str]) {
    Fixture::new()
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
    assert!(
        container["command"].is_null(),
        "the entrypoint of the image"
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container["image"], format!("kdc:{version}"));
    assert!(IMAGE.contains(&format!("-t kdc:{version} target/dist/static\n")));
    let arguments = container["args"].as_array().unwrap();
    let words = arguments.iter().map(|word| word.as_str().unwrap());
    is_understood(&words.collect::<Vec<_>>());
}

#[test]
fn the_image_is_what_dist_builds_for_images() {
    let instructions: Vec<&str> = IMAGE
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .filter(|line| !line.starts_with("LABEL"))
        .collect();
    let expected = [
        "FROM scratch",
        "COPY --chmod=0555 kdc /kdc",
        "USER 65532:65532",
        r#"ENTRYPOINT ["/kdc"]"#,
    ];
    assert_eq!(instructions, expected, "no stage, no RUN, no network");
    let version = env!("CARGO_PKG_VERSION");
    assert!(IMAGE.contains(&format!("image.version=\"{version}\"")));
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/src/dist.rs");
    let dist = fs::read_to_string(dist).unwrap();
    assert!(dist.contains(r#"("kdc", for_images.join("kdc"))"#));
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
