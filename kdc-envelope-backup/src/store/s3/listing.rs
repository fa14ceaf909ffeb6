//! One page of a listing, as `ListObjectsV2` and its forerunner answer it.

use jiff::Timestamp;

use super::xml::Element;
use crate::store::listing::ObjectInfo;

/// The longest page that is read, in bytes: a thousand keys of 1,024 bytes, three bytes for each of theirs, and what is said of them.
pub(super) const MAX_PAGE_LEN: usize = 8 << 20;

/// A page that says all that one must.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    /// Whether there are more objects than these.
    pub(super) is_truncated: bool,
    /// How to ask for the next page.
    pub(super) token: Option<String>,
    /// The same, of servers that know the first version of listings alone.
    pub(super) marker: Option<String>,
    /// The prefix that it says it was asked for.
    pub(super) prefix: Option<String>,
    /// The most objects that it says a page has.
    pub(super) max_keys: Option<u64>,
}

/// An object with its whole key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) info: ObjectInfo,
}

/// What is wrong with a page that is XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no listing at all.
    OtherDocument,
    /// A part of it is missing, or is not what it must be.
    Part(&'static str),
    /// It has fewer objects than it says.
    Short,
}

impl Page {
    /// What `root` says.
    pub(super) fn of(root: &Element) -> Result<Self, Fault> {
        if !root.is_of_s3("ListBucketResult") {
            return Err(Fault::OtherDocument);
        }
        let text = |name: &str| root.text(name).map(str::to_owned);
        let number = |name: &'static str| match root.text(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Fault::Part(name)),
        };
        // No request asked for that, and keys would be other ones.
        if root.text("EncodingType").is_some() {
            return Err(Fault::Part("EncodingType"));
        }
        let is_truncated = match root.text("IsTruncated") {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(Fault::Part("IsTruncated")),
        };
        let objects = root.all("Contents").map(Listed::of);
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        let said: Option<u64> = number("KeyCount")?;
        let found = u64::try_from(objects.len()).unwrap_or(u64::MAX);
        if said.is_some_and(|said| said > found) {
            return Err(Fault::Short);
        }
        Ok(Self {
            objects,
            is_truncated,
            token: text("NextContinuationToken"),
            marker: text("NextMarker"),
            prefix: text("Prefix"),
            max_keys: number("MaxKeys")?,
        })
    }

    /// Whether it has as many objects as it may have, so that more could be left out.
    pub(super) fn is_full(&self) -> bool {
        let found = u64::try_from(self.objects.len()).unwrap_or(u64::MAX);
        found > 0 && found >= self.max_keys.unwrap_or(PAGE_LEN).min(PAGE_LEN)
    }
}

/// Objects in a page, unless another number is asked for.
const PAGE_LEN: u64 = 1000;

impl Listed {
    fn of(contents: &Element) -> Result<Self, Fault> {
        let key = contents.text("Key").ok_or(Fault::Part("Key"))?;
        let len = contents.text("Size").and_then(|text| text.parse().ok());
        let modified = contents.text("LastModified");
        let modified = modified.and_then(|text| text.parse::<Timestamp>().ok());
        let modified = modified.ok_or(Fault::Part("LastModified"))?.as_second();
        Ok(Self {
            key: key.to_owned(),
            info: ObjectInfo {
                len: len.ok_or(Fault::Part("Size"))?,
                modified: u64::try_from(modified).unwrap_or(0),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(inside: &str) -> Result<Page, Fault> {
        let text = format!("<ListBucketResult>{inside}</ListBucketResult>");
        Page::of(&Element::parse(text.as_bytes()).unwrap())
    }

    const OBJECT: &str = "<Contents><Key>a/</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                          <Size>7</Size><Owner><ID>x</ID></Owner></Contents>";

    #[test]
    fn a_page_keeps_keys_as_they_are() {
        let page = page(&format!(
            "<Name>b</Name><Prefix/><MaxKeys>1</MaxKeys><KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>t</NextContinuationToken>{OBJECT}"
        ))
        .unwrap();
        assert_eq!(page.objects[0].key, "a/");
        assert_eq!(page.objects[0].info.len, 7);
        assert_eq!(page.objects[0].info.modified, 1_767_225_600);
        assert!(page.is_truncated && page.is_full());
        assert_eq!((page.token.as_deref(), page.prefix), (Some("t"), None));
    }

    #[test]
    fn a_page_that_is_cut_off_anywhere_is_none() {
        let text = format!(
            "<?xml version=\"1.0\"?>\n<ListBucketResult><IsTruncated>false</IsTruncated>{OBJECT}</ListBucketResult>"
        );
        let page = |text: &str| Element::parse(text.as_bytes()).map(|root| Page::of(&root));
        assert!(page(&text).unwrap().is_ok());
        for (at, _) in text.char_indices() {
            assert_eq!(page(&text[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_page_that_does_not_say_all_is_none() {
        let end = "<IsTruncated>false</IsTruncated>";
        let object = OBJECT.replace("<Size>7</Size>", "");
        for (inside, fault) in [
            (OBJECT.to_owned(), Fault::Part("IsTruncated")),
            (
                "<IsTruncated>no</IsTruncated>".to_owned(),
                Fault::Part("IsTruncated"),
            ),
            (end.repeat(2), Fault::Part("IsTruncated")),
            (format!("{end}{object}"), Fault::Part("Size")),
            (
                format!("{end}<Contents><Size>1</Size></Contents>"),
                Fault::Part("Key"),
            ),
            (
                format!("{end}{}", OBJECT.replace("2026-01", "today")),
                Fault::Part("LastModified"),
            ),
            (format!("{end}<KeyCount>2</KeyCount>{OBJECT}"), Fault::Short),
            (
                format!("{end}<KeyCount>x</KeyCount>"),
                Fault::Part("KeyCount"),
            ),
            (
                format!("{end}<EncodingType>url</EncodingType>"),
                Fault::Part("EncodingType"),
            ),
        ] {
            assert_eq!(page(&inside), Err(fault), "{inside}");
        }
        let other = Element::parse(b"<Error/>").unwrap();
        assert_eq!(Page::of(&other), Err(Fault::OtherDocument));
        assert!(!page(end).unwrap().is_full());
    }
}
