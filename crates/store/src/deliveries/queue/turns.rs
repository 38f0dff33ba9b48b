//! Whose turn it is. Within a lane every message gets an equal share of each claim, so that a large alert does not hold up a
//! small one; what does not divide goes round, from claim to claim.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use super::{Candidates, ClaimRequest, DueMessage, Leased, Taken, Whose, all_candidates, lease, share};
use crate::Result;
use crate::engine::db::Tx;

/// The turns that one channel's claims remember: the message of each lane that was the last to get more than others. A slow
/// gateway claims one delivery at a time. Without this memory, the oldest message would have every one.
#[derive(Clone, Debug, Default)]
pub struct Turns(BTreeMap<i64, Uuid>);

/// A message that has something due.
struct InLane {
    id: Uuid,
    priority: String,
    /// No other gateway may take it.
    pinned: bool,
}

/// The messages of a lane that have something due, in the order of their turns.
pub(super) struct Lane {
    number: i64,
    messages: VecDeque<InLane>,
}

impl Turns {
    /// Groups messages, sorted by lane and id, into lanes. Each begins behind the message that had its turn last.
    pub(super) fn lanes(&self, due: Vec<DueMessage>) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = Vec::new();
        for (id, number, priority, pinned) in due {
            let message = InLane { id, priority, pinned };
            match lanes.last_mut() {
                Some(lane) if lane.number == number => lane.messages.push_back(message),
                _ => lanes.push(Lane { number, messages: VecDeque::from([message]) }),
            }
        }
        for Lane { number, messages } in &mut lanes {
            let had = self.0.get(number);
            let next = messages.iter().position(|message| Some(&message.id) > had).unwrap_or(0);
            messages.rotate_left(next);
        }
        lanes
    }
}

/// Shares the rest of the limit among the messages of one lane, in turns, until it is used up or they are empty. The
/// deliveries that the claim suppressed take no share.
pub(super) async fn claim_lane(
    tx: &mut Tx,
    request: &ClaimRequest<'_>,
    whose: &mut Whose<'_>,
    turns: &mut Turns,
    lane: Lane,
    taken: &mut Taken,
) -> Result<()> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let Lane { number, messages: mut round } = lane;
    let mut left = limit.saturating_sub(taken.leased.len());
    let mut shares: Vec<VecDeque<Leased>> = Vec::new();
    // Each round gives every message the same share, and the first few one more. A message that had more than its share gets
    // another round.
    while left > 0 && !round.is_empty() {
        let (share, more_for) = (left / round.len(), left % round.len());
        // Those for whom this round has nothing are the first of the next.
        let mut next = if share == 0 { round.split_off(more_for) } else { VecDeque::new() };
        for (nth, message) in round.into_iter().enumerate() {
            let InLane { id, priority, pinned } = &message;
            let mut share = share;
            if nth < more_for {
                share += 1;
                turns.0.insert(number, *id);
            }
            let (rows, more) = match whose {
                // Whatever a gateway's part is, the deliveries that no other gateway may take are its own.
                Whose::Part(part, scan) if !pinned => {
                    share::candidates(tx, request, part, scan, (*id, priority), share).await?
                }
                _ => {
                    let rows = all_candidates(tx, request, *id, share).await?;
                    let more = rows.leased.len() + rows.suppressed.len() == share;
                    (rows, more)
                }
            };
            let Candidates { leased, suppressed } = rows;
            lease(tx, request, &leased, &suppressed).await?;
            if more {
                next.push_back(message);
            }
            taken.suppressed += suppressed.len() as u64;
            left -= leased.len();
            shares.push(leased.into());
        }
        round = next;
    }
    // In turns on the wire, too.
    while !shares.is_empty() {
        shares.retain_mut(|share| share.pop_front().map(|leased| taken.leased.push(leased)).is_some());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(turns: &Turns, messages: &[u128]) -> Vec<u128> {
        let due = messages.iter().map(|id| (Uuid::from_u128(*id), 2, String::new(), false)).collect();
        let lanes = turns.lanes(due);
        lanes.into_iter().flat_map(|lane| lane.messages).map(|message| message.id.as_u128()).collect()
    }

    #[test]
    fn a_lane_begins_behind_the_message_that_had_its_turn() {
        let after = |id| Turns(BTreeMap::from([(2, Uuid::from_u128(id))]));
        assert_eq!(order(&Turns::default(), &[1, 3, 5]), [1, 3, 5]);
        assert_eq!(order(&after(1), &[1, 3, 5]), [3, 5, 1]);
        assert_eq!(order(&after(5), &[1, 3, 5]), [1, 3, 5]);
        // It has nothing due any more, and others have come.
        assert_eq!(order(&after(4), &[1, 3, 5, 7]), [5, 7, 1, 3]);
        let elsewhere = Turns(BTreeMap::from([(3, Uuid::from_u128(1))]));
        assert_eq!(order(&elsewhere, &[1, 3]), [1, 3]);
    }
}
