//! The changes that an import makes to the registry. They are decided for the whole batch, draft by draft as if each were
//! written before the next is looked at. Pure.

use std::collections::HashMap;

use klaroen_domain::id::ParticipantId;
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use super::ledger::{Key, Ledger, Note, Unseen};
use super::merge;
use super::prepared::Prepared;
use super::{Answer, Imported};
use crate::engine::seal::{Keys, Recipient};
use crate::registry::groups;
use crate::registry::participants::ParticipantDraft;
use crate::registry::participants::write::{Write, fingerprint};

/// A registration, as far as an import looks at it.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) id: ParticipantId,
    pub(super) external_id: Option<String>,
    pub(super) recipient: Recipient,
    pub(super) fingerprint: [u8; 16],
    pub(super) paused_until: Option<Timestamp>,
    /// All that it says, if that may be needed.
    pub(super) stored: Option<ParticipantDraft>,
}

/// A registration that the batch may write.
#[derive(Debug)]
struct Target {
    now: Registered,
    new: bool,
    /// How this batch named it.
    named: Option<Named>,
    /// The content to write.
    content: Option<Content>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    ByExternalId,
    ByNumber,
}

#[derive(Debug)]
enum Content {
    /// The draft of the batch, as it is.
    Draft(usize),
    /// One with what was there before.
    Merged(Box<ParticipantDraft>),
}

/// The answers, what is to be written for them, and what is to be noted then.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) answers: Vec<Answer>,
    pub(super) notes: Vec<Note>,
    targets: Vec<Target>,
}

impl Plan {
    /// Decides. `known` holds the groups that exist.
    pub(super) fn new(
        keys: &Keys,
        ledger: &Ledger,
        batch: &[Prepared<'_>],
        registered: Vec<Registered>,
        known: &HashMap<String, Uuid>,
    ) -> Self {
        let mut planner = Planner::new(keys, ledger, registered);
        let answers = batch
            .iter()
            .enumerate()
            .map(|(index, prepared)| {
                let unknown = groups::missing(&prepared.draft.groups, known);
                if unknown.is_empty() {
                    planner.take(index, prepared)
                } else {
                    Imported::UnknownGroups(unknown).into()
                }
            })
            .collect();
        Self { answers, notes: planner.notes, targets: planner.targets }
    }

    /// One write for each registration that is new or changes.
    pub(super) fn writes<'a>(&'a self, batch: &'a [Prepared<'a>]) -> Vec<Write<'a>> {
        self.targets
            .iter()
            .filter_map(|target| {
                let (draft, prepared) = match target.content.as_ref()? {
                    Content::Draft(index) => batch.get(*index).map(|p| (p.draft, Some(p)))?,
                    Content::Merged(draft) => (&**draft, None),
                };
                Some(Write {
                    id: target.now.id,
                    new: target.new,
                    draft,
                    external_id: target.now.external_id.as_deref(),
                    paused_until: target.now.paused_until,
                    recipient: target.now.recipient,
                    fingerprint: target.now.fingerprint,
                    // They hold for a new registration with the id that was thought of, and for no other.
                    rows: prepared.filter(|p| target.new && target.now.id == p.id).and_then(|p| p.rows),
                })
            })
            .collect()
    }
}

struct Planner<'a> {
    keys: &'a Keys,
    ledger: &'a Ledger,
    targets: Vec<Target>,
    by_external_id: HashMap<String, usize>,
    /// Every target that has, or had, the number.
    by_recipient: HashMap<Recipient, Vec<usize>>,
    notes: Vec<Note>,
    /// The facts of the drafts that were taken, on which no two drafts with one key may differ.
    taken: HashMap<u64, (Recipient, ParticipantKind)>,
    /// Registrations more that may be noted as not seen whole.
    room: usize,
}

impl<'a> Planner<'a> {
    fn new(keys: &'a Keys, ledger: &'a Ledger, registered: Vec<Registered>) -> Self {
        let mut planner = Self {
            keys,
            ledger,
            targets: Vec::with_capacity(registered.len()),
            by_external_id: HashMap::new(),
            by_recipient: HashMap::new(),
            notes: Vec::new(),
            taken: HashMap::new(),
            room: ledger.room(),
        };
        for now in registered {
            planner.add(Target { now, new: false, named: None, content: None });
        }
        planner
    }

    fn add(&mut self, target: Target) {
        let index = self.targets.len();
        if let Some(external_id) = &target.now.external_id {
            self.by_external_id.insert(external_id.clone(), index);
        }
        self.by_recipient.entry(target.now.recipient).or_default().push(index);
        self.targets.push(target);
    }

    /// The registration that a draft means. No two keys of a file mean the same one: each would replace what the other says.
    fn find(&self, prepared: &Prepared<'_>) -> Result<Option<usize>, Imported> {
        let Some(external_id) = &prepared.draft.external_id else { return self.find_by_number(prepared) };
        let found = self.by_external_id.get(external_id).copied();
        if found.is_some_and(|at| self.is_named_by_number(at)) {
            return Err(Imported::NamedByNumber);
        }
        Ok(found)
    }

    /// The one without an `external_id`; else the oldest, so that the same file means the same registration each time.
    fn find_by_number(&self, prepared: &Prepared<'_>) -> Result<Option<usize>, Imported> {
        let number = prepared.recipient;
        let candidates = self.by_recipient.get(&number).map_or(&[][..], Vec::as_slice);
        let has_number = |at: &usize| self.targets[*at].now.recipient == number && !self.was_moved(*at);
        let candidates: Vec<usize> = candidates.iter().copied().filter(has_number).collect();
        let oldest = |chosen: &dyn Fn(usize) -> bool| {
            candidates.iter().copied().filter(|at| chosen(*at)).min_by_key(|at| self.targets[*at].now.id)
        };
        let without_id = oldest(&|at| self.targets[at].now.external_id.is_none());
        if let Some(found) = without_id.or_else(|| oldest(&|at| self.is_named_by_number(at))) {
            return Ok(Some(found));
        }
        // A dry run made one without an external_id, of which the registry does not know.
        if self.ledger.dry_run && self.ledger.has(self.ledger.key_of(prepared)) {
            return Ok(None);
        }
        let named = candidates.iter().any(|at| self.is_named_by_external_id(*at));
        if named || self.ledger.was_told_with_id(number) {
            return Err(Imported::NamedByExternalId);
        }
        Ok(oldest(&|_| true))
    }

    fn external_key(&self, at: usize) -> Option<u64> {
        self.targets[at].now.external_id.as_deref().map(|id| self.ledger.key(Key::ExternalId(id)))
    }

    fn is_named_by_number(&self, at: usize) -> bool {
        self.targets[at].named == Some(Named::ByNumber)
            || self.external_key(at).is_some_and(|key| self.ledger.has_by_number(key))
    }

    fn is_named_by_external_id(&self, at: usize) -> bool {
        self.targets[at].named == Some(Named::ByExternalId)
            || self.external_key(at).is_some_and(|key| self.ledger.has(key))
    }

    /// Whether an earlier batch of a dry run assigned it another number.
    fn was_moved(&self, at: usize) -> bool {
        let number = self.ledger.number(self.targets[at].now.recipient);
        self.ledger.dry_run
            && self
                .external_key(at)
                .is_some_and(|key| self.ledger.has(key) && !self.ledger.was_told(key, number))
    }

    fn take(&mut self, index: usize, prepared: &Prepared<'_>) -> Answer {
        let key = self.ledger.key_of(prepared);
        let says = (prepared.recipient, prepared.draft.kind);
        let before = *self.taken.get(&key).unwrap_or(&says);
        if before != says {
            return Imported::Differs(if before.0 == says.0 { "kind" } else { "phone" }).into();
        }
        let found = match self.find(prepared) {
            Ok(found) => found,
            Err(refused) => return refused.into(),
        };
        let answer = self.take_found(found, key, index, prepared);
        if !matches!(answer.imported, Imported::Differs(_)) {
            self.taken.insert(key, says);
        }
        answer
    }

    fn take_found(
        &mut self,
        found: Option<usize>,
        key: u64,
        index: usize,
        prepared: &Prepared<'_>,
    ) -> Answer {
        // One that an earlier batch wrote and that is gone was erased meanwhile: it begins anew.
        if self.ledger.has(key) && (found.is_some() || self.ledger.dry_run) {
            return self.add_to_earlier(found, key, prepared);
        }
        self.put(found, key, index, prepared).into()
    }

    /// The first that the file says of a registration: it replaces what is there.
    fn put(&mut self, found: Option<usize>, key: u64, index: usize, prepared: &Prepared<'_>) -> Imported {
        let told = self.ledger.to_tell(key, prepared);
        let mut note = Note { key, imported: Imported::Created, unseen: None, by_number: None, told };
        let by_external_id = prepared.draft.external_id.is_some();
        let named = Some(if by_external_id { Named::ByExternalId } else { Named::ByNumber });
        let Some(at) = found else {
            let now = self.as_drafted(None, prepared, prepared.draft);
            self.add(Target { now, new: true, named, content: Some(Content::Draft(index)) });
            self.notes.push(note);
            return Imported::Created;
        };
        note.by_number = self.external_key(at).filter(|_| !by_external_id);
        let before = &self.targets[at].now;
        let mut now = self.as_drafted(Some(before), prepared, prepared.draft);
        let mut content = Content::Draft(index);
        let is_same = |now: &Registered| {
            now.fingerprint == before.fingerprint && now.paused_until == before.paused_until
        };
        if !is_same(&now)
            && self.room > 0
            && let Some((whole, facts)) =
                before.stored.as_ref().and_then(|s| merge::keep(self.ledger, s, prepared.draft))
        {
            now = self.as_drafted(Some(before), prepared, &whole);
            content = Content::Merged(Box::new(whole));
            note.unseen = Some(Unseen { id: before.id, facts });
        }
        note.imported = match is_same(&now) {
            // An earlier try made it, of which the importer could not say whether it was committed.
            true if before.id == prepared.id => Imported::Created,
            true => Imported::Unchanged,
            false => Imported::Updated,
        };
        self.room -= usize::from(note.unseen.is_some());
        if note.imported == Imported::Updated {
            self.change(at, now, content);
        }
        self.targets[at].named = named;
        let imported = note.imported.clone();
        self.notes.push(note);
        imported
    }

    /// More of a registration of which an earlier batch said something.
    fn add_to_earlier(&mut self, found: Option<usize>, key: u64, prepared: &Prepared<'_>) -> Answer {
        let before = found.map(|at| &self.targets[at].now);
        let stored = before.and_then(|before| before.stored.clone());
        let unseen = self.ledger.unseen(key);
        let is_unseen = |fact: &u64| unseen.is_some_and(|unseen| unseen.facts.contains(fact));
        let there: Vec<u64> =
            stored.iter().flat_map(|s| self.ledger.facts(s)).filter(|f| !is_unseen(f)).collect();
        let said = |fact: u64| {
            if self.ledger.dry_run { self.ledger.was_told(key, fact) } else { there.contains(&fact) }
        };
        let (same_kind, same_number) = if self.ledger.dry_run {
            (said(self.ledger.kind(prepared.draft.kind)), said(self.ledger.number(prepared.recipient)))
        } else {
            let kind = stored.as_ref().map(|stored| stored.kind);
            (kind == Some(prepared.draft.kind), before.is_some_and(|b| b.recipient == prepared.recipient))
        };
        if !same_number {
            return Imported::Differs("phone").into();
        }
        if !same_kind {
            return Imported::Differs("kind").into();
        }
        let places = if self.ledger.dry_run {
            self.ledger.places_told(key)
        } else {
            stored.iter().flat_map(|s| &s.places).filter(|p| !is_unseen(&self.ledger.place(p))).count()
        };
        let nothing =
            || ParticipantDraft { places: vec![], groups: vec![], name: None, ..prepared.draft.clone() };
        let merged = merge::add(self.ledger, stored.unwrap_or_else(nothing), prepared.draft, places, said);
        let unseen = unseen.map(|unseen| {
            let facts = unseen.facts.iter().copied().filter(|fact| !merged.said.contains(fact)).collect();
            Unseen { id: unseen.id, facts }
        });
        let imported = if merged.changed { Imported::Updated } else { Imported::Unchanged };
        let told = self.ledger.to_tell_more(key, merged.said.iter().copied());
        let named = if prepared.draft.external_id.is_some() { Named::ByExternalId } else { Named::ByNumber };
        if let Some(at) = found {
            if merged.changed {
                let before = &self.targets[at].now;
                let mut now = before.clone();
                now.fingerprint = fingerprint(self.keys, &merged.draft, before.external_id.as_deref());
                self.change(at, now, Content::Merged(Box::new(merged.draft)));
            }
            self.targets[at].named = Some(named);
        }
        self.notes.push(Note { key, imported: imported.clone(), unseen, by_number: None, told });
        Answer { imported, too_many: merged.too_many }
    }

    /// A registration that says what `draft` says; what that does not say, an `external_id` or a pause, stays as it is.
    fn as_drafted(
        &self,
        before: Option<&Registered>,
        prepared: &Prepared<'_>,
        draft: &ParticipantDraft,
    ) -> Registered {
        let external_id = prepared
            .draft
            .external_id
            .clone()
            .or_else(|| before.and_then(|before| before.external_id.clone()));
        let is_as_prepared = std::ptr::eq(draft, prepared.draft) && external_id == prepared.draft.external_id;
        Registered {
            id: before.map_or(prepared.id, |before| before.id),
            recipient: prepared.recipient,
            fingerprint: if is_as_prepared {
                prepared.fingerprint
            } else {
                fingerprint(self.keys, draft, external_id.as_deref())
            },
            external_id,
            paused_until: prepared.draft.paused_until.or(before.and_then(|before| before.paused_until)),
            stored: None,
        }
    }

    fn change(&mut self, at: usize, now: Registered, content: Content) {
        let target = &mut self.targets[at];
        if target.now.recipient != now.recipient {
            self.by_recipient.entry(now.recipient).or_default().push(at);
        }
        target.now = now;
        target.content = Some(content);
    }
}
