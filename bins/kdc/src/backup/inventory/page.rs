//! The report as one page for the browser. It loads nothing and runs nothing, so that it can be mailed and kept.

use std::fmt::Write as _;

use kdc_envelope_backup::catalogue::State;

use super::picture::{self, Row};
use super::report::{NeedReport, Report, StateReport};

use crate::page::{self, escape};

/// The page as HTML, which is also well-formed XML.
pub(super) fn render(report: &Report) -> String {
    let bucket = &report.bucket;
    let taken = escape(report.taken.as_deref().unwrap_or("-"));
    let mut page = page::begin(&format!("Snapshots in {bucket}"));
    let _ = writeln!(
        page,
        "<p class=\"faint\">Taken {taken} by kdc backup inventory</p>"
    );
    verdict(&mut page, report);
    let outer = outer_rows(report);
    let inner = inner_rows(report);
    page.push_str(
        "<h2>Outer keys: what opens the snapshots</h2>\n\
         <p class=\"faint\">A version may go when no snapshot needs it. Rewrapping moves snapshots to the newest one.</p>\n",
    );
    page.push_str(&picture::draw("Outer key versions over time", &outer));
    needs(&mut page, &outer, |_| None);
    page.push_str(
        "<h2>Inner keys: what reads the rows in them</h2>\n\
         <p class=\"faint\">Rewrapping does not change these. A version is needed until the last snapshot with rows of it is gone.</p>\n",
    );
    page.push_str(&picture::draw("Inner key versions over time", &inner));
    let rows = |number: usize| report.inner_keys.get(number).map(|key| key.rows);
    needs(&mut page, &inner, rows);
    page.push_str("<h2>What is in the bucket</h2>\n");
    states(&mut page, &report.states);
    page.push_str(page::END);
    page
}

fn verdict(page: &mut String, report: &Report) {
    let count = |is_meant: &dyn Fn(State) -> bool| -> u64 {
        let states = report.states.iter().filter(|line| is_meant(line.state));
        states.map(|line| line.count).sum()
    };
    let complete = count(&State::is_complete);
    let mut line = |class: &str, text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<p class=\"{class}\">{text}</p>");
    };
    line("good", format!("{complete} complete snapshots"));
    let damaged = count(&State::is_damage);
    if damaged > 0 {
        line("bad", format!("{damaged} damaged"));
    }
    let plaintext = count(&|state| state == State::Plaintext);
    if plaintext > 0 {
        line("bad", format!("{plaintext} not encrypted"));
    }
    let unknown = report.outer_key_unknown.snapshots;
    if unknown > 0 {
        line(
            "odd",
            format!("{unknown} snapshots do not state their outer key: any may be needed"),
        );
    }
    let uncounted = report.inner_keys_unknown.snapshots;
    if uncounted > 0 {
        let text = format!(
            "{uncounted} snapshots do not state what their rows need: any inner key may be needed"
        );
        line("odd", text);
    }
    if report.snapshots_beyond > 0 {
        let count = report.snapshots_beyond;
        line(
            "odd",
            format!("{count} snapshots have further keys, which are not shown"),
        );
    }
}

fn outer_rows(report: &Report) -> Vec<Row<'_>> {
    let known = report
        .outer_keys
        .iter()
        .map(|key| known(&key.label, &key.need));
    let unknown = unknown("unknown", &report.outer_key_unknown);
    known.chain(unknown).collect()
}

fn inner_rows(report: &Report) -> Vec<Row<'_>> {
    let known = report
        .inner_keys
        .iter()
        .map(|key| known(&key.label, &key.need));
    let unknown = unknown("not counted", &report.inner_keys_unknown);
    known.chain(unknown).collect()
}

const fn known<'a>(label: &'a str, need: &'a NeedReport) -> Row<'a> {
    Row {
        label,
        need,
        is_unknown: false,
    }
}

fn unknown<'a>(label: &'a str, need: &'a NeedReport) -> Option<Row<'a>> {
    (need.snapshots > 0).then_some(Row {
        label,
        need,
        is_unknown: true,
    })
}

fn needs(page: &mut String, rows: &[Row<'_>], row_count: impl Fn(usize) -> Option<u64>) {
    page.push_str(
        "<table><thead><tr><th>Key</th><th class=\"number\">Snapshots</th><th class=\"number\">Rows</th><th>Since</th><th>Until</th><th>Clusters</th></tr></thead>\n<tbody>\n",
    );
    for (number, row) in rows.iter().enumerate() {
        let class = if row.is_unknown { "odd" } else { "" };
        let count = row_count(number).map_or_else(|| "-".to_owned(), |rows| rows.to_string());
        let oldest = row
            .need
            .oldest
            .as_ref()
            .map_or("", |mark| mark.snapshot.as_str());
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{}</td><td class=\"number\">{}</td><td class=\"number\">{count}</td><td>{}<br/><span class=\"faint\">{}</span></td><td>{}</td><td>{}</td></tr>",
            escape(row.label),
            row.need.snapshots,
            escape(&row.need.since()),
            escape(oldest),
            escape(&row.need.until()),
            escape(&row.need.by()),
        );
    }
    page.push_str("</tbody></table>\n");
}

fn states(page: &mut String, states: &[StateReport]) {
    page.push_str(
        "<table><thead><tr><th>State</th><th class=\"number\">Count</th><th class=\"number\">Bytes</th><th>For example</th></tr></thead>\n<tbody>\n",
    );
    for line in states {
        let class = match line.state {
            state if state.is_complete() => "good",
            State::Plaintext => "bad",
            state if state.is_damage() => "bad",
            _ => "odd",
        };
        let examples: Vec<String> = line.examples.iter().map(|text| escape(text)).collect();
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            escape(line.state.word()),
            line.count,
            line.bytes,
            examples.join("<br/>"),
        );
    }
    page.push_str("</tbody></table>\n");
}
