//! Why traffic moves, in words.

use router::{
    choice::{Decision, Reason},
    paths::Path,
};

/// Why the path in use is in use, in the width of a column.
pub(super) fn briefly(decision: &Decision) -> String {
    let was_direct = decision.from.is_some_and(|from| from.is_direct());
    let Some(to) = &decision.to else {
        return "no path is left".to_owned();
    };
    match decision.reason {
        Reason::Found => found(decision, to),
        Reason::Lost if was_direct => "direct link down".to_owned(),
        Reason::Lost => "last path broke".to_owned(),
        Reason::Suspect if was_direct => "direct link suspect".to_owned(),
        Reason::Suspect => "last path suspect".to_owned(),
        Reason::Draining => "last path drains".to_owned(),
        Reason::Sounder => "last path was a last resort".to_owned(),
        Reason::Better => better(decision.from.as_ref(), to),
        Reason::DirectWell => "direct is well again".to_owned(),
    }
}

fn found(decision: &Decision, to: &Path) -> String {
    match &decision.direct {
        _ if to.is_direct() => "first path found".to_owned(),
        None => "no direct link".to_owned(),
        Some(direct) if direct.tier() > to.tier() => "direct link suspect".to_owned(),
        Some(direct) => format!("{} than direct", better(Some(direct), to)),
    }
}

/// By how much a path was better than the one before.
fn better(from: Option<&Path>, to: &Path) -> String {
    match from {
        Some(from) => format!("{} better", from.cost().saturating_sub(to.cost())),
        None => "better".to_owned(),
    }
}

/// Why traffic moved, as a clause that needs no other.
pub(super) fn fully(decision: &Decision) -> String {
    let was_direct = decision.from.is_some_and(|from| from.is_direct());
    let Some(to) = &decision.to else {
        return "the path cannot be used any more, and there is no other".to_owned();
    };
    match decision.reason {
        Reason::Found if to.is_direct() => "the first path that was found".to_owned(),
        Reason::Found => format!("the first path that was found; {}", found(decision, to)),
        Reason::Lost if was_direct => "the direct link is down".to_owned(),
        Reason::Lost => "the path cannot be used any more".to_owned(),
        Reason::Suspect if was_direct => "the direct link became suspect".to_owned(),
        Reason::Suspect => "a link of the path became suspect".to_owned(),
        Reason::Draining => "a node on the path began to drain".to_owned(),
        Reason::Sounder => "the path was a last resort, and this one is less of one".to_owned(),
        Reason::Better => format!(
            "{} than the path before",
            better(decision.from.as_ref(), to)
        ),
        Reason::DirectWell => "direct is as good as any again".to_owned(),
    }
}

/// What will happen if a reason lasts.
pub(super) fn wished(reason: Reason) -> &'static str {
    match reason {
        Reason::DirectWell => "back to direct, if that stays as good as any",
        Reason::Better => "to an overlay path, if that stays better",
        Reason::Sounder => "to a path that is less of a last resort, if there still is one",
        // These move traffic at once, so nobody sees them wait.
        Reason::Found | Reason::Lost | Reason::Suspect | Reason::Draining => "to another path",
    }
}
