//! The table that people read, and that `docs/figures.md` shows.

use comfy_table::{ContentArrangement, Table, presets};

use super::row::{Budget, Row, Verdict};

/// The rows as a Markdown table.
///
/// - `width`: the columns of a terminal that it has to fit; in a file each row is one line.
pub fn table(rows: &[Row], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "figure", "case", "unit", "ours", "theirs", "ratio", "budget", "verdict",
    ]);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    for row in rows {
        table.add_row([
            row.name.to_owned(),
            row.case.clone(),
            row.unit.to_owned(),
            number(row.ours),
            row.theirs.map(number).unwrap_or_default(),
            ratio(row),
            row.budget.map(budget).unwrap_or_default(),
            row.verdict.map(verdict).unwrap_or_default().to_owned(),
        ]);
    }
    table
}

/// Three figures that count, and no exponent.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn ratio(row: &Row) -> String {
    match (row.ratio, row.low, row.high) {
        (Some(ratio), Some(low), Some(high)) => {
            format!("{} ({} to {})", number(ratio), number(low), number(high))
        }
        (Some(ratio), _, _) => number(ratio),
        _ => String::new(),
    }
}

fn budget(budget: Budget) -> String {
    match budget {
        Budget::AtMost(limit) => format!("at most {}", number(limit)),
        Budget::AtLeast(limit) => format!("at least {}", number(limit)),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Fail => "fail",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::rounds::Rounds;

    #[test]
    fn a_comparison_is_one_line_of_markdown() {
        let mut rounds = Rounds::default();
        for _ in 0..10 {
            rounds.push(12.34, 10.0);
        }
        let row = Row::compared(
            "idle",
            "1,000 links",
            "kB",
            &rounds,
            Some(Budget::AtMost(1.5)),
        );
        let text = table(&[row], None).to_string();
        let line = text.lines().last().unwrap();
        let cells: Vec<&str> = line
            .split('|')
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        let expected = [
            "idle",
            "1,000 links",
            "kB",
            "12.3",
            "10.0",
            "1.23 (1.23 to 1.23)",
            "at most 1.50",
            "pass",
        ];
        assert_eq!(cells, expected);
    }
}
