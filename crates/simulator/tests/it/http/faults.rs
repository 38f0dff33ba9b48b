//! Every fault does what it says, as often as it says.

use std::sync::Arc;
use std::time::Duration;

use klaroen_simulator::{Contract, HttpConfig, HttpFaults, HttpProvider, Mishap};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::peer::{called, config, exchange, number, provider, request, submit};

const HTTP: Contract = Contract::Http;

fn faults(change: impl FnOnce(&mut HttpFaults)) -> HttpFaults {
    let mut faults = HttpFaults::default();
    change(&mut faults);
    faults
}

/// The status of each of 200 submits to different numbers, 0 if the connection dropped.
async fn statuses(provider: &HttpProvider) -> Vec<u16> {
    let mut statuses = Vec::new();
    for i in 0..200 {
        let answer = exchange(provider, &submit(&number(i), "r")).await;
        statuses.push(answer.map_or(0, |answer| answer.status));
    }
    statuses
}

#[rstest]
#[case(|f: &mut HttpFaults| f.throttled = 0.5, 429, 0)]
#[case(|f: &mut HttpFaults| f.internal_error = 0.5, 500, 0)]
#[case(|f: &mut HttpFaults| f.bare_error = 0.5, 503, 0)]
#[case(|f: &mut HttpFaults| f.bare_error_after_taking = 0.5, 502, 1)]
#[case(|f: &mut HttpFaults| f.close_before_taking = 0.5, 0, 0)]
#[case(|f: &mut HttpFaults| f.close_after_taking = 0.5, 0, 1)]
#[case(|f: &mut HttpFaults| f.reject_number = 0.5, 422, 0)]
#[case(|f: &mut HttpFaults| f.blocked_number = 0.5, 422, 0)]
#[tokio::test(start_paused = true)]
async fn a_share_of_submits_fares_so_and_only_those_that_were_taken_ring(
    #[case] change: fn(&mut HttpFaults),
    #[case] status: u16,
    #[case] rings: usize,
) {
    let provider = provider(HTTP, faults(change)).await;
    let statuses = statuses(&provider).await;
    let hit: Vec<u32> = (0..200).filter(|i| statuses[*i as usize] == status).collect();
    // Half of 200, within five standard deviations (7).
    assert!((65..=135).contains(&hit.len()), "{}", hit.len());
    assert!(statuses.iter().all(|seen| *seen == status || *seen == 201));
    for i in 0..200 {
        let expected = if hit.contains(&i) { rings } else { 1 };
        assert_eq!(provider.rings_of(&number(i)).len(), expected, "{i}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_and_another_differs() {
    let run = async |seed| {
        let config = HttpConfig { seed, ..config(HTTP, faults(|f| f.throttled = 0.5)) };
        statuses(&HttpProvider::start(config).await.unwrap()).await
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_throttling_says_when_to_come_back_or_not() {
    let provider = provider(HTTP, faults(|f| f.retry_after_s = Some(7))).await;
    provider.order(Mishap::Throttled, 2);
    let first = exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    assert_eq!((first.status, first.header("retry-after")), (429, Some("7")));
    provider.set_faults(HttpFaults::default());
    let second = exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    assert_eq!((second.status, second.header("retry-after")), (429, None));
    assert_eq!(exchange(&provider, &submit(&number(1), "r")).await.unwrap().status, 201);
    assert_eq!((provider.stats().throttled, provider.total_rings()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_a_second_pass() {
    let provider = provider(HTTP, faults(|f| f.throttle_above_per_second = Some(5))).await;
    let run = async || {
        let mut passed = 0;
        for i in 0..12 {
            passed += u32::from(exchange(&provider, &submit(&number(i), "r")).await.unwrap().status == 201);
        }
        passed
    };
    assert_eq!(run().await, 5);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(run().await, 5);
    assert_eq!(provider.stats().throttled, 14);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_promised_more() {
    let provider = provider(HTTP, HttpFaults::default()).await;
    provider.order(Mishap::GarbledResponse, 1);
    let answer = exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    let promised: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert_eq!((answer.status, answer.body.len()), (201, promised / 2));
    assert_eq!((provider.total_rings(), provider.stats().answers_lost), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_rings_and_the_connection_stays_until_the_client_goes() {
    let provider = provider(HTTP, HttpFaults::default()).await;
    provider.order(Mishap::LostResponse, 1);
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(submit(&number(1), "r").as_bytes()).await.unwrap();
    let mut octets = [0; 1];
    assert!(
        timeout(Duration::from_mins(1), stream.read(&mut octets)).await.is_err(),
        "neither answer nor end"
    );
    assert_eq!(provider.total_rings(), 1);
    // A silent request does not hold the provider up.
    provider.shutdown().await;
    assert_eq!(stream.read(&mut octets).await.unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_takes_nothing_until_it_is_well_again() {
    let provider = provider(HTTP, faults(|f| f.ignored = 1.0)).await;
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(submit(&number(1), "r").as_bytes()).await.unwrap();
    let mut octets = [0; 1];
    let waited = timeout(Duration::from_mins(1), stream.read(&mut octets)).await;
    assert!(waited.is_err(), "neither answer nor end");
    provider.set_faults(HttpFaults::default());
    assert_eq!(exchange(&provider, &submit(&number(2), "r")).await.unwrap().status, 201);
    assert_eq!((provider.total_rings(), provider.stats().ignored, provider.stats().taken), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fault_begins_after_so_many_messages() {
    let provider = Arc::new(provider(HTTP, HttpFaults::default()).await);
    let switch = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move {
            provider.until_taken(2).await;
            provider.set_faults(faults(|f| f.internal_error = 1.0));
        }
    });
    for n in 0..2 {
        assert!(!switch.is_finished());
        assert_eq!(exchange(&provider, &submit(&number(n), "r")).await.unwrap().status, 201);
    }
    switch.await.unwrap();
    assert_eq!(exchange(&provider, &submit(&number(3), "r")).await.unwrap().status, 500);
    provider.until_taken(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_late() {
    let late = |f: &mut HttpFaults| (f.late_response, f.late_response_delay_ms) = (1.0, (8_000, 9_000));
    let provider = provider(HTTP, faults(late)).await;
    let start = Instant::now();
    assert_eq!(exchange(&provider, &submit(&number(1), "r")).await.unwrap().status, 201);
    assert!(start.elapsed() >= Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_balance_runs_out_and_is_topped_up() {
    let config = HttpConfig { balance: Some(2), ..config(HTTP, HttpFaults::default()) };
    let provider = HttpProvider::start(config).await.unwrap();
    let send = async || exchange(&provider, &submit(&number(1), "r")).await.unwrap().status;
    assert_eq!([send().await, send().await, send().await], [201, 201, 402]);
    assert_eq!(provider.balance(), Some(0));
    let top_up = request("PUT /simulator/balance", &[], r#"{"balance":1}"#);
    assert_eq!(exchange(&provider, &top_up).await.unwrap().status, 200);
    assert_eq!([send().await, send().await], [201, 402]);
    provider.set_balance(None);
    assert_eq!(send().await, 201);
    assert_eq!((provider.total_rings(), provider.stats().messages_refused), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn a_provider_goes_away_and_comes_back_where_it_was() {
    let provider = provider(HTTP, HttpFaults::default()).await;
    let mut idle = TcpStream::connect(provider.addr()).await.unwrap();
    assert_eq!(exchange(&provider, &submit(&number(1), "r")).await.unwrap().status, 201);
    provider.stop_listening().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0, "its connections drop");
    assert!(TcpStream::connect(provider.addr()).await.is_err(), "refused");
    provider.listen_again().await.unwrap();
    assert_eq!(exchange(&provider, &submit(&number(1), "r")).await.unwrap().status, 201);
    assert_eq!(provider.total_rings(), 2, "it remembers");
}

#[tokio::test(start_paused = true)]
async fn a_message_may_be_taken_and_never_heard_of_again() {
    let (provider, service) = called(HTTP, faults(|f| f.never_settled = 1.0)).await;
    assert_eq!(exchange(&provider, &submit(&number(1), "r")).await.unwrap().status, 201);
    let callbacks = service.callbacks(1).await;
    assert_eq!(callbacks[0].json()["status"], "sent");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!((service.so_far().len(), provider.total_rings()), (1, 0));
    assert_eq!(provider.taken_as("r")[0].status, "sent");
}

#[tokio::test(start_paused = true)]
async fn look_ups_tell_what_became_of_a_message_or_fail() {
    let provider = provider(HTTP, faults(|f| f.undelivered = 1.0)).await;
    provider.order(Mishap::BareErrorAfterTaking, 1);
    assert_eq!(exchange(&provider, &submit(&number(1), "r1")).await.unwrap().status, 502);
    let look = |reference: &str| {
        let line = format!("GET /messages?reference={reference}");
        request(&line, &["authorization: Bearer secret"], "")
    };
    let found = exchange(&provider, &look("r1")).await.unwrap();
    assert!(found.body.contains(r#""status":"undelivered""#), "{}", found.body);
    assert_eq!(exchange(&provider, &look("r2")).await.unwrap().body, r#"{"messages":[]}"#);
    provider.set_faults(faults(|f| f.lookups_fail = true));
    assert_eq!(exchange(&provider, &look("r1")).await.unwrap().status, 503);
}

#[tokio::test]
async fn faults_that_cannot_be_start_nothing() {
    let started = HttpProvider::start(config(HTTP, faults(|f| f.throttled = 2.0))).await;
    assert_eq!(started.err().map(|error| error.kind()), Some(std::io::ErrorKind::InvalidInput));
}
