//! Shows what a node knows of the mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use super::{
    super::{
        Stop,
        arguments::Ask,
        table::{NONE, grid, millis, percent, table, wrapped},
    },
    show, wait,
};
use crate::admin::view::{MeshView, RegionsView};

/// Shows all nodes, and what there is between their regions.
pub(in crate::cli) fn mesh(ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let mesh = wait(ask, async |client| client.mesh().await)?;
    show(ask, &mesh, mesh_text, out)
}

fn mesh_text(mesh: &MeshView) -> String {
    let regions: BTreeSet<&str> = mesh.nodes.iter().map(|node| node.region.as_str()).collect();
    let links: u32 = mesh.regions.iter().map(|between| between.links).sum();
    let counted = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let mut text = format!(
        "{} knows {} in {}, and {}\n",
        mesh.node,
        counted(mesh.nodes.len(), "node"),
        counted(regions.len(), "region"),
        counted(links as usize, "link"),
    );
    if mesh.warming {
        let is = "It has just started: there may be more than it has heard of.";
        text.push_str(&wrapped("", 0, is));
    }
    if mesh.doubting {
        let is = "It suspects itself: many of its links were lost at once, and it tells nobody.";
        text.push_str(&wrapped("", 0, is));
    }
    for node in mesh.nodes.iter().filter(|node| node.contested) {
        let is = format!("Two processes seem to speak in the name of {}.", node.name);
        text.push_str(&wrapped("", 0, &is));
    }
    text.push('\n');
    text.push_str(&nodes_text(mesh));
    if !mesh.regions.is_empty() {
        text.push('\n');
        text.push_str(&regions_text(&regions, &mesh.regions));
    }
    text
}

fn nodes_text(mesh: &MeshView) -> String {
    let rows = mesh.nodes.iter().map(|node| {
        let notes = [(node.contested, "contested"), (node.ejected, "ejected")];
        let notes: Vec<&str> = notes
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| *word)
            .collect();
        [
            node.name.clone(),
            node.state.clone(),
            node.release.clone().unwrap_or_else(|| NONE.to_owned()),
            format!("{:.0}%", node.load * 100.0),
            node.links.to_string(),
            notes.join(", "),
        ]
    });
    let heading = ["NODE", "STATE", "RELEASE", "LOAD", "LINKS", "NOTE"];
    table(heading, &[3, 4], rows)
}

/// A matrix where one fits, else a list.
fn regions_text(regions: &BTreeSet<&str>, pairs: &[RegionsView]) -> String {
    let between: BTreeMap<(&str, &str), &RegionsView> = pairs
        .iter()
        .flat_map(|pair| [((&*pair.a, &*pair.b), pair), ((&*pair.b, &*pair.a), pair)])
        .collect();
    let matrix = |separator: &str| {
        let numbers = (1..=regions.len()).map(|number| number.to_string());
        let heading: Vec<String> = std::iter::once("REGION".to_owned())
            .chain(numbers)
            .collect();
        let rows = regions.iter().enumerate().map(|(index, a)| {
            let cells = regions.iter().map(|b| match between.get(&(*a, *b)) {
                Some(pair) => figures(pair).join(separator),
                None => NONE.to_owned(),
            });
            std::iter::once(format!("{} {a}", index + 1))
                .chain(cells)
                .collect()
        });
        grid(heading, rows.collect::<Vec<Vec<String>>>())
    };
    let matrix = match regions.len() {
        0..=MAX_MATRIX => matrix(" ").or_else(|| matrix("\n")),
        _ => None,
    };
    match matrix {
        Some(matrix) => format!("Shortest round trip, largest loss, worst link\n{matrix}"),
        None => list(pairs),
    }
}

fn list(pairs: &[RegionsView]) -> String {
    let rows = pairs.iter().map(|pair| {
        let [rtt, loss, health] = figures(pair);
        let (a, b) = (pair.a.clone(), pair.b.clone());
        [a, b, pair.links.to_string(), rtt, loss, health]
    });
    let heading = ["REGION", "AND", "LINKS", "RTT", "LOSS", "WORST LINK"];
    table(heading, &[2, 3, 4], rows)
}

fn figures(pair: &RegionsView) -> [String; 3] {
    [millis(pair.rtt_us), percent(pair.loss), pair.health.clone()]
}

/// Regions in a matrix: more columns do not fit 80 characters, however short they are.
const MAX_MATRIX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(regions: &[String], health: &str) -> Vec<RegionsView> {
        let mut pairs = Vec::new();
        for (index, a) in regions.iter().enumerate() {
            pairs.extend(regions[index..].iter().map(|b| RegionsView {
                a: a.clone(),
                b: b.clone(),
                links: 2,
                rtt_us: Some(188_400),
                loss: Some(0.001),
                health: health.to_owned(),
            }));
        }
        pairs
    }

    fn shown(count: usize, health: &str) -> String {
        let regions: Vec<String> = (1..=count)
            .map(|number| format!("ap-region-{number}"))
            .collect();
        let names = regions.iter().map(String::as_str).collect();
        let shown = regions_text(&names, &pairs(&regions, health));
        let wide = shown.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None);
        shown
    }

    #[test]
    fn matrix_takes_one_line_a_region_while_it_fits_then_three_then_it_is_a_list() {
        // 13 for the region, and 16 for each other column with its gap.
        assert_eq!(shown(4, "ok").lines().count(), 2 + 4);
        assert_eq!(shown(5, "ok").lines().count(), 2 + 5 * 3);
        // 13 for the region, and 7 for each other column with its gap.
        assert_eq!(shown(8, "ok").lines().count(), 2 + 8 * 3);
        // 9 with the longer word.
        assert_eq!(shown(8, "suspect").lines().count(), 1 + 8 * 9 / 2);
        assert_eq!(shown(9, "ok").lines().count(), 1 + 9 * 10 / 2);
    }
}
