//! How a path changes, in TOML.

use std::time::Duration;

use super::{
    document::Table,
    error::Fault,
    value::{Times, Value},
};
use crate::model::{Change, Schedule, What};

/// Reads the list of changes; `None` if there are none, or if any is wrong.
pub(super) fn read(list: &Value<'_>) -> Option<Schedule> {
    let items = list.list(
        0,
        Schedule::MAX_CHANGES,
        "at most 10000 sections [[path.change]]",
    );
    let changes: Vec<Option<Change>> = items.iter().map(read_change).collect();
    let changes: Vec<Change> = changes.into_iter().collect::<Option<_>>()?;
    if changes.is_empty() {
        return None;
    }
    match Schedule::try_new(changes) {
        Ok(schedule) => Some(schedule),
        Err(fault) => {
            list.fault(fault);
            None
        }
    }
}

fn read_change(item: &Value<'_>) -> Option<Change> {
    let table = item.table(KEYS, "a section [[path.change]]")?;
    let at = table.required("at", "a time like \"10s\"");
    let at = at.and_then(|at| at.time(Times::At));
    let what = read_what(&table);
    Some(Change {
        at: at?,
        what: what?,
    })
}

fn read_what(table: &Table<'_>) -> Option<What> {
    let given: Vec<(&'static str, Value<'_>)> = ["set", "ramp", "down", "flap"]
        .into_iter()
        .filter_map(|key| Some((key, table.value(key)?)))
        .collect();
    let Some((key, value)) = given.first() else {
        table.required("set", "set, ramp, down or flap");
        return None;
    };
    for (_, other) in &given[1..] {
        other.fault(Fault::Beside { other: key });
    }
    if *key != "ramp"
        && let Some(over) = table.value("over")
    {
        over.fault(Fault::Beside { other: key });
    }
    match *key {
        "set" => value.model().map(What::Set),
        "ramp" => {
            let to = value.model();
            let over = required_length(table, "over");
            Some(What::Ramp {
                to: to?,
                over: over?,
            })
        }
        "down" => value.time(Times::Lasts).map(|lasts| What::Down { lasts }),
        _ => {
            let table = value.table(FLAP_KEYS, "a table of up, down and lasts")?;
            let [up, down, lasts] = ["up", "down", "lasts"].map(|key| required_length(&table, key));
            Some(What::Flap {
                up: up?,
                down: down?,
                lasts: lasts?,
            })
        }
    }
}

fn required_length(table: &Table<'_>, key: &str) -> Option<Duration> {
    table
        .required(key, "a time like \"5s\"")?
        .time(Times::Lasts)
}

const KEYS: &[&str] = &["at", "set", "ramp", "over", "down", "flap"];
const FLAP_KEYS: &[&str] = &["up", "down", "lasts"];
