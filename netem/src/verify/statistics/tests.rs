use super::*;

fn close(got: f64, expected: f64, relative: f64) {
    assert!(
        (got / expected - 1.0).abs() < relative,
        "{got}, not {expected}"
    );
}

/// A generator that needs no crate: the test of a test wants nothing but even spread.
fn uniform(count: usize) -> impl Iterator<Item = f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 + 0.5) / (1_u64 << 31) as f64
    })
}

#[test]
fn exact_binomial_is_twice_the_smaller_tail_and_at_most_one() {
    // 10 coins: P(X <= 1) = 11 / 1024, and P(X >= 9) as much.
    close(binomial(1, 10, 0.5), 22.0 / 1_024.0, 1e-9);
    close(binomial(9, 10, 0.5), 22.0 / 1_024.0, 1e-9);
    assert_eq!(binomial(5, 10, 0.5), 1.0);
    assert_eq!(binomial(0, 10, 0.0), 1.0);
    assert_eq!(binomial(1, 10, 0.0), 0.0);
    assert_eq!(binomial(10, 10, 1.0), 1.0);
    // Poisson's limit: none of a mean of 10 is e^-10.
    close(binomial(0, 1_000_000, 1e-5), 2.0 * (-10.0_f64).exp(), 1e-3);
}

#[test]
fn exact_and_normal_tails_agree_where_one_takes_over_from_the_other() {
    // 99,999 * 0.01 * 0.99 is just below 1,000, and 126 are 4 deviations. What is left of the skew
    // makes one tail half as heavy again and the other as much lighter.
    for hits in [874, 1_000, 1_126] {
        let exact = binomial(hits, 99_999, 0.01);
        let normal = share(hits, 99_999, 0.01, 1.0);
        close(exact, normal, 0.5);
    }
}

#[test]
fn inflation_widens_the_tails_by_its_root() {
    // 400 away: 5.66 deviations of 70.7 alone, 2.83 of 141.4 where four trials move as one. The
    // half is for whole numbers.
    let tail = |deviations| 2.0 * standard_normal().sf(deviations);
    close(
        share(10_400, 20_000, 0.5, 1.0),
        tail(399.5 / 5_000.0_f64.sqrt()),
        1e-9,
    );
    close(
        share(9_600, 20_000, 0.5, 4.0),
        tail(399.5 / 20_000.0_f64.sqrt()),
        1e-9,
    );
    assert_eq!(share(10_000, 20_000, 0.5, 1.0), 1.0);
}

#[test]
fn kolmogorov_has_its_published_quantiles() {
    // 1.358 for 5 %, 1.628 for 1 %, 1.949 for 0.1 %.
    close(kolmogorov(1.358), 0.05, 0.01);
    close(kolmogorov(1.628), 0.01, 0.01);
    close(kolmogorov(1.949), 0.001, 0.01);
    assert_eq!(kolmogorov(0.2), 1.0);
}

#[test]
fn distances_are_found_on_both_sides_and_lateness_is_forgiven_on_one() {
    let even: Vec<f64> = (0..1_000).map(|i| (f64::from(i) + 0.5) / 1_000.0).collect();
    let moved = |by: f64| even.iter().map(|x| x + by).collect::<Vec<_>>();
    let distance =
        |samples, late| kolmogorov_smirnov(samples, late, |x: f64| x.clamp(0.0, 1.0)).distance;
    close(distance(moved(0.0), 0.0), 0.0005, 1e-6);
    close(distance(moved(0.1), 0.0), 0.1005, 1e-6);
    close(distance(moved(-0.1), 0.0), 0.1005, 1e-6);
    assert!(distance(moved(0.1), 0.1) < 0.001);
    close(distance(moved(0.2), 0.1), 0.1 + 0.0005 - 0.01, 1e-6);
    close(distance(moved(-0.1), 0.1), 0.1005, 1e-6);
}

#[test]
fn runs_of_the_right_length_fit_and_longer_ones_do_not() {
    let lengths = |goes_on: f64| -> Vec<u64> {
        uniform(2_000)
            .map(|u| 1 + (u.ln() / goes_on.ln()) as u64)
            .collect()
    };
    let right = geometric_fit(&lengths(0.8), 0.8).unwrap();
    assert!(right.p_value > 0.001, "{right:?}");
    close(right.mean, 5.0, 0.05);
    assert!(geometric_fit(&lengths(0.76), 0.8).unwrap().p_value < ALPHA);
    assert!(geometric_fit(&lengths(0.84), 0.8).unwrap().p_value < ALPHA);
    // Always the same length has the right mean.
    assert!(geometric_fit(&[5; 2_000], 0.8).unwrap().p_value < ALPHA);
}

#[test]
fn runs_too_few_for_two_cells_give_no_answer() {
    assert!(geometric_fit(&[], 0.5).is_none());
    assert!(geometric_fit(&[9; 9], 0.5).is_none());
    assert!(geometric_fit(&[9; 20], 0.5).unwrap().p_value < ALPHA);
}

#[test]
fn autocorrelation_is_that_of_the_series_with_the_error_that_theory_has() {
    let normal = standard_normal();
    let mut last = 0.0;
    let series: Vec<f64> = uniform(50_000)
        .map(|u| {
            last = 0.5 * last + 0.75_f64.sqrt() * normal.inverse_cdf(u);
            last
        })
        .collect();
    let estimate = autocorrelation(&series).unwrap();
    // Bartlett: sqrt((1 - 0.25) / n) for a series of this kind.
    close(estimate.standard_error, (0.75_f64 / 50_000.0).sqrt(), 0.5);
    assert!(estimate.p_value(0.5) > 0.001, "{estimate:?}");
    assert!(estimate.p_value(0.45) < ALPHA, "{estimate:?}");
    assert!(autocorrelation(&series[..63]).is_none());
    assert!(autocorrelation(&[1.0; 1_000]).is_none());
}

#[test]
fn both_is_the_orthant_probability_where_that_is_known() {
    // Sheppard: 1/4 + asin(r) / (2 pi) at the median.
    let expected = 0.25 + 0.5_f64.asin() / std::f64::consts::TAU;
    close(both(0.5, 0.5), expected, 1e-9);
    close(both(0.01, 0.0), 1e-4, 1e-9);
    // Towards one variable for both.
    close(both(0.2, 0.999), 0.2, 0.05);
}
