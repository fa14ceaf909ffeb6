//! Walking a bucket's B+tree, and finding a bucket.

use core::ops::ControlFlow;

use super::page::{Entry, HEADER_LEN, Page};
use super::pages::Pages;
use super::read_at::ReadAt;
use super::{EtcdFileError, PageFault};
use crate::reader::Reader;

/// Levels of branches that are followed. Eight levels of the smallest pages hold more rows than any etcd.
const MAX_DEPTH: usize = 32;
/// Pages between two that are needed which are read along, so that both come with one read.
const MAX_GAP: u64 = 16;

/// Where the entries of a bucket are.
#[derive(Debug)]
pub(super) enum Bucket {
    /// In the tree below a page.
    Root(u64),
    /// In a page that lies in the bucket's own entry, which the page of this number holds.
    Inline { page: u64, bytes: Vec<u8> },
}

/// The bucket `name` of those below the page `root`, if there is one.
pub(super) fn find<R: ReadAt>(
    pages: &mut Pages<'_, R>,
    root: u64,
    name: &[u8],
) -> Result<Option<Bucket>, EtcdFileError> {
    let mut number = root;
    for _ in 0..MAX_DEPTH {
        let fault = at(number);
        match Page::parse(pages.node(number, number)?, number).map_err(fault)? {
            Page::Branch(branch) => {
                let links = branch.links().map_err(fault)?;
                let after = links.partition_point(|(least, _)| *least <= name);
                let link = links.get(after.saturating_sub(1));
                number = link.map_or(0, |(_, number)| *number);
            }
            Page::Leaf(leaf) => {
                for entry in leaf.last_first() {
                    let entry = entry.map_err(fault)?;
                    if entry.key == name {
                        return Bucket::parse(number, entry).map(Some);
                    }
                }
                return Ok(None);
            }
        }
    }
    Err(at(number)(PageFault::Depth))
}

impl Bucket {
    fn parse(page: u64, entry: Entry<'_>) -> Result<Self, EtcdFileError> {
        let fault = at(page);
        let bad = |_| fault(PageFault::Bucket);
        let mut reader = Reader::new(entry.value);
        let root = reader.u64_le().map_err(bad)?;
        let _sequence = reader.u64_le().map_err(bad)?;
        let bytes = reader.remaining();
        match root {
            _ if !entry.is_bucket => Err(fault(PageFault::Bucket)),
            0 if bytes.len() >= HEADER_LEN => Ok(Self::Inline {
                page,
                bytes: bytes.to_vec(),
            }),
            1.. if bytes.is_empty() => Ok(Self::Root(root)),
            _ => Err(fault(PageFault::Bucket)),
        }
    }

    /// Hands all entries to `visit`, the greatest key first, each with the number of its page.
    pub(super) fn for_each_from_last<R: ReadAt>(
        &self,
        pages: &mut Pages<'_, R>,
        mut visit: impl FnMut(u64, Entry<'_>) -> Result<ControlFlow<()>, EtcdFileError>,
    ) -> Result<(), EtcdFileError> {
        match self {
            Self::Root(root) => walk(pages, *root, visit),
            Self::Inline { page, bytes } => {
                let fault = at(*page);
                let Page::Leaf(leaf) = Page::parse(bytes, 0).map_err(fault)? else {
                    return Err(fault(PageFault::Bucket));
                };
                for entry in leaf.last_first() {
                    if visit(*page, entry.map_err(fault)?)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

fn walk<R: ReadAt>(
    pages: &mut Pages<'_, R>,
    root: u64,
    mut visit: impl FnMut(u64, Entry<'_>) -> Result<ControlFlow<()>, EtcdFileError>,
) -> Result<(), EtcdFileError> {
    // The links of each level that are still to follow, the last one first.
    let mut levels = vec![vec![root]];
    // The least key so far. All that follow are less, so no leaf is seen twice.
    let mut least: Option<Vec<u8>> = None;
    while let Some(level) = levels.last_mut() {
        let Some(number) = level.pop() else {
            levels.pop();
            continue;
        };
        let fault = at(number);
        let from = start_of_run(level, number, pages.per_run());
        let leaf = match Page::parse(pages.node(number, from)?, number).map_err(fault)? {
            Page::Branch(_) if levels.len() >= MAX_DEPTH => return Err(fault(PageFault::Depth)),
            Page::Branch(branch) => {
                let links = branch.links().map_err(fault)?;
                levels.push(links.into_iter().map(|(_, number)| number).collect());
                continue;
            }
            Page::Leaf(leaf) => leaf,
        };
        let mut first = None;
        for entry in leaf.last_first() {
            let entry = entry.map_err(fault)?;
            let is_last = first.is_none();
            if is_last && least.as_deref().is_some_and(|least| entry.key >= least) {
                return Err(fault(PageFault::Order));
            }
            first = Some(entry.key);
            if visit(number, entry)?.is_break() {
                return Ok(());
            }
        }
        if let Some(first) = first {
            let least = least.get_or_insert_default();
            least.clear();
            least.extend_from_slice(first);
        }
    }
    Ok(())
}

/// The least page from which one read brings `number` and those of `before` that come next.
fn start_of_run(before: &[u64], number: u64, per_run: u64) -> u64 {
    let mut start = number;
    for earlier in before.iter().rev() {
        let is_near = *earlier < start && start - earlier <= MAX_GAP && number - earlier < per_run;
        if !is_near {
            break;
        }
        start = *earlier;
    }
    start
}

fn at(page: u64) -> impl Fn(PageFault) -> EtcdFileError + Copy {
    move |fault| EtcdFileError::Page { page, fault }
}

#[cfg(test)]
mod tests {
    use super::start_of_run;

    #[test]
    fn a_run_takes_along_what_lies_just_before() {
        assert_eq!(start_of_run(&[], 9, 64), 9);
        assert_eq!(start_of_run(&[5, 7, 8], 9, 64), 5);
        assert_eq!(
            start_of_run(&[5, 50, 7, 8], 9, 64),
            7,
            "only while they descend"
        );
        assert_eq!(
            start_of_run(&[5, 30, 40], 41, 64),
            30,
            "not over a wide gap"
        );
        assert_eq!(start_of_run(&[6, 7, 8], 9, 2), 8, "not longer than a run");
        assert_eq!(start_of_run(&[9], 9, 64), 9, "a loop is no run");
    }
}
