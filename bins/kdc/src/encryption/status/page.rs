//! The status as one page for the browser.

use std::fmt::Write as _;

use super::report::Report;
use crate::encryption::rows::ResourceRows;
use crate::page::{self, escape};

const LABEL_WIDTH: u64 = 220;
const BAR_WIDTH: u64 = 640;
const ROW: u64 = 30;

/// The page.
pub(super) fn render(report: &Report) -> String {
    let mut page = page::begin("Encryption at rest");
    let taken = escape(report.taken.as_deref().unwrap_or("-"));
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{text}");
    };
    line(format!(
        "<p class=\"faint\">Taken {taken} by kdc encryption status</p>"
    ));
    for lacking in &report.lacking {
        line(format!("<p class=\"bad\">{}</p>", escape(lacking)));
    }
    if let Some(change) = &report.change {
        line(format!(
            "<h2>Last change</h2>\n<p>{}: <b>{}</b></p>",
            escape(&change.heading()),
            escape(&change.phase)
        ));
        for blocker in &change.blockers {
            line(format!("<p class=\"odd\">{}</p>", escape(blocker)));
        }
    }
    if let Some(rows) = &report.rows {
        line("<h2>Rows in etcd</h2>\n<p class=\"faint\">Of each resource the rows that are on the newest key, and those that are not.</p>".to_owned());
        line(picture(rows));
        line(row_table(rows));
        for gap in report.rows_from.iter().flat_map(|origin| &origin.unknown) {
            line(format!("<p class=\"odd\">{}</p>", escape(gap)));
        }
    }
    line("<h2>Configuration</h2>".to_owned());
    let resources = report.resources.iter().map(|resource| {
        let class = if resource.writer == "identity" {
            "odd"
        } else {
            "good"
        };
        let (mut name, writer) = (escape(&resource.resource), escape(&resource.writer));
        if let Some(reason) = resource.skipped {
            name.push_str(&format!(
                " <span class=\"odd\">{}</span>",
                escape(reason.as_str())
            ));
        }
        let readers = escape(&resource.readers.join(", "));
        format!("<tr><td>{name}</td><td class=\"{class}\">{writer}</td><td>{readers}</td></tr>")
    });
    line(table(&["Resource", "Written with", "Also read"], resources));
    line("<h2>API servers</h2>".to_owned());
    let servers = report.servers.iter().map(|server| {
        let class = if server.is_well() { "good" } else { "bad" };
        let mut cells = server.cells().into_iter().map(|cell| escape(&cell));
        let mut next = || cells.next().unwrap_or_default();
        let (name, version, loaded) = (next(), next(), next());
        let (since, key_ids) = (next(), next());
        format!("<tr><td>{name}</td><td>{version}</td><td class=\"{class}\">{loaded}</td><td>{since}</td><td>{key_ids}</td></tr>")
    });
    line(table(
        &["API server", "Version", "Loaded", "Since", "KMS key ids"],
        servers,
    ));
    page.push_str(page::END);
    page
}

fn table(headings: &[&str], rows: impl Iterator<Item = String>) -> String {
    let headings: String = headings
        .iter()
        .map(|heading| format!("<th>{heading}</th>"))
        .collect();
    let rows: Vec<String> = rows.collect();
    format!(
        "<table><thead><tr>{headings}</tr></thead>\n<tbody>\n{}\n</tbody></table>",
        rows.join("\n")
    )
}

/// A bar for each resource, as long as its share of current rows.
fn picture(resources: &[ResourceRows]) -> String {
    let height = ROW.saturating_mul(resources.len() as u64).saturating_add(4);
    let width = LABEL_WIDTH + BAR_WIDTH + 140;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Rows on the newest key\">\n"
    );
    for (index, resource) in resources.iter().enumerate() {
        let top = ROW.saturating_mul(index as u64);
        let share = |rows: u64| match resource.rows {
            0 => 0,
            all => u64::try_from(u128::from(rows) * u128::from(BAR_WIDTH) / u128::from(all))
                .unwrap_or(0),
        };
        let current = share(resource.current);
        let (text, bar) = (top + 19, top + 5);
        let label = escape(&resource.resource);
        let counts = format!("{} of {}", resource.current, resource.rows);
        let rest = share(resource.rows).saturating_sub(current);
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"{text}\">{label}</text><rect x=\"{LABEL_WIDTH}\" y=\"{bar}\" width=\"{current}\" height=\"18\"/>\
             <g class=\"unknown\"><rect x=\"{}\" y=\"{bar}\" width=\"{rest}\" height=\"18\"/></g><text x=\"{}\" y=\"{text}\">{counts}</text>",
            LABEL_WIDTH + current,
            LABEL_WIDTH + BAR_WIDTH + 10,
        );
    }
    svg.push_str("</svg>");
    svg
}

fn row_table(resources: &[ResourceRows]) -> String {
    let rows = resources.iter().flat_map(|resource| {
        resource.groups.iter().map(|group| {
            let class = if group.current { "good" } else { "bad" };
            let (name, writer) = (escape(&resource.resource), escape(&resource.writer));
            let (by, key_id) = (escape(&group.by), escape(group.key_id.as_deref().unwrap_or("-")));
            format!("<tr><td>{name}</td><td>{writer}</td><td class=\"{class}\">{by}</td><td>{key_id}</td><td class=\"number\">{}</td></tr>", group.rows)
        })
    });
    table(
        &[
            "Resource",
            "Shall be written with",
            "Written with",
            "Key id",
            "Rows",
        ],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::rows::{GroupRows, Origin};
    use crate::encryption::status::report::{
        ChangeReport, KeyIdReport, ResourceReport, ServerReport,
    };

    #[test]
    fn names_are_text_whatever_they_hold() {
        let evil = "<script>&\"'\u{1b}";
        let text = || evil.to_owned();
        let rows = ResourceRows {
            resource: text(),
            writer: text(),
            rows: 3,
            current: 1,
            first_not_current: Some(text()),
            groups: vec![GroupRows {
                by: text(),
                key_id: Some(text()),
                rows: 3,
                current: false,
                damaged: false,
            }],
        };
        let report = Report {
            taken: None,
            resources: vec![ResourceReport {
                resource: text(),
                skipped: None,
                writer: text(),
                readers: vec![text()],
            }],
            servers: vec![ServerReport {
                name: text(),
                version: Some(text()),
                file: text(),
                loaded: text(),
                writers: std::collections::BTreeMap::from([(text(), text())]),
                since: Some(text()),
                key_ids: vec![KeyIdReport {
                    provider: text(),
                    key_id_hash: text(),
                }],
            }],
            rows: Some(vec![rows]),
            lacking: vec![text()],
            rows_from: Some(Origin {
                etcd: text(),
                etcd_prefix: text(),
                unknown: vec![text()],
            }),
            change: Some(ChangeReport {
                change: "rotate",
                asked: text(),
                done: None,
                phase: text(),
                blockers: vec![text()],
            }),
        };
        let page = render(&report);
        assert!(!page.contains("<script") && !page.contains('\u{1b}'));
        assert!(page.matches("&lt;script&gt;").count() >= 18);
        assert!(page.contains("1 of 3") && page.contains("width=\"213\""));
    }
}
