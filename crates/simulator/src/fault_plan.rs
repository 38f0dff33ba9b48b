//! The fate of a message: a pure function of the seed, the destination and how many submits
//! that destination had before. Nothing here depends on time or on the order of arrival.

use crate::faults::Faults;

/// The answer to the submitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The message is taken and answered after so many milliseconds.
    Taken { after_ms: u64 },
    /// The message is taken; no answer ever comes.
    TakenInSilence,
    /// The message is taken and the connection drops.
    TakenThenClosed,
    /// The message is not taken and the connection drops.
    Closed,
    /// 0x14.
    QueueFull { after_ms: u64 },
    /// 0x0B.
    NumberRefused { after_ms: u64 },
}

/// How a message that was taken ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinalState {
    Delivered,
    Undelivered,
    Expired,
    Rejected,
}

/// The receipts of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent draws; every combination can occur")]
pub(crate) struct Receipts {
    pub none: bool,
    pub twice: bool,
    pub before_the_answer: bool,
    pub older_one_after: bool,
}

/// All that happens to one submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub answer: Answer,
    pub state: FinalState,
    pub settles_after_ms: u64,
    pub receipts: Receipts,
}

/// A source of draws for one subject; each question gets its own draw, so that raising one share
/// does not change who is hit by another.
#[derive(Clone, Copy)]
pub(crate) struct Dice(u64);

/// The questions. The numbers are part of what a seed means: never reuse one (21 was another).
#[derive(Clone, Copy)]
pub(crate) enum Question {
    QueueFull = 1,
    Close = 2,
    Lost = 3,
    Late = 4,
    LateDelay = 5,
    ResponseDelay = 6,
    State = 7,
    SettleDelay = 8,
    NoReceipt = 9,
    Twice = 10,
    Early = 11,
    Reordered = 12,
    NumberRefused = 13,
    Reply = 14,
    Throttled = 15,
    Bare = 16,
    Garbled = 17,
    NeverSettled = 18,
    UnknownStatus = 19,
    NumberBlocked = 20,
    Ignored = 22,
}

impl Dice {
    pub(crate) fn of(seed: u64, number: &str, nth: u64) -> Self {
        // FNV-1a over the digits, then mixed: cheap, and the same on every machine.
        let digits = number.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(mix(mix(mix(seed) ^ digits) ^ nth))
    }

    fn draw(self, question: Question) -> u64 {
        mix(self.0 ^ mix(question as u64))
    }

    /// From 0 (included) to 1 (excluded).
    fn fraction(self, question: Question) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let numerator = (self.draw(question) >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }

    pub(crate) fn hits(self, question: Question, share: f64) -> bool {
        share > 0.0 && self.fraction(question) < share
    }

    fn within(self, question: Question, (from, to): (u64, u64)) -> u64 {
        if to <= from { from } else { from + self.draw(question) % (to - from).saturating_add(1) }
    }
}

/// The finaliser of `SplitMix64`: every input bit moves every output bit.
pub(crate) const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Fate {
    /// The fate of the `nth` submit (from 0) to `number`.
    pub(crate) fn of(faults: &Faults, seed: u64, number: &str, nth: u32) -> Self {
        let dice = Dice::of(seed, number, u64::from(nth) + 1);
        Self {
            answer: answer(faults, dice, Dice::of(seed, number, 0)),
            state: state(faults, dice),
            settles_after_ms: dice.within(Question::SettleDelay, faults.receipt_delay_ms),
            receipts: Receipts {
                none: dice.hits(Question::NoReceipt, faults.no_receipt),
                twice: dice.hits(Question::Twice, faults.duplicate_receipt),
                before_the_answer: dice.hits(Question::Early, faults.early_receipt),
                older_one_after: dice.hits(Question::Reordered, faults.reordered_receipt),
            },
        }
    }
}

fn answer(faults: &Faults, dice: Dice, number_dice: Dice) -> Answer {
    let after_ms = dice.within(Question::ResponseDelay, faults.response_delay_ms);
    if number_dice.hits(Question::NumberRefused, faults.reject_number) {
        return Answer::NumberRefused { after_ms };
    }
    if dice.hits(Question::QueueFull, faults.queue_full) {
        return Answer::QueueFull { after_ms };
    }
    // One draw for both ways to close, so that the two shares add up.
    if dice.hits(Question::Close, faults.close_before_taking) {
        return Answer::Closed;
    }
    if dice.hits(Question::Close, faults.close_before_taking + faults.close_after_taking) {
        return Answer::TakenThenClosed;
    }
    if dice.hits(Question::Lost, faults.lost_response) {
        return Answer::TakenInSilence;
    }
    if dice.hits(Question::Late, faults.late_response) {
        let after_ms = dice.within(Question::LateDelay, faults.late_response_delay_ms);
        return Answer::Taken { after_ms };
    }
    Answer::Taken { after_ms }
}

fn state(faults: &Faults, dice: Dice) -> FinalState {
    let draw = dice.fraction(Question::State);
    if draw < faults.undelivered {
        FinalState::Undelivered
    } else if draw < faults.undelivered + faults.expired {
        FinalState::Expired
    } else if draw < faults.undelivered + faults.expired + faults.rejected {
        FinalState::Rejected
    } else {
        FinalState::Delivered
    }
}

/// Which of `shares` the handset of `number` answers its `nth` ring (from 0) with; `None` for none.
pub(crate) fn reply(shares: impl Iterator<Item = f64>, seed: u64, number: &str, nth: u32) -> Option<usize> {
    let draw = Dice::of(seed, number, u64::from(nth)).fraction(Question::Reply);
    let mut sum = 0.0;
    for (index, share) in shares.enumerate() {
        sum += share;
        if draw < sum {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn count(faults: &Faults, seed: u64, hit: impl Fn(Fate) -> bool) -> usize {
        (0..10_000).filter(|i| hit(Fate::of(faults, seed, &format!("3161{i:07}"), 0))).count()
    }

    #[test]
    fn without_faults_everything_is_delivered_at_once() {
        let perfect = Fate::of(&Faults::default(), 7, "31612345678", 3);
        assert_eq!(perfect.answer, Answer::Taken { after_ms: 0 });
        assert_eq!(perfect.state, FinalState::Delivered);
        assert_eq!(perfect.settles_after_ms, 0);
        assert!(!perfect.receipts.none && !perfect.receipts.twice);
    }

    #[test]
    fn a_seed_repeats_and_another_seed_or_number_or_submit_differs() {
        let faults = Faults { lost_response: 0.5, ..Faults::default() };
        let run = |seed, prefix: &str, nth| -> Vec<Fate> {
            (0..64).map(|i| Fate::of(&faults, seed, &format!("{prefix}{i}"), nth)).collect()
        };
        assert_eq!(run(1, "316", 0), run(1, "316", 0));
        assert_ne!(run(1, "316", 0), run(2, "316", 0));
        assert_ne!(run(1, "316", 0), run(1, "316", 1));
        assert_ne!(run(1, "316", 0), run(1, "326", 0));
    }

    #[rstest]
    #[case(Faults { queue_full: 0.1, ..Faults::default() }, |f: Fate| matches!(f.answer, Answer::QueueFull { .. }))]
    #[case(Faults { reject_number: 0.1, ..Faults::default() }, |f: Fate| matches!(f.answer, Answer::NumberRefused { .. }))]
    #[case(Faults { close_before_taking: 0.1, close_after_taking: 0.2, ..Faults::default() }, |f: Fate| f.answer == Answer::Closed)]
    #[case(Faults { close_before_taking: 0.2, close_after_taking: 0.1, ..Faults::default() }, |f: Fate| f.answer == Answer::TakenThenClosed)]
    #[case(Faults { lost_response: 0.1, ..Faults::default() }, |f: Fate| f.answer == Answer::TakenInSilence)]
    #[case(Faults { late_response: 0.1, ..Faults::default() }, |f: Fate| f.answer == Answer::Taken { after_ms: 5_000 })]
    #[case(Faults { undelivered: 0.1, expired: 0.2, ..Faults::default() }, |f: Fate| f.state == FinalState::Undelivered)]
    #[case(Faults { undelivered: 0.2, expired: 0.1, ..Faults::default() }, |f: Fate| f.state == FinalState::Expired)]
    #[case(Faults { expired: 0.3, rejected: 0.1, ..Faults::default() }, |f: Fate| f.state == FinalState::Rejected)]
    #[case(Faults { no_receipt: 0.1, ..Faults::default() }, |f: Fate| f.receipts.none)]
    #[case(Faults { duplicate_receipt: 0.1, ..Faults::default() }, |f: Fate| f.receipts.twice)]
    #[case(Faults { early_receipt: 0.1, ..Faults::default() }, |f: Fate| f.receipts.before_the_answer)]
    #[case(Faults { reordered_receipt: 0.1, ..Faults::default() }, |f: Fate| f.receipts.older_one_after)]
    fn a_share_hits_that_share(#[case] faults: Faults, #[case] hit: fn(Fate) -> bool) {
        // A tenth of 10,000 draws; five standard deviations are 150.
        let hits = count(&faults, 42, hit);
        assert!((850..=1_150).contains(&hits), "{hits} of 10,000");
    }

    #[test]
    fn a_refused_number_is_refused_every_time() {
        let faults = Faults { reject_number: 0.5, ..Faults::default() };
        for i in 0..100 {
            let number = format!("316{i}");
            let first = Fate::of(&faults, 1, &number, 0).answer;
            assert!((1..20).all(|nth| Fate::of(&faults, 1, &number, nth).answer == first));
        }
    }

    #[test]
    fn delays_cover_their_range_and_no_more() {
        let faults = Faults { receipt_delay_ms: (10, 12), ..Faults::default() };
        let seen: std::collections::BTreeSet<u64> =
            (0..100).map(|nth| Fate::of(&faults, 1, "316", nth).settles_after_ms).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 11, 12]);
    }

    #[test]
    fn replies_follow_their_shares() {
        let counts = (0..10_000).fold([0; 3], |mut counts, i| {
            match reply([0.3, 0.1].into_iter(), 1, &format!("316{i}"), 0) {
                Some(index) => counts[index] += 1,
                None => counts[2] += 1,
            }
            counts
        });
        assert!((2_700..=3_300).contains(&counts[0]), "{counts:?}");
        assert!((850..=1_150).contains(&counts[1]), "{counts:?}");
    }
}
