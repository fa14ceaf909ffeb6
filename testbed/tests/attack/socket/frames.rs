//! HTTP/2 by hand (RFC 9113, RFC 7541), since no library would send what the attacks need.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = len[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Preface and settings, as a client begins.
pub(super) fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A setting with its value.
pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// The integer of RFC 7541, 5.1, with a prefix of `bits`.
fn integer(first: u8, bits: u8, mut value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    value -= most;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [integer(0, 7, text.len()), text.as_bytes().to_vec()].concat()
}

/// A header that is not put into the table.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A header that is put into the table.
pub(super) fn kept_header(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

/// What is in the table at `index`.
pub(super) fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// The headers of a call.
pub(super) fn call(path: &str, content_type: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", content_type),
        ("te", "trailers"),
    ];
    let all = fixed.iter().chain(more);
    all.flat_map(|(name, value)| header(name, value)).collect()
}

/// The headers of an Encrypt.
pub(super) fn encrypt_headers() -> Vec<u8> {
    call("/v2.KeyManagementService/Encrypt", "application/grpc", &[])
}

/// A gRPC message with a length of its own choice.
pub(super) fn message(compressed: u8, len: u32, content: &[u8]) -> Vec<u8> {
    [&[compressed], &len.to_be_bytes()[..], content].concat()
}

/// An EncryptRequest with 32 bytes to encrypt.
pub(super) fn encrypt_request() -> Vec<u8> {
    let content = [&[0x0a, 32][..], &[7; 32]].concat();
    message(0, u32::try_from(content.len()).unwrap(), &content)
}
