//! STOP, START, HELP, and messages for the operator.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::time::Duration;

use klaroen_domain::alert::{AlertState, Outcome};
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::keyword::Keyword;
use klaroen_domain::phone::PhoneNumber;
use klaroen_store::PageRequest;
use klaroen_store::replies::{IncomingReply, Marked, ReplyKind, ReplyMark, ReplyState, ReplyStored};

use crate::world::{Answers, World, at_metres_east, draft, phone, text};

fn reply(world: &World, from: &PhoneNumber, text: &str, keyword: Option<Keyword>) -> IncomingReply {
    IncomingReply {
        gateway: "main".into(),
        dedupe_key: format!("{}-{text}-{}", from.expose(), world.now()),
        from: from.expose().into(),
        phone: Some(from.clone()),
        text: text.into(),
        keyword,
        received_at: world.now(),
    }
}

pub(super) async fn receive(
    world: &World,
    from: &PhoneNumber,
    text: &str,
    keyword: Option<Keyword>,
) -> ReplyStored {
    world.store.store_reply(&reply(world, from, text, keyword), &Answers).await.unwrap()
}

/// Claims and accepts what is due; returns the numbers and texts.
pub(super) async fn outgoing(world: &World) -> Vec<(PhoneNumber, String)> {
    let mut out = Vec::new();
    for claimed in world.claim(500).await.claimed {
        world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
        let message = world.store.outbound_message(claimed.message).await.unwrap().unwrap();
        out.push((claimed.phone.unwrap(), message.text.as_str().to_owned()));
    }
    out
}

#[rstest]
#[tokio::test]
async fn stop_suppresses_what_is_queued_and_is_confirmed_once(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(3).await;
    let alert = world.alert_all().await;
    assert_eq!(receive(&world, &phone(1), "STOP", Some(Keyword::Stop)).await, ReplyStored::OptedOut);
    assert_eq!(world.count(alert, 0, DeliveryState::Suppressed).await, 1);
    let out = outgoing(&world).await;
    assert_eq!(out[0], (phone(1), "OptOutConfirmed nl".into()), "the confirmation goes first");
    let rang = out[1..].iter().map(|(phone, _)| phone.clone()).collect();
    assert_eq!(crate::world::sorted(rang), [phone(0), phone(2)]);
    world.clock.advance(Duration::from_hours(2));
    assert_eq!(receive(&world, &phone(1), "STOP", Some(Keyword::Stop)).await, ReplyStored::OptedOut);
    assert!(outgoing(&world).await.is_empty());
    // The next alert does not even match it.
    assert_eq!(world.take(&world.alert_draft(10_000.0)).await.recipients, 2);
}

#[rstest]
#[tokio::test]
async fn stop_holds_for_every_registration_and_every_organisation(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol_one(&draft(1, at_metres_east(10.0))).await;
    let other =
        world.store.create_organisation("zeist", "Gemeente Zeist", world.now()).await.unwrap().unwrap();
    let actor = klaroen_store::Actor::CommandLine;
    let here = draft(1, at_metres_east(20.0));
    world.store.create_participant(other.id, &here, actor, world.now()).await.unwrap().unwrap();
    receive(&world, &phone(1), "afmelden", Some(Keyword::Stop)).await;
    for organisation in [world.organisation, other.id] {
        let query = klaroen_store::matching::MatchQuery {
            organisation,
            geofence: &crate::world::circle(1000.0),
            audience: &klaroen_store::matching::Audience::default(),
            priority: klaroen_domain::alert::Priority::LifeThreatening,
            as_of: world.now(),
        };
        assert!(world.store.match_geofence(&query, &world.rules).await.unwrap().recipients.is_empty());
    }
    // Enrolling the number again does not bring it back.
    let again = world.enrol_one(&draft(1, at_metres_east(30.0))).await;
    assert!(again.opted_out);
    assert_eq!(world.take(&world.alert_draft(1000.0)).await.recipients, 0);
}

#[rstest]
#[tokio::test]
async fn the_claim_itself_checks_the_opt_out(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    receive(&world, &phone(0), "STOP", Some(Keyword::Stop)).await;
    assert_eq!(world.store.in_flight_to(&phone(0)).await.unwrap(), 1, "STOP waits for this one");
    let put_back = klaroen_domain::decide::Decision::PutBack { due_at: world.now(), spent: true };
    world.store.finish("main", &[world.finished(&claimed, put_back, &[])]).await.unwrap();
    assert_eq!(world.store.in_flight_to(&phone(0)).await.unwrap(), 0);
    let claim = world.claim(10).await;
    assert_eq!((claim.suppressed, claim.claimed.len()), (1, 1), "only the confirmation leaves");
    assert_eq!(world.count(alert, 0, DeliveryState::Suppressed).await, 1);
}

#[rstest]
#[tokio::test]
async fn start_restores(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    receive(&world, &phone(0), "STOP", Some(Keyword::Stop)).await;
    outgoing(&world).await;
    assert_eq!(receive(&world, &phone(0), "START", Some(Keyword::Start)).await, ReplyStored::OptedIn);
    assert_eq!(outgoing(&world).await, [(phone(0), "OptInConfirmed nl".into())]);
    assert_eq!(world.take(&world.alert_draft(1000.0)).await.recipients, 1);
}

#[rstest]
#[tokio::test]
async fn a_repeated_sms_does_nothing_twice(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    outgoing(&world).await;
    let sighting = reply(&world, &phone(0), "Gezien bij de brug", None);
    assert_eq!(world.store.store_reply(&sighting, &Answers).await.unwrap(), ReplyStored::ForAlert(alert));
    assert_eq!(world.store.store_reply(&sighting, &Answers).await.unwrap(), ReplyStored::Repeated);
    assert_eq!(world.view(alert).await.replies_total, 1);
}

#[rstest]
#[tokio::test]
async fn a_reply_belongs_to_the_alert_last_received_within_a_day(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let first = world.alert_all().await;
    outgoing(&world).await;
    world.clock.advance(Duration::from_mins(1));
    let second = world.alert_all().await;
    outgoing(&world).await;
    assert_eq!(receive(&world, &phone(0), "Ik zie hem", None).await, ReplyStored::ForAlert(second));
    let view = world.view(second).await;
    assert_eq!((view.replies_total, view.replies_new), (1, 1));
    assert_eq!(world.view(first).await.replies_total, 0);
    let page = PageRequest { limit: 10, cursor: None };
    let replies =
        world.store.list_replies(world.organisation, second, None, &page).await.unwrap().unwrap().items;
    assert_eq!(replies[0].text, "Ik zie hem");
    assert_eq!(replies[0].phone, Some(phone(0)));
    let actor = klaroen_store::Actor::Key(world.operator);
    let mark = ReplyMark { state: Some(ReplyState::Handled), useful: Some(true), alert: None };
    let marked = world.store.mark_reply(world.organisation, replies[0].id, mark, actor, world.now()).await;
    let Marked::Done(marked) = marked.unwrap() else { panic!("not marked") };
    assert_eq!((marked.state, marked.useful), (ReplyState::Handled, Some(true)));
    assert_eq!(world.view(second).await.replies_new, 0);
    world.clock.advance(Duration::from_secs(24 * 3600 + 1));
    assert_eq!(receive(&world, &phone(0), "Nog iets", None).await, ReplyStored::Unattributed);
}

#[rstest]
#[tokio::test]
async fn after_the_end_the_sender_is_told_once_whom_to_call(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    outgoing(&world).await;
    world
        .store
        .end_alert(&world.intake(None), alert, &text("Gevonden."), Outcome::Found)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.view(alert).await.state, AlertState::Ended);
    outgoing(&world).await;
    for (said, answers) in [("Ik zag hem", 1), ("Hallo?", 0)] {
        assert_eq!(receive(&world, &phone(0), said, None).await, ReplyStored::ForAlert(alert));
        assert_eq!(outgoing(&world).await, vec![(phone(0), "AlertOver nl".to_owned()); answers]);
        world.clock.advance(Duration::from_secs(3601));
    }
    let page = PageRequest { limit: 10, cursor: None };
    let replies =
        world.store.list_replies(world.organisation, alert, None, &page).await.unwrap().unwrap().items;
    assert!(replies.iter().all(|r| r.after_end));
}

#[rstest]
#[tokio::test]
async fn unknown_numbers_are_kept_and_not_answered(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    assert_eq!(receive(&world, &phone(99), "Wat is dit?", None).await, ReplyStored::Unattributed);
    assert_eq!(receive(&world, &phone(99), "STOP", Some(Keyword::Stop)).await, ReplyStored::OptedOut);
    assert_eq!(receive(&world, &phone(99), "HELP", Some(Keyword::Help)).await, ReplyStored::Helped);
    assert!(outgoing(&world).await.is_empty());
    assert!(world.enrol_one(&draft(99, at_metres_east(1.0))).await.opted_out, "the STOP is remembered");
}

#[rstest]
#[tokio::test]
async fn a_cry_for_help_is_shown_and_answered_at_most_once_an_hour(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    outgoing(&world).await;
    for answers in [1, 0] {
        assert_eq!(receive(&world, &phone(0), "HELP", Some(Keyword::Help)).await, ReplyStored::Helped);
        assert_eq!(outgoing(&world).await.len(), answers);
        world.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(world.view(alert).await.replies_total, 2);
}

#[rstest]
#[tokio::test]
async fn a_reaction_is_kept_apart_from_sightings_and_not_answered(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    outgoing(&world).await;
    let reactions = ["Vond “Let op: man, rode jas” leuk", "\u{200b}👍\u{200b} to “ … ”"];
    for text in reactions {
        assert_eq!(receive(&world, &phone(0), text, None).await, ReplyStored::Reaction);
    }
    let sighting = "Vond “de rode jas” op straat bij de brug";
    assert_eq!(receive(&world, &phone(0), sighting, None).await, ReplyStored::ForAlert(alert));
    let view = world.view(alert).await;
    assert_eq!((view.replies_total, view.replies_new), (3, 1));
    let list = async |kind| {
        let page = PageRequest { limit: 10, cursor: None };
        let replies =
            world.store.list_replies(world.organisation, alert, kind, &page).await.unwrap().unwrap();
        replies.items.into_iter().map(|reply| (reply.kind, reply.text)).collect::<Vec<_>>()
    };
    let kinds = [ReplyKind::Reaction, ReplyKind::Reaction, ReplyKind::Message];
    assert_eq!(list(None).await.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), kinds);
    assert_eq!(list(Some(ReplyKind::Message)).await, [(ReplyKind::Message, sighting.to_owned())]);
    assert_eq!(
        list(Some(ReplyKind::Reaction)).await,
        reactions.map(|text| (ReplyKind::Reaction, text.to_owned()))
    );
    // A provider that takes it for a keyword acts on it, and so do we.
    assert_eq!(receive(&world, &phone(0), "Liked “STOP”", Some(Keyword::Stop)).await, ReplyStored::OptedOut);
    assert_eq!(receive(&world, &phone(0), "START", Some(Keyword::Start)).await, ReplyStored::OptedIn);
    outgoing(&world).await;

    let end = world.store.end_alert(&world.intake(None), alert, &text("Gevonden."), Outcome::Found).await;
    end.unwrap().unwrap();
    outgoing(&world).await;
    assert_eq!(receive(&world, &phone(0), "Loved “Gevonden.”", None).await, ReplyStored::Reaction);
    assert!(outgoing(&world).await.is_empty(), "nobody asked anything");
    receive(&world, &phone(0), "Ik zag hem", None).await;
    assert_eq!(outgoing(&world).await, [(phone(0), "AlertOver nl".to_owned())], "who writes is told");
    // Of no alert, they are listed as what they are.
    world.clock.advance(Duration::from_hours(25));
    assert_eq!(receive(&world, &phone(0), "Liked “Gevonden.”", None).await, ReplyStored::Reaction);
    let page = PageRequest { limit: 10, cursor: None };
    let unattributed =
        world.store.list_all_replies(world.organisation, true, None, &page).await.unwrap().items;
    assert_eq!((unattributed.len(), unattributed[0].kind), (1, ReplyKind::Reaction));
    let sightings = Some(ReplyKind::Message);
    let sightings = world.store.list_all_replies(world.organisation, true, sightings, &page).await.unwrap();
    assert!(sightings.items.is_empty());
}
