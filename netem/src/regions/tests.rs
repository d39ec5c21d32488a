use super::*;

fn small(p50: &str, p90: Option<&str>) -> Matrix {
    Matrix::parse_csv("small", p50, p90).unwrap()
}

fn offsets(model: &PairModel) -> Option<(i64, i64)> {
    match &model.jitter.distribution {
        Distribution::Empirical(quantiles) => {
            let points = quantiles.points();
            Some((points[0].1, points[points.len() - 1].1))
        }
        _ => None,
    }
}

#[test]
fn each_direction_is_half_of_its_own_number_and_a_round_trip_their_mean() {
    let matrix = small(",a,b\na,,10\nb,20,\n", None);
    let (there, back) = (
        matrix.path("a", "b").unwrap(),
        matrix.path("b", "a").unwrap(),
    );
    assert_eq!(there, PairModel::delayed(Duration::from_millis(5)));
    assert_eq!(back, PairModel::delayed(Duration::from_millis(10)));
    let trips = matrix.round_trips(&["a", "b"]).unwrap();
    assert_eq!(trips[1].p50, Duration::from_millis(15));
    assert_eq!(trips[1].p50, there.delay + back.delay);
    assert_eq!(trips[2].p50, trips[1].p50);
    assert_eq!(trips[1].p90, None);
}

#[test]
fn within_a_region_the_diagonal_counts_and_a_millisecond_where_it_is_empty() {
    let matrix = small(",a,b\na,4,10\nb,20,\n", Some(",a,b\na,6,11\nb,21,9\n"));
    let within = |region| matrix.path(region, region).unwrap();
    assert_eq!(within("a").delay, Duration::from_millis(2));
    assert!(offsets(&within("a")).is_some());
    assert_eq!(within("b"), PairModel::delayed(Duration::from_micros(500)));
    let trips = matrix.round_trips(&["b"]).unwrap();
    assert_eq!((trips[0].p50, trips[0].p90), (SAME_REGION, None));
    assert!(trips[0].assumed);
    assert_eq!(
        matrix.summary().same_region,
        SameRegion::AssumedWhereMissing
    );
}

#[test]
fn both_directions_have_the_same_jitter_and_a_lower_p90_adds_none() {
    let matrix = small(",a,b\na,,100\nb,100,\n", Some(",a,b\na,,104\nb,90,\n"));
    let (there, back) = (
        matrix.path("a", "b").unwrap(),
        matrix.path("b", "a").unwrap(),
    );
    assert_eq!(there.jitter, back.jitter);
    let trips = matrix.round_trips(&["a", "b"]).unwrap();
    assert_eq!(trips[1].p90, Some(Duration::from_millis(102)));

    let matrix = small(",a,b\na,,100\nb,100,\n", Some(",a,b\na,,99\nb,100,\n"));
    assert!(matrix.has_jitter());
    assert_eq!(offsets(&matrix.path("a", "b").unwrap()), None);
}

#[test]
fn no_packet_takes_less_than_half_of_the_shorter_delay_whatever_the_jitter() {
    // With 2.2114 ms between them the early part is 0.8392 ms: 40 % of one delay, then too much.
    for (p50, p90, earliest_us) in [
        (4.196, 6.407_4, 839),
        (2.0, 4.211_4, 500),
        (2.0, 3_000.0, 500),
    ] {
        let table = |there| format!(",a,b\na,,{there}\nb,{there},\n");
        let matrix = small(&table(p50), Some(&table(p90)));
        let (earliest, _) = offsets(&matrix.path("a", "b").unwrap()).unwrap();
        assert_eq!(earliest / 1_000, -earliest_us, "{p50} {p90}");
    }
    let uneven = small(",a,b\na,,2\nb,200,\n", Some(",a,b\na,,90\nb,290,\n"));
    for (from, to) in [("a", "b"), ("b", "a")] {
        let (earliest, _) = offsets(&uneven.path(from, to).unwrap()).unwrap();
        assert_eq!(earliest, -500_000);
    }
}

#[test]
fn unknown_regions_are_refused_with_the_nearest_ones() {
    let matrix = Matrix::named("azure").unwrap();
    let error = matrix.path("East US", "west us").unwrap_err();
    assert_eq!(error.nearest[0], "West US");
}
