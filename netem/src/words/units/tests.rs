use super::*;

fn all(quantity: Quantity, cases: &[(&str, u128)]) {
    for (word, amount) in cases {
        assert_eq!(quantity.parse(word), Ok(*amount), "{word}");
    }
}

#[test]
fn units_are_those_of_tc() {
    let times = [
        ("80ms", 80_000_000),
        ("1.5", 1_500),
        ("2Secs", 2_000_000_000),
    ];
    all(Quantity::Time, &times);
    all(
        Quantity::Time,
        &[
            ("3ns", 3),
            (".5us", 500),
            ("7.us", 7_000),
            ("+1s", 1_000_000_000),
        ],
    );
    all(
        Quantity::Percentage,
        &[
            ("1%", 10_000_000),
            ("0.0000001", 1),
            ("250%", 2_500_000_000),
        ],
    );
    let rates = [
        ("50mbit", 50_000_000),
        ("9600", 9_600),
        ("1kbps", 8_000),
        ("1.5KiBit", 1_536),
    ];
    all(Quantity::Rate, &rates);
    all(
        Quantity::Rate,
        &[("1bps", 8), ("2tibps", 16 << 40), ("0.125bps", 1)],
    );
    all(
        Quantity::Size,
        &[
            ("64k", 65_536),
            ("1mb", 1 << 20),
            ("30000b", 30_000),
            ("8kbit", 1_024),
        ],
    );
}

#[test]
fn what_would_be_rounded_is_refused_and_what_only_looks_fine_is_not() {
    use QuantityFault::TooFine;
    assert_eq!(parse_time("1.5ns"), Err(TooFine(Quantity::Time)));
    assert_eq!(parse_time("0.0000000001s"), Err(TooFine(Quantity::Time)));
    assert_eq!(
        parse_time(&format!("1.5{}us", "0".repeat(99))),
        Ok(Duration::from_nanos(1_500))
    );
    let percentage = Quantity::Percentage.parse("33.33333333%");
    assert_eq!(percentage, Err(TooFine(Quantity::Percentage)));
    assert_eq!(Quantity::Rate.parse("1.5bit"), Err(TooFine(Quantity::Rate)));
    assert_eq!(
        Quantity::Size.parse("1.0001k"),
        Err(TooFine(Quantity::Size))
    );
    let digits = format!("0.{}1s", "0".repeat(200));
    assert_eq!(parse_time(&digits), Err(TooFine(Quantity::Time)));
}

#[test]
fn what_does_not_fit_is_refused_and_the_most_that_fits_is_not() {
    assert_eq!(
        parse_time("18446744073709551615.999999999s"),
        Ok(Duration::MAX)
    );
    assert_eq!(
        time(Duration::MAX).to_string(),
        "18446744073709551615999999999ns"
    );
    assert_eq!(
        parse_time("18446744073709551616s"),
        Err(QuantityFault::TooLarge)
    );
    assert_eq!(parse_time(&"9".repeat(99)), Err(QuantityFault::TooLarge));
}

#[test]
fn words_that_are_no_quantity_say_what_was_expected() {
    for (quantity, word, message) in [
        (Quantity::Time, "soon", "expected a time like 80ms"),
        (Quantity::Time, "", "expected a time like 80ms"),
        (Quantity::Time, ".ms", "expected a time like 80ms"),
        (Quantity::Time, "-5ms", "must not be negative"),
        (
            Quantity::Time,
            "5min",
            "has an unknown unit, a time is in s, ms, us or ns",
        ),
        (
            Quantity::Time,
            "1e3ms",
            "has an unknown unit, a time is in s, ms, us or ns",
        ),
        (
            Quantity::Rate,
            "5k",
            "has an unknown unit, a rate is in bit, kbit, mbit, gbit or tbit",
        ),
        (Quantity::Number, "1k", "expected a number like 5"),
    ] {
        assert_eq!(
            quantity.parse(word).unwrap_err().to_string(),
            message,
            "{word}"
        );
    }
    assert_eq!(Quantity::Time.parse("-0ms"), Ok(0));
}

#[test]
fn amounts_are_printed_in_the_largest_unit_that_keeps_them_whole() {
    let times = [0, 1, 1_500, 80_000_000, 90_000_000_000];
    let times = times.map(|nanos| time(Duration::from_nanos(nanos)).to_string());
    assert_eq!(times, ["0s", "1ns", "1500ns", "80ms", "90s"]);
    let percentages = [0, 1, 10_000_000, 123_456_789, 1_000_000_000];
    let percentages = percentages.map(|ppb| percentage(ppb).to_string());
    assert_eq!(
        percentages,
        ["0%", "0.0000001%", "1%", "12.3456789%", "100%"]
    );
    assert_eq!(
        [7, 2_400_000].map(|bits| rate(bits).to_string()),
        ["7bit", "2400kbit"]
    );
    let sizes = [0, 1_500, 65_536].map(|bytes| size(bytes).to_string());
    assert_eq!(sizes, ["0", "1500", "64k"]);
}
