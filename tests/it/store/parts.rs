//! Claims of a gateway that may take a part of what is due.

use std::collections::HashSet;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::phone::PhoneNumber;
use klaroen_store::channels::ChannelName;
use klaroen_store::claims::{Claim, ClaimRequest, Part, Role, Roles, Scan, Turns, lease_token};
use klaroen_test_databases::Engine;
use rstest::rstest;

use crate::world::{World, at_metres_east, draft};

const HALF: Role = Role::Own { lo: 0, hi: 5_000 };
const OTHER_HALF: Role = Role::Own { lo: 5_000, hi: 10_000 };

/// The same for every priority; a country and the others.
fn part(dutch: Role, others: Role) -> Part {
    let roles = Roles { by_country: vec![("NL".parse().unwrap(), dutch)], others };
    Part { life_threatening: roles.clone(), urgent: roles.clone(), normal: roles }
}

fn gateway(name: &str) -> ChannelName {
    ChannelName { gateway: name.into(), channel: 0 }
}

trait Claims {
    async fn claim_part(&self, name: &str, limit: u32, part: &Part, scan: &mut Scan) -> Claim;
    /// Claims until nothing more comes.
    async fn claim_all(&self, name: &str, limit: u32, part: &Part) -> Vec<DeliveryId>;
}

impl Claims for World {
    async fn claim_part(&self, name: &str, limit: u32, part: &Part, scan: &mut Scan) -> Claim {
        let (now, channel) = (self.now(), gateway(name));
        let lease_until = now.plus(Duration::from_mins(1));
        let request = ClaimRequest { channel: &channel, limit, lease_until, now, lease_token: lease_token() };
        self.store.claim_part(&request, part, scan, &mut Turns::default()).await.unwrap()
    }

    async fn claim_all(&self, name: &str, limit: u32, part: &Part) -> Vec<DeliveryId> {
        let (mut all, mut scan) = (Vec::new(), Scan::default());
        loop {
            let claim = self.claim_part(name, limit, part, &mut scan).await;
            if claim.claimed.is_empty() && claim.next_due.is_none_or(|due| due > self.now()) {
                return all;
            }
            all.extend(claim.claimed.iter().map(|claimed| claimed.id));
        }
    }
}

#[rstest]
#[tokio::test]
async fn shares_make_up_the_whole_and_no_delivery_is_in_two(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(101).await;
    world.alert_all().await;
    let first = world.claim_all("a", 7, &part(HALF, HALF)).await;
    let second = world.claim_all("b", 1_000, &part(OTHER_HALF, OTHER_HALF)).await;
    assert!((48..=53).contains(&first.len()), "{}", first.len());
    assert_eq!(first.iter().chain(&second).collect::<HashSet<_>>().len(), 101);
    assert_eq!(first.len() + second.len(), 101);
}

#[rstest]
#[tokio::test]
async fn what_its_owner_leaves_lying_others_may_take_after_a_second(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(40).await;
    world.alert_all().await;
    let own = part(HALF, HALF);
    let mut scan = Scan::default();
    let mine = world.claim_part("a", 100, &own, &mut scan).await.claimed.len();
    assert!(world.claim_part("a", 100, &own, &mut scan).await.claimed.is_empty());
    let beside = part(Role::Beside, Role::Beside);
    assert!(world.claim_all("b", 100, &beside).await.is_empty(), "it is too early");
    world.clock.advance(Duration::from_secs(1));
    // The channel that had looked at them looks again.
    assert_eq!(world.claim_part("a", 100, &own, &mut scan).await.claimed.len(), 40 - mine);
}

#[rstest]
#[tokio::test]
async fn numbers_of_another_country_are_left_and_hide_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    // They come first in the queue, and are more than one claim looks at.
    let mut batch = Vec::new();
    for n in 0..4_500 {
        let mut belgian = draft(n, at_metres_east(1.0));
        belgian.phone = PhoneNumber::from_sealed(format!("+3247{:07}", 1_000_000 + n));
        batch.push(belgian);
    }
    world.store.import_participants(world.organisation, &batch, false, world.now()).await.unwrap();
    world.enrol(5).await;
    world.alert_all().await;
    let dutch = part(Role::WHOLE, Role::Nothing);
    let mut scan = Scan::default();
    let (mut claimed, mut claims) = (0, 0);
    while claimed < 5 {
        let claim = world.claim_part("a", 10, &dutch, &mut scan).await;
        assert!(!claim.claimed.is_empty() || claim.next_due == Some(world.now()), "there is more to look at");
        (claimed, claims) = (claimed + claim.claimed.len(), claims + 1);
        assert!(claims < 10);
    }
    // All was looked at: it is not read again and again.
    assert_eq!(world.claim_part("a", 10, &dutch, &mut scan).await, Claim::default());
    assert_eq!(world.claim_all("b", 1_000, &part(Role::Nothing, Role::WHOLE)).await.len(), 4_500);
}

#[rstest]
#[tokio::test]
async fn what_one_hands_over_others_have_at_once_and_it_has_again_only_later(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(3).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(3).await.claimed;
    let over = |n: usize| {
        let decision = Decision::HandOver { due_at: world.now(), code: Some("credit".into()) };
        world.finished(&claimed[n], decision, &[])
    };
    world.store.finish("main", &[over(0), over(1), world.accepted(&claimed[2])]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Queued).await, 2);
    assert!(world.claim(3).await.claimed.is_empty(), "not by the one that could not take it");
    let handed = part(Role::Handed, Role::Handed);
    let spare = world.claim_part("spare", 1, &handed, &mut Scan::default()).await;
    assert_eq!(spare.claimed.len(), 1);
    assert_eq!((spare.claimed[0].retries, spare.claimed[0].claims), (0, 1));
    assert!(world.claim_all("spare", 9, &part(Role::Nothing, Role::Nothing)).await.is_empty());
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.claim(3).await.claimed.len(), 1, "nobody else wanted it");
    assert!(world.claim_all("spare", 9, &handed).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn a_gateway_on_trial_gets_nothing_that_is_in_doubt(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = Priority::LifeThreatening;
    let alert = world.take(&draft).await.alert.unwrap();
    let lost = world.claim(1).await.claimed[0].id;
    for (wait, state) in [(60, DeliveryState::Unknown), (10, DeliveryState::Queued)] {
        world.clock.advance(Duration::from_secs(wait));
        world.store.sweep(Duration::from_hours(1), world.now()).await.unwrap();
        assert!(world.count(alert, 0, state).await > 0, "{state}");
    }
    let trial = part(Role::WHOLE.on_trial(), Role::WHOLE.on_trial());
    let tried = world.claim_all("trial", 9, &trial).await;
    assert!(tried.len() == 1 && tried[0] != lost, "the policy sends {lost} again, and only once: {tried:?}");
    let again = world.claim(9).await.claimed;
    assert_eq!(again.iter().map(|claimed| claimed.id).collect::<Vec<_>>(), [lost]);
    // Nor when another hands it over.
    let over = world.finished(&again[0], Decision::HandOver { due_at: world.now(), code: None }, &[]);
    world.store.finish("main", &[over]).await.unwrap();
    let handed = part(Role::Handed.on_trial(), Role::Handed.on_trial());
    assert!(world.claim_all("trial", 9, &handed).await.is_empty());
    assert_eq!(world.claim_all("spare", 9, &part(Role::Handed, Role::Handed)).await, [lost]);
}

#[rstest]
#[tokio::test]
async fn a_stop_is_respected_by_every_way_to_claim(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let people = world.enrol(4).await;
    let alert = world.alert_all().await;
    let actor = klaroen_store::Actor::CommandLine;
    for person in &people[..2] {
        world.store.erase_participant(world.organisation, person.id, actor, world.now()).await.unwrap();
    }
    let whole = part(Role::WHOLE, Role::WHOLE);
    assert_eq!(world.claim_all("a", 1, &whole).await.len(), 2);
    assert_eq!(world.count(alert, 0, DeliveryState::Suppressed).await, 2);
}

#[rstest]
#[tokio::test]
async fn two_that_claim_the_same_part_at_once_share_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(120).await;
    world.alert_all().await;
    let whole = part(Role::WHOLE, Role::Nothing);
    let claims = (0..6).map(|_| async {
        let mut scan = Scan::default();
        world.claim_part("a", 20, &whole, &mut scan).await.claimed
    });
    let all: Vec<_> = futures::future::join_all(claims).await.into_iter().flatten().collect();
    let distinct: HashSet<_> = all.iter().map(|claimed| claimed.id).collect();
    assert_eq!(distinct.len(), all.len());
    let rest = world.claim_all("a", 50, &whole).await;
    assert_eq!(all.len() + rest.len(), 120);
}

#[rstest]
#[tokio::test]
async fn what_is_written_behind_a_look_is_found_by_the_next_one(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = crate::pipeline::world(engine, 8_000).await;
    let alert = world.take(&world.alert_draft(10_000.0)).await.alert.unwrap();
    let (own, mut scan) = (part(HALF, HALF), Scan::default());
    let mut claim = async || world.claim_part("a", 10_000, &own, &mut scan).await.claimed.len();
    let first = claim().await;
    assert!((1..3_000).contains(&first), "{first}");
    assert_eq!(claim().await, 0);
    world.store.continue_fanout(alert, &world.rules, world.now(), || {}).await.unwrap();
    // No time has passed.
    let both = first + claim().await;
    assert!((3_900..=4_100).contains(&both), "{both}");
}
