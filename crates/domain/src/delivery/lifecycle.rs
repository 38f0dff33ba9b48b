//! The order in which states may follow each other: [`advance`], and the table that tests it.

use super::DeliveryState;
use crate::outcome::ReceiptStatus;

/// How a delivery stands: its state, and whether an earlier attempt may have rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// Its state.
    pub state: DeliveryState,
    /// It was sent again after an answer was lost, so it may ring twice, or may have rung before it was stopped. Once true, it
    /// stays true.
    pub in_doubt: bool,
}

impl Life {
    /// Every one: each state, without a doubt and with one.
    pub const ALL: [Self; 22] = {
        let mut all = [Self { state: DeliveryState::Queued, in_doubt: false }; 22];
        let mut nth = 0;
        while nth < all.len() {
            all[nth] = Self { state: DeliveryState::ALL[nth / 2], in_doubt: nth % 2 == 1 };
            nth += 1;
        }
        all
    };
}

/// An event in the life of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryEvent {
    /// A worker leased it for submitting.
    Claimed,
    /// The participant has opted out, or has no number any more: found by the claim, or by the STOP for what is queued.
    OptedOut,
    /// The participant was erased.
    Erased,
    /// The alert was closed.
    Cancelled,
    /// The time of the message is over.
    Expired,
    /// Every gateway that could take it refuses the message.
    RefusedByAll,
    /// The provider took it.
    Accepted,
    /// Certainly not taken; try later.
    PutBack,
    /// Certainly not taken, and no time is left for another try.
    OutOfTime,
    /// Refused for this recipient, or for good.
    Rejected,
    /// The answer to the submit was lost: it may have been taken.
    AnswerLost,
    /// The lease ran out or its owner is gone: it may have been taken.
    LeaseLost,
    /// The policy for lost submits says: once more.
    Resend,
    /// The policy for lost submits says: leave it as it is.
    Held,
    /// A receipt came.
    Receipt(ReceiptStatus),
    /// No receipt came in time.
    ReceiptOverdue,
}

impl DeliveryEvent {
    /// Every one.
    pub const ALL: [Self; 19] = [
        Self::Claimed,
        Self::OptedOut,
        Self::Erased,
        Self::Cancelled,
        Self::Expired,
        Self::RefusedByAll,
        Self::Accepted,
        Self::PutBack,
        Self::OutOfTime,
        Self::Rejected,
        Self::AnswerLost,
        Self::LeaseLost,
        Self::Resend,
        Self::Held,
        Self::Receipt(ReceiptStatus::Underway),
        Self::Receipt(ReceiptStatus::Delivered),
        Self::Receipt(ReceiptStatus::Undelivered),
        Self::Receipt(ReceiptStatus::Unknown),
        Self::ReceiptOverdue,
    ];
}

/// Returns the life that follows from `event` in `life`: total, and the same life if the event says nothing new.
///
/// A receipt is evidence about the handset and outranks what we believed: `Delivered` is taken from every state and never
/// left. A final failure after `Delivered` is noise.
#[must_use]
#[expect(clippy::match_same_arms, reason = "each arm has its own reason, and merged ones would hide it")]
pub const fn advance(life: Life, event: DeliveryEvent) -> Life {
    use DeliveryEvent as E;
    use DeliveryState as S;
    use ReceiptStatus as R;
    let state = match (life.state, event) {
        (_, E::Receipt(R::Delivered)) => S::Delivered,
        // A final failure settles whatever was on its way, and a receipt proves that it was: even of what waits to be sent
        // again after its answer was lost.
        (S::Queued | S::Sending | S::Sent | S::Unknown | S::NoReceipt, E::Receipt(R::Undelivered)) => {
            S::Undelivered
        }
        // A sign of life proves that it was taken.
        (S::Queued | S::Sending | S::Unknown, E::Receipt(R::Underway)) => S::Sent,
        (S::Sent, E::ReceiptOverdue) => S::NoReceipt,

        (S::Queued, E::Claimed) => S::Sending,
        (S::Queued, E::OptedOut | E::Erased) => unless_in_doubt(life, S::Suppressed),
        (S::Queued, E::Cancelled) => unless_in_doubt(life, S::Cancelled),
        (S::Queued, E::Expired) => unless_in_doubt(life, S::Expired),
        (S::Queued, E::RefusedByAll) => unless_in_doubt(life, S::Failed),

        // A late answer still settles an attempt whose lease was lost, and one that waits to be sent again.
        (S::Queued | S::Sending | S::Unknown, E::Accepted) => S::Sent,
        (S::Queued | S::Sending | S::Unknown, E::OutOfTime) => unless_in_doubt(life, S::Expired),
        (S::Sending | S::Unknown, E::Rejected) => unless_in_doubt(life, S::Failed),
        (S::Sending | S::Unknown, E::PutBack) => S::Queued,
        (S::Sending, E::AnswerLost | E::LeaseLost) => S::Unknown,
        (S::Unknown, E::Resend) => S::Queued,

        (state, _) => state,
    };
    // From now on it may ring twice.
    let in_doubt = life.in_doubt || matches!((life.state, event), (S::Unknown, E::Resend));
    Life { state, in_doubt }
}

/// Returns `state`, unless an earlier attempt may have rung: then it is not known that the phone did not ring.
const fn unless_in_doubt(life: Life, state: DeliveryState) -> DeliveryState {
    if life.in_doubt { DeliveryState::Unknown } else { state }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use DeliveryEvent as E;
    use DeliveryState as S;
    use ReceiptStatus as R;

    /// Every life and every event, in the order of [`Life::ALL`] and [`DeliveryEvent::ALL`]. A question mark is "in doubt", a
    /// dot is "stays".
    const TABLE: &str = "
        .            claimed  optedout   erased     cancelled expired refusedbyall accepted putback outoftime rejected answerlost leaselost resend  held underway delivered  undelivered  nothing overdue
        queued       sending  suppressed suppressed cancelled expired failed       sent     .       expired   .        .          .         .       .    sent     delivered  undelivered  .       .
        queued?      sending? unknown?   unknown?   unknown?  unknown? unknown?    sent?    .       unknown?  .        .          .         .       .    sent?    delivered? undelivered? .       .
        sending      .        .          .          .         .       .            sent     queued  expired   failed   unknown    unknown   .       .    sent     delivered  undelivered  .       .
        sending?     .        .          .          .         .       .            sent?    queued? unknown?  unknown? unknown?   unknown?  .       .    sent?    delivered? undelivered? .       .
        sent         .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  undelivered  .       no_receipt
        sent?        .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? undelivered? .       no_receipt?
        delivered    .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        .          .            .       .
        delivered?   .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        .          .            .       .
        undelivered  .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  .            .       .
        undelivered? .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? .            .       .
        failed       .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  .            .       .
        failed?      .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? .            .       .
        unknown      .        .          .          .         .       .            sent     queued  expired   failed   .          .         queued? .    sent     delivered  undelivered  .       .
        unknown?     .        .          .          .         .       .            sent?    queued? .         .        .          .         queued? .    sent?    delivered? undelivered? .       .
        expired      .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  .            .       .
        expired?     .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? .            .       .
        cancelled    .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  .            .       .
        cancelled?   .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? .            .       .
        suppressed   .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  .            .       .
        suppressed?  .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? .            .       .
        no_receipt   .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered  undelivered  .       .
        no_receipt?  .        .          .          .         .       .            .        .       .         .        .          .         .       .    .        delivered? undelivered? .       .
    ";

    fn life(word: &str) -> Life {
        let state = word.trim_end_matches('?').parse().unwrap();
        Life { state, in_doubt: word.ends_with('?') }
    }

    /// The head of its column.
    fn name(event: E) -> &'static str {
        match event {
            E::Claimed => "claimed",
            E::OptedOut => "optedout",
            E::Erased => "erased",
            E::Cancelled => "cancelled",
            E::Expired => "expired",
            E::RefusedByAll => "refusedbyall",
            E::Accepted => "accepted",
            E::PutBack => "putback",
            E::OutOfTime => "outoftime",
            E::Rejected => "rejected",
            E::AnswerLost => "answerlost",
            E::LeaseLost => "leaselost",
            E::Resend => "resend",
            E::Held => "held",
            E::Receipt(R::Underway) => "underway",
            E::Receipt(R::Delivered) => "delivered",
            E::Receipt(R::Undelivered) => "undelivered",
            E::Receipt(R::Unknown) => "nothing",
            E::ReceiptOverdue => "overdue",
        }
    }

    #[test]
    fn the_whole_table() {
        let mut rows = TABLE.trim().lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let head = rows.next().unwrap();
        assert_eq!(head[1..], E::ALL.map(name));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), Life::ALL.len());
        for (row, before) in rows.iter().zip(Life::ALL) {
            assert_eq!(life(row[0]), before);
            assert_eq!(row.len(), head.len(), "{before:?}");
            for (cell, event) in row[1..].iter().zip(E::ALL) {
                let expected = if *cell == "." { before } else { life(cell) };
                assert_eq!(advance(before, event), expected, "{before:?} after {event:?}");
            }
        }
    }

    /// All lives that some events lead to.
    fn reachable(from: Life, but: &[E]) -> BTreeSet<Life> {
        let mut seen = BTreeSet::from([from]);
        let mut left = vec![from];
        while let Some(life) = left.pop() {
            for event in E::ALL.into_iter().filter(|event| !but.contains(event)) {
                let next = advance(life, event);
                if seen.insert(next) {
                    left.push(next);
                }
            }
        }
        seen
    }

    #[test]
    fn nothing_takes_a_message_off_the_handset() {
        for in_doubt in [false, true] {
            let delivered = Life { state: S::Delivered, in_doubt };
            assert_eq!(reachable(delivered, &[]), BTreeSet::from([delivered]));
        }
    }

    #[test]
    fn a_doubt_is_never_forgotten() {
        for from in Life::ALL.into_iter().filter(|life| life.in_doubt) {
            assert!(reachable(from, &[]).iter().all(|life| life.in_doubt), "{from:?}");
        }
    }

    /// A phone that may have rung gets the follow-ups, so nothing but evidence may say that it did not.
    #[test]
    fn what_is_in_doubt_ends_reached_unless_a_receipt_says_otherwise() {
        let queued = Life { state: S::Queued, in_doubt: true };
        for life in reachable(queued, &[E::Receipt(R::Undelivered)]) {
            assert!(life.state.reached() || life.state.waiting(), "{life:?}");
        }
        assert!(reachable(queued, &[]).contains(&Life { state: S::Undelivered, in_doubt: true }));
    }

    /// Only a policy that was carried out makes a second ring possible.
    #[test]
    fn nothing_but_the_policy_sends_again_what_may_have_rung() {
        let queued = Life { state: S::Queued, in_doubt: false };
        assert!(reachable(queued, &[E::Resend]).iter().all(|life| !life.in_doubt));
        for life in Life::ALL {
            let next = advance(life, E::Resend);
            assert_eq!(next != life, life.state == S::Unknown, "{life:?}");
            assert!(next == life || next == Life { state: S::Queued, in_doubt: true }, "{life:?}");
        }
    }

    fn permutations(events: &[E]) -> Vec<Vec<E>> {
        if events.is_empty() {
            return vec![vec![]];
        }
        (0..events.len())
            .flat_map(|i| {
                let mut rest = events.to_vec();
                let first = rest.remove(i);
                permutations(&rest).into_iter().map(move |mut tail| {
                    tail.insert(0, first);
                    tail
                })
            })
            .collect()
    }

    fn end(from: Life, events: &[E]) -> Life {
        events.iter().fold(from, |life, event| advance(life, *event))
    }

    /// Every set of receipts, from every life.
    #[test]
    fn the_order_of_receipts_says_nothing() {
        let receipts = [R::Underway, R::Delivered, R::Undelivered, R::Unknown].map(E::Receipt);
        for from in Life::ALL {
            for set in 0..16 {
                let of_set: Vec<E> = receipts
                    .into_iter()
                    .enumerate()
                    .filter(|(i, _)| set >> i & 1 == 1)
                    .map(|(_, e)| e)
                    .collect();
                let expected = end(from, &of_set);
                for order in permutations(&of_set) {
                    assert_eq!(end(from, &order), expected, "{from:?} {order:?}");
                }
            }
        }
    }

    /// All 5! orders of an answer and four receipts end on the handset.
    #[test]
    fn an_answer_and_its_receipts_converge_in_every_order() {
        let events = [
            E::Accepted,
            E::Receipt(R::Underway),
            E::Receipt(R::Delivered),
            E::Receipt(R::Undelivered),
            E::Receipt(R::Delivered),
        ];
        for in_doubt in [false, true] {
            for order in permutations(&events) {
                let end = end(Life { state: S::Sending, in_doubt }, &order);
                assert_eq!(end, Life { state: S::Delivered, in_doubt }, "{order:?}");
            }
        }
    }

    #[test]
    fn a_failure_converges_in_every_order() {
        let events =
            [E::Accepted, E::Receipt(R::Underway), E::Receipt(R::Undelivered), E::Receipt(R::Unknown)];
        for in_doubt in [false, true] {
            for order in permutations(&events) {
                let end = end(Life { state: S::Sending, in_doubt }, &order);
                assert_eq!(end, Life { state: S::Undelivered, in_doubt }, "{order:?}");
            }
        }
    }

    #[test]
    fn repeating_an_event_changes_nothing() {
        for life in Life::ALL {
            for event in E::ALL {
                let once = advance(life, event);
                assert_eq!(advance(once, event), once, "{life:?} {event:?}");
            }
        }
    }
}
