//! The deadline of the caller, on a clock that stands still while anything happens: nothing is begun after it, and no wait goes past it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kdc_envelope::deadline;
use kdc_envelope::{KekError, KekErrorKind, KeyEncryptionKey as _, KeyId, WrappedKey};
use kdc_envelope_bao::{LoginMethod, TransitKek};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::fixture::{AAD, Files, config, kek, quick};

/// What a server does with a login, and with each decryption.
#[derive(Clone, Copy)]
struct Manners {
    /// Whether it answers a login at all.
    answers_login: bool,
    /// Status and error of a decryption; `None` for no answer at all.
    decryption: Option<(u16, &'static str)>,
}

/// Its standby has not heard of the version yet: worth another try, here and further up.
const LAGGING: Option<(u16, &str)> = Some((400, "invalid ciphertext: version is too new"));
const SEALED: Option<(u16, &str)> = Some((503, "Vault is sealed"));

/// A server on the clock of the test, and when it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Instant>>>::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manners, Arc::clone(&seen)));
            }
        });
        Self { address, asked }
    }

    fn kek(&self, files: &Files) -> TransitKek {
        let login = LoginMethod::TokenFile(files.put("token", "s.a-token"));
        kek(config(&[&self.address], None), login, quick())
    }
}

async fn serve(mut stream: TcpStream, manners: Manners, asked: Arc<Mutex<Vec<Instant>>>) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|len| len > 0) {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let len = head
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.lines().next()?.parse::<usize>().ok());
        if body.len() < len.unwrap_or_default() {
            continue;
        }
        asked.lock().unwrap().push(Instant::now());
        let is_login = head.contains("lookup-self");
        bytes.clear();
        let (status, body) = match (is_login, manners.decryption) {
            (true, _) if manners.answers_login => {
                let token = r#"{"request_id":"1","data":{"ttl":0,"renewable":false}}"#;
                (200, token.to_owned())
            }
            (false, Some((status, error))) => (status, format!(r#"{{"errors":["{error}"]}}"#)),
            _ => continue,
        };
        let len = body.len();
        let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: {len}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// A row of another plugin: it is decrypted without knowing the key.
fn row() -> WrappedKey {
    WrappedKey::new(KeyId::new("3").unwrap(), b"vault:v3:AAAA".to_vec())
}

async fn timed(
    call: impl Future<Output = Result<kdc_envelope::SecretBytes, KekError>>,
) -> (KekError, Duration) {
    let begin = Instant::now();
    (call.await.unwrap_err(), begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn retries_within_retries_end_with_the_deadline() {
    const LIMIT: Duration = Duration::from_millis(2_400);
    let files = Files::new();
    let server = Server::start(Manners {
        answers_login: true,
        decryption: LAGGING,
    })
    .await;
    // Each of the tries further up is as many tries of the client.
    let (_, took) = timed(server.kek(&files).unwrap(&row(), AAD)).await;
    assert!(took > 3 * LIMIT, "{took:?}");

    server.asked.lock().unwrap().clear();
    let kek = server.kek(&files);
    let deadline = Instant::now() + LIMIT;
    let wrapped = row();
    let call = deadline::within(deadline.into_std(), kek.unwrap(&wrapped, AAD));
    let (error, took) = timed(call).await;
    assert_eq!(error.kind(), KekErrorKind::Unavailable, "{error:?}");
    assert!(took <= LIMIT, "{took:?}");
    sleep(Duration::from_secs(60)).await;
    let asked = server.asked.lock().unwrap();
    assert!(asked.len() > 5, "{asked:?}");
    assert!(asked.iter().all(|asked| *asked < deadline), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn no_wait_goes_past_the_deadline() {
    let manners = |answers_login, decryption| Manners {
        answers_login,
        decryption,
    };
    for (name, manners) in [
        ("login", manners(false, None)),
        ("answer", manners(true, None)),
        ("pause", manners(true, SEALED)),
    ] {
        let files = Files::new();
        let server = Server::start(manners).await;
        for limit in [0, 1, 700, 1_500].map(Duration::from_millis) {
            let kek = server.kek(&files);
            let deadline = (Instant::now() + limit).into_std();
            let wrapped = row();
            // Two callers, of whom the second shares what the first began.
            let call = || timed(deadline::within(deadline, kek.unwrap(&wrapped, AAD)));
            for (error, took) in <[_; 2]>::from(tokio::join!(call(), call())) {
                assert_eq!(error.kind(), KekErrorKind::Unavailable, "{name}: {error:?}");
                // Timers of tokio have steps of a millisecond.
                let latest = limit + Duration::from_millis(1);
                assert!(took <= latest, "{name}: {took:?} of {limit:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_early_takes_nothing_from_the_others() {
    let files = Files::new();
    let server = Server::start(Manners {
        answers_login: true,
        decryption: SEALED,
    })
    .await;
    let kek = server.kek(&files);
    let wrapped = row();
    let soon = (Instant::now() + Duration::from_millis(5)).into_std();
    let hurried = timed(deadline::within(soon, kek.unwrap(&wrapped, AAD)));
    let patient = timed(kek.unwrap(&wrapped, AAD));
    let (_, (error, took)) = tokio::join!(hurried, patient);
    assert!(took > Duration::from_secs(1), "{took:?}: {error:?}");
    let chain = kdc_envelope::ErrorChain::new(&error).to_string();
    assert!(chain.contains("sealed"), "{chain}");
}
