//! Which alert an SMS from a participant is about: [`attribute`].
//!
//! An SMS does not say what it answers. The phone may have received several alerts, of several organisations, and the newest
//! message on it may be the end of one while the subject of another still walks the streets.

use std::cmp::Reverse;

use crate::alert::Priority;
use crate::id::{AlertId, OrganisationId, ParticipantId};
use crate::time::Timestamp;

/// The shortest reference that counts as a code, in characters: a shorter one ("A1", "112") is a road or a number to call.
const CODE_MIN: usize = 4;

/// An alert that a phone received, or may have received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The alert.
    pub alert: AlertId,
    /// Whose alert it is.
    pub organisation: OrganisationId,
    /// The participant who was told. `None` if the number was told as such, or the participant is not known any more.
    pub participant: Option<ParticipantId>,
    /// Whether the alert was active when the SMS came.
    pub active: bool,
    /// Whether the alert is an exercise.
    pub exercise: bool,
    /// The priority of the alert.
    pub priority: Priority,
    /// The reference of its incident: the code that an answer may name.
    pub reference: Option<String>,
    /// When its last message reached the phone, or may have.
    pub at: Timestamp,
}

/// The alerts that an SMS belongs to, the newest first: at most one of each organisation. None if `heard` is empty.
///
/// 1. Active alerts come first. Among them real ones come before exercises, then those of the highest priority.
/// 2. If no alert is active, those come first whose reference stands in the text.
/// 3. If the text names none, real alerts come before exercises. The priority of an alert that is over does not count.
///
/// If alerts of several organisations remain, the SMS belongs to the newest of each: none of them can tell that it was not
/// meant for it.
#[must_use]
pub fn attribute<'a>(heard: &'a [Heard], text: &str) -> Vec<&'a Heard> {
    let mut candidates: Vec<&Heard> = heard.iter().filter(|heard| heard.active).collect();
    if candidates.is_empty() {
        let named = |heard: &&Heard| heard.reference.as_deref().is_some_and(|code| names(text, code));
        candidates = heard.iter().filter(named).collect();
    }
    if candidates.is_empty() {
        candidates = heard.iter().collect();
    }
    let Some(best) = candidates.iter().map(|heard| class(heard)).min() else { return Vec::new() };
    candidates.retain(|heard| class(heard) == best);
    candidates.sort_by_key(|heard| Reverse((heard.at, heard.alert.0)));
    let mut chosen: Vec<&Heard> = Vec::new();
    for heard in candidates {
        if chosen.iter().all(|earlier| earlier.organisation != heard.organisation) {
            chosen.push(heard);
        }
    }
    chosen
}

/// The order of candidates before their age: lower comes first.
fn class(heard: &Heard) -> (bool, Option<Priority>) {
    (heard.exercise, heard.active.then_some(heard.priority))
}

/// Whether `code` stands in the text as a word of its own. A code has a digit: a reference of letters alone may be a word that
/// people use.
fn names(text: &str, code: &str) -> bool {
    let code = code.trim().to_lowercase();
    if code.chars().count() < CODE_MIN || !code.chars().any(|ch| ch.is_ascii_digit()) {
        return false;
    }
    let text = text.to_lowercase();
    text.match_indices(&code).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use uuid::Uuid;

    use super::*;

    const LIFE: Priority = Priority::LifeThreatening;
    const URGENT: Priority = Priority::Urgent;
    const NORMAL: Priority = Priority::Normal;

    /// Alert `id` of an organisation, heard of at minute `id` of a day.
    fn heard(id: u8, organisation: u8, active: bool, exercise: bool, priority: Priority) -> Heard {
        Heard {
            alert: AlertId(Uuid::from_u128(id.into())),
            organisation: OrganisationId(Uuid::from_u128(organisation.into())),
            participant: None,
            active,
            exercise,
            priority,
            reference: Some(format!("2026-{id:04}")),
            at: Timestamp::from_millis(i64::from(id) * 60_000),
        }
    }

    fn ids(heard: &[Heard], text: &str) -> Vec<u128> {
        attribute(heard, text).into_iter().map(|heard| heard.alert.0.as_u128()).collect()
    }

    #[rstest]
    #[case::nothing_was_heard(&[], &[])]
    #[case::active_before_ended(&[(1, 1, true, false, NORMAL), (2, 1, false, false, LIFE)], &[1])]
    #[case::active_exercise_before_ended(&[(1, 1, true, true, NORMAL), (2, 1, false, false, LIFE)], &[1])]
    #[case::real_before_exercise(&[(1, 1, true, false, NORMAL), (2, 1, true, true, LIFE)], &[1])]
    #[case::higher_priority_first(&[(1, 1, true, false, LIFE), (2, 1, true, false, URGENT), (3, 1, true, false, NORMAL)], &[1])]
    #[case::newest_of_equals(&[(1, 1, true, false, URGENT), (3, 1, true, false, URGENT), (2, 1, true, false, URGENT)], &[3])]
    #[case::newest_that_is_over(&[(1, 1, false, false, LIFE), (2, 1, false, false, NORMAL)], &[2])]
    #[case::real_before_exercise_that_is_over(&[(1, 1, false, false, NORMAL), (2, 1, false, true, LIFE)], &[1])]
    #[case::both_of_two_organisations(&[(1, 1, true, false, URGENT), (2, 2, true, false, URGENT)], &[2, 1])]
    #[case::the_newest_of_each(&[(1, 1, true, false, LIFE), (2, 2, true, false, LIFE), (3, 1, true, false, LIFE)], &[3, 2])]
    #[case::not_another_ones_exercise(&[(1, 1, true, false, LIFE), (2, 2, true, true, LIFE)], &[1])]
    #[case::not_another_ones_lower_priority(&[(1, 1, true, false, LIFE), (2, 2, true, false, NORMAL)], &[1])]
    #[case::not_another_ones_end(&[(1, 1, true, false, NORMAL), (2, 2, false, false, LIFE)], &[1])]
    #[case::both_of_two_that_are_over(&[(1, 1, false, false, LIFE), (2, 2, false, false, NORMAL)], &[2, 1])]
    fn an_sms_belongs_to(#[case] alerts: &[(u8, u8, bool, bool, Priority)], #[case] expected: &[u128]) {
        let alerts: Vec<_> = alerts.iter().map(|&(i, o, a, e, p)| heard(i, o, a, e, p)).collect();
        assert_eq!(ids(&alerts, "Ik zie hem"), expected);
    }

    #[rstest]
    #[case("Over 2026-0001: hij liep richting station", &[1])]
    #[case("zaak (2026-0001)", &[1])]
    #[case("2026-0002 was een rode auto", &[2])]
    #[case::part_of_a_number("nummer 12026-0001", &[3])]
    #[case::part_of_a_number("2026-00012", &[3])]
    #[case::another_one("2025-0001", &[3])]
    #[case::no_code("rode auto", &[3])]
    fn a_code_decides_between_alerts_that_are_over(#[case] text: &str, #[case] expected: &[u128]) {
        let over = [1, 2, 3].map(|id| heard(id, 1, false, id == 2, URGENT));
        assert_eq!(ids(&over, text), expected);
        let mut active = over.to_vec();
        active.push(heard(4, 1, true, true, NORMAL));
        assert_eq!(ids(&active, text), [4], "an active alert comes first");
    }

    #[rstest]
    #[case("A1", "hij rijdt op de A1")]
    #[case("112", "ik heb 112 gebeld")]
    #[case("brug", "bij de brug")]
    #[case("", "")]
    fn words_that_people_use_are_no_codes(#[case] reference: &str, #[case] text: &str) {
        let mut over = [heard(1, 1, false, false, URGENT), heard(2, 1, false, false, URGENT)];
        over[0].reference = Some(reference.to_owned());
        assert_eq!(ids(&over, text), [2]);
    }

    proptest! {
        #[test]
        fn the_order_of_the_rows_does_not_matter_and_an_active_alert_never_loses(
            rows in proptest::collection::vec((0..3_u8, any::<bool>(), any::<bool>(), 0..3_usize), 1..8),
            turn in any::<proptest::sample::Index>(),
        ) {
            let mut all: Vec<_> = (1_u8..).zip(&rows)
                .map(|(id, (organisation, active, exercise, p))| heard(id, *organisation, *active, *exercise, Priority::ALL[*p]))
                .collect();
            let chosen = ids(&all, "x");
            prop_assert!(!chosen.is_empty());
            let any_active = all.iter().any(|heard| heard.active);
            prop_assert!(attribute(&all, "x").iter().all(|heard| heard.active == any_active));
            let at = turn.index(all.len());
            all.rotate_left(at);
            prop_assert_eq!(ids(&all, "x"), chosen);
        }
    }
}
