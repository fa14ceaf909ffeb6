//! Every object of a bucket in order of their keys, and proof that these are all.
//!
//! The listing of `object_store` hides whether a page is the last one, and fails for keys that no file could have. So pages are asked
//! for here, and judged strictly: what is missing in a listing would be taken for what is not needed any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::Error as StoreError;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};
use tokio::sync::mpsc;

use super::failure::Kind;
use super::listing::{Fault, Page};
use super::response::{Refusal, carried, not_s3};
use super::xml::Element;
use super::{RETRY_BUDGET, S3};
use crate::error::BackupError;
use crate::store::listing::{Found, Object, ObjectListing};

/// Objects of a listing that wait to be looked at: two pages.
const LISTED_AHEAD: usize = 2000;
/// How often a page is asked for again.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A server that lists deleted objects on its way may give some pages without any.
const MAX_EMPTY_PAGES: u32 = 100;

/// Objects as the server lists them.
pub(super) struct Listing {
    s3: Arc<S3>,
    receiver: mpsc::Receiver<Result<Object, StoreError>>,
}

impl Listing {
    /// Of one cluster, or of all. Pages are asked for before they are needed.
    pub(super) fn new(s3: &Arc<S3>, cluster: Option<&str>) -> Self {
        let (sender, receiver) = mpsc::channel(LISTED_AHEAD);
        let below = match cluster {
            Some(cluster) => format!("{}{cluster}/", s3.prefix),
            None => s3.prefix.clone(),
        };
        tokio::spawn(list(Arc::clone(s3), Pages::new(below), sender));
        Self {
            s3: Arc::clone(s3),
            receiver,
        }
    }
}

#[async_trait]
impl ObjectListing for Listing {
    async fn next(&mut self) -> Result<Option<Found>, BackupError> {
        let object = self.receiver.recv().await.transpose();
        let object = object.map_err(|error| self.s3.failure("list", "", &error))?;
        Ok(object.map(Found::Object))
    }
}

/// Sends all that is below a prefix, until the receiver is gone. A failure is the last that is sent.
async fn list(s3: Arc<S3>, mut pages: Pages, sender: mpsc::Sender<Result<Object, StoreError>>) {
    while let Some(position) = pages.next.take() {
        let page = match ask(&s3, &pages.query(&position)).await {
            Ok(page) => pages.take(&position, page).map_err(|why| broken(&why)),
            Err(error) if position.is_guess() && !is_told(Kind::of(&error)) => {
                Err(broken("it stops short, and does not go on after a key"))
            }
            Err(error) => Err(error),
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        for listed in page.objects {
            let key = listed.key.strip_prefix(&s3.prefix);
            let object = Object {
                key: key.unwrap_or(&listed.key).to_owned(),
                info: listed.info,
            };
            if sender.send(Ok(object)).await.is_err() {
                return;
            }
        }
    }
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    Start,
    /// What the server gave for it.
    Token(String),
    /// After a key, for servers that give no token.
    After(String),
    /// After the last key of all: nothing must come.
    End(String),
}

impl Position {
    /// Whether the server did not say to ask for this.
    const fn is_guess(&self) -> bool {
        matches!(self, Self::After(_) | Self::End(_))
    }
}

/// Whether a refusal has a reason of its own, whatever was asked.
const fn is_told(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Server | Kind::Silent | Kind::Credentials | Kind::Expired | Kind::Forbidden
    )
}

/// What is known of a listing while its pages go by.
#[derive(Debug)]
struct Pages {
    /// What all keys begin with.
    below: String,
    /// Where the next page begins, unless all have gone by.
    next: Option<Position>,
    last: Option<String>,
    order: Order,
    /// Pages without any object, in a row.
    empty: u32,
}

impl Pages {
    const fn new(below: String) -> Self {
        Self {
            below,
            next: Some(Position::Start),
            last: None,
            order: Order {
                is_by_bytes: true,
                is_by_parts: true,
            },
            empty: 0,
        }
    }

    /// The question for a page. Both versions of listings know it when it begins after a key, each by another name.
    fn query(&self, position: &Position) -> String {
        let mut query = "list-type=2".to_owned();
        let mut add = |name: &str, value: &str| {
            query.extend(["&", name, "=", &encoded(value)]);
        };
        match position {
            Position::Start => {}
            Position::Token(token) => add("continuation-token", token),
            Position::After(key) | Position::End(key) => {
                add("marker", key);
                add("start-after", key);
            }
        }
        if !self.below.is_empty() {
            add("prefix", &self.below);
        }
        query
    }

    /// The page, if it can be the one that was asked for. Then `next` is settled.
    fn take(&mut self, position: &Position, page: Page) -> Result<Page, String> {
        let asked = Some(self.below.as_str()).filter(|below| !below.is_empty());
        if page
            .prefix
            .as_deref()
            .is_some_and(|prefix| Some(prefix) != asked)
        {
            return Err("it lists what is below another prefix than the one asked for".to_owned());
        }
        for object in &page.objects {
            if !object.key.starts_with(&self.below) {
                let (key, below) = (&object.key, &self.below);
                return Err(format!(
                    "it lists `{key:.200}`, which is not below `{below}`"
                ));
            }
            if let Some(last) = &self.last
                && !self.order.goes_on(last, &object.key)
            {
                return Err(match self.order.is_begun(position, &page, &object.key) {
                    true => {
                        "it gives the same page again, so that the rest is not known".to_owned()
                    }
                    false => format!(
                        "it is not sorted: `{:.200}` comes after `{last:.200}`",
                        object.key
                    ),
                });
            }
            self.last = Some(object.key.clone());
        }
        self.empty = if page.objects.is_empty() {
            self.empty + 1
        } else {
            0
        };
        self.next = self.position_after(position, &page)?;
        Ok(page)
    }

    fn position_after(&self, position: &Position, page: &Page) -> Result<Option<Position>, String> {
        if matches!(position, Position::End(_)) {
            return match page.objects.is_empty() && !page.is_truncated {
                true => Ok(None),
                false => Err(
                    "it stops short: more comes after a page that says it is the last".to_owned(),
                ),
            };
        }
        if self.empty > MAX_EMPTY_PAGES {
            return Err(format!(
                "{MAX_EMPTY_PAGES} pages in a row have no object, and there is no end"
            ));
        }
        if let Some(token) = &page.token {
            let next = Position::Token(token.clone());
            return match next == *position {
                true => {
                    Err("it gives the same token again, so that the rest is not known".to_owned())
                }
                false => Ok(Some(next)),
            };
        }
        let last = page.objects.last().map(|object| &object.key);
        if page.is_truncated {
            let after = page.marker.as_ref().or(last);
            let after = after.filter(|after| *position != Position::After((*after).clone()));
            let after = after.ok_or("it stops short, and does not say how to go on")?;
            return Ok(Some(Position::After(after.clone())));
        }
        // What is as long as a page may be could have been cut off, whatever it says.
        let last = last.filter(|_| page.is_full());
        Ok(last.map(|last| Position::End(last.clone())))
    }
}

/// In which order keys come. Servers that keep objects in folders go by the parts of keys, which puts `a/b` before `a-b`. In both orders
/// the objects of a snapshot follow each other.
#[derive(Debug)]
struct Order {
    is_by_bytes: bool,
    is_by_parts: bool,
}

impl Order {
    /// Whether `next` may come after `last`, given all before.
    fn goes_on(&mut self, last: &str, next: &str) -> bool {
        self.is_by_bytes &= last < next;
        self.is_by_parts &= last.split('/').lt(next.split('/'));
        self.is_by_bytes || self.is_by_parts
    }

    /// Whether a page other than the first one begins anew with this key.
    fn is_begun(&self, position: &Position, page: &Page, key: &str) -> bool {
        let first = page.objects.first().is_some_and(|first| first.key == key);
        *position != Position::Start && first
    }
}

/// A page, asked for until it comes or it is sure that it will not.
async fn ask(s3: &S3, query: &str) -> Result<Page, StoreError> {
    let begin = Instant::now();
    let mut attempt = 0;
    loop {
        let error = match ask_once(s3, query).await {
            Ok(page) => return Ok(page),
            Err(error) => error,
        };
        let is_transient = matches!(Kind::of(&error), Kind::Server | Kind::Silent);
        if !is_transient || attempt >= RETRIES || begin.elapsed() >= RETRY_BUDGET {
            return Err(error);
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt)).await;
        attempt += 1;
    }
}

async fn ask_once(s3: &S3, query: &str) -> Result<Page, StoreError> {
    let clients = &s3.clients;
    let url = format!("{}?{query}", clients.bucket_url);
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().map_err(carried)?;
    let credential = s3.store().credentials().get_credential().await?;
    AwsAuthorizer::new(&credential, "s3", &clients.region)
        .with_request_payer(clients.is_payer)
        .try_authorize(&mut request, None)?;
    let response = clients.wire.call(request).await.map_err(carried)?;
    let (parts, body) = response.into_parts();
    let body = body.bytes().await.map_err(carried)?;
    let root = Element::parse(body.trim_ascii());
    let fault = match root.as_ref().map(Page::of) {
        Some(Ok(page)) => return Ok(page),
        Some(Err(fault)) => fault,
        None => Fault::OtherDocument,
    };
    Err(carried(match fault {
        Fault::OtherDocument => not_s3(&parts.headers, &body),
        Fault::Part(name) => {
            Refusal::Listing(format!("its `{name}` is missing, or not what it must be"))
        }
        Fault::Short => Refusal::Listing("it has fewer objects than it says (KeyCount)".to_owned()),
    }))
}

fn broken(why: &str) -> StoreError {
    carried(Refusal::Listing(why.to_owned()))
}

/// A value of a query, as signatures of AWS want it.
fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::listing::Listed;
    use super::*;
    use crate::store::listing::ObjectInfo;

    fn page(keys: &[&str]) -> Page {
        let info = ObjectInfo {
            len: 1,
            modified: 0,
        };
        let listed = |key: &&str| Listed {
            key: (*key).to_owned(),
            info,
        };
        Page {
            objects: keys.iter().map(listed).collect(),
            max_keys: Some(3),
            ..Page::default()
        }
    }

    /// Takes pages as they come, and gives what is asked for after the last one.
    fn after(below: &str, given: Vec<Page>) -> Result<Option<Position>, String> {
        let mut pages = Pages::new(below.to_owned());
        for page in given {
            let position = pages.next.take().unwrap();
            pages.take(&position, page)?;
        }
        Ok(pages.next)
    }

    fn with_token(keys: &[&str], token: &str) -> Page {
        Page {
            is_truncated: true,
            token: Some(token.to_owned()),
            ..page(keys)
        }
    }

    fn truncated(keys: &[&str], marker: Option<&str>) -> Page {
        Page {
            is_truncated: true,
            marker: marker.map(str::to_owned),
            ..page(keys)
        }
    }

    #[test]
    fn a_listing_goes_on_where_the_server_says_or_after_its_last_key() {
        assert_eq!(after("", vec![page(&["a"])]), Ok(None));
        let token = Position::Token("t".to_owned());
        assert_eq!(after("", vec![with_token(&["a"], "t")]), Ok(Some(token)));
        let by_marker = Position::After("m".to_owned());
        assert_eq!(
            after("", vec![truncated(&["a"], Some("m"))]),
            Ok(Some(by_marker))
        );
        let by_key = Position::After("a".to_owned());
        assert_eq!(after("", vec![truncated(&["a"], None)]), Ok(Some(by_key)));
        // Full pages are not believed to be the last ones.
        let full = || page(&["a", "b", "c"]);
        assert_eq!(
            after("", vec![full()]),
            Ok(Some(Position::End("c".to_owned())))
        );
        assert_eq!(after("", vec![full(), page(&[])]), Ok(None));
        assert!(
            after("", vec![full(), page(&["d"])])
                .unwrap_err()
                .contains("stops short")
        );
    }

    #[test]
    fn a_page_that_is_not_the_next_one_ends_the_listing() {
        let ends = |below: &str, given: Vec<Page>, words: &str| {
            let why = after(below, given).unwrap_err();
            assert!(why.contains(words), "{why}");
        };
        ends(
            "",
            vec![with_token(&["a"], "t"), with_token(&["b"], "t")],
            "same token",
        );
        ends(
            "",
            vec![with_token(&["a"], "t"), with_token(&["a"], "u")],
            "same page",
        );
        ends(
            "",
            vec![truncated(&["a"], None), truncated(&["a"], None)],
            "same page",
        );
        ends("", vec![truncated(&[], None)], "stops short");
        ends(
            "",
            vec![truncated(&[], Some("m")), truncated(&[], Some("m"))],
            "stops short",
        );
        ends("", vec![page(&["b", "a"])], "not sorted");
        ends("", vec![page(&["a", "a"])], "not sorted");
        ends(
            "c/",
            vec![page(&["c/a", "d/a"])],
            "`d/a`, which is not below `c/`",
        );
        let other = Page {
            prefix: Some("d/".to_owned()),
            ..page(&[])
        };
        ends("c/", vec![other], "another prefix");
        let empty = (0..).map(|n: u32| with_token(&[], &n.to_string()));
        ends("", empty.take(101).collect(), "no end");
    }

    #[test]
    fn two_orders_are_known_but_not_their_mixture() {
        let by_parts = ["c/a/x", "c/a-1/x", "c/b/x"];
        let by_bytes = ["c/a-1/x", "c/a/x", "c/b/x"];
        for keys in [by_parts, by_bytes] {
            assert_eq!(
                Pages::new(String::new())
                    .take(&Position::Start, page(&keys))
                    .map(|_| ()),
                Ok(())
            );
        }
        let mixed = ["c/a/x", "c/a-1/x", "c/b-1/x", "c/b/x"];
        assert!(after("", vec![page(&mixed)]).is_err());
        // Without order, which would tear snapshots apart.
        assert!(after("", vec![page(&["c/a/x", "c/b/x", "c/a/y"])]).is_err());
    }

    #[test]
    fn questions_are_encoded_as_they_are_signed() {
        let pages = Pages::new("a b/\u{e4}+&/".to_owned());
        let after = Position::After("a b/*".to_owned());
        assert_eq!(
            pages.query(&after),
            "list-type=2&marker=a%20b%2F%2A&start-after=a%20b%2F%2A&prefix=a%20b%2F%C3%A4%2B%26%2F"
        );
    }

    /// A server with `keys` that answers in pages, by token or, of the first version, by key; and maybe hides that there is more.
    fn served(keys: &[String], position: &Position, len: usize, style: u8, hides: bool) -> Page {
        let begin = match position {
            Position::Start => 0,
            Position::Token(at) => at.parse().unwrap(),
            Position::After(key) | Position::End(key) => keys.partition_point(|other| other <= key),
        };
        let end = keys.len().min(begin + len);
        let names: Vec<&str> = keys[begin..end].iter().map(String::as_str).collect();
        let is_truncated = end < keys.len() && !hides;
        Page {
            is_truncated,
            token: (is_truncated && style == 0).then(|| end.to_string()),
            marker: (is_truncated && style == 1).then(|| keys[end - 1].clone()),
            max_keys: Some(len as u64),
            ..page(&names)
        }
    }

    proptest! {
        /// Whatever a listing ends with, it was all or it is an error.
        #[test]
        fn what_ends_well_was_all_of_it(
            keys in prop::collection::btree_set("[a-c]{1,2}/[a-c-]{1,3}/[xy]", 0..40),
            len in 1_usize..8,
            style in 0_u8..3,
            hides in any::<bool>(),
        ) {
            let keys: Vec<String> = keys.into_iter().collect();
            let mut pages = Pages::new(String::new());
            let mut seen = Vec::new();
            let mut end = Ok(());
            while let Some(position) = pages.next.take() {
                match pages.take(&position, served(&keys, &position, len, style, hides)) {
                    Ok(page) => seen.extend(page.objects.into_iter().map(|object| object.key)),
                    Err(why) => end = Err(why),
                }
            }
            match end {
                Ok(()) => prop_assert_eq!(seen, keys),
                Err(_) => prop_assert!(hides && keys.len() > len),
            }
        }
    }
}
