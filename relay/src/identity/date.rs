//! Dates as people read them.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

/// Shows a date in UTC, to the second.
#[derive(Debug, Clone, Copy)]
pub struct Date(pub SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = unix_seconds(self.0);
        match OffsetDateTime::from_unix_timestamp(seconds) {
            Ok(date) => write!(
                f,
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
                date.year(),
                u8::from(date.month()),
                date.day(),
                date.hour(),
                date.minute(),
                date.second()
            ),
            Err(_) => write!(f, "{seconds} s after 1970"),
        }
    }
}

/// Whole seconds since 1970, negative before, clamped to what fits.
pub(super) fn unix_seconds(date: SystemTime) -> i64 {
    match date.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    }
}

/// The same date as rustls counts it; dates before 1970 become 1970.
pub(super) fn unix_time(date: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(date.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The date `seconds` after 1970, or 1970 itself where the platform cannot tell.
pub(super) fn from_unix_seconds(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
    .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_shown_in_utc_on_both_sides_of_1970() {
        // date -u -d @1893456001
        assert_eq!(
            Date(from_unix_seconds(1_893_456_001)).to_string(),
            "2030-01-01 00:00:01 UTC"
        );
        assert_eq!(
            Date(from_unix_seconds(-1)).to_string(),
            "1969-12-31 23:59:59 UTC"
        );
        assert_eq!(unix_seconds(from_unix_seconds(-1)), -1);
    }
}
