//! Rows that belong together: several rows with one key are several places of one participant.
//!
//! Rows are gathered into a window of registrations; one with a key that is in the window adds its place there, wherever
//! it stands. A key that comes back after its window was written is remembered by its hash: its places are added to those
//! that the same file gave before. So the order of a file does not matter, and memory stays small.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use klaroen_store::participants::ParticipantDraft;

use super::row::CellProblem;
use crate::v1::participant_request::PLACES_MAX;

/// Registrations that one transaction writes.
pub const WINDOW: usize = 1_000;
/// Keys that are remembered (eight bytes each). Beyond that many participants rows of one key must stand together.
const REMEMBERED_MAX: usize = 4_000_000;

/// A registration with the rows that it was made of.
pub struct Gathered {
    /// What the rows say.
    pub draft: ParticipantDraft,
    /// Their lines.
    pub lines: Vec<u64>,
    /// An earlier window of the same file wrote this participant.
    pub again: bool,
}

/// What is gathered and not yet written.
#[derive(Default)]
pub struct Window {
    gathered: Vec<Gathered>,
    by_key: HashMap<String, usize>,
    hasher: RandomState,
    written: HashSet<u64>,
}

/// The key of a registration: `external_id`, else the number.
fn key_of(draft: &ParticipantDraft) -> String {
    match &draft.external_id {
        Some(id) => format!("id {id}"),
        None => format!("phone {}", draft.phone.expose()),
    }
}

impl Window {
    /// Whether `draft` needs the window to be written first.
    #[must_use]
    pub fn is_full_for(&self, draft: &ParticipantDraft) -> bool {
        self.gathered.len() >= WINDOW && !self.by_key.contains_key(&key_of(draft))
    }

    /// Adds the row on `line`.
    ///
    /// # Errors
    /// Where it contradicts an earlier row with the same key, or is a place too many.
    pub fn add(&mut self, line: u64, draft: ParticipantDraft) -> Result<(), CellProblem> {
        let key = key_of(&draft);
        if let Some(place) = self.by_key.get(&key) {
            let there = &mut self.gathered[*place];
            merge(&mut there.draft, draft, there.lines.first().copied().unwrap_or(line))?;
            there.lines.push(line);
            return Ok(());
        }
        let again = self.written.contains(&self.hasher.hash_one(&key));
        self.by_key.insert(key, self.gathered.len());
        self.gathered.push(Gathered { draft, lines: vec![line], again });
        Ok(())
    }

    /// What is gathered; the window is empty afterwards and remembers the keys.
    pub fn take(&mut self) -> Vec<Gathered> {
        for key in self.by_key.keys() {
            if self.written.len() < REMEMBERED_MAX {
                self.written.insert(self.hasher.hash_one(key));
            }
        }
        self.by_key.clear();
        std::mem::take(&mut self.gathered)
    }
}

/// Adds the places and groups of another row to a registration. Its first row says the rest.
///
/// # Errors
/// Where the rows contradict each other, or there are too many places.
pub fn merge(draft: &mut ParticipantDraft, other: ParticipantDraft, line: u64) -> Result<(), CellProblem> {
    let contradicts = |column, value: String| {
        Err(CellProblem { column, value, reason: format!("differs from row {line}, which has the same key") })
    };
    if draft.phone != other.phone {
        return contradicts("phone", other.phone.expose().to_owned());
    }
    if draft.kind != other.kind {
        return contradicts("kind", String::new());
    }
    for place in other.places {
        if draft.places.contains(&place) {
            continue;
        }
        if draft.places.len() >= PLACES_MAX {
            let reason = format!("a participant has at most {PLACES_MAX} places");
            return Err(CellProblem { column: "", value: String::new(), reason });
        }
        draft.places.push(place);
    }
    draft.groups.extend(other.groups);
    draft.groups.sort_unstable();
    draft.groups.dedup();
    if draft.name.is_none() {
        draft.name = other.name;
    }
    Ok(())
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
        let mut window = Window::default();
        for (line, id, label) in [(2, "a", "home"), (3, "b", "home"), (4, "a", "work"), (5, "a", "home")] {
            assert!(window.add(line, draft(id, "+31612345678", label)).is_ok());
        }
        let gathered = window.take();
        assert_eq!(gathered.len(), 2);
        assert_eq!((gathered[0].draft.places.len(), gathered[0].lines.as_slice()), (2, &[2, 4, 5][..]));
        assert!(window.add(6, draft("a", "+31612345678", "shop")).is_ok());
        assert!(window.add(7, draft("c", "+31612345678", "shop")).is_ok());
        let later: Vec<bool> = window.take().iter().map(|g| g.again).collect();
        assert_eq!(later, [true, false]);
    }

    #[test]
    fn rows_that_contradict_each_other_are_refused() {
        let mut window = Window::default();
        assert!(window.add(2, draft("a", "+31612345678", "0")).is_ok());
        let problem = window.add(3, draft("a", "+31612345679", "1")).err().unwrap();
        assert_eq!(problem.column, "phone");
        assert!(problem.reason.contains("row 2"));
        for place in 1..PLACES_MAX {
            assert!(window.add(4, draft("a", "+31612345678", &place.to_string())).is_ok());
        }
        assert!(window.add(5, draft("a", "+31612345678", "one too many")).is_err());
    }
}
