//! What a backend says of itself, for people.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::report::{Host, Packets, Path, Report};

/// A whole report.
pub(super) fn report(report: &Report) -> String {
    let packets = &report.packets;
    let mut text = format!(
        "{}, {:.1} s: {} packets in, {} out, {} dropped, {} on their way",
        report.backend,
        report.elapsed_s,
        packets.received,
        packets.delivered,
        packets.dropped_total(),
        packets.queued,
    );
    if !packets.conserved {
        text.push_str(" (does not add up)");
    }
    text.push('\n');
    let mut line = |name: &str, what: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12}{what}");
    };
    line("lateness", report.lateness.to_string());
    line("idle timer", report.idle_timer.to_string());
    line(
        "queue",
        format!("{} kB at the most", report.queued_bytes_max / 1_000),
    );
    let own = counts(report.own_drops.iter());
    line(
        "own drops",
        if own.is_empty() { "none".into() } else { own },
    );
    text.push('\n');
    text.push_str(&hosts(&report.hosts));
    if !report.paths.is_empty() {
        text.push('\n');
        text.push_str(&paths(&report.paths));
    }
    text
}

/// The hosts and where they are, a line each.
pub(super) fn hosts(hosts: &[Host]) -> String {
    let width = hosts.iter().map(|host| host.name.len()).max();
    let width = width.unwrap_or_default();
    let lines = hosts.iter().map(|Host { name, reached_at }| {
        let reached_at = reached_at.join("  ");
        format!("{name:width$}  {reached_at}\n")
    });
    lines.collect()
}

/// Some paths, as a table of 80 columns.
pub(super) fn paths<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(["FROM", "TO", "NETEM", "IN", "OUT", "DROPPED"]);
    for path in paths {
        let state = match (path.cut, path.down) {
            (true, _) => "cut; ",
            (false, true) => "down; ",
            (false, false) => "",
        };
        table.add_row([
            path.from.clone(),
            path.to.clone(),
            format!("{state}{}", brief(&path.netem)),
            path.packets.received.to_string(),
            path.packets.delivered.to_string(),
            dropped(&path.packets),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if (3..=4).contains(&index) {
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

/// Words of which none is longer than a cell, such as a list of quantiles.
fn brief(words: &str) -> String {
    let words = words.split(' ').map(|word| match word.split_once(',') {
        Some((first, rest)) if word.len() > MAX_WORD => {
            let last = rest.rsplit(',').next().unwrap_or_default();
            format!("{first},..,{last}")
        }
        _ if word.len() > MAX_WORD => format!("{}..", &word[..MAX_WORD]),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn dropped(packets: &Packets) -> String {
    if packets.dropped.is_empty() {
        return "0".into();
    }
    counts(packets.dropped.iter())
}

fn counts<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}

const WIDTH: u16 = 80;
const MAX_WORD: usize = 24;
