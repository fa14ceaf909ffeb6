//! Rows: ours before and after upstream's, so that a machine that slows down slows both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kdc_benches::{ETCD_KEY, SIZES, row_keys};
use kdc_envelope::kmsv2::Value;
use kdc_testbed::oracle;

use crate::{median, print};

const ROUND: Duration = Duration::from_millis(150);
const ROUNDS: usize = 4;

pub(crate) fn compare() -> Result<()> {
    let mut ours: Vec<(&str, usize, Vec<f64>)> = SIZES
        .iter()
        .flat_map(|size| [("seal", *size, Vec::new()), ("open", *size, Vec::new())])
        .collect();
    measure(&mut ours)?;
    let theirs = oracle::bench()?;
    measure(&mut ours)?;

    print(format_args!(
        "KMS v2 rows, one core; upstream: {}\n",
        theirs.go
    ));
    print(format_args!(
        "| work | bytes | ours, µs | upstream, µs | ratio |"
    ));
    print(format_args!("|---|---|---|---|---|"));
    for (op, size, rounds) in ours {
        let figure = theirs
            .results
            .iter()
            .find(|figure| figure.op == op && figure.bytes == size)
            .context("the oracle measures the same sizes")?;
        let (ours, theirs) = (median(rounds) / 1e3, figure.ns_per_op / 1e3);
        let ratio = theirs / ours;
        print(format_args!(
            "| {op} | {size} | {ours:.2} | {theirs:.2} | {ratio:.1} × |"
        ));
    }
    print(format_args!("\n{}\n", theirs.cached));
    Ok(())
}

fn measure(figures: &mut [(&str, usize, Vec<f64>)]) -> Result<()> {
    let (sealer, source) = row_keys();
    for (op, size, rounds) in figures {
        let plaintext = vec![0x5a; *size];
        let row = sealer.seal(&plaintext, ETCD_KEY)?;
        let mut buffer = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(match *op {
                "seal" => time(|| sealer.seal(black_box(&plaintext), ETCD_KEY).map(drop))?,
                _ => time(|| {
                    let value = Value::parse(black_box(&row))?;
                    source.open_into(&value.object, ETCD_KEY, &mut buffer)?;
                    anyhow::Ok(())
                })?,
            });
        }
    }
    Ok(())
}

/// Nanoseconds per call, over about [`ROUND`].
fn time<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            work()?;
        }
        calls += 16;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls))
}
