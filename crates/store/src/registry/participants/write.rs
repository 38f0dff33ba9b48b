//! Writing registrations in sets, whether it is one or thousands.

use std::collections::HashMap;

use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::ParticipantDraft;
use super::rows::{self, Rows};
use crate::Result;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::hex::Hex;
use crate::engine::lock::OptOuts;
use crate::engine::seal::{Keys, Recipient};
use crate::engine::sql::sql;

const CLEAR_PLACES: Sql =
    sql!("DELETE FROM places WHERE participant_id IN {uuids($1)} AND organisation_id = $2");
const CLEAR_MEMBERSHIPS: Sql =
    sql!("DELETE FROM memberships WHERE participant_id IN {uuids($1)} AND organisation_id = $2");

/// A registration as it is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    /// Its row, new or not.
    pub(crate) id: ParticipantId,
    /// Whether there is nothing to replace.
    pub(crate) new: bool,
    /// The content of the registration.
    pub(crate) draft: &'a ParticipantDraft,
    /// The caller's own key: an import without one leaves what is there.
    pub(crate) external_id: Option<&'a str>,
    /// No alerts before this moment: an import without one leaves what is there.
    pub(crate) paused_until: Option<Timestamp>,
    /// Who rings.
    pub(crate) recipient: Recipient,
    /// The value that [`fingerprint`] returned.
    pub(crate) fingerprint: [u8; 16],
    /// Its rows, if they were made before.
    pub(crate) rows: Option<&'a Rows>,
}

/// Without a tree of values first, which would take as long as all the rest.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| unreachable!("a row has no keys that are not texts"))
}

/// A keyed hash of all that an import can change. A pause is not among it: an import that says nothing of one leaves it.
pub(crate) fn fingerprint(keys: &Keys, draft: &ParticipantDraft, external_id: Option<&str>) -> [u8; 16] {
    // The bits of a coordinate, because two that differ in the last one differ. The order of places counts: it is kept.
    let places: Vec<_> = draft
        .places
        .iter()
        .map(|place| {
            let (latitude, longitude) = (place.location.latitude(), place.location.longitude());
            let hours = place.hours.as_ref().map(ToString::to_string);
            (&place.label, latitude.to_bits(), longitude.to_bits(), hours)
        })
        .collect();
    let content = to_json(&(
        draft.kind.as_str(),
        &draft.name,
        draft.phone.expose(),
        draft.language.as_str(),
        external_id,
        draft.consent.given_at.as_millis(),
        &draft.consent.method,
        places,
        sorted_groups(draft),
    ));
    keys.fingerprint(content.as_bytes())
}

/// The codes of a draft's groups, sorted, each once.
pub(crate) fn sorted_groups(draft: &ParticipantDraft) -> Vec<&str> {
    let mut codes: Vec<&str> = draft.groups.iter().map(String::as_str).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Writes registrations with their places and memberships. `groups` holds the id of every code that they name; no two
/// writes are of the same row.
pub(crate) async fn put(
    tx: &mut Tx,
    keys: &Keys,
    organisation: OrganisationId,
    writes: &[Write<'_>],
    groups: &HashMap<String, Uuid>,
    now: Timestamp,
) -> Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    OptOuts::Read.take(tx).await?;
    let replaced: Vec<Hex<'_>> = writes.iter().filter(|w| !w.new).map(|w| Hex(w.id.0.as_bytes())).collect();
    if !replaced.is_empty() {
        let replaced = to_json(&replaced);
        clear(tx, CLEAR_PLACES, organisation, &replaced).await?;
        clear(tx, CLEAR_MEMBERSHIPS, organisation, &replaced).await?;
    }
    rows::insert(tx, keys, organisation, writes, &memberships(writes, groups), now).await
}

/// Group and participant.
fn memberships(writes: &[Write<'_>], groups: &HashMap<String, Uuid>) -> Vec<(Uuid, Uuid)> {
    let of = |write: &Write<'_>| {
        let known = sorted_groups(write.draft).into_iter().filter_map(|code| groups.get(code));
        known.map(|group| (*group, write.id.0)).collect::<Vec<_>>()
    };
    writes.iter().flat_map(of).collect()
}

async fn clear(tx: &mut Tx, statement: Sql, organisation: OrganisationId, ids: &str) -> Result<()> {
    on_tx!(tx, conn, d =>
        sqlx::query(statement.of(d)).bind(ids).bind(organisation.0).execute(conn).await?.rows_affected());
    Ok(())
}

/// As the column has it: empty if it cannot be told.
pub(crate) fn country(phone: &PhoneNumber) -> String {
    phone.country().map_or_else(String::new, |country| country.code().to_owned())
}

#[cfg(test)]
mod tests {
    use klaroen_domain::participant::{Language, ParticipantKind};

    use super::*;
    use crate::tests::fixture::{draft, phone, place};

    #[test]
    fn a_fingerprint_tells_every_change_that_an_import_can_make() {
        type Change = fn(&mut ParticipantDraft);
        let keys = Keys::new(&[1; 32], &[2; 32]);
        let mut base = draft(1);
        base.groups = vec!["a".into(), "b".into()];
        let of = |d: &ParticipantDraft| fingerprint(&keys, d, d.external_id.as_deref());
        let changes: [Change; 12] = [
            |d| d.kind = ParticipantKind::Business,
            |d| d.name = None,
            |d| d.name = Some("Other".into()),
            |d| d.phone = phone(2),
            |d| d.language = Language::En,
            |d| d.places[0].label = "work".into(),
            |d| d.places[0] = place("home", 52.0907, 5.121_400_000_000_001),
            |d| d.places[0].hours = Some("Mo-Fr 08:00-18:00".parse().unwrap()),
            |d| d.places.push(place("work", 52.1, 5.1)),
            |d| d.groups = vec!["a".into()],
            |d| d.external_id = Some("x".into()),
            |d| d.consent.method = "letter".into(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut other = base.clone();
            change(&mut other);
            assert_ne!(of(&other), of(&base), "change {n}");
        }
        let mut same = base.clone();
        same.groups = vec!["b".into(), "a".into(), "b".into()];
        same.paused_until = Some(Timestamp::from_millis(5));
        assert_eq!(of(&same), of(&base));
    }
}
