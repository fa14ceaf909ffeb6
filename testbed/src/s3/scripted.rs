//! The bucket of [`Double`](super::Double): requests to answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::Habit;
use crate::proxy::exchange::{Answer, Request};

const PAGE: usize = 1000;
const MODIFIED: &str = "2026-01-01T00:00:00.000Z";
const MODIFIED_HEADER: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// Objects and uploads.
#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    habits: Vec<Habit>,
    objects: BTreeMap<String, Vec<u8>>,
    /// Parts by number, by upload.
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    begun: u32,
}

impl Bucket {
    pub(super) fn new(name: &str, habits: &[Habit]) -> Self {
        Self {
            name: name.to_owned(),
            habits: habits.to_vec(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            begun: 0,
        }
    }

    pub(super) fn put(&mut self, key: &str, content: &[u8]) {
        self.objects.insert(key.to_owned(), content.to_vec());
    }

    pub(super) fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let query = parameters(query);
        if self.has(Habit::VirtualHostOnly) {
            return error(
                403,
                "SecondLevelDomainForbidden",
                "Please use virtual hosted style to access.",
            );
        }
        let path = decoded(path);
        let inside = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(&self.name));
        let key = match inside {
            Some(key) if key.is_empty() || key.starts_with('/') => key.trim_start_matches('/'),
            _ => return error(404, "NoSuchBucket", "The specified bucket does not exist"),
        };
        match request.method.as_str() {
            "GET" if key.is_empty() => self.list(&query),
            "GET" | "HEAD" => self.read(request, key),
            "PUT" | "POST" => self.write(request, key, &query),
            "DELETE" => {
                match query.get("uploadId") {
                    Some(id) => drop(self.uploads.remove(id)),
                    None => drop(self.objects.remove(key)),
                }
                answer(204, &[], "")
            }
            _ => error(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed",
            ),
        }
    }

    fn has(&self, habit: Habit) -> bool {
        self.habits.contains(&habit)
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        let get = |name: &str| query.get(name).map(String::as_str);
        let is_first_version =
            self.has(Habit::FirstVersion) || self.has(Habit::FirstVersionWithoutMarker);
        let after = match is_first_version {
            true => get("marker"),
            false => get("continuation-token").or_else(|| get("start-after")),
        };
        let after = after.filter(|_| !self.has(Habit::IgnoresPosition));
        let prefix = get("prefix").unwrap_or_default();
        let is_below = |key: &&String| key.starts_with(prefix) || self.has(Habit::IgnoresPrefix);
        let mut keys: Vec<&String> = self.objects.keys().filter(is_below).collect();
        if self.has(Habit::Unsorted) {
            keys.sort_by_key(|key| Sha256::digest(key.as_bytes()));
        }
        if self.has(Habit::ByFolder) {
            keys.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        }
        let begin = after.and_then(|after| keys.iter().position(|key| *key == after));
        let rest = keys.split_off(begin.map_or(0, |at| at + 1));
        let len = self.page_len();
        let page: Vec<&String> = rest.iter().copied().take(len).collect();
        let is_truncated = rest.len() > len && !self.has(Habit::StopsShort);
        let mut xml = format!(
            "<ListBucketResult><Name>{}</Name><IsTruncated>{is_truncated}</IsTruncated>",
            self.name
        );
        if let Some(last) = page.last().filter(|_| is_truncated) {
            let element = match () {
                () if self.has(Habit::FirstVersionWithoutMarker) => "",
                () if is_first_version => "NextMarker",
                () => "NextContinuationToken",
            };
            if !element.is_empty() {
                let _ = write!(xml, "<{element}>{}</{element}>", escaped(last));
            }
        }
        for key in page {
            let size = self.objects.get(key).map_or(0, Vec::len);
            let _ = write!(
                xml,
                "<Contents><Key>{}</Key><LastModified>{MODIFIED}</LastModified><Size>{size}</Size></Contents>",
                escaped(key)
            );
        }
        answer(200, &[], &(xml + "</ListBucketResult>"))
    }

    fn page_len(&self) -> usize {
        let asked = self.habits.iter().find_map(|habit| match habit {
            Habit::PageOf(len) => Some(*len),
            _ => None,
        });
        asked.unwrap_or(PAGE)
    }

    fn read(&self, request: &Request, key: &str) -> Answer {
        let Some(content) = self.objects.get(key) else {
            return match self.has(Habit::BareNotFound) || request.method == "HEAD" {
                true => answer(404, &[], ""),
                false => error(404, "NoSuchKey", "The specified key does not exist."),
            };
        };
        let tag = e_tag(content);
        let if_match = request.header("if-match");
        if !if_match.is_empty() && if_match != tag {
            return error(412, "PreconditionFailed", "changed");
        }
        let headers = [("etag", tag.as_str()), ("last-modified", MODIFIED_HEADER)];
        if request.method == "HEAD" {
            let mut head = answer(200, &headers, "");
            head.told_length = Some(content.len().to_string());
            return head;
        }
        let mut whole = answer(200, &headers, "");
        let range = request.header("range");
        let Some((begin, end)) = bounds(&range, content.len()) else {
            whole.body.clone_from(content);
            return whole;
        };
        let told = format!("bytes {begin}-{}/{}", end.saturating_sub(1), content.len());
        whole.status = 206;
        whole.headers.push(("content-range".to_owned(), told));
        whole.body = content.get(begin..end).unwrap_or_default().to_vec();
        whole
    }

    fn write(&mut self, request: &Request, key: &str, query: &BTreeMap<String, String>) -> Answer {
        if let Some(refusal) = self.refusal(request, key, query) {
            return refusal;
        }
        if query.contains_key("uploads") {
            self.begun += 1;
            let id = format!("upload-{}", self.begun);
            self.uploads.insert(id.clone(), BTreeMap::new());
            let xml = format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            return answer(200, &[], &xml);
        }
        let part = query
            .get("partNumber")
            .and_then(|number| number.parse().ok());
        let Some(id) = query.get("uploadId") else {
            self.keep(key, request.body.clone());
            return answer(200, &[("etag", &e_tag(&request.body))], "");
        };
        let Some(parts) = self.uploads.get_mut(id) else {
            return error(404, "NoSuchUpload", "The specified upload does not exist.");
        };
        if let Some(number) = part {
            parts.insert(number, request.body.clone());
            return answer(200, &[("etag", &e_tag(&request.body))], "");
        }
        let content: Vec<u8> = parts.values().flatten().copied().collect();
        self.uploads.remove(id);
        let tag = escaped(&e_tag(&content));
        self.keep(key, content);
        let xml = format!(
            "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
        );
        answer(200, &[], &xml)
    }

    fn keep(&mut self, key: &str, mut content: Vec<u8>) {
        // Data alone, so that what is written after it would hide the loss.
        if key.ends_with(".enc") {
            if self.has(Habit::Loses) {
                return;
            }
            if self.has(Habit::CutsOff) {
                content.pop();
            }
        }
        self.objects.insert(key.to_owned(), content);
    }

    /// Why a write is not done.
    fn refusal(
        &self,
        request: &Request,
        key: &str,
        query: &BTreeMap<String, String>,
    ) -> Option<Answer> {
        let (absent, same) = (request.header("if-none-match"), request.header("if-match"));
        let has_condition = !absent.is_empty() || !same.is_empty();
        if has_condition && self.has(Habit::NoConditions) {
            let words = "A header you provided implies functionality that is not implemented";
            return Some(error(501, "NotImplemented", words));
        }
        let checksums = ["algorithm", "crc64nvme", "sha256"];
        let has_checksum = checksums
            .iter()
            .any(|name| !request.header(&format!("x-amz-checksum-{name}")).is_empty());
        if has_checksum && self.has(Habit::NoChecksums) {
            let words = "The algorithm type you specified in x-amz-checksum- header is invalid.";
            return Some(error(400, "InvalidRequest", words));
        }
        if !has_checksum && !query.contains_key("uploadId") && self.has(Habit::WantsChecksums) {
            let words = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
            return Some(error(400, "InvalidRequest", words));
        }
        if query.contains_key("uploadId") && self.has(Habit::NoConditionOnCompletion) {
            return None;
        }
        let there = self.objects.get(key).map(|content| e_tag(content));
        let is_broken = !absent.is_empty() && there.is_some()
            || !same.is_empty() && there.as_deref() != Some(same.as_str());
        is_broken.then(|| {
            error(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
            )
        })
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter();
    Answer {
        status,
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
        told_length: None,
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    answer(status, &[("content-type", "application/xml")], &body)
}

fn e_tag(content: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(content));
    format!("\"{digest:.32}\"")
}

/// First byte and the one after the last of `bytes=A-B` or `bytes=A-`.
fn bounds(range: &str, len: usize) -> Option<(usize, usize)> {
    let (begin, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = last.parse::<usize>().map_or(len, |last| len.min(last + 1));
    Some((begin.parse().ok()?, end))
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let byte = hex
            .and_then(|hex| hex::decode(hex).ok())
            .and_then(|byte| byte.first().copied());
        bytes.push(byte.unwrap_or(*first));
        rest = after
            .get(if byte.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
