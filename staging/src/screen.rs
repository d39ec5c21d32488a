//! Where a run is shown: in place on a terminal, as lines anywhere else.

use std::{
    io::{self, IsTerminal, Stdout, Write},
    os::fd::AsFd,
};

use crate::view::{self, Phase, Snapshot, WIDTH};

/// Shows one snapshot after the other. Dropping it leaves the terminal as it was found.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    /// A table that is drawn over itself; how many lines of it stand there now.
    Table { drawn: usize },
    /// A line for each second and each change of phase; what the last one was for.
    Lines { last: Option<(Phase, u64)> },
}

impl Screen<Stdout> {
    /// The standard output: a table if it is a terminal that can move its cursor.
    pub fn stdout() -> Self {
        let out = io::stdout();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let table = out.is_terminal() && !dumb;
        Self::new(out, table)
    }

    /// Shows the run as it is now.
    ///
    /// # Errors
    /// The output cannot be written, such as a pipe whose reader has gone.
    pub fn show(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let (columns, rows) = size(&self.out);
        self.show_within(columns, rows, snapshot)
    }
}

impl<W: Write> Screen<W> {
    fn new(out: W, table: bool) -> Self {
        let mode = match table {
            true => Mode::Table { drawn: 0 },
            false => Mode::Lines { last: None },
        };
        Self { out, mode }
    }

    /// Prints lines below everything that was shown, apart from a table by an empty one.
    ///
    /// # Errors
    /// As for [`Screen::show`].
    pub fn say(&mut self, lines: &str) -> io::Result<()> {
        if let Mode::Table { drawn } = &mut self.mode {
            // What comes next must not be drawn over them.
            *drawn = 0;
            writeln!(self.out)?;
        }
        writeln!(self.out, "{lines}")?;
        self.out.flush()
    }

    fn show_within(&mut self, columns: usize, rows: usize, snapshot: &Snapshot) -> io::Result<()> {
        let text = match &mut self.mode {
            Mode::Table { drawn } => {
                let table = view::table(snapshot);
                let lines = table.lines().count();
                if columns >= WIDTH && rows > lines {
                    let mut text = HIDE_CURSOR.to_owned();
                    if *drawn > 0 {
                        text += &format!("\x1b[{drawn}F");
                    }
                    for line in table.lines() {
                        text += line;
                        text += CLEAR_LINE;
                    }
                    text += CLEAR_BELOW;
                    *drawn = lines;
                    text
                } else {
                    // Drawn over itself in a window that cannot hold it, it would only smear.
                    self.mode = Mode::Lines { last: None };
                    SHOW_CURSOR.to_owned() + &next_lines(None, snapshot)
                }
            }
            Mode::Lines { last } => {
                let text = next_lines(*last, snapshot);
                *last = Some(occasion(snapshot));
                text
            }
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if matches!(self.mode, Mode::Table { .. }) {
            // A terminal that is gone needs no cursor.
            let _ = self.out.write_all(SHOW_CURSOR.as_bytes());
            let _ = self.out.flush();
        }
    }
}

/// What is worth a line.
fn occasion(snapshot: &Snapshot) -> (Phase, u64) {
    (snapshot.phase, snapshot.elapsed.as_secs())
}

fn next_lines(last: Option<(Phase, u64)>, snapshot: &Snapshot) -> String {
    if last == Some(occasion(snapshot)) {
        return String::new();
    }
    let mut text = String::new();
    let starts_again = |(phase, _)| phase != Phase::Starting && snapshot.phase == Phase::Starting;
    if last.is_none_or(starts_again) {
        for node in &snapshot.nodes {
            text += &format!(
                "node {} in {} is process {}\n",
                node.name, node.region, node.pid
            );
        }
    }
    text += &view::line(snapshot);
    text.push('\n');
    // Once everything has crossed: a line a second has no room for them.
    if snapshot.phase == Phase::Stopping && last.is_none_or(|(phase, _)| phase != Phase::Stopping) {
        text += &view::distances(snapshot);
    }
    text
}

/// Columns and rows of the terminal; those of the smallest one where it does not say.
pub(crate) fn size(out: &impl AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(out) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        Ok(_) | Err(_) => (WIDTH, 24),
    }
}

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::view::tests::crossing;

    fn text(screen: &Screen<Vec<u8>>) -> &str {
        std::str::from_utf8(&screen.out).unwrap()
    }

    #[test]
    fn a_second_table_is_drawn_over_the_first() {
        let mut screen = Screen::new(Vec::new(), true);
        let lines = view::table(&crossing()).lines().count();
        screen.show_within(80, 24, &crossing()).unwrap();
        assert!(
            !text(&screen).contains('F'),
            "there is nothing to draw over"
        );
        screen.show_within(80, 24, &crossing()).unwrap();
        assert!(text(&screen).contains(&format!("\x1b[{lines}F")));
        assert_eq!(text(&screen).matches('\n').count(), 2 * lines);
    }

    #[test]
    fn a_window_that_is_one_row_or_one_column_too_small_gets_lines() {
        let rows = view::table(&crossing()).lines().count() + 1;
        for (columns, rows, table) in [(80, rows, true), (80, rows - 1, false), (79, rows, false)] {
            let mut screen = Screen::new(Vec::new(), true);
            screen.show_within(columns, rows, &crossing()).unwrap();
            let is_table = matches!(screen.mode, Mode::Table { .. });
            assert_eq!(is_table, table, "{columns} by {rows}");
        }
    }

    #[test]
    fn lines_come_once_a_second_and_at_each_change_of_phase() {
        let mut screen = Screen::new(Vec::new(), false);
        let mut snapshot = crossing();
        let mut shown = |snapshot: &Snapshot| {
            screen.out.clear();
            screen.show_within(0, 0, snapshot).unwrap();
            text(&screen).lines().count()
        };
        assert_eq!(shown(&snapshot), 5, "four nodes and the first line");
        snapshot.elapsed = Duration::from_millis(4_999);
        assert_eq!(shown(&snapshot), 0);
        snapshot.elapsed = Duration::from_secs(5);
        assert_eq!(shown(&snapshot), 1);
        snapshot.phase = Phase::Settling;
        assert_eq!(shown(&snapshot), 1);
        snapshot.phase = Phase::Stopping;
        assert_eq!(
            shown(&snapshot),
            7,
            "a line, and the distances of six pairs"
        );
        snapshot.phase = Phase::Done;
        assert_eq!(shown(&snapshot), 1);
        assert!(!text(&screen).contains('\x1b'));
    }
}
