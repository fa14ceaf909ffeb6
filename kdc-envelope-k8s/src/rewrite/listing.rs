//! Which page of a listing comes next. Pure.

use tokio::time::Instant;

use super::resolve::Object;
use super::response::Page;

/// Pages whose metadata is larger are followed by smaller ones. Metadata of one object can be 256 KiB of annotations.
const LARGE_PAGE: usize = 4 << 20;
/// How often a listing may start over.
const MAX_RESTARTS: u32 = 5;
/// How often a page may fail because a row cannot be decrypted, before that is taken for the truth. A server that is just
/// starting says it too.
const MAX_UNREADABLE: u32 = 4;

/// A listing of one resource, page by page.
#[derive(Debug)]
pub(super) struct Listing {
    limit: u32,
    largest: u32,
    token: Option<String>,
    is_finished: bool,
    /// Not before this time.
    pub(super) due: Instant,
    /// About how many objects there are, once a page has come.
    pub(super) total: Option<u64>,
    pub(super) restarts: u32,
    unreadable: u32,
    listed: u64,
}

impl Listing {
    pub(super) const fn new(page_size: u32, now: Instant) -> Self {
        Self {
            limit: page_size,
            largest: page_size,
            token: None,
            is_finished: false,
            due: now,
            total: None,
            restarts: 0,
            unreadable: 0,
            listed: 0,
        }
    }

    /// Whether the last page has come.
    pub(super) const fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// How many objects to ask for, and with which token.
    pub(super) fn request(&self) -> (u32, Option<String>) {
        (self.limit, self.token.clone())
    }

    /// Takes a page and gives its objects.
    pub(super) fn take(&mut self, page: Page) -> Vec<Object> {
        self.unreadable = 0;
        let count = u64::try_from(page.objects.len()).unwrap_or(u64::MAX);
        self.listed = self.listed.saturating_add(count);
        if page.token.is_none() {
            self.total = Some(self.listed);
        } else if let Some(remaining) = page.remaining {
            self.total = Some(self.listed.saturating_add(remaining));
        }
        if page.bytes > LARGE_PAGE {
            self.limit = (self.limit / 2).max(1);
        } else if page.bytes < LARGE_PAGE / 4 {
            self.limit = self.limit.saturating_mul(2).min(self.largest);
        }
        self.is_finished = page.token.is_none();
        self.token = page.token;
        page.objects
    }

    /// The token is too old. With another one the listing goes on where it was, among the objects as they are now. What
    /// was created before that place meanwhile is left out, and is current as it is new.
    pub(super) fn go_on(&mut self, token: String) {
        self.token = Some(token);
    }

    /// The listing begins again; `false` if it did so too often.
    pub(super) fn start_over(&mut self) -> bool {
        self.token = None;
        self.listed = 0;
        self.restarts += 1;
        self.restarts <= MAX_RESTARTS
    }

    /// A row keeps the server from giving the page; `false` if that was said often enough.
    pub(super) const fn may_become_readable(&mut self) -> bool {
        self.unreadable += 1;
        self.unreadable < MAX_UNREADABLE
    }

    pub(super) const fn unreadable(&self) -> u32 {
        self.unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(count: usize, token: Option<&str>, remaining: Option<u64>, bytes: usize) -> Page {
        let object = Object {
            namespace: "".into(),
            name: "a".into(),
            uid: "u".into(),
            version: "1".into(),
        };
        Page {
            objects: vec![object; count],
            token: token.map(str::to_owned),
            remaining,
            bytes,
        }
    }

    #[test]
    fn a_listing_goes_from_token_to_token_and_counts() {
        let mut listing = Listing::new(2, Instant::now());
        assert_eq!(listing.request(), (2, None));
        assert_eq!(listing.take(page(2, Some("t"), Some(3), 10)).len(), 2);
        assert_eq!((listing.total, listing.is_finished()), (Some(5), false));
        assert_eq!(listing.request(), (2, Some("t".to_owned())));
        // Another client deleted two meanwhile.
        listing.take(page(1, None, None, 10));
        assert_eq!((listing.total, listing.is_finished()), (Some(3), true));
    }

    #[test]
    fn large_pages_become_smaller_and_grow_again() {
        let mut listing = Listing::new(500, Instant::now());
        for limit in [250, 125, 62, 31, 15, 7, 3, 1, 1] {
            listing.take(page(1, Some("t"), None, LARGE_PAGE + 1));
            assert_eq!(listing.request().0, limit);
        }
        listing.take(page(1, Some("t"), None, LARGE_PAGE / 2));
        assert_eq!(listing.request().0, 1);
        for _ in 0..9 {
            listing.take(page(1, Some("t"), None, 1));
        }
        assert_eq!(listing.request().0, 500);
    }

    #[test]
    fn an_expired_listing_goes_on_or_starts_over_but_not_for_ever() {
        let mut listing = Listing::new(2, Instant::now());
        listing.take(page(2, Some("old"), Some(3), 10));
        listing.go_on("new".to_owned());
        assert_eq!(listing.request().1.as_deref(), Some("new"));
        assert_eq!(listing.restarts, 0);
        for _ in 0..MAX_RESTARTS {
            assert!(listing.start_over());
            assert_eq!(listing.request(), (2, None));
            listing.take(page(2, Some("old"), Some(3), 10));
            assert_eq!(listing.total, Some(5));
        }
        assert!(!listing.start_over());
    }
}
