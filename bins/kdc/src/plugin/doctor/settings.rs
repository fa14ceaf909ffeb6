//! The settings of kms-plugin, put together as it does, with every fault instead of the first one alone.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kdc_shared::plugin::Options;
use kdc_shared::plugin::{KeySettings, Settings, SettingsError, read};

use super::finding::{Check, Finding, Findings};

const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The keys whose settings are complete.
pub(super) fn gather(options: Options, findings: &mut Findings<'_>) -> Vec<KeySettings> {
    let Options { config, given, .. } = options;
    let subject = match &config {
        Some(path) => path.display().to_string(),
        None => "flags and environment".to_owned(),
    };
    let given = match &config {
        None => given,
        Some(path) => match read(path) {
            Ok(file) => {
                findings.add(of_mode(path, &subject));
                given.merge_over(file)
            }
            Err(error) => {
                findings.add(of_fault(&subject, &error));
                return Vec::new();
            }
        },
    };
    let (settings, faults) = Settings::examine(given);
    if faults.is_empty() {
        let keys: Vec<String> = settings
            .keys
            .iter()
            .map(|key| format!("`{}`", key.name))
            .collect();
        let detail = format_args!("complete, for {}", keys.join(", "));
        findings.add(Finding::pass(Check::SETTINGS, &subject, detail));
    }
    for fault in faults {
        findings.add(of_fault(&subject, &fault));
    }
    settings.keys
}

fn of_fault(subject: &str, fault: &SettingsError) -> Finding {
    let cure = "correct it; `kms-plugin --help` explains every setting";
    let mut place = String::new();
    let mut fault = fault;
    while let SettingsError::InKey { name, source, .. } = fault {
        place = format!("key `{name}`: ");
        fault = source;
    }
    let mut finding = Finding::of_error(Check::SETTINGS, subject, fault, cure);
    finding.detail.insert_str(0, &place);
    finding
}

/// Who can write the file can send the plugin anywhere.
fn of_mode(path: &Path, subject: &str) -> Finding {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o7777);
    if mode & WRITABLE_BY_OTHERS == 0 {
        return Finding::pass(
            Check::SETTINGS,
            subject,
            "can be read, and written by its owner alone",
        );
    }
    let detail = format_args!("others can write it (mode {mode:04o})");
    let cure = format_args!("`chmod go-w {subject}`");
    Finding::warn(Check::SETTINGS, subject, detail, cure)
}
