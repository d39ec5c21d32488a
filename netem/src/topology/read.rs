//! From a document to a topology.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::{
    HostSpec, PathSpec, Topology, change,
    document::{Notes, Table, shown},
    error::{Fault, Problem},
    value::Value,
};
use crate::nearest::nearest;

/// Reads a text, or says everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<Topology, Vec<Problem>> {
    let notes = Notes::new(text);
    let (document, faults) = DeTable::parse_recoverable(text);
    for fault in &faults {
        notes.syntax(fault);
    }
    // What a parser made of a broken text would only produce faults that are none.
    if !faults.is_empty() {
        return Err(notes.into_problems());
    }
    match assemble(document.get_ref(), &notes) {
        Some(topology) if notes.is_clean() => Ok(topology),
        _ => Err(notes.into_problems()),
    }
}

/// Reads every key before any of them is found lacking, so that all faults are noted.
fn assemble(document: &DeTable<'_>, notes: &Notes<'_>) -> Option<Topology> {
    let root = Table::root(document, ROOT_KEYS, notes);
    let seed = root.required(
        "seed",
        "a whole number, from which everything random follows",
    );
    let seed = seed.and_then(|seed| seed.number());
    let matrix = root.value("matrix");
    let matrix = matrix.and_then(|matrix| matrix.text("the name of a matrix like \"aws\""));
    let default = root.value("default").and_then(|model| model.model());
    let names = read_hosts(&root);
    let hosts = names.hosts.clone();
    let paths = read_paths(&root, &names);
    Some(Topology {
        seed: seed?,
        matrix: matrix.map(str::to_owned),
        default,
        hosts,
        paths,
    })
}

/// The hosts, and where to find them. One that is not usable keeps its place and its name, so that
/// paths to it are not faults too.
#[derive(Debug, Default)]
struct Hosts<'d> {
    hosts: Vec<HostSpec>,
    places: BTreeMap<&'d str, usize>,
}

fn read_hosts<'d>(root: &Table<'d>) -> Hosts<'d> {
    let mut hosts = Hosts::default();
    let Some(list) = root.required("host", "sections [[host]]") else {
        return hosts;
    };
    let mut names: BTreeMap<&str, Value<'d>> = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for item in list.list(1, Topology::MAX_HOSTS, "1 to 1000 sections [[host]]") {
        let Some(table) = item.table(HOST_KEYS, "a section [[host]]") else {
            continue;
        };
        let name = table.required("name", NAME);
        let name = name.and_then(|name| host_name(&name).map(|text| (text, name)));
        let region = table.value("region");
        let region = region.and_then(|region| region.text("a region like \"eu-west-1\""));
        let mut address = |key: &str| {
            let value = table.value(key)?;
            let address = value.address()?;
            if address.port() != 0
                && let Some(other) = addresses.insert(address, value.clone())
            {
                let by = other.place();
                let value_text = address.to_string();
                value.fault(Fault::Taken {
                    value: value_text,
                    by,
                });
            }
            Some(address)
        };
        let (address, front) = (address("address"), address("front"));
        let Some((name, value)) = name else {
            continue;
        };
        if let Some(other) = names.get(name) {
            let by = other.place();
            value.fault(Fault::Taken {
                value: name.to_owned(),
                by,
            });
            continue;
        }
        names.insert(name, value);
        hosts.places.insert(name, hosts.hosts.len());
        hosts.hosts.push(HostSpec {
            name: name.to_owned(),
            region: region.map(str::to_owned),
            address,
            front,
        });
    }
    hosts
}

fn host_name<'d>(value: &Value<'d>) -> Option<&'d str> {
    let name = value.text(NAME)?;
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric();
    let mut letters = name.bytes();
    let is_name = letters.next().is_some_and(is_plain)
        && letters.all(|letter| is_plain(letter) || b"-_.".contains(&letter))
        && name.len() <= MAX_NAME_BYTES;
    if !is_name {
        value.refuse(NAME);
    }
    is_name.then_some(name)
}

fn read_paths(root: &Table<'_>, hosts: &Hosts<'_>) -> Vec<PathSpec> {
    let Some(list) = root.value("path") else {
        return Vec::new();
    };
    let mut paths = BTreeMap::new();
    for item in list.list(0, MAX_PATHS, "at most 1000000 sections [[path]]") {
        let Some(table) = item.table(PATH_KEYS, "a section [[path]]") else {
            continue;
        };
        let directions = read_directions(&table, hosts);
        let model = table.value("netem").and_then(|model| model.model());
        let schedule = table.value("change").and_then(|list| change::read(&list));
        for (from, to) in directions {
            let path = PathSpec {
                from,
                to,
                model: model.clone(),
                schedule: schedule.clone(),
            };
            paths.insert((from, to), path);
        }
    }
    paths.into_values().collect()
}

/// Which directions a path is for; none if that is wrong.
fn read_directions(table: &Table<'_>, hosts: &Hosts<'_>) -> Vec<(usize, usize)> {
    let (from, to) = (table.value("from"), table.value("to"));
    let Some(between) = table.value("between") else {
        let from = match (&from, &to) {
            (None, None) => {
                table.required("between", "the names of two hosts, or from and to");
                return Vec::new();
            }
            _ => table.required("from", "the name of the host that sends"),
        };
        let to = table.required("to", "the name of the host that receives");
        let ends = from.zip(to);
        return ends
            .and_then(|(from, to)| direction(&from, &to, hosts))
            .into_iter()
            .collect();
    };
    for value in [&from, &to].into_iter().flatten() {
        value.fault(Fault::Beside { other: "between" });
    }
    let ends = between.list(2, 2, "the names of two hosts, like [\"a\", \"b\"]");
    let [one, other] = &ends[..] else {
        return Vec::new();
    };
    let direction = direction(one, other, hosts);
    direction
        .into_iter()
        .flat_map(|(from, to)| [(from, to), (to, from)])
        .collect()
}

fn direction(from: &Value<'_>, to: &Value<'_>, hosts: &Hosts<'_>) -> Option<(usize, usize)> {
    let (from_place, to_place) = (host(from, hosts), host(to, hosts));
    let (from, to_place) = (from_place?, to_place?);
    if from == to_place {
        to.refuse("another host than the first");
        return None;
    }
    Some((from, to_place))
}

fn host(value: &Value<'_>, hosts: &Hosts<'_>) -> Option<usize> {
    let name = value.text("the name of a host")?;
    let place = hosts.places.get(name).copied();
    if place.is_none() {
        let nearest = nearest(name, hosts.places.keys().copied());
        value.fault(Fault::UnknownHost {
            name: shown(name),
            nearest,
        });
    }
    place
}

const ROOT_KEYS: &[&str] = &["seed", "matrix", "default", "host", "path"];
const HOST_KEYS: &[&str] = &["name", "region", "address", "front"];
const PATH_KEYS: &[&str] = &["between", "from", "to", "netem", "change"];

const NAME: &str =
    "a name of 1 to 63 letters, digits, -, _ and ., that begins with a letter or digit";

/// What a file name has room for, and a name in the domain name system.
const MAX_NAME_BYTES: usize = 63;

/// Each direction between the most hosts.
const MAX_PATHS: usize = Topology::MAX_HOSTS * Topology::MAX_HOSTS;
