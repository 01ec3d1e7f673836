//! Counts equal uses within a minute. It reads no clock and does no I/O.

use std::collections::{HashMap, hash_map::Entry};

use authd_api::AuditEntry;
use jiff::Timestamp;

use super::usage::Usage;

/// Most different uses that are counted at one time. More of them end the minute early, so that
/// processes which start all the time cannot exhaust the memory.
const MOST_USES: usize = 4096;

const MINUTE: i64 = 60;

/// Turns uses into lines: the first use in a minute is a line at once, and its repeats are one more
/// line when the minute ends. The counts of the lines add up to the number of uses.
#[derive(Default)]
pub(super) struct Coalescer {
    /// The minute since 1970 that is being counted.
    minute: i64,
    uses: HashMap<Usage, Repeats>,
}

/// The uses that no line counts yet.
struct Repeats {
    count: u64,
    /// The time and the request of the last one.
    time: Timestamp,
    request: Option<u64>,
}

impl Coalescer {
    /// Adds a use. Returns the lines that are due.
    pub(super) fn add(&mut self, usage: Usage, request: Option<u64>, now: Timestamp) -> Vec<AuditEntry> {
        let minute = now.as_second().div_euclid(MINUTE);
        let is_full = self.uses.len() >= MOST_USES && !self.uses.contains_key(&usage);
        // A clock that was set back ends the minute, too.
        let mut lines = if minute != self.minute || is_full { self.end_minute() } else { Vec::new() };
        self.minute = minute;
        match self.uses.entry(usage) {
            Entry::Occupied(mut counted) => {
                let repeats = counted.get_mut();
                *repeats = Repeats { count: repeats.count + 1, time: now, request };
            }
            Entry::Vacant(new) => {
                lines.push(new.key().entry(1, now, request));
                new.insert(Repeats { count: 0, time: now, request });
            }
        }
        lines
    }

    /// The lines of the repeats so far. Further uses in this minute are repeats as well.
    pub(super) fn take_repeats(&mut self) -> Vec<AuditEntry> {
        let repeated = self.uses.iter_mut().filter(|(_, repeats)| repeats.count > 0);
        let lines = repeated.map(|(usage, repeats)| {
            usage.entry(std::mem::take(&mut repeats.count), repeats.time, repeats.request)
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(|line| line.time);
        lines
    }

    /// Ends the minute. Returns the lines of the repeats.
    pub(super) fn end_minute(&mut self) -> Vec<AuditEntry> {
        let lines = self.take_repeats();
        self.uses = HashMap::new();
        lines
    }

    /// When the minute ends; `None` if nothing was used in it.
    pub(super) fn minute_end(&self) -> Option<Timestamp> {
        let end = Timestamp::from_second((self.minute + 1) * MINUTE).ok()?;
        (!self.uses.is_empty()).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use authd_api::AuditAction;
    use proptest::prelude::*;

    use super::*;

    fn usage(action: AuditAction, path: u16) -> Usage {
        Usage { path: Some(path.to_string().into()), ..Usage::new(action) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn counts(lines: &[AuditEntry]) -> Vec<(u64, i64, Option<u64>)> {
        lines.iter().map(|line| (line.count, line.time.as_second(), line.request)).collect()
    }

    #[test]
    fn first_use_is_a_line_and_repeats_are_one_more() {
        let (mut coalescer, headers) = (Coalescer::default(), usage(AuditAction::Headers, 0));
        assert_eq!(coalescer.minute_end(), None);
        assert_eq!(counts(&coalescer.add(headers.clone(), Some(1), at(600))), [(1, 600, Some(1))]);
        assert_eq!(coalescer.minute_end(), Some(at(660)));
        assert!(coalescer.add(headers.clone(), Some(2), at(610)).is_empty());
        assert!(coalescer.add(headers.clone(), Some(3), at(620)).is_empty());
        assert_eq!(counts(&coalescer.add(usage(AuditAction::Relay, 0), None, at(620))), [(1, 620, None)]);
        assert_eq!(counts(&coalescer.take_repeats()), [(2, 620, Some(3))]);
        assert!(coalescer.take_repeats().is_empty());
        assert!(coalescer.add(headers.clone(), Some(5), at(659)).is_empty());
        let next = coalescer.add(headers.clone(), Some(6), at(660));
        assert_eq!(counts(&next), [(1, 659, Some(5)), (1, 660, Some(6))]);
        // The clock was set back.
        assert_eq!(counts(&coalescer.add(headers, None, at(5))), [(1, 5, None)]);
        assert!(coalescer.end_minute().is_empty());
        assert_eq!(coalescer.minute_end(), None);
    }

    #[test]
    fn uses_that_are_always_new_take_bounded_memory() {
        let mut coalescer = Coalescer::default();
        let mut counted = 0;
        for path in 0..u16::MAX {
            for _ in 0..2 {
                let lines = coalescer.add(usage(AuditAction::Relay, path), None, at(0));
                counted += lines.iter().map(|line| line.count).sum::<u64>();
                assert!(coalescer.uses.len() <= MOST_USES);
            }
        }
        counted += coalescer.end_minute().iter().map(|line| line.count).sum::<u64>();
        assert_eq!(counted, 2 * u64::from(u16::MAX));
    }

    proptest! {
        #[test]
        fn counts_of_the_lines_add_up_for_each_use(
            steps in prop::collection::vec((0u16..4, -70i64..200, 0u8..10), 0..200),
        ) {
            let mut coalescer = Coalescer::default();
            let (mut lines, mut used, mut second) = (Vec::new(), HashMap::<String, u64>::new(), 1_000_000);
            for (path, elapsed, step) in steps {
                second += elapsed;
                match step {
                    0 => lines.extend(coalescer.take_repeats()),
                    1 => lines.extend(coalescer.end_minute()),
                    _ => {
                        lines.extend(coalescer.add(usage(AuditAction::Relay, path), None, at(second)));
                        *used.entry(path.to_string()).or_default() += 1;
                    }
                }
            }
            lines.extend(coalescer.end_minute());
            let mut counted = HashMap::<String, u64>::new();
            for line in &lines {
                prop_assert!(line.count > 0);
                *counted.entry(line.path.clone().unwrap()).or_default() += line.count;
            }
            prop_assert_eq!(counted, used);
        }
    }
}
