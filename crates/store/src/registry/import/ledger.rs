//! The facts that an import remembers of its file from one batch to the next, so that the rows of one registration need not
//! stand together. Eight bytes a registration; nothing in it tells who a participant is.
//!
//! A file says all places, groups and the name of whom it names, but only its end tells what it does not say. So nothing is
//! taken from a registration before: what a batch does not say stays, is noted as unseen, and is taken away at the end unless
//! a later batch says it. An alert that goes out meanwhile, or an import that breaks off, misses no participant.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

use klaroen_domain::id::ParticipantId;
use klaroen_domain::participant::ParticipantKind;

use super::Imported;
use super::prepared::Prepared;
use crate::engine::seal::Recipient;
use crate::registry::participants::{ParticipantDraft, Place};

/// Registrations that are remembered. Beyond that many, rows of one registration must stand together.
const REMEMBERED_MAX: usize = 4_000_000;
/// Registrations of which something is unseen (about 100 bytes each: 20 MB). Beyond that many, what a batch does not say goes
/// at once, and comes back with the batch that says it.
const UNSEEN_MAX: usize = 200_000;

/// How many registrations a file named, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New ones.
    pub created: u64,
    /// Changed ones.
    pub updated: u64,
    /// Those that said the same before.
    pub unchanged: u64,
}

/// The facts that one file has said so far.
pub struct Ledger {
    pub(super) dry_run: bool,
    /// How many places a registration may have.
    pub(super) places_max: usize,
    hasher: RandomState,
    /// Keys of registrations that are new or changed, and of the others.
    changed: HashSet<u64>,
    unchanged: HashSet<u64>,
    /// Registrations with an `external_id` that the file named by their number alone.
    by_number: HashSet<u64>,
    unseen: HashMap<u64, Unseen>,
    unseen_max: usize,
    /// In a dry run, in which the registry does not say what earlier batches said.
    told: HashSet<u64>,
    counts: Counts,
}

/// The parts of a registration that the file has not said so far.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    pub(super) id: ParticipantId,
    pub(super) facts: Vec<u64>,
}

/// How a file names a registration.
#[derive(Clone, Copy, Hash)]
pub(super) enum Key<'a> {
    ExternalId(&'a str),
    Number(Recipient),
}

/// One thing that a row says.
#[derive(Clone, Copy, Hash)]
pub(super) enum Fact<'a> {
    Place {
        label: &'a str,
        latitude: u64,
        longitude: u64,
        hours: Option<u64>,
    },
    Group(&'a str),
    /// That it has a name.
    Name,
    /// The name that the registry had when it became unseen: only that one is taken away. No row says it, so it is not among
    /// [`Ledger::facts`].
    NameIs(&'a str),
    /// These stand in no list of what is unseen: no row can leave them out.
    Kind(&'a str),
    Number(Recipient),
    /// That there are so many places.
    Places(usize),
}

/// The result of a draft, to be noted once the batch is committed.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) key: u64,
    pub(super) imported: Imported,
    /// The parts of it that are unseen from now on.
    pub(super) unseen: Option<Unseen>,
    /// The key of the registration that it means by its number, if that has an `external_id`.
    pub(super) by_number: Option<u64>,
    /// For a dry run.
    pub(super) told: Vec<u64>,
}

impl Ledger {
    /// Of a file of which nothing is read. A registration has at most `places_max` places; `dry_run`: nothing is written.
    #[must_use]
    pub fn new(places_max: usize, dry_run: bool) -> Self {
        Self {
            dry_run,
            places_max,
            hasher: RandomState::new(),
            changed: HashSet::new(),
            unchanged: HashSet::new(),
            by_number: HashSet::new(),
            unseen: HashMap::new(),
            unseen_max: UNSEEN_MAX,
            told: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// The next batch is the last: what it does not say can go at once.
    #[must_use]
    pub fn before_the_last_batch(self) -> Self {
        Self { unseen_max: 0, ..self }
    }

    /// Whether nothing is written.
    #[must_use]
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The changes that the file made so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn key(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn key_of(&self, prepared: &Prepared<'_>) -> u64 {
        self.key(match &prepared.draft.external_id {
            Some(id) => Key::ExternalId(id),
            None => Key::Number(prepared.recipient),
        })
    }

    /// Whether an earlier batch wrote what has this key.
    pub(super) fn has(&self, key: u64) -> bool {
        self.changed.contains(&key) || self.unchanged.contains(&key)
    }

    /// Whether an earlier batch meant the registration with this key by its number.
    pub(super) fn has_by_number(&self, key: u64) -> bool {
        self.by_number.contains(&key)
    }

    /// How many registrations more may be noted as not seen whole.
    pub(super) fn room(&self) -> usize {
        if self.is_full() { 0 } else { self.unseen_max.saturating_sub(self.unseen.len()) }
    }

    pub(super) fn unseen(&self, key: u64) -> Option<&Unseen> {
        self.unseen.get(&key)
    }

    pub(super) fn fact(&self, fact: Fact<'_>) -> u64 {
        self.hasher.hash_one(fact)
    }

    pub(super) fn place(&self, place: &Place) -> u64 {
        let hours = place.hours.as_ref().map(|hours| self.hasher.hash_one(hours.to_string()));
        // The bits, as in the fingerprint.
        let [latitude, longitude] = [place.location.latitude(), place.location.longitude()].map(f64::to_bits);
        self.fact(Fact::Place { label: &place.label, latitude, longitude, hours })
    }

    /// Everything that a later row could leave out.
    pub(super) fn facts<'a>(&'a self, draft: &'a ParticipantDraft) -> impl Iterator<Item = u64> + 'a {
        let places = draft.places.iter().map(|place| self.place(place));
        let groups = draft.groups.iter().map(|code| self.fact(Fact::Group(code)));
        places.chain(groups).chain(draft.name.as_ref().map(|_| self.fact(Fact::Name)))
    }

    /// Whether an earlier batch of a dry run said so of what has this key.
    pub(super) fn was_told(&self, key: u64, fact: u64) -> bool {
        self.told.contains(&self.hasher.hash_one((key, fact)))
    }

    /// Whether an earlier batch of a dry run assigned this number to a registration with an `external_id`.
    pub(super) fn was_told_with_id(&self, number: Recipient) -> bool {
        self.told.contains(&self.with_id(number))
    }

    fn with_id(&self, number: Recipient) -> u64 {
        self.hasher.hash_one(("a number with an id", number))
    }

    /// How many places a dry run said of what has this key.
    pub(super) fn places_told(&self, key: u64) -> usize {
        let told = |n: &usize| self.was_told(key, self.fact(Fact::Places(*n)));
        (1..=self.places_max).take_while(told).count()
    }

    /// The facts that a dry run has to remember of the first draft with a key.
    pub(super) fn to_tell(&self, key: u64, prepared: &Prepared<'_>) -> Vec<u64> {
        if !self.dry_run {
            return Vec::new();
        }
        let draft = prepared.draft;
        let places = (1..=draft.places.len()).map(|n| self.fact(Fact::Places(n)));
        let facts = self.facts(draft).chain([self.kind(draft.kind), self.number(prepared.recipient)]);
        let mut told = self.to_tell_more(key, facts.chain(places));
        if draft.external_id.is_some() {
            told.push(self.with_id(prepared.recipient));
        }
        told
    }

    /// And of a later one.
    pub(super) fn to_tell_more(&self, key: u64, facts: impl Iterator<Item = u64>) -> Vec<u64> {
        if self.dry_run { facts.map(|fact| self.hasher.hash_one((key, fact))).collect() } else { Vec::new() }
    }

    pub(super) fn kind(&self, kind: ParticipantKind) -> u64 {
        self.fact(Fact::Kind(kind.as_str()))
    }

    pub(super) fn number(&self, number: Recipient) -> u64 {
        self.fact(Fact::Number(number))
    }

    fn is_full(&self) -> bool {
        self.changed.len() + self.unchanged.len() >= REMEMBERED_MAX
    }

    /// Notes what a batch came to.
    pub(super) fn note(&mut self, notes: Vec<Note>) {
        for Note { key, imported, unseen, by_number, told } in notes {
            let is_change = imported != Imported::Unchanged;
            if self.has(key) {
                if is_change {
                    self.note_change(key);
                }
            } else {
                let count = match imported {
                    Imported::Created => &mut self.counts.created,
                    Imported::Updated => &mut self.counts.updated,
                    _ => &mut self.counts.unchanged,
                };
                *count += 1;
                if self.is_full() {
                    continue;
                }
                let keys = if is_change { &mut self.changed } else { &mut self.unchanged };
                keys.insert(key);
            }
            self.by_number.extend(by_number);
            self.told.extend(told);
            match unseen.filter(|unseen| !unseen.facts.is_empty()) {
                Some(unseen) => self.unseen.insert(key, unseen),
                None => self.unseen.remove(&key),
            };
        }
    }

    /// A registration that said the same so far turns out to be changed.
    fn note_change(&mut self, key: u64) {
        if self.unchanged.remove(&key) {
            self.changed.insert(key);
            self.counts.unchanged -= 1;
            self.counts.updated += 1;
        }
    }

    /// Some of those of which something was not seen.
    pub(super) fn some_unseen(&self, max: usize) -> Vec<(u64, Unseen)> {
        self.unseen.iter().take(max).map(|(key, unseen)| (*key, unseen.clone())).collect()
    }

    /// Notes that what was not seen of a registration is gone; `changed`: that it was there.
    pub(super) fn note_removal(&mut self, key: u64, changed: bool) {
        self.unseen.remove(&key);
        if changed {
            self.note_change(key);
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("counts", &self.counts).finish_non_exhaustive()
    }
}
