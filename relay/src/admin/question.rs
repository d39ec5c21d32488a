//! Questions that are answered by a task of the node, and those that name a node.

use std::pin::Pin;

use thiserror::Error;

use crate::policies::PolicyRefused;

/// An answer that takes a moment. Dropping it gives the question up.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, QuestionError>> + Send>>;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// The name fits several nodes.
    #[error("{asked} may be {}", .meant.join(" or "))]
    Ambiguous {
        /// The name.
        asked: String,
        /// Whom it fits.
        meant: Vec<String>,
    },
    /// The name is that of the node itself.
    #[error("{0} is this node")]
    Itself(String),
    /// The path does not have so many links.
    #[error("the path has {links} links, so there is no hop {hop}")]
    NoHop {
        /// The hop that was asked for, from 1.
        hop: usize,
        /// The links there are.
        links: usize,
    },
    /// Nobody of that name is known.
    #[error("no node {asked} is known{}", did_you_mean(.near))]
    NoNode {
        /// The name.
        asked: String,
        /// Names that are like it.
        near: Vec<String>,
    },
    /// The node's router is wedged, or has ended.
    #[error("the router does not answer")]
    NoRouter,
    /// The policy is not in force.
    #[error(transparent)]
    Policy(PolicyRefused),
}

/// The one of the nodes `known` that is meant by `asked`: its full name, or its name without the
/// region where one node has it.
///
/// # Errors
/// [`QuestionError::Ambiguous`] or [`QuestionError::NoNode`].
pub(crate) fn meant<T: Clone>(
    asked: &str,
    known: impl IntoIterator<Item = (String, T)>,
) -> Result<(String, T), QuestionError> {
    let known: Vec<(String, T)> = known.into_iter().collect();
    if let Some(exact) = known.iter().find(|(name, _)| name == asked) {
        return Ok(exact.clone());
    }
    let meant: Vec<&(String, T)> = known
        .iter()
        .filter(|(name, _)| bare(name) == asked)
        .collect();
    match meant.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(QuestionError::NoNode {
            asked: asked.to_owned(),
            near: nearest(asked, known.iter().map(|(name, _)| name.as_str())),
        }),
        several => {
            let names = several.iter().map(|(name, _)| name.clone());
            let mut meant: Vec<String> = names.take(MAX_NAMED).collect();
            meant.sort_unstable();
            Err(QuestionError::Ambiguous {
                asked: asked.to_owned(),
                meant,
            })
        }
    }
}

/// The names most like `asked`, or whose part without the region is, the nearest first.
fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    // Nothing that long was meant, and comparing takes the product of the lengths.
    if asked.len() > MAX_ASKED_BYTES {
        return Vec::new();
    }
    let asked = asked.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let whole = strsim::jaro_winkler(&asked, &name);
        whole.max(strsim::jaro_winkler(bare(&asked), bare(&name)))
    };
    let mut near: Vec<(f64, &str)> = known
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    near.truncate(MAX_NEAR);
    near.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// A name without its region.
fn bare(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, bare)| bare)
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => "; `causeway mesh` lists those that are".to_owned(),
        [one] => format!("; did you mean {one}?"),
        [first @ .., last] => format!("; did you mean {} or {last}?", first.join(", ")),
    }
}

/// A request is a line of 8 kB at most; a name is far shorter.
const MAX_ASKED_BYTES: usize = 200;
/// Lets typing errors and missing parts through, and keeps out what only has letters in common.
const LEAST_LIKENESS: f64 = 0.85;
const MAX_NEAR: usize = 3;
const MAX_NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(asked: &str) -> Result<String, String> {
        let known = [
            "ap-south/bom-1",
            "eu-west/n1",
            "us-east/iad-1",
            "us-east/n1",
        ];
        let found = meant(asked, known.map(|name| (name.to_owned(), ())));
        let found = found.map(|(name, ())| name);
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn full_name_and_bare_name_of_one_node_find_it() {
        assert_eq!(ask("us-east/n1").unwrap(), "us-east/n1");
        assert_eq!(ask("bom-1").unwrap(), "ap-south/bom-1");
    }

    #[test]
    fn bare_name_of_several_names_them() {
        assert_eq!(ask("n1").unwrap_err(), "n1 may be eu-west/n1 or us-east/n1");
    }

    #[test]
    fn unknown_name_lists_close_ones_with_and_without_the_region() {
        for asked in ["us-east/aid-1", "iad1", "US-EAST/IAD-2"] {
            let error = ask(asked).unwrap_err();
            assert!(error.starts_with(&format!("no node {asked} is known; did you mean ")));
            assert!(error.contains("us-east/iad-1"), "{error}");
        }
        for asked in ["frankfurt", &"us-east/iad-1".repeat(100)] {
            let error = ask(asked).unwrap_err();
            assert!(
                error.ends_with("is known; `causeway mesh` lists those that are"),
                "{error}"
            );
        }
    }
}
