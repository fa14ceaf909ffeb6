//! The kinds of attacks, each by name.

use std::time::Duration;

use super::attacker::Attacker;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, call, encrypt_headers, encrypt_request, frame, header, hello, indexed,
    kept_header, message, setting,
};

/// The name of an attack, and the attack itself; connections that it leaves open stay open for a while.
pub(super) type Kind = (&'static str, fn(&mut Attacker));

/// Attacks on the gRPC socket.
pub(super) const GRPC: &[Kind] = &[
    ("random bytes", |a| a.each_grpc(20, |_| noise(4096))),
    ("300 connections that say nothing", |a| {
        a.each_grpc(300, |_| Vec::new())
    }),
    ("300 halves of a preface", |a| {
        a.each_grpc(300, |_| PREFACE[..9].to_vec())
    }),
    ("a preface and no settings", |a| {
        a.each_grpc(100, |_| PREFACE.to_vec())
    }),
    ("HTTP/1.1", |a| {
        a.each_grpc(50, |_| b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".to_vec())
    }),
    ("a TLS handshake", |a| {
        a.each_grpc(50, |_| [&[0x16, 3, 1, 2, 0, 1][..], &noise(511)].concat())
    }),
    ("10,000 settings", |a| {
        a.grpc(&[
            hello(),
            many(10_000, |_| frame(SETTINGS, 0, 0, &setting(3, 1))),
        ])
    }),
    ("settings that are forbidden", |a| {
        a.grpc(&[
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &setting(5, 1)),
            frame(SETTINGS, 0, 0, &setting(4, u32::MAX)),
        ])
    }),
    ("10,000 pings", |a| {
        a.grpc(&[hello(), many(10_000, |_| frame(PING, 0, 0, &[0; 8]))])
    }),
    ("10,000 streams reset at once", |a| {
        a.grpc(&[
            hello(),
            many(10_000, |n| {
                let stream = 2 * n + 1;
                [
                    frame(HEADERS, END_HEADERS, stream, &encrypt_headers()),
                    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
                ]
                .concat()
            }),
        ])
    }),
    ("headers that never end", |a| {
        a.grpc(&[
            hello(),
            frame(HEADERS, 0, 1, &encrypt_headers()),
            many(500, |_| {
                frame(CONTINUATION, 0, 1, &header("x-a", &"a".repeat(16_000)))
            }),
        ])
    }),
    ("a header of 1 MiB", |a| {
        a.grpc(&[
            hello(),
            frame(HEADERS, 0, 1, &encrypt_headers()),
            many(70, |_| frame(CONTINUATION, 0, 1, &[0; 15_000])),
        ])
    }),
    ("a header table that is asked for again and again", |a| {
        a.grpc(&[
            hello(),
            many(200, |n| {
                let first = (n == 0).then(|| kept_header("x-a", &"a".repeat(4_000)));
                let block = [
                    encrypt_headers(),
                    first.unwrap_or_default(),
                    indexed(62).repeat(2_000),
                ]
                .concat();
                frame(HEADERS, END_HEADERS, 2 * n + 1, &block)
            }),
        ])
    }),
    ("a frame of 16 MiB", |a| {
        a.grpc(&[
            hello(),
            vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1],
            noise(100_000),
        ])
    }),
    ("windows beyond their limit", |a| {
        a.grpc(&[
            hello(),
            many(3, |_| {
                frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())
            }),
        ])
    }),
    ("a stream that depends on itself", |a| {
        a.grpc(&[hello(), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])])
    }),
    ("streams with numbers of the server", |a| {
        a.grpc(&[hello(), frame(HEADERS, END_HEADERS, 2, &encrypt_headers())])
    }),
    ("data without a stream", |a| {
        a.grpc(&[hello(), frame(DATA, 0, 0, b"x"), frame(DATA, 0, 7, b"x")])
    }),
    ("answers that are never read", |a| {
        let closed = frame(SETTINGS, 0, 0, &setting(4, 0));
        a.each_grpc(32, |_| {
            [hello(), closed.clone(), many(1_000, whole_call)].concat()
        });
    }),
    ("32 × 1,000 streams with half a message", |a| {
        a.each_grpc(32, |_| {
            [hello(), many(1_000, |n| half_call(n, 1_024))].concat()
        })
    }),
    ("4 × 200 unfinished messages of 16 KiB", |a| {
        a.each_grpc(4, |_| {
            [hello(), many(200, |n| half_call(n, 16_000))].concat()
        })
    }),
    ("a method that does not exist", |a| {
        a.grpc(&[
            hello(),
            one_call(
                &call("/v2.KeyManagementService/No", "application/grpc", &[]),
                &encrypt_request(),
            ),
        ])
    }),
    ("another content type", |a| {
        a.grpc(&[
            hello(),
            one_call(
                &call("/v2.KeyManagementService/Encrypt", "text/html", &[]),
                b"<html>",
            ),
        ])
    }),
    ("a message of 4 GiB, as it says", |a| {
        a.grpc(&[
            hello(),
            one_call(&encrypt_headers(), &message(0, u32::MAX, b"x")),
        ])
    }),
    ("a message that says it is compressed", |a| {
        a.grpc(&[
            hello(),
            one_call(&encrypt_headers(), &message(1, 3, b"abc")),
        ])
    }),
    ("a message that is no protobuf", |a| {
        a.grpc(&[
            hello(),
            one_call(&encrypt_headers(), &message(0, 6, &[0xff; 6])),
        ])
    }),
    ("a deadline that is none", |a| {
        a.grpc(&[
            hello(),
            one_call(
                &call(
                    "/v2.KeyManagementService/Encrypt",
                    "application/grpc",
                    &[("grpc-timeout", "99999999999H")],
                ),
                &encrypt_request(),
            ),
        ])
    }),
    ("2,000 connections one after another", |a| {
        (0..2_000).for_each(|_| a.visit(&hello()))
    }),
    ("a preface byte by byte", |a| {
        a.slow_grpc(PREFACE, Duration::from_millis(60))
    }),
];

/// Attacks on `--http-address`.
pub(super) const HTTP: &[Kind] = &[
    ("1,100 halves of a request", |a| {
        a.each_http(1_100, |_| b"GET /metrics HTTP/1.1\r\nHost: x\r\n".to_vec())
    }),
    ("1,100 connections that say nothing", |a| {
        a.each_http(1_100, |_| Vec::new())
    }),
    ("10,000 requests whose answers are never read", |a| {
        a.http(&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10_000))
    }),
    ("a header of 1 MiB", |a| {
        a.http(&[b"GET /livez HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 1 << 20]].concat())
    }),
    ("a body that never comes", |a| {
        a.each_http(100, |_| {
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".to_vec()
        })
    }),
    ("a body in chunks that never end", |a| {
        a.http(
            &[
                b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
                b"4000\r\n".to_vec(),
                vec![b'a'; 0x4000],
            ]
            .concat(),
        )
    }),
    ("lengths that contradict each other", |a| {
        a.http(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    }),
    ("random bytes", |a| a.each_http(20, |_| noise(4_096))),
    ("paths out of the root", |a| {
        a.http(b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\nGET /livez%00 HTTP/1.1\r\nHost: x\r\n\r\n")
    }),
    ("a request byte by byte", |a| {
        a.slow_http(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n",
            Duration::from_millis(60),
        )
    }),
];

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn many(count: u32, part: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(part).collect()
}

fn one_call(headers: &[u8], body: &[u8]) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, 1, headers),
        frame(DATA, END_STREAM, 1, body),
    ]
    .concat()
}

fn whole_call(number: u32) -> Vec<u8> {
    let stream = 2 * number + 1;
    [
        frame(HEADERS, END_HEADERS, stream, &encrypt_headers()),
        frame(DATA, END_STREAM, stream, &encrypt_request()),
    ]
    .concat()
}

/// The beginning of a message of 64 KiB.
fn half_call(number: u32, len: usize) -> Vec<u8> {
    let stream = 2 * number + 1;
    [
        frame(HEADERS, END_HEADERS, stream, &encrypt_headers()),
        frame(DATA, 0, stream, &message(0, 65_536, &vec![7; len])),
    ]
    .concat()
}
