//! What time it is, as far as that can be believed.

/// So far apart may clocks be, in seconds.
const SLACK: u64 = 60;

/// What there is to tell the time by, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// The time in the answer of the server.
    pub(super) server: Option<u64>,
    /// The clock of this machine.
    pub(super) own: u64,
}

/// Why the time of the server does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Its answer has none.
    Missing,
    /// The newest version of the key is younger, and was made by that very clock.
    Behind,
    /// The clock of this machine is far behind it. One of them is wrong, and the earlier costs nothing but patience.
    Ahead,
    /// The clock of this machine would count instead, and cannot be right either.
    NoClock,
}

impl Clocks {
    /// The time that counts for a key whose newest version was made at `newest`, if any can be true; and why it is not that of the server.
    pub(super) fn believed(self, newest: u64) -> (Option<u64>, Option<Doubt>) {
        let may_be_true = |time: &u64| time.saturating_add(SLACK) >= newest;
        let own = Some(self.own).filter(may_be_true);
        let doubt = match (self.server, own) {
            (None, _) => Doubt::Missing,
            (Some(server), _) if !may_be_true(&server) => Doubt::Behind,
            (Some(server), Some(own)) if server > own.saturating_add(SLACK) => Doubt::Ahead,
            (Some(server), _) => return (Some(server), None),
        };
        (
            own,
            Some(if own.is_some() { doubt } else { Doubt::NoClock }),
        )
    }
}

impl Doubt {
    /// What the operator should know and do.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Missing => {
                "its answers tell no time (the header Date; does a proxy take it away?), so new versions of the key wait by the clock of this machine"
            }
            Self::Behind => {
                "its clock is behind the newest version of the key, so new versions wait by the clock of this machine; set the clock of OpenBao"
            }
            Self::Ahead => {
                "its clock is more than a minute ahead of that of this machine, so new versions of the key wait by the earlier one; set the one that is wrong"
            }
            Self::NoClock => {
                "neither its clock nor that of this machine has reached the newest version of the key, so no new version wraps; set them"
            }
        }
    }
}
