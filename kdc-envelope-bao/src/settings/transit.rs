//! Which Transit key is used and how its versions are followed, checked.

use std::time::Duration;

use super::args::{KeyArgs, TransitArgs};
use super::error::{BaoSettingsError, keep, value};
use crate::transit::{InvalidKeyName, TransitKeyName, TransitOptions};

const DEFAULT_MOUNT: &str = "transit";
/// What `--bao-poll-interval` may be.
const POLL_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// What `--bao-hold` may be at most.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3_600);

/// A Transit key, and how its versions are followed.
#[derive(Debug, Clone)]
pub struct TransitSettings {
    key: TransitKeyName,
    options: TransitOptions,
}

impl TransitArgs {
    /// Checks the settings for sense and completeness.
    ///
    /// # Errors
    /// Everything that is wrong; never empty.
    pub fn resolve(self) -> Result<TransitSettings, Vec<BaoSettingsError>> {
        let mut faults = Vec::new();
        let mut options = TransitOptions::default();
        if let Some(interval) = self.rotation.bao_poll_interval {
            if !POLL_INTERVALS.contains(&interval) {
                faults.push(value("bao-poll-interval", "must be 1s to 1h"));
            }
            options.poll_interval = interval;
        }
        if let Some(hold) = self.rotation.bao_hold {
            if hold > LONGEST_HOLD {
                faults.push(value("bao-hold", "must be at most 24h"));
            }
            options.hold = hold;
        }
        let key = keep(self.key.resolve(), &mut faults);
        key.filter(|_| faults.is_empty())
            .map(|key| TransitSettings { key, options })
            .ok_or(faults)
    }
}

impl KeyArgs {
    /// Mount and name of the key.
    ///
    /// # Errors
    /// [`BaoSettingsError::Missing`] without a name, [`BaoSettingsError::KeyPath`] and [`BaoSettingsError::Key`] for what is none.
    pub fn resolve(&self) -> Result<TransitKeyName, BaoSettingsError> {
        let name = self.bao_key.as_deref();
        let name = name.ok_or(BaoSettingsError::Missing {
            setting: "bao-key",
            why: "a key in OpenBao has a name; make one with `bao write -f transit/keys/NAME`",
        })?;
        if let Some((mount, name)) = name.split_once("/keys/") {
            return Err(BaoSettingsError::KeyPath {
                mount: mount.escape_debug().to_string(),
                name: name.escape_debug().to_string(),
            });
        }
        TransitKeyName::new(self.bao_mount.as_deref().unwrap_or(DEFAULT_MOUNT), name).map_err(
            |source| {
                let setting = match source {
                    InvalidKeyName::Mount(_) => "bao-mount",
                    _ => "bao-key",
                };
                BaoSettingsError::Key { setting, source }
            },
        )
    }
}

impl TransitSettings {
    /// Mount and name of the key.
    #[must_use]
    pub fn key_name(&self) -> TransitKeyName {
        self.key.clone()
    }

    /// The same with another [status grace](TransitOptions::status_grace).
    #[must_use]
    pub const fn with_status_grace(mut self, grace: Duration) -> Self {
        self.options.status_grace = grace;
        self
    }

    /// How the key is used.
    #[must_use]
    pub fn options(&self) -> TransitOptions {
        self.options.clone()
    }
}
