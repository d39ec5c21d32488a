//! Numbers with units, read and written without rounding.
//!
//! The units are those of tc(8). A number is a plain decimal one; one that would have to be rounded
//! to a whole nanosecond, billionth, bit per second or byte is refused, so that what is printed is
//! what was written.

use std::{fmt, time::Duration};

/// What a number measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// `80ms`: in s, ms, us or ns, longer forms of them included; a bare number is in us.
    Time,
    /// `1%` or `1`.
    Percentage,
    /// `50mbit`: bit, kbit, ..., tbit; kibit, ..., tibit; and the same with bps for bytes; a bare
    /// number is in bit/s.
    Rate,
    /// `64k`: b, k or kb, m or mb, g or gb, in powers of 1,024; kbit, mbit, gbit; a bare number is
    /// in bytes.
    Size,
    /// `5`.
    Number,
}

/// Why a word is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityFault {
    /// It is below zero.
    #[error("must not be negative")]
    Negative,
    /// It has no digits where digits belong.
    #[error("expected {} like {}", .0.name(), .0.example())]
    NotANumber(Quantity),
    /// It has more digits than are kept.
    #[error("is finer than {}", .0.least())]
    TooFine(Quantity),
    /// It does not fit.
    #[error("is too large")]
    TooLarge,
    /// What follows the digits is no unit of it.
    #[error("has an unknown unit, {} is in {}", .0.name(), .0.unit_names())]
    Unit(Quantity),
}

impl Quantity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Time => "a time",
            Self::Percentage => "a percentage",
            Self::Rate => "a rate",
            Self::Size => "a size",
            Self::Number => "a number",
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Time => "80ms",
            Self::Percentage => "1%",
            Self::Rate => "50mbit",
            Self::Size => "64k",
            Self::Number => "5",
        }
    }

    fn least(self) -> &'static str {
        match self {
            Self::Time => "a nanosecond",
            Self::Percentage => "a billionth",
            Self::Rate => "a bit per second",
            Self::Size => "a byte",
            Self::Number => "a whole one",
        }
    }

    fn unit_names(self) -> &'static str {
        match self {
            Self::Time => "s, ms, us or ns",
            Self::Percentage => "%",
            Self::Rate => "bit, kbit, mbit, gbit or tbit",
            Self::Size => "bytes, k, m or g",
            Self::Number => "no unit",
        }
    }

    /// What one of the unit is worth.
    fn unit(self, name: &str) -> Option<u128> {
        let name = name.to_ascii_lowercase();
        Some(match self {
            Self::Time => match &*name {
                "s" | "sec" | "secs" => 1_000_000_000,
                "ms" | "msec" | "msecs" => 1_000_000,
                "us" | "usec" | "usecs" | "" => 1_000,
                "ns" | "nsec" | "nsecs" => 1,
                _ => return None,
            },
            Self::Percentage => match &*name {
                "%" | "" => PPB_PER_PERCENT,
                _ => return None,
            },
            Self::Rate => {
                let (prefix, bits) = match name.strip_suffix("bps") {
                    Some(prefix) => (prefix, 8),
                    None => (name.strip_suffix("bit").unwrap_or(&name), 1),
                };
                let prefix = match prefix {
                    // Letters without `bit` are no unit.
                    _ if prefix == name && !name.is_empty() => return None,
                    "" => 1,
                    "k" => 1_000,
                    "m" => 1_000_000,
                    "g" => 1_000_000_000,
                    "t" => 1_000_000_000_000,
                    "ki" => 1 << 10,
                    "mi" => 1 << 20,
                    "gi" => 1 << 30,
                    "ti" => 1 << 40,
                    _ => return None,
                };
                prefix * bits
            }
            Self::Size => match &*name {
                "b" | "" => 1,
                "k" | "kb" => 1 << 10,
                "m" | "mb" => 1 << 20,
                "g" | "gb" => 1 << 30,
                "kbit" => 1 << 7,
                "mbit" => 1 << 17,
                "gbit" => 1 << 27,
                _ => return None,
            },
            Self::Number => return name.is_empty().then_some(1),
        })
    }

    /// How much `word` says, in nanoseconds, billionths, bits per second, bytes, or plain, and
    /// whether it is below zero.
    pub(super) fn parse_signed(self, word: &str) -> Result<(bool, u128), QuantityFault> {
        let unsigned = word.strip_prefix('-');
        let rest = unsigned.unwrap_or_else(|| word.strip_prefix('+').unwrap_or(word));
        let (whole, rest) = digits(rest);
        let (fraction, unit) = match rest.strip_prefix('.') {
            Some(rest) => digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(QuantityFault::NotANumber(self));
        }
        let worth = self.unit(unit).ok_or(match self {
            Self::Number => QuantityFault::NotANumber(self),
            Self::Time | Self::Percentage | Self::Rate | Self::Size => QuantityFault::Unit(self),
        })?;
        let mut amount: u128 = 0;
        for digit in whole.bytes() {
            amount = amount
                .checked_mul(10)
                .and_then(|amount| amount.checked_add(u128::from(digit - b'0')))
                .ok_or(QuantityFault::TooLarge)?;
        }
        let amount = amount.checked_mul(worth).ok_or(QuantityFault::TooLarge)?;
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > MAX_FRACTION_DIGITS {
            return Err(QuantityFault::TooFine(self));
        }
        let (mut parts, mut of) = (0, 1);
        for digit in fraction.bytes() {
            parts = parts * 10 + u128::from(digit - b'0');
            of *= 10;
        }
        if parts * worth % of != 0 {
            return Err(QuantityFault::TooFine(self));
        }
        let amount = amount
            .checked_add(parts * worth / of)
            .ok_or(QuantityFault::TooLarge)?;
        Ok((unsigned.is_some() && amount != 0, amount))
    }

    /// As [`Self::parse_signed`], not below zero.
    pub(super) fn parse(self, word: &str) -> Result<u128, QuantityFault> {
        match self.parse_signed(word)? {
            (true, _) => Err(QuantityFault::Negative),
            (false, amount) => Ok(amount),
        }
    }
}

/// Reads `80ms`.
pub(crate) fn parse_time(word: &str) -> Result<Duration, QuantityFault> {
    let nanos = Quantity::Time.parse(word)?;
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).map_err(|_| QuantityFault::TooLarge)?;
    let rest = u32::try_from(nanos % NANOS_PER_SECOND).expect("below a second");
    Ok(Duration::new(seconds, rest))
}

/// A time in the largest unit that divides it.
pub(crate) fn time(time: Duration) -> impl fmt::Display {
    signed_time(false, time.as_nanos())
}

/// Nanoseconds in the largest unit that divides them.
pub(super) fn signed_time(negative: bool, nanos: u128) -> impl fmt::Display {
    let sign = if negative { "-" } else { "" };
    let (amount, unit) = match nanos {
        0 => (0, "s"),
        _ => largest(nanos, 1_000, &["ns", "us", "ms", "s"]),
    };
    fmt::from_fn(move |f| write!(f, "{sign}{amount}{unit}"))
}

/// Billionths as a percentage.
pub(super) fn percentage(ppb: u32) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let (ppb, of) = (u128::from(ppb), PPB_PER_PERCENT);
        let fraction = format!("{:07}", ppb % of);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{}{point}{fraction}%", ppb / of)
    })
}

/// Bits per second in the largest unit of thousands that divides them.
pub(super) fn rate(bits_per_second: u64) -> impl fmt::Display {
    let units = ["bit", "kbit", "mbit", "gbit", "tbit"];
    let (amount, unit) = largest(bits_per_second.into(), 1_000, &units);
    fmt::from_fn(move |f| write!(f, "{amount}{unit}"))
}

/// Bytes in the largest unit of 1,024 that divides them.
pub(super) fn size(bytes: usize) -> impl fmt::Display {
    let (amount, unit) = largest(bytes as u128, 1_024, &["", "k", "m", "g"]);
    fmt::from_fn(move |f| write!(f, "{amount}{unit}"))
}

/// An amount in the largest unit that leaves no fraction; zero in the smallest.
fn largest(mut amount: u128, step: u128, units: &[&'static str]) -> (u128, &'static str) {
    let mut unit = 0;
    while unit + 1 < units.len() && amount != 0 && amount.is_multiple_of(step) {
        amount /= step;
        unit += 1;
    }
    (amount, units[unit])
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(end)
}

/// As many as keep the product with any unit within 128 bits; more are never a whole number of
/// anything that one could want.
const MAX_FRACTION_DIGITS: usize = 20;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

const PPB_PER_PERCENT: u128 = 10_000_000;

#[cfg(test)]
mod tests;
