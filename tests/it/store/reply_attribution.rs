//! Which alert an SMS stands under, if the phone received several, of one organisation or of two.

use std::time::Duration;

use klaroen_domain::alert::{Outcome, Priority};
use klaroen_domain::decide::Decision;
use klaroen_domain::id::{AlertId, OrganisationId, ReplyId};
use klaroen_domain::keyword::Keyword;
use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus, Scope};
use klaroen_store::alerts::{AlertDraft, Intake};
use klaroen_store::idempotency::Once;
use klaroen_store::receipts::IncomingReceipt;
use klaroen_store::replies::{Marked, ReplyMark, ReplyStored, ReplyView};
use klaroen_store::{Actor, PageRequest};
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::replies::{outgoing, receive};
use crate::world::{World, at_metres_east, draft, incident, phone, provider_id, text};

const SIGHTING: &str = "Ik zie het kind met de gele jas nu bij de ingang";

/// A second organisation that has phone 0, too.
async fn second(world: &World) -> OrganisationId {
    let other = world.store.create_organisation("zeist", "Zeist", world.now()).await.unwrap().unwrap().id;
    let here = draft(0, at_metres_east(10.0));
    world.store.create_participant(other, &here, Actor::CommandLine, world.now()).await.unwrap().unwrap();
    other
}

fn intake(world: &World, organisation: OrganisationId) -> Intake<'_> {
    Intake { organisation, ..world.intake(None) }
}

/// An alert of `organisation`, a minute after the last, that rang.
async fn rang(world: &World, organisation: OrganisationId, draft: &AlertDraft) -> AlertId {
    world.clock.advance(Duration::from_mins(1));
    let taken = world.store.take_incident(&intake(world, organisation), &incident(), Some(draft)).await;
    let Once::Done(taken) = taken.unwrap() else { panic!("not taken") };
    assert_eq!(outgoing(world).await.len(), 1);
    taken.alert.unwrap()
}

async fn end(world: &World, organisation: OrganisationId, alert: AlertId) {
    world.clock.advance(Duration::from_mins(1));
    let intake = intake(world, organisation);
    world.store.end_alert(&intake, alert, &text("Gevonden."), Outcome::Found).await.unwrap().unwrap();
    assert_eq!(outgoing(world).await.len(), 1, "the end rings");
}

async fn under(world: &World, organisation: OrganisationId, alert: AlertId) -> Vec<ReplyView> {
    let page = PageRequest { limit: 10, cursor: None };
    world.store.list_replies(organisation, alert, None, &page).await.unwrap().unwrap().items
}

fn of(world: &World, priority: Priority, exercise: bool) -> AlertDraft {
    AlertDraft { priority, exercise, ..world.alert_draft(10_000.0) }
}

#[rstest]
#[tokio::test]
async fn an_active_alert_outranks_one_that_is_over_however_new_its_end(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(false, true)] the_older_is_over: bool,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let organisation = world.organisation;
    let mut alerts = Vec::new();
    for _ in 0..2 {
        alerts.push(rang(&world, organisation, &of(&world, Priority::Urgent, false)).await);
    }
    if the_older_is_over {
        alerts.reverse();
    }
    let [active, over] = alerts[..] else { panic!("two alerts") };
    end(&world, organisation, over).await;
    assert_eq!(receive(&world, &phone(0), SIGHTING, None).await, ReplyStored::ForAlert(active));
    assert!(outgoing(&world).await.is_empty(), "the phone does not hear that the action is over");
    let shown = under(&world, organisation, active).await;
    assert_eq!((shown.len(), shown[0].after_end), (1, false));
    assert!(under(&world, organisation, over).await.is_empty());
    end(&world, organisation, active).await;
    assert_eq!(receive(&world, &phone(0), "En nu?", None).await, ReplyStored::ForAlert(active));
    assert_eq!(outgoing(&world).await, [(phone(0), "AlertOver nl".to_owned())]);
}

#[rstest]
#[tokio::test]
async fn an_alert_that_runs_for_days_keeps_its_replies_and_one_whose_time_is_over_does_not(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let expires_at = world.now().plus(Duration::from_hours(48));
    let alert =
        rang(&world, world.organisation, &AlertDraft { expires_at, ..world.alert_draft(10_000.0) }).await;
    world.clock.advance(Duration::from_hours(40));
    assert_eq!(receive(&world, &phone(0), SIGHTING, None).await, ReplyStored::ForAlert(alert));
    assert!(!under(&world, world.organisation, alert).await[0].after_end);
    // No worker has closed it yet.
    world.clock.advance(Duration::from_hours(9));
    assert_eq!(receive(&world, &phone(0), "Nog iets", None).await, ReplyStored::Unattributed);
}

#[rstest]
#[tokio::test]
async fn both_of_two_organisations_see_a_reply_that_may_be_for_either(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let here = world.enrol(1).await.remove(0);
    let (first, other) = (world.organisation, second(&world).await);
    let of_first = rang(&world, first, &of(&world, Priority::LifeThreatening, false)).await;
    let of_other = rang(&world, other, &of(&world, Priority::LifeThreatening, false)).await;
    assert_eq!(receive(&world, &phone(0), SIGHTING, None).await, ReplyStored::ForAlert(of_other));
    let mut ids: Vec<ReplyId> = Vec::new();
    for (organisation, alert) in [(first, of_first), (other, of_other)] {
        let shown = under(&world, organisation, alert).await;
        assert_eq!(
            (shown.len(), shown[0].text.as_str(), shown[0].phone.clone()),
            (1, SIGHTING, Some(phone(0)))
        );
        assert_eq!(shown[0].participant == Some(here.id), organisation == first, "each its own participant");
        ids.push(shown[0].id);
    }
    assert_ne!(ids[0], ids[1]);
    // HELP is shown to both, STOP is carried out once.
    assert_eq!(receive(&world, &phone(0), "HELP", Some(Keyword::Help)).await, ReplyStored::Helped);
    assert_eq!(outgoing(&world).await.len(), 1);
    assert_eq!(under(&world, first, of_first).await.len(), 2);
    assert_eq!(under(&world, other, of_other).await.len(), 2);
    end(&world, first, of_first).await;
    end(&world, other, of_other).await;
    for answers in [1, 0] {
        receive(&world, &phone(0), "Hallo?", None).await;
        assert_eq!(
            outgoing(&world).await,
            vec![(phone(0), "AlertOver nl".to_owned()); answers],
            "one for both"
        );
        world.clock.advance(Duration::from_secs(3601));
    }
    assert_eq!(under(&world, first, of_first).await.len(), 4);
}

#[rstest]
#[tokio::test]
async fn a_reply_to_a_life_threatening_alert_does_not_go_to_an_exercise_or_a_lesser_alert_of_another(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values((Priority::LifeThreatening, true), (Priority::Normal, false))] lesser: (Priority, bool),
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let (first, other) = (world.organisation, second(&world).await);
    let serious = rang(&world, first, &of(&world, Priority::LifeThreatening, false)).await;
    let lesser = rang(&world, other, &of(&world, lesser.0, lesser.1)).await;
    assert_eq!(receive(&world, &phone(0), SIGHTING, None).await, ReplyStored::ForAlert(serious));
    assert_eq!(under(&world, first, serious).await.len(), 1);
    assert!(under(&world, other, lesser).await.is_empty());
    end(&world, first, serious).await;
    assert_eq!(receive(&world, &phone(0), "Ik doe mee", None).await, ReplyStored::ForAlert(lesser));
}

#[rstest]
#[tokio::test]
async fn who_answers_has_read_it_whatever_became_of_the_message(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values("failed receipt", "failed receipt of a lost answer", "no answer", "to be sent again")]
    what: &str,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let unknown = Decision::Unknown { settle_at: world.now() };
    let decision = if what == "failed receipt" { Decision::Sent } else { unknown };
    let id = provider_id(&claimed);
    if what != "no answer" {
        world.store.finish("main", &[world.finished(&claimed, decision, &[&id])]).await.unwrap();
    }
    if what.starts_with("failed") {
        let receipt = IncomingReceipt {
            provider_id: ProviderId(id),
            delivery: Some(claimed.id),
            status: ReceiptStatus::Undelivered,
            error: Some("EXPIRED".into()),
            recipient: None,
            raw: String::new(),
            received_at: world.now(),
        };
        world.store.store_receipts("main", &[receipt]).await.unwrap();
    }
    if what == "to be sent again" {
        world.clock.advance(Duration::from_mins(1));
        world.store.sweep(Duration::from_hours(1), world.now()).await.unwrap();
    }
    assert_eq!(receive(&world, &phone(0), SIGHTING, None).await, ReplyStored::ForAlert(alert), "{what}");
}

#[rstest]
#[tokio::test]
async fn who_was_not_reached_answers_something_else(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let first = rang(&world, world.organisation, &of(&world, Priority::Normal, false)).await;
    // Queued, and refused for this number.
    let second = world.alert_all().await;
    assert_eq!(receive(&world, &phone(0), SIGHTING, None).await, ReplyStored::ForAlert(first));
    let claimed = world.claim(1).await.claimed.remove(0);
    let refusal = Failure { scope: Scope::Recipient, code: "1".into(), detail: "no such number".into() };
    world.store.finish("main", &[world.finished(&claimed, Decision::Failed(refusal), &[])]).await.unwrap();
    assert_eq!(receive(&world, &phone(0), "Nog een", None).await, ReplyStored::ForAlert(first));
    assert!(under(&world, world.organisation, second).await.is_empty());
}

async fn unattributed(world: &World, organisation: OrganisationId) -> Vec<ReplyView> {
    let page = PageRequest { limit: 10, cursor: None };
    world.store.list_all_replies(organisation, true, None, &page).await.unwrap().items
}

async fn give(world: &World, organisation: OrganisationId, id: ReplyId, alert: AlertId) -> Marked {
    let mark = ReplyMark { alert: Some(alert), ..ReplyMark::default() };
    let actor = Actor::Key(world.operator);
    world.store.mark_reply(organisation, id, mark, actor, world.now()).await.unwrap()
}

#[rstest]
#[tokio::test]
async fn a_reply_of_no_alert_is_seen_by_those_who_know_its_number(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let (first, other) = (world.organisation, second(&world).await);
    // Phone 1 is registered with the first only, but the second wrote to it once; nobody knows phone 9.
    let page = PageRequest { limit: 1, cursor: None };
    let people = world.store.list_participants(first, Some(&phone(1)), &page).await.unwrap();
    let one = people.items[0].id;
    let here = draft(1, at_metres_east(10.0));
    let theirs = world.store.create_participant(other, &here, Actor::CommandLine, world.now()).await;
    let draft = of(&world, Priority::Urgent, false);
    world.store.take_incident(&intake(&world, other), &incident(), Some(&draft)).await.unwrap();
    assert_eq!(outgoing(&world).await.len(), 2);
    let theirs = theirs.unwrap().unwrap().id;
    assert!(world.store.erase_participant(other, theirs, Actor::CommandLine, world.now()).await.unwrap());
    world.clock.advance(Duration::from_hours(25));
    let third = world.store.create_organisation("soest", "Soest", world.now()).await.unwrap().unwrap().id;
    for n in [0, 1, 9] {
        assert_eq!(receive(&world, &phone(n), SIGHTING, None).await, ReplyStored::Unattributed);
    }
    let seen = async |organisation| {
        let replies = unattributed(&world, organisation).await.into_iter();
        replies.map(|reply| (reply.phone.unwrap(), reply.participant.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(seen(first).await, [(phone(0), true), (phone(1), true)]);
    assert_eq!(seen(other).await, [(phone(0), true), (phone(1), false)]);
    assert_eq!(seen(third).await, []);
    let ids = [first, other].map(|organisation| unattributed(&world, organisation));
    let [ours, others] = futures::future::join_all(ids).await.try_into().unwrap_or_else(|_| panic!("two"));
    assert!(ours.iter().all(|reply| others.iter().all(|other| other.id != reply.id)), "each has its own");
    assert_eq!(ours[1].participant, Some(one));
    // STOP is carried out and not shown.
    assert_eq!(receive(&world, &phone(0), "STOP", Some(Keyword::Stop)).await, ReplyStored::OptedOut);
    assert_eq!(seen(first).await.len(), 2);
}

#[rstest]
#[tokio::test]
async fn the_only_organisation_sees_what_strangers_write(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    receive(&world, &phone(9), SIGHTING, None).await;
    assert_eq!(unattributed(&world, world.organisation).await.len(), 1);
    second(&world).await;
    receive(&world, &phone(9), "Nog iets", None).await;
    assert_eq!(unattributed(&world, world.organisation).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_reply_of_no_alert_is_given_to_one_of_the_same_organisation_once(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let (first, other) = (world.organisation, second(&world).await);
    receive(&world, &phone(0), SIGHTING, None).await;
    let reply = unattributed(&world, first).await.remove(0);
    let alert = rang(&world, first, &of(&world, Priority::Urgent, false)).await;
    let second_alert = rang(&world, first, &of(&world, Priority::Urgent, false)).await;
    let foreign = rang(&world, other, &of(&world, Priority::Urgent, false)).await;
    let entries = async || {
        let page = PageRequest { limit: 100, cursor: None };
        let log = world.store.list_audit(first, &page).await.unwrap().items;
        log.into_iter().filter(|entry| entry.action.starts_with("reply.")).collect::<Vec<_>>()
    };
    assert!(matches!(give(&world, first, reply.id, foreign).await, Marked::NoAlert));
    assert!(matches!(give(&world, first, reply.id, AlertId::generate()).await, Marked::NoAlert));
    assert!(matches!(give(&world, other, reply.id, foreign).await, Marked::NoReply));
    assert!(matches!(give(&world, first, ReplyId(uuid::Uuid::now_v7()), alert).await, Marked::NoReply));
    assert_eq!(entries().await.len(), 0);
    for _ in 0..2 {
        let Marked::Done(given) = give(&world, first, reply.id, alert).await else { panic!("not given") };
        assert_eq!((given.id, given.alert, given.after_end), (reply.id, Some(alert), false));
    }
    let log = entries().await;
    assert_eq!(log.len(), 1, "the second time changes nothing");
    assert_eq!((log[0].action.as_str(), &log[0].subject), ("reply.attributed", &reply.id.to_string()));
    assert_eq!(log[0].detail, serde_json::json!({ "alert": alert }));
    let elsewhere = give(&world, first, reply.id, second_alert).await;
    assert!(matches!(elsewhere, Marked::BelongsTo(present) if present == alert));
    assert_eq!(under(&world, first, alert).await.len(), 1);
    assert_eq!(world.view(alert).await.replies_new, 1);
    assert!(unattributed(&world, first).await.is_empty());
    assert_eq!(unattributed(&world, other).await.len(), 1, "the other has its own");
    // All of them, whatever they belong to.
    let page = PageRequest { limit: 10, cursor: None };
    assert_eq!(world.store.list_all_replies(first, false, None, &page).await.unwrap().items.len(), 1);
}
