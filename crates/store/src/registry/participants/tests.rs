use std::time::Duration;

use super::*;
use crate::PageRequest;
use crate::engine::db::on_db;
use crate::matching::match_record::Record;
use crate::tests::fixture::{ACTOR, Fixture, NOW, after, draft, first, phone, place};
use klaroen_test_databases::Engine;
use rstest::rstest;

const OPT_OUT: Sql = Sql::new(
    "INSERT INTO opt_outs (id, recipient, holder, source, opted_out_at) VALUES ($2, $1, $2, 'sms', 0)",
);
const PLACES: Sql =
    Sql::new("SELECT record, opted_out FROM places WHERE participant_id = $1 ORDER BY position");
/// The columns that the match reads, and the opt-out.
type Copies = (Vec<u8>, bool);

const COUNTRIES: Sql = Sql::new("SELECT country FROM participants ORDER BY country");
const CHILDREN: Sql = Sql::new("SELECT (SELECT count(*) FROM places), (SELECT count(*) FROM memberships)");
const MESSAGE: Sql = Sql::new(
    "INSERT INTO messages (id, organisation_id, kind, priority, lane, text, encoding, segments, recipients, expires_at,
                           created_at)
     VALUES ($1, $2, 'start', 'urgent', 2, 't', 'gsm7', 1, 1, 0, 0)",
);
const DELIVERY: Sql = Sql::new(
    "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
     VALUES ($1, $2, $3, $4, 2, $5, 0, 0)",
);
const DELIVERIES: Sql = Sql::new("SELECT state, reason, participant_id FROM deliveries ORDER BY id");

async fn enrol(f: &Fixture, draft: &ParticipantDraft) -> Participant {
    f.store.create_participant(f.organisation, draft, ACTOR, NOW).await.unwrap().unwrap()
}

async fn get(f: &Fixture, id: ParticipantId) -> Option<Participant> {
    f.store.participant(f.organisation, id).await.unwrap()
}

/// As an operator does who changes a registration.
async fn replace(
    f: &Fixture,
    id: ParticipantId,
    draft: &ParticipantDraft,
    now: Timestamp,
) -> Result<Participant, Refused> {
    let taken = f.store.take_participant(f.organisation, id).await.unwrap().unwrap();
    taken.replace(draft, ACTOR, now).await.unwrap()
}

async fn group(f: &Fixture, code: &str) {
    f.store.create_group(f.organisation, code, "Name", ACTOR, NOW).await.unwrap().unwrap();
}

async fn opt_out(f: &Fixture, n: u32) {
    let recipient = f.store.keys.recipient(&phone(n));
    on_db!(write f.store.db, pool, d =>
        sqlx::query(OPT_OUT.of(d)).bind(recipient.0.as_slice()).bind(uuid::Uuid::now_v7()).execute(pool).await.unwrap().rows_affected());
}

/// A delivery of a message of its own.
async fn deliver(f: &Fixture, to: &Participant, state: &str) {
    let message = Uuid::now_v7();
    let recipient = f.store.keys.recipient(&to.draft.phone);
    on_db!(write f.store.db, pool, d => {
        sqlx::query(MESSAGE.of(d)).bind(message).bind(f.organisation.0).execute(pool).await.unwrap();
        sqlx::query(DELIVERY.of(d)).bind(f.organisation.0).bind(message).bind(to.id.0)
            .bind(recipient.0.as_slice()).bind(state).execute(pool).await.unwrap().rows_affected()
    });
}

async fn deliveries(f: &Fixture) -> Vec<(String, Option<String>, Uuid)> {
    on_db!(read f.store.db, pool, d => sqlx::query_as(DELIVERIES.of(d)).fetch_all(pool).await.unwrap())
}

fn full(n: u32) -> ParticipantDraft {
    let mut work = place("work", 52.080_712_345_678_9, 5.123_456_789_012_345);
    work.hours = Some("Mo-Fr 08:00-18:00; Sa 10:00-02:00".parse().unwrap());
    let mut draft = draft(n);
    draft.places.push(work);
    draft.groups = vec!["shops".into(), "dogs".into(), "dogs".into()];
    draft.external_id = Some(format!("x-{n}"));
    draft.paused_until = Some(NOW.plus(Duration::from_mins(1)));
    draft
}

#[rstest]
#[tokio::test]
async fn a_registration_is_read_as_it_was_written_by_its_own_organisation(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    group(&f, "dogs").await;
    group(&f, "shops").await;
    for draft in [full(1), ParticipantDraft { name: None, ..draft(2) }] {
        let made = enrol(&f, &draft).await;
        assert_eq!(get(&f, made.id).await, Some(made.clone()));
        assert_eq!(f.store.participant(f.stranger, made.id).await.unwrap(), None);
        let expected: &[&str] = if draft.groups.is_empty() { &[] } else { &["dogs", "shops"] };
        assert_eq!(made.draft.groups, expected);
        assert_eq!(ParticipantDraft { groups: draft.groups.clone(), ..made.draft }, draft);
    }
}

#[rstest]
#[tokio::test]
async fn places_carry_copies_for_the_match_index(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    opt_out(&f, 1).await;
    let until = NOW.plus(Duration::from_mins(1));
    let mut wanted = draft(2);
    wanted.paused_until = Some(until);
    let made = enrol(&f, &wanted).await;
    assert!(!made.opted_out);
    wanted = ParticipantDraft { phone: phone(1), kind: ParticipantKind::Business, ..wanted };
    let changed = replace(&f, made.id, &wanted, NOW).await.unwrap();
    assert!(changed.opted_out);
    let rows: Vec<Copies> = on_db!(read f.store.db, pool, d =>
        sqlx::query_as(PLACES.of(d)).bind(made.id.0).fetch_all(pool).await.unwrap());
    let record = Record {
        cell: wanted.places[0].location.cell(),
        latitude: wanted.places[0].location.latitude(),
        longitude: wanted.places[0].location.longitude(),
        participant: made.id.0,
        recipient: f.store.keys.recipient(&phone(1)).0,
        kind: ParticipantKind::Business,
        paused_until: Some(until.as_millis()),
        hours: wanted.places[0].hours.as_ref().map(ToString::to_string).as_deref(),
    }
    .to_bytes();
    assert_eq!(rows, [(record, true)]);
}

#[rstest]
#[tokio::test]
async fn replacing_changes_everything_but_the_beginning(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    group(&f, "dogs").await;
    group(&f, "shops").await;
    let made = enrol(&f, &full(1)).await;
    let later = NOW.plus(Duration::from_mins(1));
    let changed = replace(&f, made.id, &draft(2), later).await.unwrap();
    assert_eq!((changed.created_at, changed.updated_at), (NOW, later));
    assert_eq!(changed.draft, draft(2));
    assert_eq!(get(&f, made.id).await, Some(changed));
    let children: (i64, i64) = on_db!(read f.store.db, pool, d =>
        sqlx::query_as(CHILDREN.of(d)).fetch_one(pool).await.unwrap());
    assert_eq!(children, (1, 0));
}

#[rstest]
#[tokio::test]
async fn a_change_undoes_nothing_that_was_written_meanwhile(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let registered = ParticipantDraft { external_id: Some("a".into()), ..draft(1) };
    let made = enrol(&f, &registered).await;
    // An import that sets a new number comes while the name is changed: both hold, in whatever order.
    let moved = ParticipantDraft { phone: phone(2), ..registered };
    let taken = f.store.take_participant(f.organisation, made.id).await.unwrap().unwrap();
    let (store, organisation) = (f.store.clone(), f.organisation);
    let import = tokio::spawn(async move {
        store.import_participants(organisation, &[moved], false, NOW).await.unwrap();
    });
    tokio::task::yield_now().await;
    let renamed = ParticipantDraft { name: Some("Renamed".into()), ..taken.draft().clone() };
    taken.replace(&renamed, ACTOR, NOW).await.unwrap().unwrap();
    import.await.unwrap();
    assert_eq!(get(&f, made.id).await.unwrap().draft.phone, phone(2));

    let renamed = f.store.take_participant(f.organisation, made.id).await.unwrap().unwrap();
    assert_eq!(renamed.draft().phone, phone(2), "what the import wrote is what is changed");
    let renamed_draft = ParticipantDraft { name: Some("Renamed".into()), ..renamed.draft().clone() };
    renamed.replace(&renamed_draft, ACTOR, NOW).await.unwrap().unwrap();
    let kept = get(&f, made.id).await.unwrap().draft;
    assert_eq!((kept.phone, kept.name.as_deref()), (phone(2), Some("Renamed")));
}

#[rstest]
#[tokio::test]
async fn what_is_refused_is_not_written(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    let taken = ParticipantDraft { external_id: Some("a".into()), ..draft(1) };
    let made = enrol(&f, &taken).await;
    let other = enrol(&f, &draft(2)).await;
    let second = ParticipantDraft { external_id: Some("a".into()), ..draft(3) };
    let grouped = ParticipantDraft { groups: vec!["x".into(), "y".into(), "x".into()], ..draft(3) };
    let unknown = Refused::UnknownGroups(vec!["x".into(), "y".into()]);
    for (draft, refused) in [(&second, Refused::ExternalIdTaken), (&grouped, unknown)] {
        let answer = f.store.create_participant(f.organisation, draft, ACTOR, NOW).await.unwrap();
        assert_eq!(answer, Err(refused.clone()));
        let answer = replace(&f, other.id, draft, NOW).await;
        assert_eq!(answer, Err(refused));
    }
    let page = f.store.list_participants(f.organisation, None, &first(9)).await.unwrap();
    assert_eq!(page.items, [made.clone(), other]);

    // Its own external_id is not taken; another organisation's is its own affair.
    replace(&f, made.id, &taken, NOW).await.unwrap();
    f.store.create_participant(f.stranger, &taken, ACTOR, NOW).await.unwrap().unwrap();
    assert!(f.store.take_participant(f.stranger, made.id).await.unwrap().is_none());
    assert_eq!(get(&f, made.id).await.unwrap().draft, taken);
}

#[rstest]
#[tokio::test]
async fn registrations_are_listed_page_by_page_or_by_number(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let mut made = Vec::new();
    for n in [1, 2, 1] {
        let mut draft = draft(n);
        // Two places each: a page counts registrations, not places.
        draft.places.push(place("work", 52.1, 5.1));
        made.push(enrol(&f, &draft).await);
    }
    f.store.create_participant(f.stranger, &draft(1), ACTOR, NOW).await.unwrap().unwrap();
    let list = async |number: Option<u32>, page: &PageRequest| {
        let phone = number.map(phone);
        f.store.list_participants(f.organisation, phone.as_ref(), page).await.unwrap()
    };
    let page = list(None, &first(2)).await;
    assert_eq!(page.items, made[..2]);
    let rest = list(None, &after(2, page.next_cursor)).await;
    assert_eq!((rest.items, rest.next_cursor), (vec![made[2].clone()], None));

    let page = list(Some(1), &first(1)).await;
    assert_eq!(page.items, made[..1]);
    let rest = list(Some(1), &after(1, page.next_cursor)).await;
    assert_eq!((rest.items, rest.next_cursor), (vec![made[2].clone()], None));
    assert_eq!(list(Some(7), &first(9)).await.items, []);
}

#[rstest]
#[tokio::test]
async fn erasing_leaves_nothing_but_the_opt_out_and_the_count(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    group(&f, "dogs").await;
    group(&f, "shops").await;
    let made = enrol(&f, &full(1)).await;
    let other = enrol(&f, &draft(2)).await;
    opt_out(&f, 1).await;
    for (to, state) in [(&made, "queued"), (&made, "sent"), (&other, "queued")] {
        deliver(&f, to, state).await;
    }
    assert!(!f.store.erase_participant(f.stranger, made.id, ACTOR, NOW).await.unwrap());
    assert!(f.store.erase_participant(f.organisation, made.id, ACTOR, NOW).await.unwrap());
    assert_eq!(get(&f, made.id).await, None);
    assert!(!f.store.erase_participant(f.organisation, made.id, ACTOR, NOW).await.unwrap());
    let erased = Some("erased".to_owned());
    assert_eq!(
        deliveries(&f).await,
        [
            ("suppressed".into(), erased, made.id.0),
            ("sent".into(), None, made.id.0),
            ("queued".into(), None, other.id.0)
        ]
    );
    let children: (i64, i64) = on_db!(read f.store.db, pool, d =>
        sqlx::query_as(CHILDREN.of(d)).fetch_one(pool).await.unwrap());
    assert_eq!(children, (1, 0));
    assert!(enrol(&f, &draft(1)).await.opted_out);
}

#[rstest]
#[tokio::test]
async fn a_number_with_another_registration_keeps_what_is_queued_for_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let made = enrol(&f, &draft(1)).await;
    let other = enrol(&f, &draft(1)).await;
    deliver(&f, &made, "queued").await;
    deliver(&f, &made, "sent").await;
    assert!(f.store.erase_participant(f.organisation, made.id, ACTOR, NOW).await.unwrap());
    assert_eq!(deliveries(&f).await, [("queued".into(), None, other.id.0), ("sent".into(), None, made.id.0)]);
}

#[rstest]
#[tokio::test]
async fn every_change_is_written_down_without_saying_who_it_is(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let made = enrol(&f, &draft(1)).await;
    replace(&f, made.id, &draft(2), NOW).await.unwrap();
    f.store.erase_participant(f.organisation, made.id, ACTOR, NOW).await.unwrap();
    let log = f.store.list_audit(f.organisation, &first(3)).await.unwrap().items;
    let actions: Vec<&str> = log.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["participant.erased", "participant.updated", "participant.created"]);
    for entry in log {
        assert_eq!(entry.subject, made.id.to_string());
        let text = entry.detail.to_string();
        assert!(!text.contains("Resident") && !text.contains("000000"), "{text}");
    }
}

#[rstest]
#[tokio::test]
async fn a_registration_has_the_country_of_its_number(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    for (n, number) in [(1, "+31612345678"), (2, "+32470123456"), (3, "+999123456")] {
        let mut draft = draft(n);
        draft.phone = PhoneNumber::from_sealed(number.into());
        enrol(&f, &draft).await;
    }
    let countries: Vec<Option<String>> = on_db!(read f.store.db, pool, d => sqlx::query_scalar(COUNTRIES.of(d)).fetch_all(pool).await.unwrap());
    assert_eq!(countries, ["", "BE", "NL"].map(|code| Some(code.to_owned())));
}
