//! Every object of a bucket in order of their keys, and also those whose keys the client cannot hold.
//!
//! `object_store` fails a whole page of a listing for one key with an empty part, such as `a//b`, or a part that is `.` or `..`: what
//! some other program put there must not hide all snapshots. Such a page is asked for again in halves, until that key is the
//! first of what is left. It is handed on as it is, as an object that kdc does not know, and the listing goes on after it.

use std::sync::Arc;

use object_store::ObjectMeta;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore as _};
use object_store::{Error as StoreError, path};
use tokio::sync::mpsc;

use super::S3;
use crate::backup::bucket::entries::{Object, ObjectInfo};
use crate::failure::Failure;

/// Objects of a listing that wait to be looked at: two pages.
const LISTED_AHEAD: usize = 2 * PAGE;
/// The most that S3 tells at once.
const PAGE: usize = 1000;

/// Objects as the server lists them.
pub(in crate::backup::bucket) struct Listing {
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
        if let Some(runtime) = &s3.runtime {
            runtime.spawn(list(Arc::clone(s3), below, sender));
        }
        Self {
            s3: Arc::clone(s3),
            receiver,
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Object, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let runtime = self.s3.runtime.as_ref()?;
        let next = runtime.block_on(self.receiver.recv())?;
        Some(next.map_err(|error| self.s3.failure("list", "", &error)))
    }
}

/// Where a listing goes on.
#[derive(Default)]
struct Position {
    /// What the server gave for the next page.
    token: Option<String>,
    /// Or the key after which it begins.
    after: Option<String>,
}

/// Sends all that is below a prefix, until nobody listens.
async fn list(s3: Arc<S3>, below: String, sender: mpsc::Sender<Result<Object, StoreError>>) {
    let mut position = Position::default();
    let mut len = PAGE;
    loop {
        let error = match page(&s3, &below, &position, len).await {
            Ok(page) => {
                for meta in page.result.objects {
                    if sender.send(Ok(object(&s3.prefix, &meta))).await.is_err() {
                        return;
                    }
                }
                let Some(token) = page.page_token else {
                    return;
                };
                position.token = Some(token);
                len = PAGE.min(2 * len);
                continue;
            }
            Err(error) => error,
        };
        match bad_key(&error) {
            Some(_) if len > 1 => len /= 2,
            Some(key) => {
                position = Position {
                    token: None,
                    after: Some(key.to_owned()),
                };
                if sender.send(Ok(odd(&s3.prefix, key))).await.is_err() {
                    return;
                }
            }
            None => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    }
}

async fn page(
    s3: &S3,
    below: &str,
    position: &Position,
    len: usize,
) -> Result<PaginatedListResult, StoreError> {
    let options = PaginatedListOptions {
        offset: position.after.clone(),
        page_token: position.token.clone(),
        // What it does by itself need not be said: some servers take no such parameter.
        max_keys: (len < PAGE).then_some(len),
        ..PaginatedListOptions::default()
    };
    let prefix = (!below.is_empty()).then_some(below);
    s3.store().list_paginated(prefix, options).await
}

/// The first key of a page that the client cannot hold.
fn bad_key(error: &StoreError) -> Option<&str> {
    match error {
        StoreError::InvalidPath {
            source: path::Error::EmptySegment { path } | path::Error::BadSegment { path, .. },
        } => Some(path),
        _ => None,
    }
}

fn object(prefix: &str, meta: &ObjectMeta) -> Object {
    let key = meta.location.as_ref();
    Object {
        key: below_prefix(prefix, key),
        info: ObjectInfo {
            len: meta.size,
            modified: u64::try_from(meta.last_modified.timestamp()).unwrap_or(0),
        },
    }
}

/// An object of which nothing but the key is known. It is none of ours: their keys can be held.
fn odd(prefix: &str, key: &str) -> Object {
    let info = ObjectInfo {
        len: 0,
        modified: 0,
    };
    Object {
        key: below_prefix(prefix, key),
        info,
    }
}

fn below_prefix(prefix: &str, key: &str) -> String {
    key.strip_prefix(prefix).unwrap_or(key).to_owned()
}
