//! The highest rate that something carries without loss, found on a ladder of rates.

/// Finds the highest rung that holds; `None` if the lowest does not.
///
/// - `near`: the rung found before, if there is one: then its neighbours are tried and not the
///   whole ladder.
/// - `holds`: tries a rung. A rung above one that breaks is not tried.
///
/// # Errors
/// Those of `holds`.
pub(super) fn highest<E>(
    rungs: usize,
    near: Option<usize>,
    mut holds: impl FnMut(usize) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    if let Some(near) = near {
        let mut rung = near;
        if holds(rung)? {
            while rung + 1 < rungs && holds(rung + 1)? {
                rung += 1;
            }
            return Ok(Some(rung));
        }
        while let Some(lower) = rung.checked_sub(1) {
            rung = lower;
            if holds(rung)? {
                return Ok(Some(rung));
            }
        }
        return Ok(None);
    }
    // Below `low` all hold, from `high` on none does.
    let (mut low, mut high) = (0, rungs);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rung_is_found_from_anywhere() {
        for limit in 0..=10 {
            let expected = usize::checked_sub(limit, 1);
            for near in (0..10).map(Some).chain([None]) {
                let found = highest(10, near, |rung| Ok::<_, ()>(rung < limit));
                assert_eq!(found, Ok(expected), "{limit} hold, from {near:?}");
            }
        }
    }

    #[test]
    fn a_rung_that_is_still_the_highest_costs_two_tries() {
        let mut tries = 0;
        let found = highest(20, Some(7), |rung| {
            tries += 1;
            Ok::<_, ()>(rung <= 7)
        });
        assert_eq!((found, tries), (Ok(Some(7)), 2));
    }
}
