//! Shows how traffic goes, and why.

use std::io::Write;

use super::{
    super::{
        Stop,
        arguments::Ask,
        table::{NONE, age, fact, millis, table, wrapped},
    },
    show, wait,
};
use crate::admin::view::{DecisionView, PathView, RouteDetailView, RouteHistoryView, RouteView};

/// Lists how traffic for every node goes.
pub(in crate::cli) fn routes(ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let routes = wait(ask, async |client| client.routes().await)?;
    show(ask, &routes, |routes| routes_text(routes), out)
}

/// Explains how traffic for one node goes.
pub(super) fn explain(name: &str, ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let detail = wait(ask, async |client| client.route(name).await)?;
    show(ask, &detail, detail_text, out)
}

fn routes_text(routes: &[RouteView]) -> String {
    let of_kind = |kind: &'static str| routes.iter().filter(move |route| route.kind == kind);
    let interactive: Vec<&RouteView> = of_kind(INTERACTIVE).collect();
    if interactive.is_empty() {
        return "no other node is known\n".to_owned();
    }
    let path_of = |to: &str| {
        let same = interactive.iter().find(|route| route.to == to);
        same.and_then(|route| route.path.as_ref())
    };
    let differs = |route: &&RouteView| route.path.as_ref() != path_of(&route.to);
    let bulk: Vec<&RouteView> = of_kind(BULK).filter(differs).collect();
    let mut text = rows(&interactive);
    if bulk.is_empty() {
        text.push_str("\nBulk traffic goes the same ways.\n");
    } else {
        text.push_str("\nBulk traffic goes the same ways, but for\n");
        text.push_str(&rows(&bulk));
    }
    text
}

/// Two lines a row: how it goes, and below what else there is and what the cost is made of.
fn rows(routes: &[&RouteView]) -> String {
    let rows = routes.iter().map(|route| {
        let path = way(route.path.as_deref());
        let path = match (&route.path, &route.backup) {
            (None, _) => path,
            (Some(_), None) => format!("{path}\nelse nothing"),
            (Some(_), Some(backup)) => format!("{path}\nelse {}", way(Some(backup))),
        };
        [
            route.to.clone(),
            path,
            ms(route.cost_ms),
            route.since_ms.map_or_else(|| NONE.to_owned(), age),
            [route.why.clone(), parts(route)]
                .join("\n")
                .trim_end()
                .to_owned(),
        ]
    });
    table(["TO", "PATH", "COST", "FOR", "WHY"], &[2, 3], rows)
}

/// What the cost has beside delay, and what makes the path a last resort.
fn parts(route: &RouteView) -> String {
    let worth = |name: &str, part: Option<f64>| {
        let part = part.filter(|part| *part >= LEAST_SHOWN_MS);
        part.map(|part| format!("with {name} {}", ms(Some(part))))
    };
    let costs = [worth("loss", route.loss_ms), worth("load", route.load_ms)];
    let flaws = flaws(route.suspect_links, route.draining_nodes);
    let parts = costs.into_iter().flatten().chain(unmeasured(route));
    parts.chain(flaws).collect::<Vec<_>>().join(", ")
}

fn detail_text(detail: &RouteDetailView) -> String {
    let Some(first) = detail.kinds.first() else {
        return format!("{}: no path was ever found\n", detail.to);
    };
    let same = |other: &&RouteHistoryView| other.now.path == first.now.path;
    let (same, others): (Vec<_>, Vec<_>) = detail.kinds[1..].iter().partition(same);
    let mut text = history_text(&detail.to, first, &same);
    for other in others {
        text.push_str(&format!("\nAnother way for {} traffic\n", other.now.kind));
        text.push_str(&history_text(&detail.to, other, &[]));
    }
    text
}

/// `same` are the kinds of traffic that go the same way.
fn history_text(to: &str, history: &RouteHistoryView, same: &[&RouteHistoryView]) -> String {
    let now = &history.now;
    let way_now = match &now.path {
        Some(path) => way(Some(path)),
        None => "no path".to_owned(),
    };
    let since = now.since_ms.map(|since| format!(" for {}", age(since)));
    let title = format!("{to}: {way_now}{} ({})", since.unwrap_or_default(), now.why);
    let mut text = wrapped("", 2, &title);
    if let Some(path) = &now.path {
        text.push_str(&wrapped_fact("path", &path.join(" > ")));
        let [cost, delay, loss, load] =
            [now.cost_ms, now.delay_ms, now.loss_ms, now.load_ms].map(ms);
        let parts = format!("{cost}: delay {delay} + loss {loss} + load {load}");
        let parts = [Some(parts), unmeasured(now)].into_iter().flatten();
        text.push_str(&wrapped_fact("cost", &parts.collect::<Vec<_>>().join("; ")));
        let flaws = flaws(now.suspect_links, now.draining_nodes);
        if !flaws.is_empty() {
            text.push_str(&fact("last resort", flaws.join(", ")));
        }
    }
    let backup = match &now.backup {
        Some(path) => format!("{}, {}", way(Some(path)), ms(now.backup_cost_ms)),
        None => "none".to_owned(),
    };
    text.push_str(&wrapped_fact("backup", &backup));
    if let Some(wish) = &history.wish {
        let next = format!("in {} {}", age(wish.due_ms), wish.why);
        text.push_str(&wrapped_fact("next", &next));
    }
    for other in same {
        text.push_str(&fact(&other.now.kind, "goes the same way"));
    }
    if !history.decisions.is_empty() {
        text.push_str("\nDecisions, the newest last\n");
    }
    for decision in &history.decisions {
        text.push_str(&decision_text(decision));
    }
    text
}

fn decision_text(decision: &DecisionView) -> String {
    let path = |path: &Option<PathView>| way(path.as_ref().map(|path| &path.path[..]));
    let (from, to) = (path(&decision.from), path(&decision.to));
    let ago = format!("{:>6} ago  ", age(decision.ago_ms));
    let indent = ago.chars().count();
    let mut text = wrapped(&ago, indent, &format!("{from} -> {to}: {}", decision.why));
    let mut figures = format!(
        "{}, {}",
        figure("direct", decision.direct.as_ref()),
        figure("overlay", decision.overlay.as_ref())
    );
    figures.push_str(&match decision.waited_ms {
        0 => "; at once".to_owned(),
        waited => format!("; after that had held for {}", age(waited)),
    });
    figures.push_str(&match decision.doublings {
        0 => String::new(),
        1 => "; waits were doubled once".to_owned(),
        times => format!("; waits were doubled {times} times"),
    });
    text.push_str(&wrapped(&" ".repeat(indent), indent, &figures));
    text
}

fn figure(name: &str, path: Option<&PathView>) -> String {
    let Some(path) = path else {
        return format!("no {name} path");
    };
    let cost = ms(Some(path.cost_ms));
    match flaws(path.suspect_links, path.draining_nodes).join(", ") {
        flaws if flaws.is_empty() => format!("{name} {cost}"),
        flaws => format!("{name} {cost} ({flaws})"),
    }
}

fn flaws(suspect_links: u8, draining_nodes: u8) -> Vec<String> {
    let count = |number: u8, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{number} {what}s")),
    };
    let suspect = count(suspect_links, "suspect link");
    let draining = count(draining_nodes, "draining node");
    suspect.into_iter().chain(draining).collect()
}

fn unmeasured(route: &RouteView) -> Option<String> {
    match route.unmeasured_links {
        0 => None,
        1 => Some("1 link not measured yet".to_owned()),
        links => Some(format!("{links} links not measured yet")),
    }
}

/// A path as what is special about it: the nodes between its links.
pub(super) fn way(path: Option<&[String]>) -> String {
    match path {
        None | Some([]) => "none".to_owned(),
        Some([_, between @ .., _]) if !between.is_empty() => format!("via {}", between.join(", ")),
        Some(_) => "direct".to_owned(),
    }
}

fn wrapped_fact(name: &str, value: &str) -> String {
    wrapped(&format!("  {name:<12} "), FACT_INDENT, value)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are small"
)]
fn ms(ms: Option<f64>) -> String {
    ms.map_or_else(
        || NONE.to_owned(),
        |ms| millis(Some((ms * 1_000.0).round() as u64)),
    )
}

const INTERACTIVE: &str = "interactive";
const BULK: &str = "bulk";
/// Parts of a cost that change its last digit shown.
const LEAST_SHOWN_MS: f64 = 0.05;
const FACT_INDENT: usize = 15;
