//! What loss costs a conversation, by the E-model.

use super::{Cost, Loss};

/// The round trip that would hurt a conversation as much as `loss` beyond `tolerated` does.
///
/// In the E-model the rating is `R = Ro - Is - Id - Ie,eff + A`, where
///
/// ```text
/// Ie,eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl)
/// Id     = 0.024 d + 0.11 (d - 177.3) H(d - 177.3)
/// ```
///
/// `Ppl` is the loss in percent, `d` the delay one way in milliseconds and `H` the unit step. With
/// `Ie = 0` and random losses (`BurstR = 1`), loss is worth `95 Ppl / (Ppl + Bpl)` points, and a
/// point is worth `1 / (0.024 + 0.11)` milliseconds one way, twice that as a round trip. So 1 %
/// costs 54 ms, 5 % 236 ms, and no loss more than 1.13 s.
///
/// Sources: ITU-T G.107 (06/2015), sections 7.1 and 7.5, for `R` and `Ie,eff`; Cole and Rosenbluth,
/// "Voice over IP performance monitoring", ACM SIGCOMM CCR 31(2), 2001, for `Id`, which simplifies
/// G.107's under its default values.
pub(super) fn loss_cost(loss: Loss, tolerated: Loss) -> Cost {
    let loss = u64::from(loss.as_ppm().saturating_sub(tolerated.as_ppm()));
    Cost::from_micros(TOTAL_LOSS_MICROS * loss / (loss + ROBUSTNESS_PPM))
}

/// Packet-loss robustness `Bpl` of G.711 with concealment of losses: 25.1 %.
///
/// Source: ITU-T G.113 Appendix I. Later codecs conceal at least as well; without concealment it
/// would be 4.3 %.
const ROBUSTNESS_PPM: u64 = 251_000;

/// Where the cost of loss tends to, were there more than 100 %: 95 points, of which 0.134 go to a
/// millisecond one way, times two for the round trip.
const TOTAL_LOSS_MICROS: u64 = 95 * 1_000_000 / 134 * 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn cost_ms(percent: f64) -> f64 {
        let loss = Loss::from_ppm((percent * 10_000.0) as u32);
        loss_cost(loss, Loss::NONE).as_micros() as f64 / 1_000.0
    }

    /// The formulas of the doc comment as they stand there.
    fn by_the_book_ms(percent: f64) -> f64 {
        let impairment = 95.0 * percent / (percent + 25.1);
        let delay_impairment = |d: f64| 0.024 * d + 0.11 * (d - 177.3).max(0.0);
        // How much more delay takes as many points, from somewhere above the knee.
        let slope = delay_impairment(301.0) - delay_impairment(300.0);
        2.0 * impairment / slope
    }

    #[test]
    fn integers_give_what_the_formulas_give_within_ten_microseconds() {
        for percent in [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
            let (ours, book) = (cost_ms(percent), by_the_book_ms(percent));
            assert!((ours - book).abs() < 0.01, "{percent} %: {ours}, {book}");
        }
    }

    #[test]
    fn one_percent_costs_54_ms_and_everything_lost_1133_ms() {
        assert_eq!(cost_ms(1.0).round(), 54.0);
        assert_eq!(cost_ms(100.0).round(), 1_133.0);
    }

    #[test]
    fn only_what_is_beyond_the_tolerated_loss_counts() {
        let tolerated = Loss::from_ppm(20_000);
        let cost = |ppm| loss_cost(Loss::from_ppm(ppm), tolerated);
        assert_eq!(cost(20_000), Cost::ZERO);
        assert_eq!(cost(30_000), loss_cost(Loss::from_ppm(10_000), Loss::NONE));
    }
}
