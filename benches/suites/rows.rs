//! Sealing and opening KMS v2 rows on one core.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kdc_benches::{ETCD_KEY, SIZES, row_keys};
use kdc_envelope::kmsv2::Value;

fn rows(criterion: &mut Criterion) {
    let (sealer, source) = row_keys();
    let mut group = criterion.benchmark_group("kmsv2");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let plaintext = vec![0x5a; size];
        group.bench_with_input(
            BenchmarkId::new("seal", size),
            &plaintext,
            |bencher, plaintext| {
                bencher.iter(|| sealer.seal(black_box(plaintext), ETCD_KEY));
            },
        );
        let row = sealer.seal(&plaintext, ETCD_KEY).expect("a row");
        let mut buffer = Vec::new();
        group.bench_with_input(BenchmarkId::new("open", size), &row, |bencher, row| {
            bencher.iter(|| {
                let value = Value::parse(black_box(row)).expect("a row");
                source
                    .open_into(&value.object, ETCD_KEY, &mut buffer)
                    .expect("it opens");
            });
        });
        group.bench_with_input(
            BenchmarkId::new("open and wipe", size),
            &row,
            |bencher, row| {
                bencher.iter(|| {
                    let value = Value::parse(black_box(row)).expect("a row");
                    source.open(&value.object, ETCD_KEY).expect("it opens")
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
