//! What may have been meant by a name that is not known.

/// The names most like `given`, the nearest first; none where nothing is like it.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    // Nothing that long was meant, and comparing takes the product of the lengths.
    if given.len() > MAX_GIVEN_BYTES {
        return Vec::new();
    }
    let given = given.to_lowercase();
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .collect();
    // Stable: those that are alike stay in the order of their names.
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.truncate(MAX_SHOWN);
    near.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// `, did you mean a or b?`; nothing where nothing is like what was given.
pub(crate) fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        [one] => format!(", did you mean {one}?"),
        [first @ .., last] => format!(", did you mean {} or {last}?", first.join(", ")),
    }
}

const MAX_GIVEN_BYTES: usize = 200;
/// Lets typing errors and missing parts through, and keeps out what only has letters in common.
const LEAST_LIKENESS: f64 = 0.8;
const MAX_SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = [
        "ap-south-1",
        "eu-west-1",
        "eu-west-2",
        "us-east-1",
        "us-west-2",
    ];

    #[test]
    fn typing_errors_case_and_missing_parts_find_what_was_meant_first() {
        for (given, meant) in [
            ("us-east1", "us-east-1"),
            ("US-EAST-1", "us-east-1"),
            ("ap-south", "ap-south-1"),
            ("eu-wset-2", "eu-west-2"),
        ] {
            let near = nearest(given, KNOWN);
            assert_eq!(
                near.first().map(String::as_str),
                Some(meant),
                "{given}: {near:?}"
            );
        }
    }

    #[test]
    fn equally_near_names_come_in_their_order() {
        let near = nearest("eu-west", KNOWN);
        assert_eq!(near[..2], ["eu-west-1", "eu-west-2"]);
    }

    #[test]
    fn names_like_nothing_and_names_without_end_find_nothing() {
        assert!(nearest("frankfurt", KNOWN).is_empty());
        assert!(nearest(&"us-east-1".repeat(1_000), KNOWN).is_empty());
        assert!(nearest("", KNOWN).is_empty());
    }
}
