//! A registration and what more is said of it. Pure.

use super::ledger::{Fact, Ledger};
use crate::registry::participants::ParticipantDraft;

/// A registration with what more was said of it.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) draft: ParticipantDraft,
    /// Whether it says more than before.
    pub(super) changed: bool,
    /// The facts that were said for the first time in this file.
    pub(super) said: Vec<u64>,
    /// Places of the addition that are too many.
    pub(super) too_many: Vec<usize>,
}

/// Returns the content of `draft` together with the parts of `stored` that are kept until the end of the file, and those
/// parts. `None` if nothing is kept, or if so much is kept that places would pile up: imports that break off one after the
/// other must not.
pub(super) fn keep(
    ledger: &Ledger,
    stored: &ParticipantDraft,
    draft: &ParticipantDraft,
) -> Option<(ParticipantDraft, Vec<u64>)> {
    let said: Vec<u64> = ledger.facts(draft).collect();
    let mut unseen: Vec<u64> = ledger.facts(stored).filter(|fact| !said.contains(fact)).collect();
    let unseen_name = stored.name.as_deref().filter(|_| draft.name.is_none());
    unseen.extend(unseen_name.map(|name| ledger.fact(Fact::NameIs(name))));
    // In the order of what is there, so that a file that says the same in several batches changes nothing.
    let mut whole = ParticipantDraft { places: stored.places.clone(), ..draft.clone() };
    whole.places.extend(draft.places.iter().filter(|place| !stored.places.contains(place)).cloned());
    add_groups(&mut whole, &stored.groups);
    whole.name = whole.name.or_else(|| stored.name.clone());
    let keeps = !unseen.is_empty() && whole.places.len() <= ledger.places_max.saturating_mul(2);
    keeps.then_some((whole, unseen))
}

/// Adds the places, the groups and the name of `more` to `stored`, which is what the registry has. The rest was said before.
/// `said` tells what the file said before, among it `places` places.
pub(super) fn add(
    ledger: &Ledger,
    stored: ParticipantDraft,
    more: &ParticipantDraft,
    places: usize,
    said: impl Fn(u64) -> bool,
) -> Merged {
    let mut merged = Merged { draft: stored, changed: false, said: Vec::new(), too_many: Vec::new() };
    let mut places = places;
    for (index, place) in more.places.iter().enumerate() {
        let fact = ledger.place(place);
        if said(fact) || merged.said.contains(&fact) {
            continue;
        }
        if places >= ledger.places_max {
            merged.too_many.push(index);
            continue;
        }
        places += 1;
        merged.said.extend([fact, ledger.fact(Fact::Places(places))]);
        if !merged.draft.places.contains(place) {
            merged.draft.places.push(place.clone());
            merged.changed = true;
        }
    }
    for code in &more.groups {
        let fact = ledger.fact(Fact::Group(code));
        if said(fact) {
            continue;
        }
        merged.changed |= !merged.draft.groups.contains(code);
        merged.said.push(fact);
    }
    add_groups(&mut merged.draft, &more.groups);
    let name = ledger.fact(Fact::Name);
    if more.name.is_some() && !said(name) {
        merged.changed |= merged.draft.name != more.name;
        // Nothing is unseen any more, the old name neither.
        merged.said.extend(merged.draft.name.as_deref().map(|old| ledger.fact(Fact::NameIs(old))));
        merged.said.push(name);
        merged.draft.name.clone_from(&more.name);
    }
    merged
}

/// `stored` without what the file did not say; `None` if that is nothing. Its name stays if it is no longer the one that was
/// unseen, and its last place too: another writer has changed it, or the others, meanwhile.
pub(super) fn without(
    ledger: &Ledger,
    stored: &ParticipantDraft,
    unseen: &[u64],
) -> Option<ParticipantDraft> {
    let stays = |fact: u64| !unseen.contains(&fact);
    let mut left = stored.clone();
    left.places.retain(|place| stays(ledger.place(place)));
    if left.places.is_empty() {
        left.places.clone_from(&stored.places);
    }
    left.groups.retain(|code| stays(ledger.fact(Fact::Group(code))));
    left.name =
        left.name.filter(|name| stays(ledger.fact(Fact::Name)) || stays(ledger.fact(Fact::NameIs(name))));
    (left != *stored).then_some(left)
}

fn add_groups(draft: &mut ParticipantDraft, more: &[String]) {
    draft.groups.extend_from_slice(more);
    draft.groups.sort_unstable();
    draft.groups.dedup();
}
