//! The picture: a line of time for each key version, with a bar from its oldest snapshot to its newest, darker where there are more.

use std::fmt::Write as _;

use super::report::NeedReport;
use crate::page::escape;

const LABEL_WIDTH: u32 = 300;
const PLOT_WIDTH: u32 = 620;
const COUNT_WIDTH: u32 = 130;
const ROW: u32 = 26;
const TOP: u32 = 26;
/// Steps of the time line; days fall into them.
const STEPS: u64 = 62;
/// Longer labels are cut; the full one is shown when pointed at.
const LABEL_CHARS: usize = 40;
/// Rows that are drawn. More would be no picture.
const MAX_ROWS: usize = 200;
const DAY: u64 = 86_400;

/// One line of the picture.
pub(super) struct Row<'a> {
    pub(super) label: &'a str,
    pub(super) need: &'a NeedReport,
    /// Nothing is known about its key.
    pub(super) is_unknown: bool,
}

/// The days that the picture shows.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u64,
    len: u64,
}

impl Span {
    fn of(rows: &[Row<'_>]) -> Self {
        let days = || rows.iter().flat_map(|row| row.need.days.iter());
        let first = days().map(|(day, _)| *day).min().unwrap_or(0);
        let last = days().map(|(day, _)| *day).max().unwrap_or(first);
        Self {
            first,
            len: last - first + 1,
        }
    }

    /// Snapshots by step.
    fn steps(self, days: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for (day, count) in days {
            let step = (day - self.first) * STEPS / self.len;
            match steps.last_mut() {
                Some((last, sum)) if *last == step => *sum += count,
                _ => steps.push((step, *count)),
            }
        }
        steps
    }

    fn date(self, step: u64) -> String {
        let day = self.first + step * self.len / STEPS;
        let time = crate::clock::rfc3339(day * DAY + 1);
        time.map_or_else(String::new, |time| time.chars().take(10).collect())
    }
}

/// An SVG element, or a remark if there is nothing to draw.
pub(super) fn draw(title: &str, rows: &[Row<'_>]) -> String {
    let rows = rows.get(..rows.len().min(MAX_ROWS)).unwrap_or_default();
    if rows.iter().all(|row| row.need.days.is_empty()) {
        return "<p>No snapshots.</p>\n".to_owned();
    }
    let span = Span::of(rows);
    let width = LABEL_WIDTH + PLOT_WIDTH + COUNT_WIDTH;
    let row_count = u32::try_from(rows.len()).unwrap_or(0);
    let height = TOP + ROW * row_count + 8;
    let title = escape(title);
    let mut svg = format!(
        "<svg role=\"img\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n<title>{title}</title>\n"
    );
    draw_axis(&mut svg, span, height);
    let most = rows
        .iter()
        .flat_map(|row| span.steps(&row.need.days))
        .map(|(_, count)| count)
        .max()
        .unwrap_or(1);
    for (number, row) in (0_u32..).zip(rows) {
        draw_row(&mut svg, row, TOP + ROW * number, span, most);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_axis(svg: &mut String, span: Span, height: u32) {
    const TICKS: u64 = 5;
    for tick in 0..=TICKS {
        let step = tick * STEPS / TICKS;
        let x = x_of(step);
        let anchor = match tick {
            0 => "start",
            TICKS => "end",
            _ => "middle",
        };
        let date = span.date(step.min(STEPS - 1));
        let bottom = height - 4;
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x}\" y1=\"18\" x2=\"{x}\" y2=\"{bottom}\"/><text class=\"date\" x=\"{x}\" y=\"12\" text-anchor=\"{anchor}\">{date}</text>"
        );
    }
}

fn draw_row(svg: &mut String, row: &Row<'_>, y: u32, span: Span, most: u64) {
    let label = escape(&cut(row.label));
    let whole = escape(row.label);
    let class = if row.is_unknown { "unknown" } else { "known" };
    let text_y = y + 17;
    let label_x = LABEL_WIDTH - 10;
    let since = escape(&row.need.since());
    let until = escape(&row.need.until());
    let count = row.need.snapshots;
    let _ = writeln!(
        svg,
        "<g class=\"{class}\"><title>{whole}: {count} snapshots from {since} to {until}</title><text x=\"{label_x}\" y=\"{text_y}\" text-anchor=\"end\">{label}</text>"
    );
    let steps = span.steps(&row.need.days);
    if let (Some((first, _)), Some((last, _))) = (steps.first(), steps.last()) {
        let (left, right) = (x_of(*first), x_of(*last + 1));
        let bar_y = y + 11;
        let length = right - left;
        let _ = writeln!(
            svg,
            "<rect class=\"span\" x=\"{left}\" y=\"{bar_y}\" width=\"{length}\" height=\"4\" rx=\"2\"/>"
        );
    }
    for (step, count) in &steps {
        // From 30 % to 100 %, by the square root so that single snapshots are seen beside many.
        let share = (u128::from(*count) * 10_000 / u128::from(most.max(1))).isqrt();
        let opacity = 30 + share * 70 / 100;
        let (x, bar_y) = (x_of(*step), y + 4);
        let bar = x_of(*step + 1).saturating_sub(x).saturating_sub(1);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{bar_y}\" width=\"{bar}\" height=\"18\" rx=\"2\" fill-opacity=\"{}.{:02}\"/>",
            opacity / 100,
            opacity % 100
        );
    }
    let count_x = LABEL_WIDTH + PLOT_WIDTH + 10;
    let _ = writeln!(
        svg,
        "<text x=\"{count_x}\" y=\"{text_y}\">{count}</text></g>"
    );
}

fn x_of(step: u64) -> u32 {
    let offset = step.min(STEPS) * u64::from(PLOT_WIDTH) / STEPS;
    LABEL_WIDTH + u32::try_from(offset).unwrap_or(PLOT_WIDTH)
}

/// The start and the end of a label: versions stand at the end.
fn cut(label: &str) -> String {
    let chars: Vec<char> = label.chars().collect();
    let Some(surplus) = chars.len().checked_sub(LABEL_CHARS).filter(|n| *n > 0) else {
        return label.to_owned();
    };
    let kept = LABEL_CHARS / 2;
    let start = chars.iter().take(kept);
    let end = chars.iter().skip(kept + surplus + 1);
    start.chain(std::iter::once(&'…')).chain(end).collect()
}
