//! Tables and figures for people, within 80 columns.

use std::fmt::Display;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

/// Lays rows out under a heading; long cells are wrapped so that lines fit 80 columns.
///
/// `right` are the columns of figures, from 0.
pub(super) fn table<const N: usize>(
    heading: [&str; N],
    right: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let widest = rows.iter().map(|row| row[0].chars().count()).max();
    let name_width = u16::try_from(widest.unwrap_or(0))
        .map_or(WIDTH, |width| width.saturating_add(GAP))
        .min(WIDTH / 2);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(heading);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        // What a row is about is copied into the next command: other cells are wrapped first.
        if index == 0 {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(name_width)));
        }
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One line of a list of facts.
pub(super) fn fact(name: &str, value: impl Display) -> String {
    format!("  {name:<12} {value}\n")
}

/// Words in lines of 80 columns: the first after `first`, the others after as many blanks as
/// `indent` says.
pub(super) fn wrapped(first: &str, indent: usize, words: &str) -> String {
    let mut text = first.to_owned();
    let mut column = first.chars().count();
    let mut is_first = true;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if !is_first && column + 1 + width > usize::from(WIDTH) {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if !is_first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
        is_first = false;
    }
    text.push('\n');
    text
}

/// Lays out cells of one or more lines, the first column to the left and all others to the right;
/// `None` if that is wider than 80 columns.
pub(super) fn grid(heading: Vec<String>, rows: Vec<Vec<String>>) -> Option<String> {
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        let lines = cells.flat_map(|cell| cell.lines().map(|line| line.chars().count()));
        lines.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let gaps = usize::from(GAP) * widths.len().saturating_sub(1);
    if widths.iter().sum::<usize>() + gaps > usize::from(WIDTH) {
        return None;
    }
    let mut text = String::new();
    for row in &rows {
        let height = row.iter().map(|cell| cell.lines().count()).max();
        for line in 0..height.unwrap_or(0) {
            let mut shown = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let part = cell.lines().nth(line).unwrap_or("");
                shown.push_str(&match index {
                    0 => format!("{part:<width$}"),
                    _ => format!("{:gap$}{part:>width$}", "", gap = usize::from(GAP)),
                });
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
    }
    Some(text)
}

/// A duration with its two largest units: `420ms`, `12s`, `3m12s`, `4h07m`, `3d04h`.
pub(super) fn age(ms: u64) -> String {
    let s = ms / 1_000;
    let (m, h, d) = (s / 60, s / 3_600, s / 86_400);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{s}s"),
        60_000..3_600_000 => format!("{m}m{:02}s", s % 60),
        3_600_000..86_400_000 => format!("{h}h{:02}m", m % 60),
        _ => format!("{d}d{:02}h", h % 24),
    }
}

/// A round-trip time in milliseconds, with three figures.
pub(super) fn millis(us: Option<u64>) -> String {
    match us {
        None => NONE.to_owned(),
        Some(us @ 0..10_000) => format!("{}.{:02}ms", us / 1_000, us % 1_000 / 10),
        Some(us @ 10_000..100_000) => format!("{}.{}ms", us / 1_000, us % 1_000 / 100),
        Some(us) => format!("{}ms", us / 1_000),
    }
}

/// A share in percent.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => NONE.to_owned(),
        Some(share) => format!("{:.2}%", share * 100.0),
    }
}

/// Bytes, with one decimal above a kilobyte.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

/// What stands where there is nothing to show.
pub(super) const NONE: &str = "-";
/// The width of a terminal that nobody has made larger.
const WIDTH: u16 = 80;
/// Between columns.
const GAP: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_show_their_two_largest_units_on_both_sides_of_each() {
        for (ms, shown) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (192_000, "3m12s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (86_399_999, "23h59m"),
            (86_400_000, "1d00h"),
            (u64::MAX, "213503982334d14h"),
        ] {
            assert_eq!(age(ms), shown);
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(millis(Some(57)), "0.05ms");
        assert_eq!(millis(Some(9_999)), "9.99ms");
        assert_eq!(millis(Some(10_000)), "10.0ms");
        assert_eq!(millis(Some(88_412)), "88.4ms");
        assert_eq!(millis(Some(99_999)), "99.9ms");
        assert_eq!(millis(Some(100_000)), "100ms");
        assert_eq!(millis(None), "-");
        assert_eq!(percent(Some(0.001_26)), "0.13%");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(48_300_112), "48.3 MB");
    }

    #[test]
    fn no_line_is_wider_than_80_columns_however_long_the_names() {
        let row = [0; 3].map(|_| "long-name-".repeat(20));
        let shown = table(["A", "B", "C"], &[1], [row]);
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
    }

    #[test]
    fn words_are_wrapped_at_80_columns_and_not_before() {
        let words = format!("{} {}", "a".repeat(60), "b".repeat(17));
        assert_eq!(wrapped("x ", 4, &words), format!("x {words}\n"));
        let words = format!("{} {}", "a".repeat(60), "b".repeat(18));
        let lines = format!("x {}\n    {}\n", "a".repeat(60), "b".repeat(18));
        assert_eq!(wrapped("x ", 4, &words), lines);
    }

    #[test]
    fn grid_is_given_up_when_it_is_wider_than_80_columns() {
        let cells = |width: usize| vec!["a".to_owned(), format!("{}\nc", "b".repeat(width))];
        let fits = grid(vec!["H".into(), "1".into()], vec![cells(77)]).unwrap();
        let lines: Vec<&str> = fits.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1].len(), 80);
        assert_eq!(lines[2].trim_start(), "c");
        assert_eq!(grid(vec!["H".into(), "1".into()], vec![cells(78)]), None);
    }
}
