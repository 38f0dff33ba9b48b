//! Several gateways: who takes what, and who takes over from whom.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::gateway::GatewayState;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::{ChannelStatus, OutboundSms};
use klaroen_store::Actor;
use klaroen_worker::{GatewayRoute, Worker, WorkerError};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::{
    PATIENCE, Provider, Running, Script, World, accepted, at_once, connection, failure, gated, phone,
    settings,
};

fn route(name: &str, priority: u16, weight: u16) -> GatewayRoute {
    GatewayRoute { name: name.into(), priority, weight, countries: vec![], priorities: vec![] }
}

fn not_taken(n: u32, from: u32, to: u32) -> SubmitOutcome {
    if (from..to).contains(&n) { SubmitOutcome::NotTaken(failure(Scope::Gateway)) } else { accepted(n) }
}

/// A worker with several gateways.
struct Team {
    providers: Vec<Provider>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Team {
    fn start(world: &World, gateways: Vec<(GatewayRoute, Script)>) -> Self {
        Self::at(world, gateways.into_iter().map(|(route, script)| (route, 0, script)).collect())
    }

    /// With a rate for each.
    fn at(world: &World, gateways: Vec<(GatewayRoute, u32, Script)>) -> Self {
        let (mut channels, mut routes, mut providers) = (vec![], vec![], vec![]);
        for (route, rate, script) in gateways {
            let (spec, provider) = connection(&route.name, 10, rate, script);
            channels.push(spec);
            routes.push(route);
            providers.push(provider);
        }
        let settings = settings(channels, routes, PATIENCE);
        let wake = Arc::new(Notify::new());
        let worker = Worker::new(world.store.clone(), Arc::new(SystemClock), wake, settings);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(worker.run(shutdown.clone()));
        Self { providers, shutdown, task }
    }

    /// Stops the worker; returns what each gateway was handed.
    async fn stop(self) -> Vec<Vec<OutboundSms>> {
        self.shutdown.cancel();
        tokio::time::timeout(2 * PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
        let all = |mut provider: Provider| {
            std::iter::from_fn(move || provider.submitted.try_recv().ok()).collect::<Vec<_>>()
        };
        self.providers.into_iter().map(all).collect()
    }
}

fn counts(handed: &[Vec<OutboundSms>]) -> Vec<usize> {
    handed.iter().map(Vec::len).collect()
}

/// Waits until the gateway is reported in that state.
async fn until_state(world: &World, gateway: &str, state: GatewayState) {
    let reached = async {
        loop {
            let reports = world.store.gateway_reports(SystemClock.now()).await.unwrap();
            if reports.iter().any(|report| report.gateway == gateway && report.state == state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{gateway} is never {state}");
}

#[tokio::test]
async fn the_first_takes_all_while_it_can() {
    let world = World::new(200).await;
    let both = vec![(route("spare", 2, 100), at_once(accepted)), (route("main", 1, 100), at_once(accepted))];
    let team = Team::start(&world, both);
    world.until(S::Sent, 200).await;
    assert_eq!(counts(&team.stop().await), [0, 200]);
}

#[tokio::test]
async fn weights_are_kept_and_nobody_gets_it_twice() {
    let world = World::new(400).await;
    // Closed until both are up, so that neither takes what the other left lying.
    let ((gate_a, a), (gate_b, b)) = (gated(), gated());
    let team = Team::start(&world, vec![(route("a", 1, 30), a), (route("b", 1, 70), b)]);
    until_state(&world, "a", GatewayState::Up).await;
    until_state(&world, "b", GatewayState::Up).await;
    gate_a.add_permits(400);
    gate_b.add_permits(400);
    world.until(S::Sent, 400).await;
    let handed = team.stop().await;
    let distinct: HashSet<_> = handed.iter().flatten().map(|sms| sms.delivery).collect();
    assert_eq!(distinct.len(), 400);
    assert_eq!(counts(&handed).iter().sum::<usize>(), 400);
    assert!(counts(&handed).iter().all(|count| *count >= 50), "{:?}", counts(&handed));
}

#[tokio::test]
async fn each_number_goes_to_a_gateway_of_its_country() {
    let belgian = |n: u32| PhoneNumber::from_sealed(format!("+3247{:07}", 1_000_000 + n));
    let world = World::of((0..150).map(phone).chain((0..50).map(belgian)).collect()).await;
    let mut abroad = route("abroad", 1, 100);
    abroad.countries = vec!["BE".parse().unwrap()];
    let gateways = vec![(abroad, at_once(accepted)), (route("home", 2, 100), at_once(accepted))];
    let team = Team::start(&world, gateways);
    world.until(S::Sent, 200).await;
    let handed = team.stop().await;
    assert_eq!(counts(&handed), [50, 150]);
    assert!(handed[0].iter().all(|sms| sms.to.expose().starts_with("+32")));
}

#[tokio::test]
async fn what_no_gateway_serves_waits_and_holds_up_nobody() {
    // The first of the queue are those that nobody serves.
    let belgian = |n: u32| PhoneNumber::from_sealed(format!("+3247{:07}", 1_000_000 + n));
    let world = World::of((0..300).map(belgian).chain((0..20).map(phone)).collect()).await;
    let mut home = route("home", 1, 100);
    home.countries = vec!["NL".parse().unwrap()];
    let team = Team::start(&world, vec![(home, at_once(accepted))]);
    world.until(S::Sent, 20).await;
    world.until(S::Queued, 300).await;
    assert_eq!(counts(&team.stop().await), [20]);
}

#[tokio::test]
async fn an_alert_goes_to_a_gateway_for_its_priority() {
    let world = World::new(50).await;
    let mut life = route("life", 1, 100);
    life.priorities = vec![Priority::LifeThreatening];
    let gateways = vec![(life, at_once(accepted)), (route("rest", 2, 100), at_once(accepted))];
    let team = Team::start(&world, gateways);
    world.until(S::Sent, 50).await;
    assert_eq!(counts(&team.stop().await), [0, 50]);
}

#[tokio::test]
async fn where_the_provider_refuses_us_the_other_takes_over_at_once() {
    let world = World::new(300).await;
    let refusing = |n| if n < 100 { accepted(n) } else { SubmitOutcome::Rejected(failure(Scope::Gateway)) };
    let gateways =
        vec![(route("main", 1, 100), at_once(refusing)), (route("spare", 2, 100), at_once(accepted))];
    let team = Team::start(&world, gateways);
    world.until(S::Sent, 300).await;
    until_state(&world, "main", GatewayState::Paused).await;
    let handed = team.stop().await;
    // The window that was under way at the refusal, and nothing after it.
    let main = handed[0].len();
    assert!((100..=110).contains(&main), "{main}");
    assert_eq!(handed[1].len(), 200);
}

#[tokio::test]
async fn a_gateway_that_could_not_be_reached_comes_back_by_one_message() {
    let world = World::new(300).await;
    let main = at_once(|n| not_taken(n, 20, 25));
    let (gate, spare) = gated();
    let team = Team::start(&world, vec![(route("main", 1, 100), main), (route("spare", 2, 100), spare)]);
    until_state(&world, "main", GatewayState::Paused).await;
    // The spare takes a window and no more, so the rest waits for the first to be well again.
    world.until(S::Sending, 10).await;
    world.until(S::Sent, 290).await;
    gate.add_permits(300);
    world.until(S::Sent, 300).await;
    until_state(&world, "main", GatewayState::Up).await;
    assert_eq!(world.count(S::Failed).await, 0);
    let handed = team.stop().await;
    let taken: HashSet<_> = handed[1].iter().map(|sms| sms.delivery).collect();
    assert_eq!(taken.len(), handed[1].len());
}

#[tokio::test]
async fn what_one_is_too_slow_for_the_other_takes_beside_it() {
    let world = World::new(300).await;
    let slow = |n| if n < 20 { accepted(n) } else { SubmitOutcome::Throttled { retry_after: None } };
    let gateways = vec![(route("main", 1, 100), at_once(slow)), (route("spare", 2, 100), at_once(accepted))];
    let team = Team::start(&world, gateways);
    world.until(S::Sent, 300).await;
    let handed = team.stop().await;
    assert_eq!(handed[1].len(), 280);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_keeps_its_window_and_the_other_takes_the_rest() {
    let world = World::new(200).await;
    let (gate, silent) = gated();
    let gateways = vec![(route("main", 1, 100), silent), (route("spare", 2, 100), at_once(accepted))];
    let team = Team::start(&world, gateways);
    world.until(S::Sent, 190).await;
    until_state(&world, "main", GatewayState::Suspect).await;
    // Its answers come after all: nothing was in doubt, and it is well again.
    gate.add_permits(200);
    world.until(S::Sent, 200).await;
    until_state(&world, "main", GatewayState::Up).await;
    assert_eq!(counts(&team.stop().await), [10, 190]);
}

#[tokio::test]
async fn a_lost_connection_is_followed_at_once() {
    let world = World::new(200).await;
    let (gate, main) = gated();
    let gateways = vec![(route("main", 1, 100), main), (route("spare", 2, 100), at_once(accepted))];
    let mut team = Team::start(&world, gateways);
    for _ in 0..10 {
        team.providers[0].next().await;
    }
    team.providers[0].status.send_replace(ChannelStatus::Connecting);
    world.until(S::Sent, 190).await;
    gate.add_permits(10);
    world.until(S::Sent, 200).await;
    assert_eq!(counts(&team.stop().await), [0, 190]);
}

#[tokio::test]
async fn an_operator_can_take_a_gateway_out_of_use_in_the_middle_of_an_alert() {
    let world = World::new(300).await;
    let (gate, main) = gated();
    let gateways = vec![(route("main", 1, 100), main), (route("spare", 2, 100), at_once(accepted))];
    let mut team = Team::start(&world, gateways);
    let mut first = Vec::new();
    for _ in 0..10 {
        first.push(team.providers[0].next().await.delivery);
    }
    let now = SystemClock.now();
    assert!(world.store.pause_gateway(Actor::System, "main", None, now).await.unwrap());
    world.until(S::Sent, 290).await;
    gate.add_permits(300);
    world.until(S::Sent, 300).await;
    until_state(&world, "main", GatewayState::Stopped).await;
    let handed = team.stop().await;
    assert_eq!(counts(&handed), [0, 290]);
    assert!(handed[1].iter().all(|sms| !first.contains(&sms.delivery)));
}

#[tokio::test]
async fn without_any_gateway_everything_waits_until_one_is_put_back() {
    let world = World::new(100).await;
    let now = SystemClock.now();
    world.store.pause_gateway(Actor::System, "main", None, now).await.unwrap();
    let team = Team::start(&world, vec![(route("main", 1, 100), at_once(accepted))]);
    until_state(&world, "main", GatewayState::Stopped).await;
    assert_eq!(world.count(S::Queued).await, 100);
    world.store.resume_gateway(Actor::System, "main", now).await.unwrap();
    world.until(S::Sent, 100).await;
    assert_eq!(counts(&team.stop().await), [100]);
}

#[tokio::test]
async fn a_message_that_one_gateway_refuses_for_everybody_goes_out_by_the_other() {
    let world = World::new(300).await;
    let refused = |_| SubmitOutcome::Rejected(failure(Scope::Message));
    // Slowly, so that the first refusals are written down long before all have been handed over.
    let both =
        vec![(route("main", 1, 100), 50, at_once(refused)), (route("spare", 2, 100), 0, at_once(accepted))];
    let team = Team::at(&world, both);
    world.until(S::Sent, 300).await;
    let handed = team.stop().await;
    assert_eq!(handed[1].len(), 300, "nobody got it twice");
    assert!(handed[0].len() < 300, "it was believed before: {}", handed[0].len());
    let alert = world.store.alert(world.organisation, world.alert).await.unwrap().unwrap();
    let refused: Vec<_> = alert.messages[0].refused.iter().map(|refusal| &*refusal.gateway).collect();
    assert_eq!(refused, ["main"]);
}

#[tokio::test]
async fn what_no_other_gateway_serves_fails_when_its_own_refuses_the_message() {
    let belgian = |n: u32| PhoneNumber::from_sealed(format!("+3247{:07}", 1_000_000 + n));
    let world = World::of((0..40).map(phone).chain((0..20).map(belgian)).collect()).await;
    let mut abroad = route("abroad", 2, 100);
    abroad.countries = vec!["BE".parse().unwrap()];
    let refused = |_| SubmitOutcome::Rejected(failure(Scope::Message));
    let team =
        Team::start(&world, vec![(route("home", 1, 100), at_once(refused)), (abroad, at_once(accepted))]);
    world.until(S::Failed, 40).await;
    world.until(S::Sent, 20).await;
    team.stop().await;
}

/// Cannot be reached for three messages; the fourth finds out whether it can, and hangs until the gate is opened. However many
/// connections follow it.
fn unreachable_at_first() -> (Arc<Semaphore>, Script) {
    let (gate, hangs) = gated();
    let count = AtomicU32::new(0);
    let script: Script = Arc::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        n @ 0..3 => Box::pin(std::future::ready(not_taken(n, 0, 3))),
        3 => hangs(3),
        n => Box::pin(std::future::ready(accepted(n))),
    });
    (gate, script)
}

#[tokio::test]
async fn the_only_gateway_is_used_again_although_the_message_that_tried_it_hangs() {
    let world = World::new(40).await;
    let (gate, script) = unreachable_at_first();
    let running = Running::start(&world, 5, script);
    world.until(S::Sent, 39).await;
    gate.add_permits(1);
    world.until(S::Sent, 40).await;
    running.stop().await;
}

#[tokio::test]
async fn the_connection_that_did_not_try_the_only_gateway_is_used_again() {
    let world = World::new(40).await;
    let (gate, script) = unreachable_at_first();
    let (first, provider) = connection("main", 1, 0, Arc::clone(&script));
    let (mut second, _second) = connection("main", 1, 0, script);
    second.name.channel = 1;
    let running = Running::of(&world, settings(vec![first, second], vec![], PATIENCE), provider);
    // One connection is full of the message that hangs.
    world.until(S::Sent, 39).await;
    gate.add_permits(1);
    world.until(S::Sent, 40).await;
    running.stop().await;
}
