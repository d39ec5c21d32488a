//! One link that is cut and healed again, and what the nodes at its two ends do about it.

use std::time::Duration;

use crate::{
    fleet::paths::PathInUse,
    traffic::trace::{MARGIN, Outage, Trace},
};

/// A cut, from before it to after its end. All times count from the start of traffic.
///
/// Call [`Failover::handle_cut`], [`Failover::handle_healed`] and [`Failover::handle_path`] as
/// things happen, and [`Failover::handle_trace`] for both ways once everything has crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// The traffic between the two ends, each way by itself.
    pub ways: [Way; 2],
    /// When the link was cut.
    pub cut: Option<Duration>,
    /// When it was healed.
    pub healed: Option<Duration>,
}

/// What is sent from one end of the link to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The region that it is sent in.
    pub from: &'static str,
    /// The region that it is sent to.
    pub to: &'static str,
    /// The path in use at the node that sends, as it said last; none if it did not say.
    pub path: Option<PathInUse>,
    /// The path in use when the link was cut.
    pub before: Option<PathInUse>,
    /// The first other path that it took after the cut.
    pub detour: Option<PathInUse>,
    /// From the cut to the moment when it was first seen to use `detour`.
    pub detected: Option<Duration>,
    /// From the heal to the moment when it was first seen to use the direct path again.
    pub returned: Option<Duration>,
    /// What the packets have of it.
    pub outage: Option<Outage>,
    /// Packets that never arrived of those sent after the outage and after the heal, to a second
    /// after the return; none without a return.
    pub lost_on_return: Option<u64>,
}

impl Failover {
    /// For the link between regions `a` and `b`, which is up.
    pub fn new(a: &'static str, b: &'static str) -> Self {
        let way = |from, to| Way {
            from,
            to,
            path: None,
            before: None,
            detour: None,
            detected: None,
            returned: None,
            outage: None,
            lost_on_return: None,
        };
        Self {
            ways: [way(a, b), way(b, a)],
            cut: None,
            healed: None,
        }
    }

    /// Notes that nothing passes the link any more.
    pub fn handle_cut(&mut self, at: Duration) {
        self.cut = Some(at);
        for way in &mut self.ways {
            way.before = way.path.clone();
        }
    }

    /// Notes that the link lets packets pass again.
    pub fn handle_healed(&mut self, at: Duration) {
        self.healed = Some(at);
    }

    /// Notes which path the node at the beginning of a way has said to use.
    ///
    /// That it does not say so, or has none, is not another path.
    pub fn handle_path(&mut self, at: Duration, way: usize, path: Option<PathInUse>) {
        let way = &mut self.ways[way];
        way.path = path;
        let Some(path) = &way.path else {
            return;
        };
        let other = !path.is_direct() && way.before.as_ref() != Some(path);
        match (self.cut, self.healed) {
            (Some(cut), _) if way.detected.is_none() && other => {
                way.detected = Some(at.saturating_sub(cut));
                way.detour = Some(path.clone());
            }
            // A direct path that was never left is no return.
            (Some(_), Some(healed))
                if way.detected.is_some() && way.returned.is_none() && path.is_direct() =>
            {
                way.returned = Some(at.saturating_sub(healed));
            }
            _ => {}
        }
    }

    /// Measures what the cut did to the packets of a way, all of which have arrived or never will.
    pub fn handle_trace(&mut self, way: usize, trace: &Trace) {
        let (Some(cut), Some(healed)) = (self.cut, self.healed) else {
            return;
        };
        let way = &mut self.ways[way];
        way.outage = trace.outage(cut, healed);
        way.lost_on_return = way.outage.zip(way.returned).map(|(outage, returned)| {
            // No packet counts twice.
            let from = healed.max(outage.flows_again + MARGIN);
            trace.lost(from, healed + returned + MARGIN)
        });
    }

    /// From the cut until both nodes used another path.
    pub fn detected(&self) -> Option<Duration> {
        both(self.ways.each_ref().map(|way| way.detected))
    }

    /// From the heal until both nodes used the direct path again.
    pub fn returned(&self) -> Option<Duration> {
        both(self.ways.each_ref().map(|way| way.returned))
    }

    /// The longer gap of both ways.
    pub fn gap(&self) -> Option<Duration> {
        both(self.ways.each_ref().map(|way| Some(way.outage?.gap)))
    }

    /// What both ways lost because of the cut.
    pub fn packets_lost(&self) -> Option<u64> {
        let [there, back] = self.ways.each_ref().map(|way| way.outage);
        Some(there?.packets_lost + back?.packets_lost)
    }

    /// What both ways lost on the way back.
    pub fn lost_on_return(&self) -> Option<u64> {
        let [there, back] = self.ways.each_ref().map(|way| way.lost_on_return);
        Some(there? + back?)
    }

    /// What should have happened and did not, as sentences.
    pub fn problems(&self) -> Vec<String> {
        if self.cut.is_none() || self.healed.is_none() {
            let [Way { from, to, .. }, _] = &self.ways;
            return vec![format!(
                "the link from {from} to {to} was not cut and healed"
            )];
        }
        let problems = self.ways.iter().flat_map(|way| {
            let Way { from, to, .. } = way;
            let unnoticed = match (way.detected, &way.path) {
                (Some(_), _) => None,
                (None, Some(_)) => Some(format!(
                    "the cut was not noticed: {from} never took another path to {to}"
                )),
                (None, None) => Some(format!(
                    "the cut was not seen to be noticed: {from} does not say its path to {to}"
                )),
            };
            let silent = way.outage.is_none().then(|| {
                format!("the packets around the cut, from {from} to {to}, cannot be measured")
            });
            let lasting = (way.detected.is_some() && way.returned.is_none())
                .then(|| format!("{from} was not back on the direct path to {to} by the end"));
            [unnoticed, silent, lasting].into_iter().flatten()
        });
        problems.collect()
    }

    /// The whole of it in two lines; none if the link was not cut.
    pub fn sentence(&self) -> Option<String> {
        let [Way { from, to, .. }, _] = &self.ways;
        let seconds = |time: Duration, digits: usize| format!("{:.digits$} s", time.as_secs_f64());
        let packets = |lost: u64| match lost {
            0 => "nothing lost".to_owned(),
            1 => "1 packet lost".to_owned(),
            lost => format!("{lost} packets lost"),
        };
        let mut text = format!("{from} <> {to} cut after {}: ", seconds(self.cut?, 1));
        text += &match self.detected() {
            Some(detected) => format!("noticed in {}", seconds(detected, 2)),
            None => "not noticed".to_owned(),
        };
        text += &match (self.gap(), self.packets_lost()) {
            (Some(gap), Some(lost)) => {
                format!(", longest gap {},\n{}", seconds(gap, 2), packets(lost))
            }
            _ => ",\ngap not measured".to_owned(),
        };
        text += &match (self.healed, self.returned(), self.lost_on_return()) {
            (None, ..) => "; not healed.".to_owned(),
            (Some(_), Some(returned), lost) => format!(
                "; healed: back on the direct path after {}, {}.",
                seconds(returned, 1),
                lost.map_or_else(|| "losses not measured".to_owned(), packets)
            ),
            (Some(_), None, _) if self.detected().is_none() => "; healed.".to_owned(),
            (Some(_), None, _) => "; healed: not back on the direct path by the end.".to_owned(),
        };
        Some(text)
    }
}

/// The later of two times that both must come.
fn both([there, back]: [Option<Duration>; 2]) -> Option<Duration> {
    there.zip(back).map(|(there, back)| there.max(back))
}

/// How often a node is asked for its path: what is seen of it is seen at most this much later than
/// it happened, and the time of one answer.
pub const ASK_INTERVAL: Duration = Duration::from_millis(40);

#[cfg(test)]
pub(crate) mod tests;
