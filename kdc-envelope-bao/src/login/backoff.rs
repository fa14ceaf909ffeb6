//! When the next login may be tried.
//!
//! A login that OpenBao refuses is refused again until something changes, and may do harm: five wrong secret ids within a
//! quarter of an hour lock an AppRole out, the right one too. So a credential that was refused is tried a few times in quick
//! succession, for a role that is restored at once, and then rarely; another credential is tried as soon as it is there.
//!
//! A login may also succeed and be of no use: OpenBao refuses its token at once, because of where it is used, for one. Each such token
//! stays in OpenBao for its whole life, so these logins are spread out as refused ones are.

use core::time::Duration;

use tokio::time::Instant;

use super::method::{Credential, LoginMethod};
use crate::client::jittered;
use crate::error::{BaoError, BaoErrorClass, CredentialError};

/// The longest pause between logins that fail for another reason than a refusal: recovery takes no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// No two logins that succeed are closer together, however soon their tokens end.
const FRESH: Duration = Duration::from_secs(1);
/// After so long without one, tokens of no use are counted from one again; more than the longest pause between them.
const FORGIVEN: Duration = Duration::from_secs(120);

/// Pauses after the first refusals. With them four logins are tried, one less than what locks a role out.
const QUICK: [Duration; 3] = [
    Duration::from_millis(1_500),
    Duration::from_secs(4),
    Duration::from_secs(5),
];
/// The longest pause after further refusals where none locks out.
const SLOW: Duration = Duration::from_secs(30);
/// After so long without a wrong secret id OpenBao counts from one again (its defaults for the lockout and its counter).
const LOCKOUT: Duration = Duration::from_secs(15 * 60);
/// Added to it in part, so that replicas spread out.
const LOCKOUT_SPREAD: Duration = Duration::from_secs(3 * 60);

/// What is known of the logins so far; held by the caller that logs in.
#[derive(Default)]
pub(super) struct LoginBackoff {
    failed: Option<Failure>,
    succeeded: Option<Success>,
    /// Since the last login that was not refused, or since OpenBao forgot about it.
    refusals: usize,
    /// Tokens in a row that were refused soon after their login, and when the last of them was.
    useless: usize,
    useless_at: Option<Instant>,
    /// Those of them, counted from the last, that never worked.
    never_worked: usize,
    pause: Duration,
}

struct Success {
    at: Instant,
    credential: Credential,
}

struct Failure {
    at: Instant,
    problem: BaoError,
    credential: Credential,
}

impl LoginBackoff {
    /// Refuses a login too soon after one that failed with the same credential, or after one whose token was refused at once.
    pub(super) fn check(&self, method: &LoginMethod) -> Result<(), BaoError> {
        if let Some(failure) = &self.failed
            && failure.at.elapsed() < self.pause
            && failure.credential == method.credential()
        {
            return Err(failure.problem.clone());
        }
        let last = self.succeeded.as_ref();
        if last.is_some_and(|success| success.at.elapsed() < FRESH) {
            return Err(method.token_refused());
        }
        Ok(())
    }

    /// Lets the next login through, as the client has another certificate.
    pub(super) fn reset(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Whether the last login failed with this credential, and so that the same is to be done about it.
    pub(super) fn has_failed_alike(&self, credential: &Credential, problem: &BaoError) -> bool {
        self.failed.as_ref().is_some_and(|failure| {
            failure.credential == *credential && failure.problem.class() == problem.class()
        })
    }

    pub(super) fn succeed(&mut self, credential: Credential) {
        *self = Self {
            succeeded: Some(Success {
                at: Instant::now(),
                credential,
            }),
            useless: self.useless,
            useless_at: self.useless_at,
            never_worked: self.never_worked,
            ..Self::default()
        };
    }

    /// Takes note that the token of the last login is of no use, so that the next login with the same credential waits. Gives how many
    /// such tokens there were in a row. One that `has_worked` may have been revoked by chance: the first of those costs no pause, and
    /// no further one more than an outage does.
    pub(super) fn reject(
        &mut self,
        method: &LoginMethod,
        problem: BaoError,
        has_worked: bool,
    ) -> usize {
        let now = Instant::now();
        let last = self.useless_at.replace(now);
        if last.is_none_or(|at| at.elapsed() > FORGIVEN) {
            (self.useless, self.never_worked) = (0, 0);
        }
        self.useless += 1;
        self.never_worked = if has_worked { 0 } else { self.never_worked + 1 };
        let counted = match has_worked {
            true => self.useless - 1,
            false => self.never_worked,
        };
        self.pause = match counted {
            0 => Duration::ZERO,
            counted if has_worked => pause_after(counted.min(QUICK.len()), false),
            counted => pause_after(counted, false),
        };
        let success = self.succeeded.take();
        self.failed = Some(Failure {
            at: now,
            problem,
            credential: success.map_or_else(|| method.credential(), |success| success.credential),
        });
        counted
    }

    /// Takes note of a login with `credential` that failed, and gives the pause before the next with the same.
    pub(super) fn fail(
        &mut self,
        method: &LoginMethod,
        credential: Credential,
        problem: BaoError,
    ) -> Duration {
        let before = self.failed.take().map(|failure| failure.at.elapsed());
        if before.is_some_and(|elapsed| elapsed > LOCKOUT) {
            self.refusals = 0;
        }
        if is_refusal(&problem) {
            self.refusals += 1;
            self.pause = pause_after(self.refusals, method.may_lock_out());
        } else {
            let next = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.pause = jittered(next).max(FIRST_PAUSE);
        }
        self.succeeded = None;
        self.failed = Some(Failure {
            at: Instant::now(),
            problem,
            credential,
        });
        self.pause
    }
}

/// Whether OpenBao saw the credential and did not take it.
const fn is_refusal(problem: &BaoError) -> bool {
    let is_answered = matches!(problem, BaoError::LoginRefused { .. });
    let is_spent = matches!(
        problem,
        BaoError::Credential(CredentialError::WrappingTokenUsed { .. })
    );
    is_spent || (is_answered && matches!(problem.class(), BaoErrorClass::Denied))
}

fn pause_after(refusals: usize, may_lock_out: bool) -> Duration {
    let further = refusals.saturating_sub(1);
    match QUICK.get(further) {
        Some(pause) => jittered(*pause),
        None if may_lock_out => LOCKOUT + jittered(LOCKOUT_SPREAD),
        None => {
            let doublings = u32::try_from(further - QUICK.len()).unwrap_or(u32::MAX);
            let pause =
                LONGEST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings.saturating_add(1)));
            jittered(pause.min(SLOW))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;
    use crate::login::RoleId;

    fn approle(folder: &TempDir) -> LoginMethod {
        LoginMethod::AppRole {
            mount: "approle".to_owned(),
            role_id: RoleId::Value("role".to_owned()),
            secret_id_file: folder.path().join("secret"),
            is_wrapped: false,
        }
    }

    fn kubernetes(token_file: PathBuf) -> LoginMethod {
        LoginMethod::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: "kms".to_owned(),
            token_file,
        }
    }

    fn refusal(status: u16) -> BaoError {
        BaoError::LoginRefused {
            mount: "m".into(),
            role: "r".into(),
            status,
            message: String::new(),
        }
    }

    /// When logins were tried within `span` if each ends with `problem`, in seconds.
    async fn tries(method: &LoginMethod, problem: &BaoError, span: Duration) -> Vec<f64> {
        let (mut backoff, begin) = (LoginBackoff::default(), Instant::now());
        let mut tries = Vec::new();
        while begin.elapsed() < span {
            if backoff.check(method).is_ok() {
                tries.push(begin.elapsed().as_secs_f64());
                backoff.fail(method, method.credential(), problem.clone());
            }
            advance(Duration::from_millis(100)).await;
        }
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_secret_id_never_locks_its_role_out() {
        let folder = tempfile::tempdir().unwrap();
        let method = approle(&folder);
        let hour = Duration::from_secs(3600);
        for status in [400, 403] {
            let tries = tries(&method, &refusal(status), hour).await;
            // OpenBao counts until a quarter of an hour has passed without one.
            let mut in_a_row = 0;
            for (index, at) in tries.iter().enumerate() {
                let follows = index > 0 && at - tries[index - 1] <= LOCKOUT.as_secs_f64();
                in_a_row = if follows { in_a_row + 1 } else { 1 };
                assert!(in_a_row < 5, "{tries:?}");
            }
            // A role that is restored soon is seen within ten seconds, and later within twenty minutes.
            assert!(
                tries.len() >= 12 && tries[3] >= 5.0 && tries[3] <= 11.0,
                "{tries:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_cannot_lock_out_is_tried_twice_a_minute() {
        let method = kubernetes(PathBuf::from("/nowhere"));
        let tries = tries(&method, &refusal(403), Duration::from_secs(600)).await;
        let pauses: Vec<f64> = tries.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(
            pauses.iter().take(3).all(|pause| *pause <= 5.2),
            "{pauses:?}"
        );
        assert!(pauses.iter().all(|pause| *pause <= 30.2), "{pauses:?}");
        assert!(
            pauses.iter().skip(6).all(|pause| *pause >= 15.0),
            "{pauses:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_asked_about_every_five_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = BaoError::Sealed {
            address: "http://bao".into(),
        };
        let tries = tries(&approle(&folder), &sealed, Duration::from_secs(600)).await;
        assert!(
            tries.windows(2).all(|two| two[1] - two[0] <= 5.2),
            "{tries:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_credential_is_tried_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let method = approle(&folder);
        let file = folder.path().join("secret");
        fs::write(&file, "wrong").unwrap();
        let mut backoff = LoginBackoff::default();
        for _ in 0..4 {
            backoff.fail(&method, method.credential(), refusal(400));
        }
        advance(Duration::from_secs(60)).await;
        backoff.check(&method).unwrap_err();
        fs::write(&file, "right one").unwrap();
        backoff.check(&method).unwrap();
        backoff.succeed(method.credential());
        advance(FRESH).await;
        backoff.check(&method).unwrap();
    }

    /// Logins within `span` whose tokens are all refused at their first use.
    async fn useless_logins(method: &LoginMethod, has_worked: bool, span: Duration) -> usize {
        let (mut backoff, begin) = (LoginBackoff::default(), Instant::now());
        let mut logins = 0;
        while begin.elapsed() < span {
            if backoff.check(method).is_ok() {
                logins += 1;
                backoff.succeed(method.credential());
                backoff.reject(method, refusal(403), has_worked);
            }
            advance(Duration::from_millis(100)).await;
        }
        logins
    }

    #[tokio::test(start_paused = true)]
    async fn logins_whose_tokens_are_refused_are_spread_out() {
        let folder = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3_600);
        for method in [approle(&folder), kubernetes(PathBuf::from("/nowhere"))] {
            // One a second would be 3,600.
            for (has_worked, expected) in [(false, 100..=260), (true, 700..=1_400)] {
                let logins = useless_logins(&method, has_worked, hour).await;
                assert!(expected.contains(&logins), "{logins}");
                // A role that is repaired soon is noticed soon.
                let soon = useless_logins(&method, has_worked, Duration::from_secs(12)).await;
                assert!((4..=6).contains(&soon), "{soon}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_useless_token_does_not_keep_another_credential_waiting_nor_is_it_remembered_for_ever()
     {
        let folder = tempfile::tempdir().unwrap();
        let method = approle(&folder);
        let file = folder.path().join("secret");
        fs::write(&file, "one").unwrap();
        let mut backoff = LoginBackoff::default();
        for _ in 0..6 {
            backoff.succeed(method.credential());
            backoff.reject(&method, refusal(403), false);
        }
        backoff.check(&method).unwrap_err();
        fs::write(&file, "another").unwrap();
        backoff.check(&method).unwrap();
        advance(FORGIVEN + FRESH).await;
        backoff.succeed(method.credential());
        assert_eq!(backoff.reject(&method, refusal(403), false), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_token_that_worked_and_is_gone_is_replaced_at_once() {
        let method = kubernetes(PathBuf::from("/nowhere"));
        let mut backoff = LoginBackoff::default();
        backoff.succeed(method.credential());
        assert_eq!(backoff.reject(&method, refusal(403), true), 0);
        backoff.check(&method).unwrap();
        backoff.succeed(method.credential());
        assert_eq!(backoff.reject(&method, refusal(403), true), 1);
        backoff.check(&method).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_revoked_before_its_first_use_follows_those_that_worked_without_a_long_pause() {
        let method = kubernetes(PathBuf::from("/nowhere"));
        let mut backoff = LoginBackoff::default();
        for _ in 0..8 {
            backoff.succeed(method.credential());
            backoff.reject(&method, refusal(403), true);
        }
        backoff.succeed(method.credential());
        assert_eq!(backoff.reject(&method, refusal(403), false), 1);
        advance(QUICK[0]).await;
        backoff.check(&method).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_certificate_is_tried_at_once() {
        let method = LoginMethod::Certificate {
            mount: "cert".to_owned(),
            role: String::new(),
        };
        let mut backoff = LoginBackoff::default();
        backoff.fail(&method, method.credential(), refusal(403));
        backoff.check(&method).unwrap_err();
        backoff.reset();
        backoff.check(&method).unwrap();
    }
}
