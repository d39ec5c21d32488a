//! What was found, for people and for programs.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use super::{ground::Backend, statistics::ALPHA};

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// On which backend.
    pub backend: Backend,
    /// Of which model, or `all` of them.
    pub model: String,
    /// What was measured.
    pub test: String,
    /// What it should be.
    pub asked: String,
    /// What it is.
    pub measured: String,
    /// Whether that is the same.
    pub verdict: Verdict,
}

/// What a measurement says. The worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is what was asked for.
    Pass,
    /// It is not, on a host or a run that cannot tell.
    Inconclusive,
    /// It is not.
    Fail,
}

impl Verdict {
    /// The exit code of a process that found this.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "FAIL",
        }
    }
}

/// All that was found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// In the order in which it was measured.
    pub rows: Vec<Row>,
    /// How many of them chance decides, each with [`ALPHA`].
    pub random_tests: u32,
}

impl Findings {
    /// The worst of all verdicts; inconclusive if there is none.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.rows.iter().map(|row| row.verdict);
        verdicts.max().unwrap_or(Verdict::Inconclusive)
    }

    /// The most that the probability can be with which a right emulator fails, over all seeds.
    pub fn false_alarm_rate(&self) -> f64 {
        f64::from(self.random_tests) * ALPHA
    }

    /// A table for each backend, and what it means.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for rows in self.rows.chunk_by(|a, b| a.backend == b.backend) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&table(rows));
        }
        let of = |verdict| {
            self.rows
                .iter()
                .filter(|row| row.verdict == verdict)
                .count()
        };
        let (passed, failed) = (of(Verdict::Pass), of(Verdict::Fail));
        let inconclusive = of(Verdict::Inconclusive);
        let rate = self.false_alarm_rate() * 100.0;
        let random = self.random_tests;
        text.push_str(&format!(
            "\n{passed} passed, {failed} failed, {inconclusive} inconclusive.\n\
             Chance decides {random} of them (those with p); each calls a right emulator wrong for\n\
             one seed in {:.0}, so that any does for at most {rate:.2}% of seeds.\n",
            1.0 / ALPHA
        ));
        text
    }
}

fn table(rows: &[Row]) -> String {
    let heading = ["TEST", "ASKED", "MEASURED", "VERDICT"].map(str::to_owned);
    let mut text = lines([heading]);
    for rows in rows.chunk_by(|a, b| a.model == b.model) {
        text.push_str(&format!("{}: {}\n", rows[0].backend, rows[0].model));
        text.push_str(&lines(rows.iter().map(|row| {
            let verdict = row.verdict.word().to_owned();
            [
                row.test.clone(),
                row.asked.clone(),
                row.measured.clone(),
                verdict,
            ]
        })));
    }
    text
}

/// Rows in columns that are as wide whatever is in them; long cells are wrapped.
fn lines(rows: impl IntoIterator<Item = [String; 4]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::MAX);
    for row in rows {
        table.add_row(row);
    }
    for (column, width) in table.column_iter_mut().zip(WIDTHS) {
        column.set_padding((0, GAP));
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width + GAP)));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Within 80 columns, unless a verdict is inconclusive.
const WIDTHS: [u16; 4] = [15, 22, 28, 12];
/// Between columns.
const GAP: u16 = 2;
