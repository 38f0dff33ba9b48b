//! Requests with several messages.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_domain::phone::PhoneNumber;
use klaroen_gateway::OutboundSms;

use crate::fixture::{BatchGateway, PATIENCE, Running, World, accepted, failure, phone};

/// The numbers of each request.
type Requests = Arc<Mutex<Vec<Vec<PhoneNumber>>>>;

/// A gateway that writes its requests down and answers by `answer`, to which it gives their messages.
fn gateway(
    answer: impl Fn(&[OutboundSms]) -> Vec<SubmitOutcome> + Send + Sync + 'static,
) -> (BatchGateway, Requests) {
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let answer = move |batch: &[OutboundSms]| {
        seen.lock().unwrap().push(batch.iter().map(|sms| sms.to.clone()).collect());
        answer(batch)
    };
    (BatchGateway { answer: Box::new(answer), together: |_, _| true }, requests)
}

fn all_accepted(batch: &[OutboundSms]) -> Vec<SubmitOutcome> {
    (0..).take(batch.len()).map(accepted).collect()
}

fn is(sms: &OutboundSms, n: u32) -> bool {
    sms.to.expose() == phone(n).expose()
}

fn numbers(requests: &Requests) -> Vec<String> {
    requests.lock().unwrap().iter().flatten().map(|number| number.expose().to_owned()).collect()
}

#[tokio::test]
async fn what_waits_goes_in_full_requests_and_everybody_gets_it_once() {
    let world = World::new(700).await;
    let (gateway, requests) = gateway(all_accepted);
    let running = Running::batching(&world, 10, 50, gateway);
    world.until(S::Sent, 700).await;
    running.stop().await;
    let numbers = numbers(&requests);
    assert_eq!((numbers.len(), numbers.iter().collect::<HashSet<_>>().len()), (700, 700));
    let count = requests.lock().unwrap().len();
    assert!(count <= 700 / 50 + 5, "{count} requests");
}

#[tokio::test]
async fn a_batch_that_is_refused_for_one_of_them_goes_again_by_halves() {
    for scope in [Scope::Recipient, Scope::Message] {
        let world = World::new(64).await;
        let (gateway, requests) = gateway(move |batch| {
            if batch.iter().any(|sms| is(sms, 17)) {
                vec![SubmitOutcome::Rejected(failure(scope)); batch.len()]
            } else {
                all_accepted(batch)
            }
        });
        let running = Running::batching(&world, 4, 64, gateway);
        world.until(S::Sent, 63).await;
        world.until(S::Failed, 1).await;
        running.stop().await;
        let count = requests.lock().unwrap().len();
        // Twice where a message that others took is refused for one.
        assert!(count < 24, "{count} requests");
    }
}

#[tokio::test]
async fn a_message_that_is_refused_in_every_company_fails_for_all() {
    let world = World::new(100).await;
    let (gateway, _) = gateway(|batch| vec![SubmitOutcome::Rejected(failure(Scope::Message)); batch.len()]);
    let running = Running::batching(&world, 4, 50, gateway);
    world.until(S::Failed, 100).await;
    running.stop().await;
}

#[tokio::test]
async fn each_of_a_batch_has_its_own_outcome() {
    let world = World::new(40).await;
    let (gateway, _) = gateway(|batch| {
        let outcome = |sms: &OutboundSms| match () {
            () if is(sms, 3) => SubmitOutcome::Rejected(failure(Scope::Recipient)),
            () if is(sms, 5) => SubmitOutcome::Unknown(failure(Scope::Recipient)),
            () => accepted(1),
        };
        batch.iter().map(outcome).collect()
    });
    let running = Running::batching(&world, 4, 20, gateway);
    world.until(S::Sent, 38).await;
    world.until(S::Failed, 1).await;
    world.until(S::Unknown, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn what_the_adapter_does_not_say_is_in_doubt_for_all_of_the_batch() {
    let world = World::new(30).await;
    let (gateway, requests) = gateway(|batch| match batch.len() {
        1 => all_accepted(batch),
        // Which one is missing cannot be told.
        _ if batch.iter().any(|sms| is(sms, 7)) => all_accepted(&batch[1..]),
        _ if batch.iter().any(|sms| is(sms, 20)) => panic!("scripted panic"),
        _ => all_accepted(batch),
    });
    let running = Running::batching(&world, 1, 10, gateway);
    let done = async || world.count(S::Sent).await + world.count(S::Unknown).await;
    let all_done = async {
        while done().await < 30 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_done).await.unwrap();
    let unknown = world.count(S::Unknown).await;
    running.stop().await;
    let requests = requests.lock().unwrap();
    let odd = [phone(7), phone(20)].map(|number| number.expose().to_owned());
    let lost = requests.iter().filter(|request| {
        request.len() > 1 && request.iter().any(|number| odd.contains(&number.expose().to_owned()))
    });
    assert_eq!(unknown, lost.map(Vec::len).sum::<usize>() as u64);
    assert_eq!(requests.iter().map(Vec::len).sum::<usize>(), 30, "nobody was sent to again");
}

#[tokio::test]
async fn what_does_not_go_together_goes_apart() {
    let world = World::new(40).await;
    let (gateway, requests) = gateway(all_accepted);
    let gateway = BatchGateway { together: |a, b| ends_even(&a.to) == ends_even(&b.to), ..gateway };
    let running = Running::batching(&world, 4, 20, gateway);
    world.until(S::Sent, 40).await;
    running.stop().await;
    for request in requests.lock().unwrap().iter() {
        let evens = request.iter().filter(|number| ends_even(number)).count();
        assert!(evens == 0 || evens == request.len());
    }
}

fn ends_even(number: &PhoneNumber) -> bool {
    number.expose().ends_with(['0', '2', '4', '6', '8'])
}
