//! How conditions and their reasons read to people.

use std::fmt;

use super::{Condition, Reason, Way};

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Degraded => "degraded",
            Self::Confirmed => "confirmed",
            Self::Down => "down",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("replies came"),
            Self::Delayed(way) => write!(f, "queues stand on the way {way}"),
            Self::Late => f.write_str("a reply is late"),
            Self::Linked => f.write_str("first link"),
            Self::Lossy(way) => write!(f, "too much is lost on the way {way}"),
            Self::NoLink => f.write_str("no link"),
            Self::Recovered => f.write_str("recovered"),
            Self::Silent => f.write_str("the link does not answer"),
            Self::Unanswered => f.write_str("confirming probes were not answered"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Round => "there and back",
        })
    }
}
