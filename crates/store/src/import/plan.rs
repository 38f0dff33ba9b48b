//! What an import does to the registry: decided for the whole batch, draft by draft as if each were written before the
//! next is looked at. Pure.

use std::collections::HashMap;

use klaroen_domain::id::ParticipantId;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use super::Imported;
use super::prepared::Prepared;
use crate::groups;
use crate::participants::write::{Write, fingerprint};
use crate::seal::{Keys, Recipient};

/// A registration, as far as an import looks at it.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) id: ParticipantId,
    pub(super) external_id: Option<String>,
    pub(super) recipient: Recipient,
    pub(super) fingerprint: [u8; 16],
    pub(super) paused_until: Option<Timestamp>,
}

/// A registration that the batch may write.
#[derive(Debug)]
struct Target {
    now: Registered,
    new: bool,
    /// The last draft that changes it.
    draft: Option<usize>,
}

/// The answers, and what is to be written for them.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) results: Vec<Imported>,
    targets: Vec<Target>,
}

impl Plan {
    /// Decides. `known` holds the groups that exist.
    pub(super) fn new(
        keys: &Keys,
        batch: &[Prepared<'_>],
        registered: Vec<Registered>,
        known: &HashMap<String, Uuid>,
    ) -> Self {
        let mut planner = Planner::new(registered);
        let results = batch
            .iter()
            .enumerate()
            .map(|(index, prepared)| {
                let unknown = groups::missing(&prepared.draft.groups, known);
                if unknown.is_empty() {
                    planner.take(keys, index, prepared)
                } else {
                    Imported::UnknownGroups(unknown)
                }
            })
            .collect();
        Self { results, targets: planner.targets }
    }

    /// One write for each registration that is new or changes.
    pub(super) fn writes<'a>(&'a self, batch: &'a [Prepared<'a>]) -> Vec<Write<'a>> {
        self.targets
            .iter()
            .filter_map(|target| {
                let prepared = batch.get(target.draft?)?;
                Some(Write {
                    id: target.now.id,
                    new: target.new,
                    draft: prepared.draft,
                    external_id: target.now.external_id.as_deref(),
                    paused_until: target.now.paused_until,
                    recipient: target.now.recipient,
                    fingerprint: target.now.fingerprint,
                    // They hold for a new registration with the id that was thought of, and for no other.
                    rows: prepared.rows.filter(|_| target.new && target.now.id == prepared.id),
                })
            })
            .collect()
    }
}

#[derive(Default)]
struct Planner {
    targets: Vec<Target>,
    by_external_id: HashMap<String, usize>,
    /// Every target that has, or had, the number.
    by_recipient: HashMap<Recipient, Vec<usize>>,
}

impl Planner {
    fn new(registered: Vec<Registered>) -> Self {
        let mut planner = Self::default();
        for now in registered {
            planner.add(Target { now, new: false, draft: None });
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

    fn find(&self, prepared: &Prepared<'_>) -> Option<usize> {
        if let Some(external_id) = &prepared.draft.external_id {
            return self.by_external_id.get(external_id).copied();
        }
        let candidates = self.by_recipient.get(&prepared.recipient)?.iter().copied();
        // The oldest, so that the same file means the same registration each time.
        candidates
            .filter(|index| self.targets[*index].now.recipient == prepared.recipient)
            .min_by_key(|index| self.targets[*index].now.id)
    }

    fn take(&mut self, keys: &Keys, index: usize, prepared: &Prepared<'_>) -> Imported {
        let found = self.find(prepared);
        let registered = found.map(|at| &self.targets[at].now);
        let external_id = prepared
            .draft
            .external_id
            .clone()
            .or_else(|| registered.and_then(|registered| registered.external_id.clone()));
        let now = Registered {
            id: registered.map_or(prepared.id, |registered| registered.id),
            recipient: prepared.recipient,
            fingerprint: if external_id == prepared.draft.external_id {
                prepared.fingerprint
            } else {
                fingerprint(keys, prepared.draft, external_id.as_deref())
            },
            external_id,
            paused_until: prepared.draft.paused_until.or(registered.and_then(|r| r.paused_until)),
        };
        let Some(at) = found else {
            self.add(Target { now, new: true, draft: Some(index) });
            return Imported::Created;
        };
        let target = &mut self.targets[at];
        if target.now.fingerprint == now.fingerprint && target.now.paused_until == now.paused_until {
            return Imported::Unchanged;
        }
        if target.now.recipient != now.recipient {
            self.by_recipient.entry(now.recipient).or_default().push(at);
        }
        target.now = now;
        target.draft = Some(index);
        Imported::Updated
    }
}
