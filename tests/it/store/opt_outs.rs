//! Opt-outs that a person records: they do what a STOP does, and each stands for who asked for it.

use std::time::Duration;

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{OptOutId, OrganisationId};
use klaroen_domain::keyword::Keyword;
use klaroen_domain::phone::PhoneNumber;
use klaroen_store::idempotency::{Idempotency, Once};
use klaroen_store::replies::{Lifted, NewOptOut, OptOut, OptOutSource, RecordedOptOut};
use klaroen_store::{Actor, PageRequest};
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::replies::{outgoing, receive};
use crate::world::{Answers, World, at_metres_east, draft, phone};

const NOTE: &str = "vroeg het aan de balie";
const PAGE: PageRequest = PageRequest { limit: 100, cursor: None };

async fn ask(
    world: &World,
    organisation: OrganisationId,
    phone: &PhoneNumber,
    idempotency: Option<&Idempotency>,
) -> Once<RecordedOptOut> {
    let new = NewOptOut { phone, note: Some(NOTE) };
    let actor = Actor::Key(world.operator);
    let recorded =
        world.store.record_opt_out(organisation, &new, idempotency, actor, &Answers, world.now()).await;
    recorded.unwrap()
}

async fn record(world: &World, organisation: OrganisationId, phone: &PhoneNumber) -> RecordedOptOut {
    let Once::Done(recorded) = ask(world, organisation, phone, None).await else { panic!("not recorded") };
    recorded
}

async fn lift(world: &World, organisation: OrganisationId, id: OptOutId) -> Lifted {
    let actor = Actor::Key(world.operator);
    world.store.lift_opt_out(organisation, id, "belde ons", actor, world.now()).await.unwrap()
}

async fn list(world: &World, organisation: OrganisationId) -> Vec<OptOut> {
    world.store.list_opt_outs(organisation, None, &PAGE).await.unwrap().items
}

async fn opted_out(world: &World, organisation: OrganisationId) -> bool {
    let people = world.store.list_participants(organisation, Some(&phone(0)), &PAGE).await.unwrap().items;
    assert!(!people.is_empty());
    people[0].opted_out
}

/// A second organisation that has phone 0, too.
async fn second(world: &World) -> OrganisationId {
    let other = world.store.create_organisation("zeist", "Zeist", world.now()).await.unwrap().unwrap().id;
    let here = draft(0, at_metres_east(10.0));
    world.store.create_participant(other, &here, Actor::CommandLine, world.now()).await.unwrap().unwrap();
    other
}

/// The actions in the log of an organisation that are about opting out and in, oldest first, with who did them.
async fn log(world: &World, organisation: OrganisationId) -> Vec<(String, String)> {
    let entries = world.store.list_audit(organisation, &PAGE).await.unwrap().items.into_iter().rev();
    let about = entries.filter(|entry| entry.action.contains("opt"));
    about.map(|entry| (entry.action, entry.actor)).collect()
}

#[rstest]
#[tokio::test]
async fn an_opt_out_by_a_person_does_what_a_stop_does(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(false, true)] by_person: bool,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let (first, other) = (world.organisation, second(&world).await);
    let alert = world.alert_all().await;
    if by_person {
        assert!(record(&world, first, &phone(0)).await.new);
    } else {
        receive(&world, &phone(0), "STOP", Some(Keyword::Stop)).await;
    }
    assert_eq!(world.count(alert, 0, DeliveryState::Suppressed).await, 1);
    let out = outgoing(&world).await;
    assert_eq!(out[0], (phone(0), "OptOutConfirmed nl".into()), "confirmed, and ahead of all else");
    assert_eq!(out[1..].iter().map(|(to, _)| to.clone()).collect::<Vec<_>>(), [phone(1)]);
    assert!(opted_out(&world, first).await && opted_out(&world, other).await, "everywhere");
    if by_person {
        assert!(!record(&world, first, &phone(0)).await.new);
        assert!(!record(&world, first, &phone(0)).await.new);
    } else {
        world.clock.advance(Duration::from_mins(1));
        receive(&world, &phone(0), "STOP", Some(Keyword::Stop)).await;
    }
    assert!(outgoing(&world).await.is_empty(), "confirmed once");
    // Neither an import nor a new registration brings the number back.
    world.import(2, 5.0).await;
    assert!(world.enrol_one(&draft(0, at_metres_east(30.0))).await.opted_out);
    assert!(opted_out(&world, first).await);
    assert_eq!(world.take(&world.alert_draft(10_000.0)).await.recipients, 1);
    let entry = |action: &str, actor: Actor| (action.to_owned(), actor.to_string());
    let key = Actor::Key(world.operator);
    let participant = entry("participant.opted_out", if by_person { key } else { Actor::System });
    if by_person {
        assert_eq!(log(&world, first).await, [participant, entry("opt_out.recorded", key)]);
    } else {
        assert_eq!(log(&world, first).await, [participant.clone(), participant]);
    }
    assert_eq!(log(&world, other).await[0], entry("participant.opted_out", Actor::System));
    for organisation in [first, other] {
        assert_eq!(world.store.verify_audit(organisation).await.unwrap().first_wrong, None);
    }
}

#[rstest]
#[tokio::test]
async fn a_number_gets_messages_again_when_nobodys_opt_out_is_left(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let (first, other) = (world.organisation, second(&world).await);
    let ours = record(&world, first, &phone(0)).await.id;
    let theirs = record(&world, other, &phone(0)).await;
    assert!(theirs.new && theirs.id != ours);
    receive(&world, &phone(0), "STOP", Some(Keyword::Stop)).await;
    assert_eq!(outgoing(&world).await.len(), 1, "one confirmation for all three");
    assert_eq!(list(&world, first).await.len(), 3);
    let itself = list(&world, first).await[2].id;

    assert_eq!(lift(&world, first, theirs.id).await, Lifted::OfAnother);
    assert_eq!(lift(&world, first, OptOutId::generate()).await, Lifted::Unknown);
    for (organisation, id) in [(first, ours), (first, ours), (other, theirs.id)] {
        assert_eq!(lift(&world, organisation, id).await, Lifted::Done);
        assert!(opted_out(&world, first).await && opted_out(&world, other).await);
    }
    assert_eq!(world.take(&world.alert_draft(1_000.0)).await.recipients, 0);
    assert_eq!(lift(&world, first, itself).await, Lifted::Done);
    assert!(!opted_out(&world, first).await && !opted_out(&world, other).await);
    assert_eq!(world.take(&world.alert_draft(1_000.0)).await.recipients, 1);
    let actions: Vec<_> = log(&world, first).await.into_iter().map(|(action, _)| action).collect();
    assert_eq!(
        actions,
        [
            "participant.opted_out",
            "opt_out.recorded",
            "participant.opted_out",
            "participant.opted_out",
            "opt_out.lifted",
            "participant.opted_in",
            "opt_out.lifted",
        ]
    );

    // What was lifted can be recorded again, and the participant's own START ends all.
    assert!(record(&world, first, &phone(0)).await.new);
    assert!(record(&world, other, &phone(0)).await.new);
    receive(&world, &phone(0), "START", Some(Keyword::Start)).await;
    assert!(!opted_out(&world, first).await && list(&world, first).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn an_organisation_sees_the_opt_outs_that_concern_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let people = world.enrol(1).await;
    let (first, other) = (world.organisation, second(&world).await);
    let third = world.store.create_organisation("soest", "Soest", world.now()).await.unwrap().unwrap().id;
    // Phone 0 is registered with two, phone 8 with none, and phone 9 says STOP itself.
    record(&world, first, &phone(0)).await;
    record(&world, first, &phone(8)).await;
    receive(&world, &phone(9), "STOP", Some(Keyword::Stop)).await;
    assert_eq!(outgoing(&world).await.len(), 1, "a number that is not registered gets no SMS");
    let ours = list(&world, first).await;
    assert_eq!(ours.iter().map(|o| o.phone.clone()).collect::<Vec<_>>(), [Some(phone(0)), Some(phone(8))]);
    assert_eq!(ours[0].participant, Some(people[0].id));
    assert!(ours.iter().all(|o| o.note.as_deref() == Some(NOTE) && o.source == OptOutSource::Person));
    assert_eq!(ours[0].recorded_by, Some(Actor::Key(world.operator).to_string()));
    let theirs = list(&world, other).await;
    assert_eq!((theirs.len(), theirs[0].id, theirs[0].phone.clone()), (1, ours[0].id, Some(phone(0))));
    assert_eq!((theirs[0].note.clone(), theirs[0].holder), (None, Some(first)), "the note is the first's");
    assert!(list(&world, third).await.is_empty());
    assert!(world.store.opt_out(third, ours[0].id).await.unwrap().is_none());
    assert_eq!(lift(&world, third, ours[0].id).await, Lifted::Unknown);
    let found = world.store.list_opt_outs(first, Some(&phone(8)), &PAGE).await.unwrap().items;
    assert_eq!(found.iter().map(|o| o.id).collect::<Vec<_>>(), [ours[1].id]);
    let page = world.store.list_opt_outs(first, None, &PageRequest { limit: 1, cursor: None }).await.unwrap();
    let rest = PageRequest { limit: 1, cursor: page.next_cursor };
    assert_eq!(world.store.list_opt_outs(first, None, &rest).await.unwrap().items[0].id, ours[1].id);
    // Lifted, it is shown with the reason, and only to those who lifted it.
    assert_eq!(lift(&world, first, ours[1].id).await, Lifted::Done);
    let lifted = world.store.opt_out(first, ours[1].id).await.unwrap().unwrap();
    assert_eq!((lifted.phone, lifted.note.as_deref()), (Some(phone(8)), Some(NOTE)));
    assert_eq!(lifted.lifted.unwrap().reason.as_deref(), Some("belde ons"));
    assert!(world.store.opt_out(other, ours[1].id).await.unwrap().is_none());
}

#[rstest]
#[tokio::test]
async fn an_erased_participant_leaves_the_hash_of_the_number_alone(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let person = world.enrol(1).await.remove(0);
    let organisation = world.organisation;
    let lifted = record(&world, organisation, &phone(0)).await.id;
    lift(&world, organisation, lifted).await;
    let holds = record(&world, organisation, &phone(0)).await.id;
    world.store.erase_participant(organisation, person.id, Actor::CommandLine, world.now()).await.unwrap();
    for id in [lifted, holds] {
        let left = world.store.opt_out(organisation, id).await.unwrap().unwrap();
        assert!(left.phone.is_none() && left.note.is_none() && left.participant.is_none());
        assert!(left.lifted.is_none_or(|lifted| lifted.reason.is_none()));
    }
    assert!(world.enrol_one(&draft(0, at_metres_east(1.0))).await.opted_out, "the opt-out itself stays");
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_records_once(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let organisation = world.organisation;
    let request = Idempotency { key: "k".into(), fingerprint: [1; 32] };
    let first = ask(&world, organisation, &phone(0), Some(&request)).await;
    let Once::Done(RecordedOptOut { id, new: true }) = first else { panic!("{first:?}") };
    lift(&world, organisation, id).await;
    let again = ask(&world, organisation, &phone(0), Some(&request)).await;
    assert_eq!(again, Once::Repeated(id.0), "what was lifted stays lifted");
    assert!(!opted_out(&world, organisation).await);
    let other = Idempotency { fingerprint: [2; 32], ..request };
    assert_eq!(ask(&world, organisation, &phone(1), Some(&other)).await, Once::KeyReused);
    assert_eq!(list(&world, organisation).await.len(), 0);
}
