//! A topology as a file.

use std::fmt;

use super::{HostSpec, PathSpec, Topology};
use crate::{
    model::{Change, What},
    words::units::time,
};

/// A file that reads as an equal topology. Two directions that do the same stand together.
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed = {}", self.seed)?;
        if let Some(matrix) = &self.matrix {
            writeln!(f, "matrix = {}", quoted(matrix))?;
        }
        if let Some(default) = &self.default {
            writeln!(f, "default = \"{default}\"")?;
        }
        for host in &self.hosts {
            write_host(f, host)?;
        }
        for path in &self.paths {
            let back = self.path(path.to, path.from);
            let is_both = back.is_some_and(|back| back.does_the_same(path));
            if is_both && path.to < path.from {
                continue;
            }
            let [from, to] = [path.from, path.to].map(|host| &self.hosts[host].name);
            if is_both {
                writeln!(f, "\n[[path]]\nbetween = [\"{from}\", \"{to}\"]")?;
            } else {
                writeln!(f, "\n[[path]]\nfrom = \"{from}\"\nto = \"{to}\"")?;
            }
            if let Some(model) = &path.model {
                writeln!(f, "netem = \"{model}\"")?;
            }
            for change in path.schedule.iter().flat_map(|schedule| schedule.changes()) {
                write_change(f, change)?;
            }
        }
        Ok(())
    }
}

impl PathSpec {
    fn does_the_same(&self, other: &Self) -> bool {
        self.model == other.model && self.schedule == other.schedule
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &HostSpec) -> fmt::Result {
    writeln!(f, "\n[[host]]\nname = \"{}\"", host.name)?;
    if let Some(region) = &host.region {
        writeln!(f, "region = {}", quoted(region))?;
    }
    if let Some(address) = host.address {
        writeln!(f, "address = \"{address}\"")?;
    }
    if let Some(front) = host.front {
        writeln!(f, "front = \"{front}\"")?;
    }
    Ok(())
}

fn write_change(f: &mut fmt::Formatter<'_>, change: &Change) -> fmt::Result {
    writeln!(f, "\n[[path.change]]\nat = \"{}\"", time(change.at))?;
    match &change.what {
        What::Down { lasts } => writeln!(f, "down = \"{}\"", time(*lasts)),
        What::Flap { up, down, lasts } => {
            let [up, down, lasts] = [up, down, lasts].map(|length| time(*length));
            writeln!(
                f,
                "flap = {{ up = \"{up}\", down = \"{down}\", lasts = \"{lasts}\" }}"
            )
        }
        What::Ramp { to, over } => writeln!(f, "ramp = \"{to}\"\nover = \"{}\"", time(*over)),
        What::Set(to) => writeln!(f, "set = \"{to}\""),
    }
}

/// Names that others chose may have anything in them.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
