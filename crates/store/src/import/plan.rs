//! What an import does to the registry: decided for the whole batch, draft by draft as if each were written before the
//! next is looked at. Pure.

use std::collections::HashMap;

use klaroen_domain::id::ParticipantId;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use super::Imported;
use crate::groups;
use crate::participants::ParticipantDraft;
use crate::participants::write::{Write, fingerprint};
use crate::seal::{Keys, Recipient};

/// A draft and who rings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed<'a> {
    pub(super) draft: &'a ParticipantDraft,
    pub(super) recipient: Recipient,
}

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
        batch: &[Keyed<'_>],
        registered: Vec<Registered>,
        known: &HashMap<String, Uuid>,
    ) -> Self {
        let mut planner = Planner::new(registered);
        let results = batch
            .iter()
            .enumerate()
            .map(|(index, keyed)| {
                let unknown = groups::missing(&keyed.draft.groups, known);
                if unknown.is_empty() {
                    planner.take(keys, index, keyed)
                } else {
                    Imported::UnknownGroups(unknown)
                }
            })
            .collect();
        Self { results, targets: planner.targets }
    }

    /// One write for each registration that is new or changes.
    pub(super) fn writes<'a>(&'a self, batch: &[Keyed<'a>]) -> Vec<Write<'a>> {
        self.targets
            .iter()
            .filter_map(|target| {
                Some(Write {
                    id: target.now.id,
                    new: target.new,
                    draft: batch.get(target.draft?)?.draft,
                    external_id: target.now.external_id.as_deref(),
                    paused_until: target.now.paused_until,
                    recipient: target.now.recipient,
                    fingerprint: target.now.fingerprint,
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

    fn find(&self, keyed: &Keyed<'_>) -> Option<usize> {
        if let Some(external_id) = &keyed.draft.external_id {
            return self.by_external_id.get(external_id).copied();
        }
        let candidates = self.by_recipient.get(&keyed.recipient)?.iter().copied();
        // The oldest, so that the same file means the same registration each time.
        candidates
            .filter(|index| self.targets[*index].now.recipient == keyed.recipient)
            .min_by_key(|index| self.targets[*index].now.id)
    }

    fn take(&mut self, keys: &Keys, index: usize, keyed: &Keyed<'_>) -> Imported {
        let found = self.find(keyed);
        let registered = found.map(|at| &self.targets[at].now);
        let external_id = keyed
            .draft
            .external_id
            .clone()
            .or_else(|| registered.and_then(|registered| registered.external_id.clone()));
        let now = Registered {
            id: registered.map_or_else(ParticipantId::generate, |registered| registered.id),
            recipient: keyed.recipient,
            fingerprint: fingerprint(keys, keyed.draft, external_id.as_deref()),
            external_id,
            paused_until: keyed.draft.paused_until.or(registered.and_then(|r| r.paused_until)),
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
