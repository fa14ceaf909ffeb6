//! What OpenBao's policy `default` costs a client that has it.

use std::time::Duration;

use anyhow::Result;
use kdc_testbed::bao::Grant;

use super::bare::{Bare, Until, Work};
use super::fixture::Fixture;
use super::head;
use crate::plugin::Load;
use crate::print;

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

pub(super) async fn compare(fixture: &Fixture) -> Result<()> {
    let grant = Grant::of(["kms"]);
    let role = fixture
        .root()
        .create_approle("approle", "with-default", &grant);
    let with_default = Bare::log_in(fixture, &role.await?).await?;
    let without = Bare::log_in(fixture, fixture.role()).await?;
    head(&[
        "bare client, Decrypt, in flight",
        "own policy alone, requests/s",
        "p50, ms",
        "p99, ms",
        "and `default`, requests/s",
        "p50, ms",
        "p99, ms",
        "rate",
    ]);
    for in_flight in [1, 32] {
        let (mut alone, mut both) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let until = Until::Elapsed(ROUND);
            alone.push(without.load(Work::Decrypt, in_flight, until).await?);
            both.push(with_default.load(Work::Decrypt, in_flight, until).await?);
        }
        let (alone, both) = (Load::median(&alone), Load::median(&both));
        print(format_args!(
            "| {in_flight} | {alone} | {both} | {:.2} × |",
            both.rate / alone.rate
        ));
    }
    print(format_args!(""));
    Ok(())
}
