//! The three calls over a real socket: what they answer, and what they refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fixture::{
    Fixture, Mood, Running, TestKek, at, connect, decrypt, echo, encrypt, eventually, folder,
    local_kek, status,
};
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope_kms::proto::{DecryptRequest, EncryptRequest};
use tonic::{Code, Request};

const SEED: [u8; 32] = [0xA5; 32];

#[tokio::test]
async fn a_seed_comes_back_and_every_call_names_one_key_id() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client().await;
    let reported = status(&mut client).await.unwrap();
    assert_eq!(reported.version, "v2");
    assert_eq!(reported.healthz, "ok");
    let encrypted = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(encrypted.key_id, reported.key_id);
    assert!(encrypted.key_id.len() <= 64);
    assert!(encrypted.annotations.is_empty());
    assert!(encrypted.ciphertext.len() <= 128);
    let opened = decrypt(&mut client, echo(&encrypted)).await.unwrap();
    assert_eq!(opened, SEED);
    fixture.running.stop().await;
}

#[tokio::test]
async fn an_empty_uid_and_a_huge_one_are_served() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client().await;
    for uid in [String::new(), "x\n".repeat(10_000)] {
        let request = EncryptRequest {
            plaintext: SEED.to_vec(),
            uid: uid.clone(),
        };
        let encrypted = client.encrypt(request).await.unwrap().into_inner();
        let request = DecryptRequest {
            uid,
            ..echo(&encrypted)
        };
        assert_eq!(decrypt(&mut client, request).await.unwrap(), SEED);
    }
}

#[tokio::test]
async fn plaintexts_of_1_to_256_bytes_are_wrapped_and_no_others() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client().await;
    for len in [1, 16, 32, 255, 256] {
        let plaintext = vec![3; len];
        let encrypted = encrypt(&mut client, &plaintext).await.unwrap();
        let opened = decrypt(&mut client, echo(&encrypted)).await.unwrap();
        assert_eq!(opened, plaintext);
    }
    for (len, message) in [
        (0, "plaintext is empty"),
        (257, "plaintext has 257 bytes, more than the 256 allowed"),
        (
            60_000,
            "plaintext has 60000 bytes, more than the 256 allowed",
        ),
    ] {
        let refused = encrypt(&mut client, &vec![3; len]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{len}");
        assert_eq!(refused.message(), message);
    }
}

#[tokio::test]
async fn a_message_far_above_all_limits_is_not_even_decoded() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client().await;
    let refused = encrypt(&mut client, &vec![0; 70_000]).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("65536"), "{refused}");
    let counted = fixture
        .running
        .metric("kdc_kms_rpcs_total{key=\"default\",rpc=\"encrypt\",code=\"out_of_range\"}");
    assert_eq!(counted, Some(1.0));
    assert!(status(&mut client).await.is_ok(), "the connection lives on");
}

#[tokio::test]
async fn bad_decrypt_requests_are_refused_by_name() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client().await;
    let good = echo(&encrypt(&mut client, &SEED).await.unwrap());
    let cases: [(&str, DecryptRequest, Code); 11] = [
        (
            "ciphertext is empty",
            DecryptRequest {
                ciphertext: vec![],
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            "ciphertext has 1025 bytes, more than the 1024 allowed",
            DecryptRequest {
                ciphertext: vec![1; 1025],
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            "a key id has 1 to 1024 bytes, not 0",
            DecryptRequest {
                key_id: String::new(),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            "a key id has 1 to 1024 bytes, not 1025",
            DecryptRequest {
                key_id: "k".repeat(1025),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            "key id `some-other-key` is unknown",
            DecryptRequest {
                key_id: "some-other-key".into(),
                ..good.clone()
            },
            Code::NotFound,
        ),
        (
            "annotation key `no_domain` is not a fully qualified domain name",
            annotated(&good, "no_domain", 1),
            Code::InvalidArgument,
        ),
        (
            "annotations have 32771 bytes, more than the 32768 allowed",
            annotated(&good, "a.b", 32_768),
            Code::InvalidArgument,
        ),
        (
            "the ciphertext is malformed",
            annotated(&good, "a.b", 1),
            Code::InvalidArgument,
        ),
        (
            "the ciphertext is malformed",
            DecryptRequest {
                ciphertext: b"vault:v1:abcdef".to_vec(),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            "the ciphertext does not authenticate",
            tampered(&good),
            Code::DataLoss,
        ),
        (
            "the ciphertext is malformed",
            cut(&good),
            Code::InvalidArgument,
        ),
    ];
    for (message, request, code) in cases {
        let refused = decrypt(&mut client, request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().starts_with(message), "{refused}");
    }
    assert_eq!(decrypt(&mut client, good).await.unwrap(), SEED);
}

fn annotated(good: &DecryptRequest, key: &str, len: usize) -> DecryptRequest {
    let mut request = good.clone();
    request.annotations.insert(key.to_owned(), vec![0; len]);
    request
}

fn tampered(good: &DecryptRequest) -> DecryptRequest {
    let mut request = good.clone();
    *request.ciphertext.last_mut().unwrap() ^= 1;
    request
}

fn cut(good: &DecryptRequest) -> DecryptRequest {
    let mut request = good.clone();
    request.ciphertext.truncate(10);
    request
}

#[tokio::test]
async fn a_good_ciphertext_under_another_living_key_id_is_refused() {
    let mut keyring = Keyring::generate(1).unwrap();
    keyring.add(2).unwrap();
    let other = keyring.versions().next_back().unwrap().1.key_id().clone();
    let fixture = Fixture::with(Arc::new(LocalKek::new(keyring).unwrap())).await;
    let mut client = fixture.client().await;
    let encrypted = encrypt(&mut client, &SEED).await.unwrap();
    assert_ne!(encrypted.key_id, other.as_str());
    let request = DecryptRequest {
        key_id: other.as_str().to_owned(),
        ..echo(&encrypted)
    };
    // The local format names its key, so the mismatch shows before any decryption.
    let refused = decrypt(&mut client, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn a_seed_of_another_cluster_does_not_open() {
    use kdc_envelope_kms::metrics::Metrics;
    use kdc_envelope_kms::server::Server;

    let folder = folder();
    let mut answers = Vec::new();
    for cluster in ["alpha", "beta"] {
        let path = folder.path().join(cluster);
        let server = Server::of_one_key(local_kek(), cluster, at(&path), Metrics::new("test"));
        tokio::spawn(server.bind().await.unwrap().run(std::future::pending()));
        let mut client = connect(&path).await.unwrap();
        let encrypted = encrypt(&mut client, &SEED).await.unwrap();
        answers.push((client, encrypted));
    }
    let [(alpha, of_alpha), (beta, of_beta)] = &mut answers[..] else {
        panic!("two clusters");
    };
    assert_eq!(of_alpha.key_id, of_beta.key_id, "the same KEK");
    assert!(decrypt(alpha, echo(of_alpha)).await.is_ok());
    let refused = decrypt(beta, echo(of_alpha)).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss);
}

#[tokio::test]
async fn an_unhealthy_kek_makes_status_an_error_and_not_a_text() {
    let kek = TestKek::new(Mood::Unavailable);
    let fixture = Fixture::with(kek.clone()).await;
    let mut client = fixture.client().await;
    for (mood, code, message) in [
        (
            Mood::Unavailable,
            Code::Unavailable,
            "the key encryption key is unavailable",
        ),
        (
            Mood::Denied,
            Code::PermissionDenied,
            "the use of the key encryption key is denied",
        ),
    ] {
        kek.set(mood);
        let refused = status(&mut client).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, message));
        let refused = encrypt(&mut client, &SEED).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, message));
    }
    kek.set(Mood::Well);
    assert_eq!(status(&mut client).await.unwrap().key_id, "test.v1");
}

#[tokio::test]
async fn an_answer_outside_the_limits_is_never_passed_on() {
    let fixture = Fixture::with(TestKek::new(Mood::Oversized)).await;
    let mut client = fixture.client().await;
    let refused = encrypt(&mut client, &SEED).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    let request = DecryptRequest {
        ciphertext: vec![1; 300],
        key_id: "test.v1".into(),
        ..DecryptRequest::default()
    };
    let refused = decrypt(&mut client, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_parallel_pairs_all_come_back() {
    let fixture = Fixture::new().await;
    let mut tasks = Vec::new();
    for number in 0..100u8 {
        let mut client = fixture.client().await;
        tasks.push(tokio::spawn(async move {
            let seed = [number; 32];
            let encrypted = encrypt(&mut client, &seed).await.unwrap();
            let opened = decrypt(&mut client, echo(&encrypted)).await.unwrap();
            assert_eq!(opened, seed);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for rpc in ["encrypt", "decrypt"] {
        let name = format!("kdc_kms_rpcs_total{{key=\"default\",rpc=\"{rpc}\",code=\"ok\"}}");
        assert_eq!(fixture.running.metric(&name), Some(100.0));
    }
    assert_eq!(
        fixture
            .running
            .metric("kdc_kms_rpcs_in_flight{key=\"default\"}"),
        Some(0.0)
    );
}

#[tokio::test]
async fn a_slow_backend_ends_in_deadline_exceeded_before_kube_apiserver_gives_up() {
    let kek = TestKek::new(Mood::Slow(Duration::from_secs(60)));
    let fixture = Fixture::with(kek.clone()).await;
    let mut client = fixture.client().await;
    let refused = encrypt(&mut client, &SEED).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert_eq!(refused.message(), "no answer within 2.5s");
    let counted = fixture
        .running
        .metric("kdc_kms_rpcs_total{key=\"default\",rpc=\"encrypt\",code=\"deadline_exceeded\"}");
    assert_eq!(counted, Some(1.0));
    assert_eq!(
        kek.completed.load(Ordering::SeqCst),
        0,
        "the work was dropped"
    );
}

#[tokio::test]
async fn the_deadline_of_the_client_is_respected() {
    let kek = TestKek::new(Mood::Slow(Duration::from_secs(60)));
    let fixture = Fixture::with(kek).await;
    let mut client = fixture.client().await;
    let mut request = Request::new(EncryptRequest {
        plaintext: SEED.to_vec(),
        uid: String::new(),
    });
    // As a header only, so that it is the server who answers.
    request
        .metadata_mut()
        .insert("grpc-timeout", "1S".parse().unwrap());
    let refused = client.encrypt(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert_eq!(refused.message(), "no answer within 900ms");
}

#[tokio::test]
async fn a_call_that_the_client_drops_counts_as_cancelled() {
    let kek = TestKek::new(Mood::Slow(Duration::from_secs(60)));
    let fixture = Fixture::with(kek.clone()).await;
    let mut client = fixture.client().await;
    let call = tokio::spawn(async move { encrypt(&mut client, &SEED).await });
    eventually("the call arrives", async || {
        kek.entered.load(Ordering::SeqCst)
    })
    .await;
    call.abort();
    let cancelled = "kdc_kms_rpcs_total{key=\"default\",rpc=\"encrypt\",code=\"cancelled\"}";
    eventually("it is counted", async || {
        fixture.running.metric(cancelled) == Some(1.0)
    })
    .await;
    let ok = "kdc_kms_rpcs_total{key=\"default\",rpc=\"encrypt\",code=\"ok\"}";
    assert_eq!(fixture.running.metric(ok), Some(0.0));
    assert_eq!(kek.completed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn probes_and_metrics_tell_the_truth() {
    let kek = TestKek::new(Mood::Well);
    let fixture = Fixture::with(kek.clone()).await;
    let running: &Running = &fixture.running;
    assert_eq!(running.get("/livez").await, (200, "ok\n".into()));
    assert_eq!(running.get("/readyz").await, (200, "ok\n".into()));
    let tests_so_far = kek.completed.load(Ordering::SeqCst);
    assert_eq!(tests_so_far, 2, "one wrap and one unwrap");
    for _ in 0..20 {
        running.get("/readyz").await;
    }
    assert_eq!(kek.completed.load(Ordering::SeqCst), 2, "a bounded rate");
    kek.set(Mood::Denied);
    assert_eq!(
        running.get("/readyz").await,
        (
            503,
            "not ready: key default: the backend denies the use of the key encryption key: internal detail 10.9.8.7\n".into()
        )
    );
    assert_eq!(running.get("/livez").await.0, 200, "alive all the same");
    let (code, metrics) = running.get("/metrics").await;
    assert_eq!(code, 200);
    assert!(
        metrics.contains("kdc_kms_healthy{key=\"default\"} 0"),
        "{metrics}"
    );
    kek.set(Mood::Well);
    let (_, metrics) = running.get("/metrics").await;
    assert!(
        metrics.contains("kdc_kms_healthy{key=\"default\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("kdc_kms_key_version{key=\"default\"} 1"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"));
    assert_eq!(running.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn readyz_notices_what_status_cannot() {
    let fixture = Fixture::with(TestKek::new(Mood::CannotUnwrap)).await;
    let (code, body) = fixture.running.get("/readyz").await;
    assert_eq!(code, 503);
    assert_eq!(
        body,
        "not ready: key default: the backend denies the use of the key encryption key: internal detail 10.9.8.7\n"
    );
}

#[tokio::test]
async fn grpc_health_follows_the_key() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    let kek = TestKek::new(Mood::Well);
    let fixture = Fixture::with(kek.clone()).await;
    let mut health = HealthClient::new(crate::fixture::channel(&fixture.socket).await);
    for (mood, expected) in [
        (Mood::Well, ServingStatus::Serving),
        (Mood::Unavailable, ServingStatus::NotServing),
        (Mood::Well, ServingStatus::Serving),
    ] {
        kek.set(mood);
        for service in ["", "v2.KeyManagementService"] {
            eventually("health follows", async || {
                let request = HealthCheckRequest {
                    service: service.into(),
                };
                let answer = health.check(request).await.unwrap().into_inner();
                answer.status == expected as i32
            })
            .await;
        }
    }
}

#[tokio::test]
async fn authorities_that_kube_apiserver_sends_are_served() {
    let fixture = Fixture::new().await;
    for origin in ["http://localhost", "http://@kms.sock", "http://kms"] {
        let mut client = crate::fixture::connect_as(&fixture.socket, origin)
            .await
            .unwrap();
        assert!(status(&mut client).await.is_ok(), "{origin}");
    }
}
