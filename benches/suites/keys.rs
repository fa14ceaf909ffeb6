//! Wrapping and unwrapping seeds with a local KEK, and envelopes of embedders.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kdc_benches::SIZES;
use kdc_envelope::envelope::EnvelopeCipher;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{Aad, KeyEncryptionKey};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

fn kek() -> LocalKek {
    LocalKek::new(Keyring::generate(1).expect("random bytes")).expect("random bytes")
}

fn local_kek(criterion: &mut Criterion) {
    let (runtime, kek) = (runtime(), kek());
    let seed = [0x5a; 32];
    criterion.bench_function("local kek/wrap", |bencher| {
        bencher.iter(|| runtime.block_on(kek.wrap(&seed, Aad::EMPTY)));
    });
    let wrapped = runtime
        .block_on(kek.wrap(&seed, Aad::EMPTY))
        .expect("it wraps");
    criterion.bench_function("local kek/unwrap", |bencher| {
        bencher.iter(|| runtime.block_on(kek.unwrap(&wrapped, Aad::EMPTY)));
    });
}

fn envelopes(criterion: &mut Criterion) {
    let runtime = runtime();
    let start = Instant::now();
    let cipher = EnvelopeCipher::new(Arc::new(kek()), "bench", move || start.elapsed());
    let mut group = criterion.benchmark_group("envelope");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let data = vec![0x5a; size];
        group.bench_with_input(BenchmarkId::new("seal", size), &data, |bencher, data| {
            bencher.iter(|| runtime.block_on(cipher.seal(data, b"context")));
        });
        let sealed = runtime
            .block_on(cipher.seal(&data, b"context"))
            .expect("it seals");
        group.bench_with_input(
            BenchmarkId::new("open", size),
            &sealed,
            |bencher, sealed| {
                bencher.iter(|| runtime.block_on(cipher.open(sealed, b"context")));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, local_kek, envelopes);
criterion_main!(benches);
