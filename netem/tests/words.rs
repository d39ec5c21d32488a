//! Models in words, in tables and in tc's words: what is printed parses to what it was, and what is
//! wrong is said on one line.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "tc/alone.rs"]
mod alone;
#[path = "words/models.rs"]
mod models;
#[path = "words/plain.rs"]
mod plain;

use std::{num::NonZeroU32, time::Duration};

use netem::{
    model::{Distribution, Loss, Order, PairModel, Rate},
    words::{ModelTable, TcReason, to_tc},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

fn parse(words: &str) -> PairModel {
    words
        .parse()
        .unwrap_or_else(|error| panic!("{words}: {error}"))
}

fn fault(words: &str) -> String {
    let parsed: Result<PairModel, _> = words.parse();
    parsed.expect_err(words).to_string()
}

fn tc_fault(words: &str) -> String {
    PairModel::from_tc(words).expect_err(words).to_string()
}

fn reasons(words: &str) -> Vec<TcReason> {
    to_tc(&parse(words)).expect_err(words).reasons
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_printed_parses_to_the_same(model in models::any_model()) {
        let words = model.to_string();
        prop_assert_eq!(words.parse(), Ok(model), "{}", words);
    }

    #[test]
    fn a_table_that_is_written_reads_as_the_same(model in models::any_model()) {
        let table = ModelTable::from(&model);
        let written = toml::to_string(&table).unwrap();
        let read: ModelTable = toml::from_str(&written).unwrap();
        prop_assert_eq!(&read, &table);
        prop_assert_eq!(PairModel::try_from(&read), Ok(model), "{}", written);
    }

    #[test]
    fn words_for_tc_mean_to_the_kernel_what_the_model_says(model in plain::plain_model()) {
        if let Ok(words) = to_tc(&model) {
            prop_assert_eq!(PairModel::from_tc(&words), Ok(model), "{}", words);
        }
    }

    #[test]
    fn any_model_has_words_for_tc_or_a_reason(model in models::any_model()) {
        match to_tc(&model) {
            Ok(words) => prop_assert_eq!(PairModel::from_tc(&words), Ok(model), "{}", words),
            Err(refused) => prop_assert!(!refused.reasons.is_empty()),
        }
    }
}

#[test]
fn many_plain_models_have_words_for_tc() {
    // Otherwise the property above says nothing.
    let mut runner = TestRunner::deterministic();
    let sayable = (0..1_000).filter(|_| {
        let model = plain::plain_model()
            .new_tree(&mut runner)
            .unwrap()
            .current();
        to_tc(&model).is_ok()
    });
    let sayable = sayable.count();
    assert!(sayable > 150, "{sayable} of 1000");
}

#[test]
fn every_option_of_tc_means_what_it_says() {
    let model = parse(
        "delay 80ms 5ms 25% distribution normal loss random 2% 10% duplicate 1% corrupt 0.1% \
         reorder 5% 50% gap 3 rate 50mbit 38 limit 1000",
    );
    assert_eq!(model.delay, Duration::from_millis(80));
    assert_eq!(
        model.jitter.distribution,
        Distribution::Normal(Duration::from_millis(5))
    );
    assert_eq!(model.jitter.correlation.ppb(), 250_000_000);
    assert_eq!(model.jitter.order, Order::Kept);
    let Loss::Random(loss) = model.loss else {
        panic!("{:?}", model.loss);
    };
    assert_eq!(
        (loss.probability.ppb(), loss.correlation.ppb()),
        (20_000_000, 100_000_000)
    );
    assert_eq!(model.duplicate.probability.ppb(), 10_000_000);
    assert_eq!(model.corrupt.probability.ppb(), 1_000_000);
    let reorder = model.reorder.unwrap();
    assert_eq!(
        (reorder.chance.probability.ppb(), reorder.gap.get()),
        (50_000_000, 3)
    );
    let rate = model.rate.unwrap();
    assert_eq!(
        (rate.bits_per_second.get(), rate.overhead_bytes),
        (50_000_000, 38)
    );
    assert_eq!(
        rate.queue_bytes, None,
        "a limit in packets is in place of one in bytes"
    );
    assert_eq!(model.limit_packets, NonZeroU32::new(1_000));
}

#[test]
fn a_rate_has_the_usual_queue_unless_a_queue_or_a_limit_is_given() {
    let queue = |words| parse(words).rate.unwrap().queue_bytes;
    assert_eq!(queue("rate 50mbit"), Some(625_000));
    assert_eq!(queue("rate 50mbit limit 10"), None);
    assert_eq!(queue("rate 50mbit limit 10 queue 64k"), Some(65_536));
    assert_eq!(queue("queue none rate 50mbit"), None);
}

#[test]
fn gemodel_has_the_defaults_of_tc_and_burst_becomes_one() {
    for (words, four) in [
        ("loss gemodel 1%", "loss gemodel 1% 99% 100% 0%"),
        ("loss gemodel 1% 20%", "loss gemodel 1% 20% 100% 0%"),
        ("loss gemodel 1% 20% 70%", "loss gemodel 1% 20% 70% 0%"),
    ] {
        assert_eq!(parse(words), parse(four));
        assert_eq!(parse(four).to_string(), words);
    }
    assert_eq!(
        parse("loss burst 1% 5").to_string(),
        "loss gemodel 0.2020202% 20%"
    );
}

#[test]
fn a_preset_is_a_start_and_each_option_replaces_all_that_it_governs() {
    let wifi_bad = parse("wifi-bad");
    assert_eq!(wifi_bad, parse("delay 40ms 15ms loss 2% rate 20mbit"));
    assert_eq!(
        parse("wifi-bad loss 5%"),
        parse("delay 40ms 15ms loss 5% rate 20mbit")
    );
    assert_eq!(
        parse("wifi-bad delay 9ms"),
        parse("delay 9ms loss 2% rate 20mbit")
    );
    let mbit = parse("wifi-bad rate 1mbit").rate.unwrap();
    assert_eq!(mbit, Rate::new(mbit.bits_per_second));
    let pareto = parse("wifi-bad distribution pareto unordered queue 9k");
    let words = "delay 40ms 15ms distribution pareto unordered loss 2% rate 20mbit queue 9k";
    assert_eq!(pareto, parse(words));
}

#[test]
fn wrong_words_are_named_on_one_line_with_what_would_be_right() {
    for (words, message) in [
        ("loss 120%", "loss 120%: a probability is at most 100%"),
        ("loss 1% 100%", "loss 1% 100%: a correlation is below 100%"),
        ("delay -5ms", "delay -5ms: must not be negative"),
        ("delay 80ms -5ms", "delay 80ms -5ms: must not be negative"),
        ("delay", "delay: expected a time like 80ms after it"),
        ("delay soon", "delay soon: expected a time like 80ms"),
        (
            "delay 80m",
            "delay 80m: has an unknown unit, a time is in s, ms, us or ns",
        ),
        ("delay 0.1ns", "delay 0.1ns: is finer than a nanosecond"),
        ("dealy 80ms", "dealy: unknown word, did you mean delay?"),
        ("wfi loss 1%", "wfi: unknown word, did you mean wifi?"),
        (
            "loss 1% wifi",
            "wifi: unknown word, expected delay, distribution, quantiles, \
          unordered, loss, duplicate, corrupt, reorder, gap, rate, queue, limit, max-packet",
        ),
        (
            "loss gemodell 1%",
            "loss gemodell: unknown word, did you mean gemodel?",
        ),
        (
            "loss burst 1% 0.5",
            "loss burst 1% 0.5: a mean burst of 0.5 packets, must be 1 to 1000000",
        ),
        (
            "loss burst 60% 1",
            "loss burst 60% 1: 60% loss in bursts of 1 packets, can be at most 50.000%",
        ),
        (
            "loss burst 1% inf",
            "loss burst 1% inf: expected a number like 5",
        ),
        (
            "loss trace ..y",
            "loss trace ..y: a trace is written with . for a packet that arrives \
          and x for one that is lost",
        ),
        (
            "loss trace",
            "loss trace: a loss trace of 0 packets, must be 1 to 1000000",
        ),
        (
            "loss state 1%",
            "loss state: is not modelled, use loss gemodel or loss burst",
        ),
        ("loss 1% loss 2%", "loss: is given twice"),
        (
            "loss 1% ecn",
            "ecn: is not modelled, packets are lost and not marked; leave it out",
        ),
        (
            "delay 9ms 1ms distribution paretonormal",
            "distribution paretonormal: is not modelled, \
          use normal, pareto or quantiles",
        ),
        (
            "delay 9ms distribution normal",
            "distribution: needs a jitter",
        ),
        (
            "delay 9ms 1ms quantiles 0%=0s,100%=1s",
            "quantiles: stand in place of a jitter and its \
          distribution",
        ),
        (
            "quantiles 0%=1s,100%=0s",
            "quantiles 0%=1s,100%=0s: quantiles must have growing \
          probabilities and times that do not fall",
        ),
        (
            "quantiles 1s",
            "quantiles 1s: quantiles are written like 0%=-2ms,50%=0ms,100%=40ms",
        ),
        ("rate 0", "rate 0: must be 1 to 18446744073709551615"),
        (
            "rate 5kbit 20 100",
            "rate 5kbit 20 100: is not modelled, packets are sent whole; leave \
          cell size and cell overhead out",
        ),
        (
            "rate 5kbit 9999999999",
            "rate 5kbit 9999999999: an overhead is -2147483648 to \
          2147483647 bytes",
        ),
        ("queue 9k", "queue: needs a rate to wait for"),
        ("gap 3", "gap: needs a reorder"),
        ("reorder 1% gap 0", "gap 0: must be 1 to 4294967295"),
        ("limit 0", "limit 0: must be 1 to 4294967295"),
        (
            "loss\n1%\u{7}",
            "loss 1%\\u{7}: has an unknown unit, a percentage is in %",
        ),
    ] {
        assert_eq!(fault(words), message);
    }
}

#[test]
fn an_error_says_where_its_word_is() {
    let at = |words: &str| words.parse::<PairModel>().unwrap_err().at;
    assert_eq!(at("delay 9ms  loss 120%"), 16);
    assert_eq!(at("delay 9ms gap 3"), 10);
    assert_eq!(at("delay 9ms loss "), 15);
    assert_eq!(at("foo"), 0);
}

#[test]
fn the_kernel_means_other_things_by_the_same_words() {
    let tc = |words| PairModel::from_tc(words).unwrap();
    let limit = NonZeroU32::new(1_000);
    // It always has a limit.
    assert_eq!(tc("delay 80ms"), parse("delay 80ms limit 1000"));
    assert_eq!(tc("delay 80ms limit 4294967295"), parse("delay 80ms"));
    // Its packets overtake without a rate, and do not with one.
    assert_eq!(
        tc("delay 80ms 5ms"),
        parse("delay 80ms 5ms unordered limit 1000")
    );
    assert_eq!(
        tc("delay 80ms 5ms rate 8mbit -14"),
        parse("delay 80ms 5ms rate 8mbit limit 1000")
    );
    // Its packets are Ethernet frames.
    assert_eq!(tc("rate 8mbit").rate.unwrap().overhead_bytes, 14);
    assert_eq!(
        tc("reorder 0% gap 5"),
        PairModel {
            limit_packets: limit,
            ..Default::default()
        }
    );
}

#[test]
fn words_for_tc_say_what_the_kernel_would_assume() {
    let words = |words| to_tc(&parse(words)).unwrap();
    assert_eq!(words(""), "limit 4294967295");
    assert_eq!(
        words("delay 80ms 5ms unordered distribution normal loss gemodel 1% limit 50"),
        "delay 80ms 5ms distribution normal loss gemodel 1% 99% limit 50"
    );
    assert_eq!(
        words("delay 80ms rate 50mbit 38 limit 500"),
        "delay 80ms rate 50mbit 24 limit 500"
    );
    assert_eq!(
        words("rate 8bit queue none"),
        "rate 8bit -14 limit 4294967295"
    );
}

#[test]
fn what_tc_says_wrongly_is_refused_with_every_reason() {
    use TcReason::{
        CopyHasOwn, Correlated, Fraction, InOrder, Limit, MaxPacket, NoDelay, Nothing, Overhead,
        Pareto, QueueBytes, RateFraction, RateTooLarge, ReorderedRate, TooLong, Trace,
        UnorderedRate,
    };
    let most_delay = Duration::from_micros(274_877_906);
    let most_jitter = Duration::from_micros(2_147_483);
    for (words, expected) in [
        ("loss 1% 25%", vec![Correlated { of: "loss" }]),
        (
            "delay 9ms 1ms 25% unordered",
            vec![Correlated { of: "jitter" }],
        ),
        ("delay 9ms 1ms", vec![InOrder]),
        (
            "delay 9ms 1ms unordered rate 8bit limit 1",
            vec![UnorderedRate],
        ),
        (
            "delay 9ms unordered",
            vec![Nothing {
                words: "unordered without jitter",
            }],
        ),
        (
            "delay 9ms 0s",
            vec![Nothing {
                words: "a jitter of 0s",
            }],
        ),
        ("delay 9ms 1ms unordered distribution pareto", vec![Pareto]),
        (
            "delay 0s 1ms unordered distribution normal",
            vec![NoDelay { of: "distribution" }],
        ),
        (
            "quantiles 0%=0s,100%=1s unordered",
            vec![TcReason::Quantiles],
        ),
        ("delay 1500ns", vec![Fraction { of: "delay" }]),
        (
            "delay 274877907us",
            vec![TooLong {
                of: "delay",
                most: most_delay,
                by: "tc",
            }],
        ),
        (
            "delay 9s 2147484us unordered",
            vec![TooLong {
                of: "jitter",
                most: most_jitter,
                by: "the kernel",
            }],
        ),
        ("loss trace .x", vec![Trace]),
        ("duplicate 1% loss 1%", vec![CopyHasOwn { with: "loss" }]),
        (
            "delay 9ms 1ms unordered duplicate 1% corrupt 1%",
            vec![
                CopyHasOwn { with: "jitter" },
                CopyHasOwn { with: "corrupt" },
            ],
        ),
        (
            "delay 9ms reorder 1% rate 8bit limit 1",
            vec![ReorderedRate],
        ),
        ("reorder 1%", vec![NoDelay { of: "reorder" }]),
        (
            "delay 9ms reorder 0%",
            vec![Nothing {
                words: "reorder 0%",
            }],
        ),
        ("rate 8mbit", vec![QueueBytes]),
        ("rate 9bit limit 1", vec![RateFraction]),
        ("rate 9007199254741000bit limit 1", vec![RateTooLarge]),
        ("rate 8bit -21 limit 1", vec![Overhead]),
        ("limit 4294967295", vec![Limit]),
        ("max-packet 1400", vec![MaxPacket]),
        (
            "rate 8mbit max-packet 1400 loss trace x",
            vec![Trace, QueueBytes, MaxPacket],
        ),
    ] {
        assert_eq!(reasons(words), expected, "{words}");
    }
    // The other side of each limit.
    for words in [
        "delay 274877906us",
        "delay 9s 2147483us unordered",
        "rate 9007199254740992bit limit 1",
        "rate 8bit -20 limit 1",
        "limit 4294967294",
        "delay 1us 1us unordered distribution normal",
        "duplicate 1% rate 8bit limit 1",
    ] {
        to_tc(&parse(words)).unwrap_or_else(|error| panic!("{words}: {error}"));
    }
}

#[test]
fn from_tc_takes_tcs_words_alone_and_what_the_model_can_say() {
    for (words, message) in [
        ("delay 9ms queue 9k", "queue: is not a word of tc"),
        ("loss burst 1% 2", "loss: is not a word of tc"),
        (
            "wifi",
            "wifi: unknown word, expected delay, distribution, quantiles, unordered, loss, \
          duplicate, corrupt, reorder, gap, rate, queue, limit, max-packet",
        ),
        (
            "loss 1% 25%",
            "loss 1% 25%: the kernel's correlation changes how much loss there is: leave the \
             correlation out, or use loss burst",
        ),
        ("rate 8bit 2147483640", "rate: the overhead is too large"),
    ] {
        assert_eq!(tc_fault(words), message);
    }
}

#[test]
fn tables_take_words_behind_their_keys_and_report_every_fault() {
    #[derive(Debug, serde::Deserialize)]
    struct File {
        netem: PairModel,
    }
    let read = |text: &str| toml::from_str::<File>(text).map(|file| file.netem);
    let table = "netem = { delay = '80ms', jitter = '5ms', distribution = 'pareto', \
                 correlation = '25%', loss = 'gemodel 1% 20%', limit = 1000 }";
    let words = "delay 80ms 5ms 25% distribution pareto loss gemodel 1% 20% limit 1000";
    assert_eq!(read(table), Ok(parse(words)));
    assert_eq!(read(&format!("netem = '{words}'")), Ok(parse(words)));
    let table = "netem = { preset = 'wifi-bad', loss = '5%', overhead = 38, unordered = true }";
    let mut bad = parse("wifi-bad loss 5% unordered");
    bad.rate.as_mut().unwrap().overhead_bytes = 38;
    assert_eq!(read(table), Ok(bad));
    for (text, message) in [
        (
            "netem = { loss = '120%', delay = '9ms loss 1%', gap = 0 }",
            "delay 9ms loss: has a word too many; loss 120%: a probability is at most 100%; \
             gap 0: must be 1 to 4294967295",
        ),
        ("netem = { dealy = '9ms' }", "unknown field `dealy`"),
        (
            "netem = { preset = 'wfi' }",
            "preset wfi: unknown preset, did you mean wifi?",
        ),
        (
            "netem = { correlation = '1%' }",
            "correlation: needs a jitter",
        ),
        (
            "netem = { delay = '' }",
            "delay: expected a time like 80ms after it",
        ),
        ("netem = 5", "expected words like"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
#[ignore = "needs root and iproute2"]
fn tc_takes_every_word_that_is_written_for_it() {
    let mut runner = TestRunner::deterministic();
    let mut all: Vec<String> = Vec::new();
    while all.len() < 200 {
        let model = plain::plain_model().new_tree(&mut runner).unwrap();
        all.extend(to_tc(&model.current()).ok());
    }
    // The limits of what is written.
    for words in [
        "delay 274877906us",
        "delay 9s 2147483us unordered",
        "rate 9007199254740992bit limit 1",
        "rate 8bit -20 queue none",
        "limit 4294967294",
        "delay 1us 1us unordered distribution normal",
        "loss 0.0000001%",
    ] {
        all.push(to_tc(&parse(words)).unwrap());
    }
    let add = |words: &String| {
        let quoted = format!("{words}\n");
        format!("printf '%s' '{quoted}'\ntc qdisc replace dev lo root netem {words} || true\n")
    };
    let (done, said) = alone::run(&all.iter().map(add).collect::<String>());
    assert!(done, "{said}");
    let said: Vec<&str> = said.lines().collect();
    let kernels = "Error: Specified qdisc kind is unknown.";
    let kernels_answers = said.iter().filter(|line| **line == kernels).count();
    // With netem in the kernel there is nothing to say.
    assert!([0, all.len()].contains(&kernels_answers), "{said:#?}");
    let tcs_own: Vec<_> = said
        .iter()
        .filter(|line| **line != kernels && !all.iter().any(|words| words == **line))
        .collect();
    assert!(tcs_own.is_empty(), "{tcs_own:#?}");
}
