use std::time::Duration;

use super::*;
use crate::engine::db::on_db;
use crate::registry::participants::Participant;
use crate::tests::fixture::{ACTOR, Fixture, NOW, draft, first, phone, place};
use Imported::{Created, Differs, NamedByExternalId, Unchanged, UnknownGroups, Updated};
use klaroen_test_databases::Engine;
use rstest::rstest;

const OPT_OUT: Sql = Sql::new(
    "INSERT INTO opt_outs (id, recipient, holder, source, opted_out_at) VALUES ($2, $1, $2, 'sms', 0)",
);
const OPTED_OUT_PLACES: Sql = Sql::new("SELECT count(*) FROM places WHERE opted_out");
const CHILDREN: Sql = Sql::new("SELECT (SELECT count(*) FROM places), (SELECT count(*) FROM memberships)");

async fn import(f: &Fixture, batch: &[ParticipantDraft]) -> Vec<Imported> {
    let later = NOW.plus(Duration::from_secs(1));
    f.store.import_participants(f.organisation, batch, false, later).await.unwrap()
}

async fn all(f: &Fixture) -> Vec<Participant> {
    f.store.list_participants(f.organisation, None, &first(500)).await.unwrap().items
}

async fn drafts(f: &Fixture) -> Vec<ParticipantDraft> {
    all(f).await.into_iter().map(|p| p.draft).collect()
}

fn external(n: u32, external_id: &str) -> ParticipantDraft {
    ParticipantDraft { external_id: Some(external_id.into()), ..draft(n) }
}

#[rstest]
#[tokio::test]
async fn the_same_file_again_changes_nothing(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    let batch = [draft(1), external(2, "b"), external(3, "c")];
    assert_eq!(import(&f, &batch).await, [Created, Created, Created]);
    let before = all(&f).await;
    assert_eq!(drafts(&f).await, batch);
    assert_eq!(import(&f, &batch).await, [Unchanged, Unchanged, Unchanged]);
    assert_eq!(all(&f).await, before);
}

#[rstest]
#[tokio::test]
async fn a_registration_by_request_is_the_same_to_an_import(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    f.store.create_group(f.organisation, "dogs", "Dogs", ACTOR, NOW).await.unwrap().unwrap();
    let draft = ParticipantDraft { groups: vec!["dogs".into()], ..external(1, "a") };
    f.store.create_participant(f.organisation, &draft, ACTOR, NOW).await.unwrap().unwrap();
    assert_eq!(import(&f, &[draft]).await, [Unchanged]);
}

#[rstest]
#[tokio::test]
async fn an_external_id_keeps_its_registration_when_the_number_changes(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    import(&f, &[external(1, "a")]).await;
    let id = all(&f).await[0].id;
    assert_eq!(import(&f, &[external(2, "a")]).await, [Updated]);
    let now = all(&f).await;
    assert_eq!((now.len(), now[0].id, &now[0].draft.phone), (1, id, &phone(2)));
    let found = f.store.list_participants(f.organisation, Some(&phone(1)), &first(9)).await.unwrap();
    assert_eq!(found.items, []);
}

#[rstest]
#[tokio::test]
async fn a_number_without_external_id_means_its_registration_and_keeps_the_id(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    import(&f, &[external(1, "a")]).await;
    let mut changed = draft(1);
    changed.name = None;
    assert_eq!(import(&f, std::slice::from_ref(&changed)).await, [Updated]);
    changed.external_id = Some("a".into());
    assert_eq!(drafts(&f).await, [changed.clone()]);
    changed.external_id = None;
    assert_eq!(import(&f, &[changed]).await, [Unchanged]);
}

#[rstest]
#[tokio::test]
async fn the_later_of_two_drafts_with_one_key_counts(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let mut second = external(1, "a");
    second.places = vec![place("work", 52.1, 5.1), place("home", 52.2, 5.2)];
    let batch = [external(1, "a"), second.clone(), second.clone()];
    assert_eq!(import(&f, &batch).await, [Created, Updated, Unchanged]);
    assert_eq!(drafts(&f).await, [second.clone()]);

    // A number that moves inside the batch is looked for where it went, not where it was.
    let batch = [external(2, "a"), draft(2), draft(1)];
    assert_eq!(import(&f, &batch).await, [Updated, NamedByExternalId, Created]);
    let kept = drafts(&f).await;
    assert_eq!(kept, [external(2, "a"), draft(1)]);
}

/// SQLite writes 64, 8 or one row by each statement: batches of all of them, of their edges, and with more places than people.
#[rstest]
#[tokio::test]
async fn every_row_of_a_batch_is_written_whatever_its_size(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(1, 7, 63, 64, 65, 73, 140)] size: u32,
) {
    let f = Fixture::new(engine).await;
    for code in ["dogs", "shops"] {
        f.store.create_group(f.organisation, code, "Name", ACTOR, NOW).await.unwrap().unwrap();
    }
    let person = |n: u32| {
        let mut draft = external(n, &format!("id {n}"));
        draft.name = (!n.is_multiple_of(3)).then(|| format!("Name {n}"));
        draft.paused_until = n.is_multiple_of(4).then_some(NOW);
        draft.places[0].hours = n.is_multiple_of(5).then(|| "Mo-Fr 08:00-18:00".parse().unwrap());
        draft.places.extend((0..n % 3).map(|p| place(&format!("{p}"), 52.0 + f64::from(p) / 10.0, 5.2)));
        draft.groups = ["dogs", "shops"][..(n % 3) as usize].iter().map(|&code| code.to_owned()).collect();
        draft
    };
    let mut batch: Vec<ParticipantDraft> = (0..size).map(person).collect();
    let stopped = f.store.keys().recipient(&batch[0].phone).0.to_vec();
    on_db!(write f.store.db, pool, d =>
        sqlx::query(OPT_OUT.of(d)).bind(stopped).bind(uuid::Uuid::now_v7()).execute(pool).await.unwrap().rows_affected());
    assert_eq!(import(&f, &batch).await, vec![Created; size as usize]);
    assert_eq!(drafts(&f).await, batch);
    let opted_out: i64 = on_db!(read f.store.db, pool, d =>
        sqlx::query_scalar(OPTED_OUT_PLACES.of(d)).fetch_one(pool).await.unwrap());
    assert_eq!(opted_out, i64::try_from(batch[0].places.len()).unwrap());

    for draft in &mut batch {
        draft.places.reverse();
        draft.name = Some("Other".into());
    }
    assert_eq!(import(&f, &batch).await, vec![Updated; size as usize]);
    assert_eq!(drafts(&f).await, batch);
}

#[rstest]
#[tokio::test]
async fn an_import_replaces_places_and_memberships(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    for code in ["dogs", "shops"] {
        f.store.create_group(f.organisation, code, "Name", ACTOR, NOW).await.unwrap().unwrap();
    }
    let mut changed = external(1, "a");
    changed.places.push(place("work", 52.1, 5.1));
    changed.groups = vec!["dogs".into(), "shops".into()];
    import(&f, std::slice::from_ref(&changed)).await;
    assert_eq!(drafts(&f).await, [changed.clone()]);
    changed.places.remove(0);
    changed.groups.remove(0);
    assert_eq!(import(&f, std::slice::from_ref(&changed)).await, [Updated]);
    assert_eq!(drafts(&f).await, [changed]);
    let children: (i64, i64) = on_db!(read f.store.db, pool, d =>
        sqlx::query_as(CHILDREN.of(d)).fetch_one(pool).await.unwrap());
    assert_eq!(children, (1, 1));
}

#[rstest]
#[tokio::test]
async fn an_opt_out_outlives_every_import(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    let recipient = f.store.keys.recipient(&phone(1));
    on_db!(write f.store.db, pool, d =>
        sqlx::query(OPT_OUT.of(d)).bind(recipient.0.as_slice()).bind(uuid::Uuid::now_v7()).execute(pool).await.unwrap().rows_affected());
    // New, changed, and moved to the number.
    import(&f, &[external(1, "a"), external(2, "b")]).await;
    import(&f, &[ParticipantDraft { name: None, ..external(1, "a") }, external(1, "b")]).await;
    assert!(all(&f).await.iter().all(|p| p.opted_out));
    let places: i64 = on_db!(read f.store.db, pool, d =>
        sqlx::query_scalar(OPTED_OUT_PLACES.of(d)).fetch_one(pool).await.unwrap());
    assert_eq!(places, 2);
}

#[rstest]
#[tokio::test]
async fn a_pause_stays_unless_the_import_names_another(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let pause = Some(NOW.plus(Duration::from_hours(24)));
    import(&f, &[ParticipantDraft { paused_until: pause, ..external(1, "a") }]).await;
    assert_eq!(import(&f, &[external(1, "a")]).await, [Unchanged]);
    assert_eq!(import(&f, &[ParticipantDraft { name: None, ..external(1, "a") }]).await, [Updated]);
    assert_eq!(drafts(&f).await[0].paused_until, pause);
    let other = ParticipantDraft { name: None, paused_until: Some(NOW), ..external(1, "a") };
    assert_eq!(import(&f, &[other]).await, [Updated]);
    assert_eq!(drafts(&f).await[0].paused_until, Some(NOW));
}

#[rstest]
#[tokio::test]
async fn a_draft_with_unknown_groups_is_left_out_alone(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let lost = ParticipantDraft { groups: vec!["nowhere".into()], ..draft(1) };
    let result = import(&f, &[lost, draft(2)]).await;
    assert_eq!(result, [UnknownGroups(vec!["nowhere".into()]), Created]);
    assert_eq!(drafts(&f).await, [draft(2)]);
}

#[rstest]
#[tokio::test]
async fn a_dry_run_answers_the_same_and_writes_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    import(&f, &[external(1, "a"), external(2, "b")]).await;
    let before = all(&f).await;
    let batch = [external(1, "a"), external(3, "b"), external(4, "c"), external(5, "c")];
    let dry = f.store.import_participants(f.organisation, &batch, true, NOW).await.unwrap();
    assert_eq!(all(&f).await, before);
    assert_eq!(dry, [Unchanged, Updated, Created, Differs("phone")]);
    assert_eq!(import(&f, &batch).await, dry);
}

#[rstest]
#[tokio::test]
async fn an_import_sees_and_touches_its_own_organisation_only(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    import(&f, &[external(1, "a"), draft(2)]).await;
    let batch = [external(1, "a"), draft(2)];
    let result = f.store.import_participants(f.stranger, &batch, false, NOW).await.unwrap();
    assert_eq!(result, [Created, Created]);
    assert_eq!(all(&f).await.len(), 2);
    assert_eq!(import(&f, &[]).await, []);
}

#[rstest]
#[tokio::test]
async fn an_import_is_written_down_with_its_counts(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    f.store.audit_import(f.organisation, ACTOR, 10, 2, NOW).await.unwrap();
    let entry = f.store.list_audit(f.organisation, &first(1)).await.unwrap().items.remove(0);
    assert_eq!(entry.action, "participants.imported");
    assert_eq!(entry.detail, json!({ "rows": 10, "rejected": 2 }));
}

#[rstest]
#[tokio::test]
async fn a_batch_that_was_committed_and_is_tried_again_tells_the_same(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let batch = f.store.prepare_import(vec![external(1, "a"), draft(2)], false);
    for _ in 0..2 {
        // The importer was not told of the commit: it noted nothing.
        let mut ledger = Ledger::new(5, false);
        let answers = f.store.import_batch(f.organisation, &batch, &mut ledger, NOW).await.unwrap();
        assert_eq!(answers, [Created.into(), Created.into()]);
        assert_eq!(ledger.counts(), Counts { created: 2, ..Counts::default() });
    }
    assert_eq!(drafts(&f).await, [external(1, "a"), draft(2)]);
}

#[rstest]
#[tokio::test]
async fn what_a_draft_does_not_say_stays_until_the_end_of_the_file_unless_it_piles_up(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let with = |places: &[&str]| ParticipantDraft {
        places: places.iter().map(|label| place(label, 52.1, 5.1)).collect(),
        ..external(1, "a")
    };
    let nameless = ParticipantDraft { name: None, ..with(&["shop"]) };
    for (places_max, meanwhile) in [(2, with(&["home", "work", "shop"])), (1, nameless.clone())] {
        import(&f, &[with(&["home", "work"])]).await;
        let batch = f.store.prepare_import(vec![nameless.clone()], false);
        let mut ledger = Ledger::new(places_max, false);
        let answers = f.store.import_batch(f.organisation, &batch, &mut ledger, NOW).await.unwrap();
        assert_eq!((answers, drafts(&f).await), (vec![Updated.into()], vec![meanwhile]));
        while f.store.finish_import(f.organisation, &mut ledger, NOW).await.unwrap() {}
        assert_eq!(drafts(&f).await, std::slice::from_ref(&nameless));
        assert_eq!(ledger.counts(), Counts { updated: 1, ..Counts::default() });
    }
}

#[rstest]
#[tokio::test]
async fn what_somebody_else_wrote_during_an_import_stays_at_its_end(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    // The file says neither home nor any name. The second is the last place there is.
    #[values("desk", "home")] desk: &str,
) {
    let f = Fixture::new(engine).await;
    let with = |name: Option<&str>, label: &str| ParticipantDraft {
        name: name.map(str::to_owned),
        places: vec![place(label, 52.1, 5.1)],
        ..external(1, "a")
    };
    import(&f, &[with(Some("before"), "home")]).await;
    let mut ledger = Ledger::new(5, false);
    let batch = f.store.prepare_import(vec![with(None, "work")], false);
    f.store.import_batch(f.organisation, &batch, &mut ledger, NOW).await.unwrap();
    let id = all(&f).await[0].id;
    let taken = f.store.take_participant(f.organisation, id).await.unwrap().unwrap();
    taken.replace(&with(Some("meanwhile"), desk), ACTOR, NOW).await.unwrap().unwrap();
    while f.store.finish_import(f.organisation, &mut ledger, NOW).await.unwrap() {}
    assert_eq!(drafts(&f).await, [with(Some("meanwhile"), desk)]);
}

#[rstest]
#[tokio::test]
async fn a_name_that_a_later_batch_says_stays_and_nothing_is_unseen(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values("before", "after")] later: &str,
) {
    let f = Fixture::new(engine).await;
    let with = |name: Option<&str>| ParticipantDraft { name: name.map(str::to_owned), ..external(1, "a") };
    import(&f, &[with(Some("before"))]).await;
    for dry_run in [true, false] {
        let mut ledger = Ledger::new(5, dry_run);
        for (name, unseen) in [(None, 1), (Some(later), 0)] {
            let batch = f.store.prepare_import(vec![with(name)], false);
            f.store.import_batch(f.organisation, &batch, &mut ledger, NOW).await.unwrap();
            assert_eq!(ledger.some_unseen(2).len(), unseen);
        }
        while f.store.finish_import(f.organisation, &mut ledger, NOW).await.unwrap() {}
        assert_eq!(drafts(&f).await, [with(Some(if dry_run { "before" } else { later }))]);
    }
}
