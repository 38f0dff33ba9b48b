//! Rows that belong together: several rows with one key are several places of one participant.
//!
//! Rows are gathered into a window of registrations; one with a key that is in the window adds its place there, wherever
//! it stands. The store finds the rows that belong to a registration of an earlier window.

use std::collections::HashMap;

use klaroen_store::participants::ParticipantDraft;

use super::row::CellProblem;
use crate::request::limits::PLACES_MAX;

/// Rows of a window, whatever its size: beyond that, SQLite's cache would not hold the pages of its transaction.
const ROWS_MAX: usize = 8_000;

/// A registration with the rows that it was made of.
pub struct Gathered {
    /// The registration.
    pub draft: ParticipantDraft,
    /// The rows that it was made of.
    pub rows: Vec<GatheredRow>,
}

/// One row of a registration.
pub struct GatheredRow {
    /// Its line.
    pub line: u64,
    /// Which place of the registration is its own.
    pub place: usize,
    /// The groups that it names.
    pub groups: Vec<String>,
}

/// Registrations that are gathered and not yet written.
#[derive(Default)]
pub struct Grouping {
    gathered: Vec<Gathered>,
    by_key: HashMap<String, usize>,
    /// In all registrations.
    rows: usize,
}

/// The key of a registration, `external_id` or the number, with what no two rows with that key may say differently. Which of
/// them is wrong, the store knows, which was told of the ones before.
fn key_of(draft: &ParticipantDraft) -> String {
    let id = draft.external_id.as_deref().unwrap_or_default();
    format!("{} {} {id}", draft.kind.as_str(), draft.phone.expose())
}

impl Grouping {
    /// Whether `draft` needs a window of `size` registrations to be written first: for lack of room, or because the same few
    /// registrations come again and again.
    #[must_use]
    pub fn is_full_for(&self, draft: &ParticipantDraft, size: usize) -> bool {
        self.rows >= ROWS_MAX.min(size * PLACES_MAX)
            || self.gathered.len() >= size && !self.by_key.contains_key(&key_of(draft))
    }

    /// Adds the row on `line`.
    ///
    /// # Errors
    /// If it is a place too many.
    pub fn add(&mut self, line: u64, draft: ParticipantDraft) -> Result<(), CellProblem> {
        let key = key_of(&draft);
        let groups = draft.groups.clone();
        if let Some(at) = self.by_key.get(&key) {
            let there = &mut self.gathered[*at];
            let place = merge(&mut there.draft, draft)?;
            there.rows.push(GatheredRow { line, place, groups });
        } else {
            self.by_key.insert(key, self.gathered.len());
            self.gathered.push(Gathered { draft, rows: vec![GatheredRow { line, place: 0, groups }] });
        }
        self.rows += 1;
        Ok(())
    }

    /// Takes what is gathered. The window is empty afterwards.
    pub fn take(&mut self) -> Vec<Gathered> {
        self.rows = 0;
        self.by_key.clear();
        std::mem::take(&mut self.gathered)
    }
}

/// A place that is one more than a participant has.
pub fn too_many_places() -> CellProblem {
    let reason = format!("a participant has at most {PLACES_MAX} places");
    CellProblem::whole(reason)
}

/// Adds the place, the groups and the name of another row to a registration, and tells which place it is. The first row says
/// the rest.
///
/// # Errors
/// If there are too many places.
fn merge(draft: &mut ParticipantDraft, other: ParticipantDraft) -> Result<usize, CellProblem> {
    let mut its_place = 0;
    for place in other.places {
        its_place = draft.places.iter().position(|there| *there == place).unwrap_or(draft.places.len());
        if its_place >= PLACES_MAX {
            return Err(too_many_places());
        }
        if its_place == draft.places.len() {
            draft.places.push(place);
        }
    }
    draft.groups.extend(other.groups);
    draft.groups.sort_unstable();
    draft.groups.dedup();
    if draft.name.is_none() {
        draft.name = other.name;
    }
    Ok(its_place)
}

#[cfg(test)]
mod tests {
    use klaroen_domain::participant::{Language, ParticipantKind};
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::point::Point;
    use klaroen_domain::time::Timestamp;
    use klaroen_store::participants::{Consent, Place};

    use super::*;

    fn draft(external_id: &str, phone: &str, label: &str) -> ParticipantDraft {
        ParticipantDraft {
            kind: ParticipantKind::Resident,
            name: None,
            phone: PhoneNumber::from_sealed(phone.into()),
            language: Language::Nl,
            places: vec![Place {
                label: label.into(),
                location: Point::wgs84(52.09, 5.12).unwrap(),
                hours: None,
            }],
            groups: vec![],
            external_id: Some(external_id.into()),
            paused_until: None,
            consent: Consent { given_at: Timestamp::from_millis(0), method: "form".into() },
        }
    }

    #[test]
    fn rows_of_one_key_gather_wherever_they_stand() {
        let mut grouping = Grouping::default();
        for (line, id, label) in [(2, "a", "home"), (3, "b", "home"), (4, "a", "work"), (5, "a", "home")] {
            assert!(grouping.add(line, draft(id, "+31612345678", label)).is_ok());
        }
        let gathered = grouping.take();
        assert_eq!((gathered.len(), gathered[0].draft.places.len()), (2, 2));
        let rows: Vec<_> = gathered[0].rows.iter().map(|row| (row.line, row.place)).collect();
        assert_eq!(rows, [(2, 0), (4, 1), (5, 0)]);
        assert!(grouping.take().is_empty());
    }

    #[test]
    fn a_window_is_full_of_registrations_or_of_rows() {
        let mut grouping = Grouping::default();
        let (this, other) = (|| draft("a", "+31612345678", "home"), || draft("b", "+31612345678", "home"));
        for line in 0..PLACES_MAX as u64 {
            assert!(!grouping.is_full_for(&this(), 1));
            assert!(grouping.add(line, this()).is_ok());
            assert!(grouping.is_full_for(&other(), 1));
        }
        assert!(grouping.is_full_for(&this(), 1));
    }

    #[test]
    fn a_window_for_many_holds_no_more_rows_than_fit_the_cache() {
        let mut grouping = Grouping::default();
        for n in 0..ROWS_MAX {
            let draft = draft(&(n / PLACES_MAX).to_string(), "+31612345678", &(n % PLACES_MAX).to_string());
            assert!(!grouping.is_full_for(&draft, ROWS_MAX));
            assert!(grouping.add(2, draft).is_ok());
        }
        assert!(grouping.is_full_for(&draft("0", "+31612345678", "0"), ROWS_MAX));
    }

    #[test]
    fn rows_that_contradict_each_other_stay_apart_and_a_place_too_many_is_refused() {
        let mut grouping = Grouping::default();
        assert!(grouping.add(2, draft("a", "+31612345678", "0")).is_ok());
        assert!(grouping.add(3, draft("a", "+31612345679", "1")).is_ok());
        for place in 1..PLACES_MAX {
            assert!(grouping.add(4, draft("a", "+31612345678", &place.to_string())).is_ok());
        }
        assert!(grouping.add(5, draft("a", "+31612345678", "one too many")).is_err());
        assert_eq!(grouping.take().len(), 2);
    }
}
