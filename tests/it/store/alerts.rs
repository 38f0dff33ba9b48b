//! Taking, changing and closing alerts.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::time::Duration;

use klaroen_domain::alert::{AlertState, MessageKind, Outcome};
use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, OrganisationId};
use klaroen_store::PageRequest;
use klaroen_store::alerts::{ChangeRefused, Changed};
use klaroen_store::idempotency::{Idempotency, Once};

use crate::world::{World, circle, incident, phone, sorted, text};

const GRACE: Duration = Duration::from_hours(24);

async fn end(world: &World, alert: AlertId) {
    let done = world.store.end_alert(&world.intake(None), alert, &text("Voorbij."), Outcome::Arrested).await;
    assert_eq!(done.unwrap(), Ok(Once::Done(Changed::default())));
}

#[rstest]
#[tokio::test]
async fn the_end_goes_to_exactly_those_whose_start_rang_or_may_have(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(6).await;
    let alert = world.alert_all().await;
    let claim = world.claim(5).await;
    let unknown = Decision::Unknown { settle_at: world.now().plus(Duration::from_secs(30)) };
    let failure = klaroen_domain::outcome::Failure {
        scope: klaroen_domain::outcome::Scope::Recipient,
        code: "x".into(),
        detail: String::new(),
    };
    let finished = [
        world.accepted(&claim.claimed[0]),
        world.finished(&claim.claimed[1], unknown, &[]),
        world.finished(&claim.claimed[2], Decision::Failed(failure), &[]),
        world.finished(&claim.claimed[3], Decision::PutBack { due_at: world.now(), spent: true }, &[]),
    ];
    world.store.finish("main", &finished).await.unwrap();
    // One sent, one in doubt, one failed, one put back, one still sending, one never claimed.
    end(&world, alert).await;
    let view = world.view(alert).await;
    assert_eq!((view.state, view.outcome), (AlertState::Ended, Some(Outcome::Arrested)));
    assert_eq!(view.messages[0].counts[&DeliveryState::Cancelled], 2);
    assert_eq!((view.messages[1].kind, view.messages[1].recipients), (MessageKind::End, 1));
    // The one that was sending settles after the end: it gets the end then.
    world.store.finish("main", &[world.accepted(&claim.claimed[4])]).await.unwrap();
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 1);
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 0);
    // So does the one in doubt, once that is all that will be known of it.
    world.clock.advance(Duration::from_secs(31));
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!((swept.held, swept.followed_up), (1, 1));
    let mut reached: Vec<_> =
        [0, 1, 4].iter().map(|n: &usize| claim.claimed[*n].phone.clone().unwrap()).collect();
    reached.sort();
    assert_eq!(sorted(world.send_all().await), reached);
    assert_eq!(world.store.broken_sums().await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn a_start_that_was_lost_and_queued_again_is_in_doubt_at_the_end_and_gets_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = klaroen_domain::alert::Priority::LifeThreatening;
    let alert = world.take(&draft).await.alert.unwrap();
    world.claim(1).await;
    world.clock.advance(Duration::from_secs(61));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().resent, 1);
    end(&world, alert).await;
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
    let claim = world.claim(10).await;
    assert_eq!(claim.claimed.len(), 1);
    assert_eq!(claim.claimed[0].message, world.view(alert).await.messages[1].id, "the end, not the start");
}

#[rstest]
#[tokio::test]
async fn a_start_that_counted_as_lost_and_rings_after_the_end_gets_the_end_too(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    let claim = world.claim(2).await;
    let finished: Vec<_> = claim.claimed.iter().map(|c| world.accepted(c)).collect();
    world.store.finish("main", &finished).await.unwrap();
    let receipt = |status| klaroen_store::receipts::IncomingReceipt {
        provider_id: klaroen_domain::outcome::ProviderId(crate::world::provider_id(&claim.claimed[0])),
        delivery: None,
        status,
        error: None,
        recipient: None,
        raw: String::new(),
        received_at: world.now(),
    };
    let undelivered = receipt(klaroen_domain::outcome::ReceiptStatus::Undelivered);
    world.store.store_receipts("main", &[undelivered]).await.unwrap();
    end(&world, alert).await;
    assert_eq!(world.send_all().await, [claim.claimed[1].phone.clone().unwrap()]);
    let delivered = receipt(klaroen_domain::outcome::ReceiptStatus::Delivered);
    world.store.store_receipts("main", &[delivered]).await.unwrap();
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 1);
    assert_eq!(world.send_all().await, [claim.claimed[0].phone.clone().unwrap()]);
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 0);
}

#[rstest]
#[tokio::test]
async fn nobody_gets_an_update_after_the_end(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    let claim = world.claim(2).await;
    world.store.finish("main", &[world.accepted(&claim.claimed[0])]).await.unwrap();
    world.store.update_alert(&world.intake(None), alert, &text("Jas is blauw.")).await.unwrap().unwrap();
    end(&world, alert).await;
    world.store.finish("main", &[world.accepted(&claim.claimed[1])]).await.unwrap();
    world.store.sweep(GRACE, world.now()).await.unwrap();
    let kinds = async |messages: Vec<klaroen_store::claims::Claimed>| {
        let mut kinds = Vec::new();
        for claimed in messages {
            kinds.push(world.store.outbound_message(claimed.message).await.unwrap().unwrap().kind);
        }
        kinds
    };
    assert_eq!(kinds(world.claim(10).await.claimed).await, [MessageKind::End; 2]);
    assert_eq!(world.store.broken_sums().await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn nobody_gets_a_start_after_the_end(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(40).await;
    let alert = world.alert_all().await;
    world.claim(10).await;
    end(&world, alert).await;
    for claimed in world.claim(100).await.claimed {
        let message = world.store.outbound_message(claimed.message).await.unwrap().unwrap();
        assert_eq!(message.kind, MessageKind::End);
    }
    assert_eq!(world.count(alert, 0, DeliveryState::Cancelled).await, 30);
}

#[rstest]
#[tokio::test]
async fn a_late_not_taken_after_the_end_is_not_sent_again(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    end(&world, alert).await;
    let put_back = Decision::PutBack { due_at: world.now(), spent: true };
    world.store.finish("main", &[world.finished(&claimed, put_back, &[])]).await.unwrap();
    assert!(world.claim(10).await.claimed.is_empty());
    world.store.sweep(GRACE, world.now()).await.unwrap();
    assert!(world.claim(10).await.claimed.is_empty());
    assert_eq!(world.count(alert, 0, DeliveryState::Cancelled).await, 1);
}

#[rstest]
#[tokio::test]
async fn an_update_reaches_those_whose_start_leaves_after_it_too(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(4).await;
    let alert = world.alert_all().await;
    let claim = world.claim(2).await;
    let finished: Vec<_> = claim.claimed.iter().map(|c| world.accepted(c)).collect();
    world.store.finish("main", &finished).await.unwrap();
    let update = world.store.update_alert(&world.intake(None), alert, &text("Jas is blauw.")).await.unwrap();
    assert_eq!(update, Ok(Once::Done(Changed::default())));
    assert_eq!(world.view(alert).await.messages[1].recipients, 2);
    world.send_all().await;
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 2);
    assert_eq!(world.send_all().await.len(), 2);
    assert_eq!(world.view(alert).await.state, AlertState::Active);
}

#[rstest]
#[tokio::test]
async fn a_retraction_stops_the_starts_and_corrects_those_reached(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(3).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    let done =
        world.store.retract_alert(&world.intake(None), alert, &text("Melding vervalt.")).await.unwrap();
    assert_eq!(done, Ok(Once::Done(Changed::default())));
    assert_eq!(world.view(alert).await.state, AlertState::Cancelled);
    assert_eq!(world.send_all().await, [claimed.phone.unwrap()]);
}

#[rstest]
#[tokio::test]
async fn an_expired_alert_can_still_be_ended_and_a_closed_one_is_refused(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    world.send_all().await;
    world.clock.advance(Duration::from_hours(1));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    let refused = world.store.update_alert(&world.intake(None), alert, &text("x")).await.unwrap();
    assert_eq!(refused, Err(ChangeRefused::NotPossible(AlertState::Expired)));
    end(&world, alert).await;
    assert_eq!(world.send_all().await.len(), 2);
    let again = world.store.end_alert(&world.intake(None), alert, &text("x"), Outcome::Other).await.unwrap();
    assert_eq!(again, Err(ChangeRefused::NotPossible(AlertState::Ended)));
}

#[rstest]
#[tokio::test]
async fn cancelling_stops_what_has_not_left(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(5).await;
    let alert = world.alert_all().await;
    world.claim(2).await;
    assert_eq!(
        world.store.cancel_alert(&world.intake(None), alert).await.unwrap(),
        Ok(Once::Done(Changed::default()))
    );
    assert_eq!(world.count(alert, 0, DeliveryState::Cancelled).await, 3);
    assert!(world.claim(10).await.claimed.is_empty());
}

#[rstest]
#[tokio::test]
async fn an_extension_asks_only_people_not_yet_asked(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let people = world.enrol(20).await;
    let alert = world.take(&world.alert_draft(22.0)).await.alert.unwrap();
    assert_eq!(world.send_all().await.len(), 5);
    let area = serde_json::json!({ "circle": { "radius_m": 52 } });
    let extended =
        world.store.extend_alert(&world.intake(None), alert, &circle(52.0), &area).await.unwrap().unwrap();
    let Once::Done(taken) = extended else { panic!("{extended:?}") };
    assert_eq!(taken.recipients, 6);
    let rang = sorted(world.send_all().await);
    assert_eq!(rang, people[5..11].iter().map(|p| p.draft.phone.clone()).collect::<Vec<_>>());
    assert_eq!(world.view(alert).await.messages[0].recipients, 11);
}

#[rstest]
#[tokio::test]
async fn fifty_posts_with_one_key_make_one_incident(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(3).await;
    let key = Idempotency { key: "k".into(), fingerprint: [1; 32] };
    let draft = world.alert_draft(10_000.0);
    let incident = incident();
    let intake = world.intake(Some(&key));
    let posts = (0..50).map(|_| world.store.take_incident(&intake, &incident, Some(&draft)));
    let answers: Vec<_> = futures::future::join_all(posts).await.into_iter().map(Result::unwrap).collect();
    let done: Vec<_> =
        answers.iter().filter_map(|a| if let Once::Done(t) = a { Some(t.incident) } else { None }).collect();
    assert_eq!(done.len(), 1);
    assert_eq!(answers.iter().filter(|a| **a == Once::Repeated(done[0].0)).count(), 49);
    let page = PageRequest { limit: 100, cursor: None };
    assert_eq!(world.store.list_incidents(world.organisation, &page).await.unwrap().items.len(), 1);
    let other = Idempotency { key: "k".into(), fingerprint: [2; 32] };
    let reused =
        world.store.take_incident(&world.intake(Some(&other)), &incident, Some(&draft)).await.unwrap();
    assert_eq!(reused, Once::KeyReused);
    assert_eq!(world.send_all().await.len(), 3);
}

#[rstest]
#[tokio::test]
async fn a_fan_out_of_several_pages_is_resumed_after_a_crash(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let count = klaroen_store::fanout::PAGE + 500;
    let batch: Vec<_> =
        (0..count).map(|n| crate::world::draft(n, crate::world::at_metres_east(n as f64 * 0.1))).collect();
    world.store.import_participants(world.organisation, &batch, false, world.now()).await.unwrap();
    let taken = world.take(&world.alert_draft(10_000.0)).await;
    assert!(taken.more);
    // No more than the first page is looked up, whatever the size: the first SMS waits for no more.
    assert!((1..count as u64 / 2).contains(&taken.recipients), "{}", taken.recipients);
    let alert = taken.alert.unwrap();
    assert_eq!(world.view(alert).await.messages[0].recipients, taken.recipients);
    // The process died here. Another one finds it.
    let later = world.now().plus(Duration::from_secs(10));
    assert_eq!(world.store.open_fanouts(later).await.unwrap(), [alert]);
    for _ in 0..2 {
        world.store.continue_fanout(alert, &world.rules, world.now(), || {}).await.unwrap();
        assert_eq!(world.view(alert).await.messages[0].recipients, count as u64);
        assert!(world.store.open_fanouts(later).await.unwrap().is_empty());
    }
    assert_eq!(world.store.broken_sums().await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn another_organisation_sees_and_changes_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    let page = PageRequest { limit: 10, cursor: None };
    let stranger = World { organisation: OrganisationId::generate(), ..world };
    let (store, organisation) = (&stranger.store, stranger.organisation);
    assert_eq!(store.alert(organisation, alert).await.unwrap(), None);
    assert!(store.list_alerts(organisation, None, &page).await.unwrap().items.is_empty());
    assert_eq!(store.list_deliveries(organisation, alert, None, &page).await.unwrap(), None);
    assert!(store.list_replies(organisation, alert, None, &page).await.unwrap().is_none());
    let not_found = Err(ChangeRefused::NotFound);
    let intake = stranger.intake(None);
    assert_eq!(store.update_alert(&intake, alert, &text("x")).await.unwrap(), not_found);
    assert_eq!(store.end_alert(&intake, alert, &text("x"), Outcome::Other).await.unwrap(), not_found);
    assert_eq!(store.retract_alert(&intake, alert, &text("x")).await.unwrap(), not_found);
    assert_eq!(store.cancel_alert(&intake, alert).await.unwrap(), not_found);
    let extended = store.extend_alert(&intake, alert, &circle(50.0), &serde_json::json!({})).await.unwrap();
    assert_eq!(extended.unwrap_err(), ChangeRefused::NotFound);
}

#[rstest]
#[tokio::test]
async fn deliveries_are_listed_page_by_page(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(7).await;
    world.alert_all().await;
    let alert = world.alert_all().await;
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = PageRequest { limit: 3, cursor };
        let list =
            world.store.list_deliveries(world.organisation, alert, None, &page).await.unwrap().unwrap();
        seen.extend(list.items.into_iter().filter_map(|d| d.phone));
        cursor = list.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sorted(seen), (0..7).map(phone).collect::<Vec<_>>());
}
