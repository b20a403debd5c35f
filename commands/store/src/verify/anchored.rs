//! Anchors against the chain: what was signed must be there, at its position and with its digest.
//!
//! Anchors of the present epoch must all hold. Those of an earlier one hold up to where the database was restored to, which
//! is at the latest the first anchor of the epoch after it; what they say beyond that was lost by the restore.

use std::collections::{BTreeMap, VecDeque};

use super::report::{Anchors, Findings};
use crate::anchors::Anchor;

pub(super) struct Anchored {
    waiting: VecDeque<Anchor>,
    proved: Anchors,
    /// The first anchor that the log differs from, and how many there are.
    differing: Option<(Anchor, u64)>,
}

impl Anchored {
    pub(super) fn new(
        cell: &str,
        epoch: i32,
        mut anchors: Vec<Anchor>,
        findings: &mut Findings,
    ) -> Self {
        anchors.retain(|anchor| {
            let is_ours = anchor.cell == cell;
            if !is_ours {
                findings.at(
                    anchor.position,
                    format!("the anchor is of the cell {}", anchor.cell),
                );
            }
            is_ours
        });
        if let Some(ahead) = anchors.iter().find(|anchor| anchor.epoch > epoch) {
            findings.at(
                ahead.position,
                format!(
                    "the anchor is of epoch {}, the log says that it is in epoch {epoch}",
                    ahead.epoch
                ),
            );
            anchors.retain(|anchor| anchor.epoch <= epoch);
        }
        // What a later epoch began with ends what the earlier ones can prove.
        let mut firsts: BTreeMap<i32, i64> = BTreeMap::new();
        for anchor in &anchors {
            let first = firsts.entry(anchor.epoch).or_insert(anchor.position);
            *first = anchor.position.min(*first);
        }
        let ends = |of: i32| firsts.range(of + 1..).map(|(_, first)| *first).min();
        let mut lost = 0;
        anchors.retain(|anchor| {
            let is_lost = ends(anchor.epoch).is_some_and(|end| anchor.position > end);
            lost += u64::from(is_lost);
            !is_lost
        });
        anchors.sort_by_key(|anchor| anchor.position);
        Self {
            waiting: anchors.into(),
            proved: Anchors {
                lost,
                ..Anchors::default()
            },
            differing: None,
        }
    }

    /// A batch of the log, in order.
    pub(super) fn batch(&mut self, last: i64, digest: &[u8], findings: &mut Findings) {
        while let Some(anchor) = self.waiting.pop_front_if(|anchor| anchor.position <= last) {
            if anchor.position < last {
                findings.at(
                    anchor.position,
                    "an anchor names this position, and no batch ends there",
                );
            } else if anchor.digest == *digest {
                self.proved.held += 1;
                self.proved.proved_to = last;
            } else {
                match &mut self.differing {
                    Some((_, more)) => *more += 1,
                    differing => *differing = Some((anchor, 1)),
                }
            }
        }
    }

    /// After the last batch.
    pub(super) fn finish(self, head: i64, findings: &mut Findings) -> Anchors {
        if let Some((first, count)) = self.differing {
            let since = self.proved.proved_to + 1;
            findings.at(
                first.position,
                format!(
                    "the chain differs from its anchor of {}: events from {since} on were changed and the chain was computed \
                     anew ({count} anchors differ)",
                    first.at.to_rfc3339(),
                ),
            );
        }
        if let Some(last) = self.waiting.back() {
            findings.at(
                last.position,
                format!(
                    "the log ends at {head}, an anchor of {} says that it went to {}: its tail was cut",
                    last.at.to_rfc3339(),
                    last.position
                ),
            );
        }
        self.proved
    }
}

#[cfg(test)]
mod tests {
    use super::{Anchor, Anchored, Findings};

    fn anchor(epoch: i32, position: i64) -> Anchor {
        Anchor {
            cell: "main".into(),
            epoch,
            position,
            digest: [u8::try_from(position + i64::from(epoch) * 100).expect("a byte"); 32],
            at: chrono::DateTime::from_timestamp_micros(0).expect("a time"),
        }
    }

    /// What anchors say of a log in an epoch whose batches end at these positions with these digests.
    fn judged(epoch: i32, anchors: &[Anchor], log: &[Anchor]) -> (u64, i64, u64, Vec<Option<i64>>) {
        let mut findings = Findings::default();
        let mut anchored = Anchored::new("main", epoch, anchors.to_vec(), &mut findings);
        for batch in log {
            anchored.batch(batch.position, &batch.digest, &mut findings);
        }
        let head = log.last().map_or(0, |batch| batch.position);
        let proved = anchored.finish(head, &mut findings);
        let positions = findings
            .in_order()
            .0
            .iter()
            .map(|finding| finding.position)
            .collect();
        (proved.held, proved.proved_to, proved.lost, positions)
    }

    #[test]
    fn what_was_signed_must_be_there() {
        let log = [anchor(1, 1), anchor(1, 2), anchor(1, 5)];
        assert_eq!(judged(1, &log, &log), (3, 5, 0, vec![]));
        assert_eq!(
            judged(1, &[anchor(1, 3)], &log),
            (0, 0, 0, vec![Some(3)]),
            "no batch ends there"
        );
        assert_eq!(
            judged(1, &[anchor(1, 2), anchor(1, 9)], &log),
            (1, 2, 0, vec![Some(9)]),
            "the tail was cut"
        );
        assert_eq!(
            judged(1, &log, &[anchor(1, 1), anchor(0, 2), anchor(0, 5)]).3,
            [Some(2)],
            "the chain was computed anew"
        );
        assert_eq!(judged(1, &[anchor(2, 1)], &log).3, [Some(1)]);
    }

    #[test]
    fn a_restore_ends_what_the_epoch_before_it_proves() {
        let log = [anchor(1, 1), anchor(1, 2), anchor(2, 3), anchor(2, 4)];
        let mut anchors = [
            anchor(1, 1),
            anchor(1, 2),
            anchor(1, 3),
            anchor(1, 4),
            anchor(2, 2),
            anchor(2, 4),
        ];
        // The first anchor of an epoch is signed over the restored head.
        anchors[4].digest = anchor(1, 2).digest;
        assert_eq!(judged(2, &anchors, &log), (4, 4, 2, vec![]));
        let changed = [anchor(0, 1), anchor(1, 2), anchor(2, 3), anchor(2, 4)];
        assert_eq!(judged(2, &anchors, &changed).3, [Some(1)]);
    }
}
