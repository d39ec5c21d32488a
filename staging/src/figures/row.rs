//! One line of the table: a figure in one case, and what is to be thought of it.

use serde::Serialize;

use super::rounds::Rounds;

/// A figure in one case, as `--json` lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Which figure.
    pub name: &'static str,
    /// In which case.
    pub case: String,
    /// The unit of `ours` and `theirs`.
    pub unit: &'static str,
    /// Causeway's value: a median where there were rounds.
    pub ours: f64,
    /// The value of what it is compared with.
    pub theirs: Option<f64>,
    /// The median over the rounds of ours divided by theirs.
    pub ratio: Option<f64>,
    /// The lower end of the ratio's interval.
    pub low: Option<f64>,
    /// The upper end of it.
    pub high: Option<f64>,
    /// What is promised, of the ratio if there is one, else of `ours`.
    pub budget: Option<Budget>,
    /// Whether it holds; none where nothing is promised.
    pub verdict: Option<Verdict>,
}

/// A promise about a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(into = "f64")]
pub enum Budget {
    /// It is not larger than this.
    AtMost(f64),
    /// It is not smaller than this.
    AtLeast(f64),
}

/// What is to be thought of a promise. In the order of how bad the news is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds: the whole interval is within the budget.
    Pass,
    /// The interval lies on both sides, there were too few rounds, or the machine was late.
    Inconclusive,
    /// It does not hold: the whole interval is outside.
    Fail,
}

impl Row {
    /// A value that is stated, and promised nothing of.
    pub fn stated(
        name: &'static str,
        case: impl Into<String>,
        unit: &'static str,
        ours: f64,
    ) -> Self {
        Self {
            name,
            case: case.into(),
            unit,
            ours,
            theirs: None,
            ratio: None,
            low: None,
            high: None,
            budget: None,
            verdict: None,
        }
    }

    /// A comparison; the budget is one of the ratio, and needs 10 rounds to be judged.
    ///
    /// # Panics
    /// If there was no round.
    pub fn compared(
        name: &'static str,
        case: impl Into<String>,
        unit: &'static str,
        rounds: &Rounds,
        budget: Option<Budget>,
    ) -> Self {
        let interval = rounds.interval();
        Self {
            theirs: Some(rounds.theirs()),
            ratio: Some(rounds.ratio()),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            budget,
            verdict: budget.map(|budget| match interval {
                Some(interval) if rounds.len() >= ENOUGH_ROUNDS => budget.verdict(interval),
                _ => Verdict::Inconclusive,
            }),
            ..Self::stated(name, case, unit, rounds.ours())
        }
    }

    /// Promises something of a value that is exact, such as one on virtual time.
    #[must_use]
    pub fn promised(self, budget: Budget) -> Self {
        Self {
            budget: Some(budget),
            verdict: Some(budget.verdict((self.ours, self.ours))),
            ..self
        }
    }

    /// Puts a value beside it that is not compared in rounds.
    #[must_use]
    pub fn beside(self, theirs: f64) -> Self {
        Self {
            theirs: Some(theirs),
            ratio: (theirs != 0.0).then(|| self.ours / theirs),
            ..self
        }
    }

    /// Takes the verdict back: something about the run makes the value unsure.
    #[must_use]
    pub fn unsure(self) -> Self {
        Self {
            verdict: self.verdict.map(|_| Verdict::Inconclusive),
            ..self
        }
    }
}

impl Budget {
    fn verdict(self, (low, high): (f64, f64)) -> Verdict {
        let (holds, fails) = match self {
            Self::AtMost(limit) => (high <= limit, low > limit),
            Self::AtLeast(limit) => (low >= limit, high < limit),
        };
        match (holds, fails) {
            (true, _) => Verdict::Pass,
            (_, true) => Verdict::Fail,
            // A value that is no number is neither, and proves nothing.
            _ => Verdict::Inconclusive,
        }
    }
}

impl From<Budget> for f64 {
    fn from(budget: Budget) -> Self {
        match budget {
            Budget::AtMost(limit) | Budget::AtLeast(limit) => limit,
        }
    }
}

/// With 10, the interval between the second smallest and the second largest holds the median in
/// 98 of 100 runs.
const ENOUGH_ROUNDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(ratios: &[f64]) -> Rounds {
        let mut rounds = Rounds::default();
        for ratio in ratios {
            rounds.push(*ratio, 1.0);
        }
        rounds
    }

    fn verdict(ratios: &[f64], budget: Budget) -> Option<Verdict> {
        Row::compared("f", "c", "s", &rounds(ratios), Some(budget)).verdict
    }

    #[test]
    fn a_budget_holds_only_if_the_interval_is_within_and_fails_only_if_it_is_outside() {
        let around = [0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0, 1.1, 1.2, 1.3];
        assert_eq!(verdict(&around, Budget::AtMost(1.2)), Some(Verdict::Pass));
        assert_eq!(
            verdict(&around, Budget::AtMost(1.19)),
            Some(Verdict::Inconclusive)
        );
        assert_eq!(verdict(&around, Budget::AtMost(0.89)), Some(Verdict::Fail));
        assert_eq!(verdict(&around, Budget::AtLeast(0.9)), Some(Verdict::Pass));
        assert_eq!(
            verdict(&around, Budget::AtLeast(0.91)),
            Some(Verdict::Inconclusive)
        );
        assert_eq!(verdict(&around, Budget::AtLeast(1.21)), Some(Verdict::Fail));
    }

    #[test]
    fn nine_rounds_judge_nothing_and_neither_does_what_is_no_number() {
        assert_eq!(
            verdict(&[1.0; 10], Budget::AtMost(1.1)),
            Some(Verdict::Pass)
        );
        assert_eq!(
            verdict(&[1.0; 9], Budget::AtMost(1.1)),
            Some(Verdict::Inconclusive)
        );
        let row = Row::stated("f", "c", "s", f64::NAN).promised(Budget::AtMost(1.0));
        assert_eq!(row.verdict, Some(Verdict::Inconclusive));
    }

    #[test]
    fn json_has_the_ten_keys_and_a_number_for_the_budget() {
        let row = Row::stated("f", "c", "s", 2.0).promised(Budget::AtMost(1.0));
        let json = serde_json::to_value(row).unwrap();
        let expected = serde_json::json!({
            "name": "f", "case": "c", "unit": "s", "ours": 2.0, "theirs": null, "ratio": null,
            "low": null, "high": null, "budget": 1.0, "verdict": "fail",
        });
        assert_eq!(json, expected);
    }
}
