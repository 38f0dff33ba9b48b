//! Receipts and inbound SMS: their order, their repetition, and what becomes of their answers.

use std::time::Duration;

use klaroen_simulator::{
    AutoReply, CallbackUrls, Contract, HttpConfig, HttpFaults, HttpProvider, InboundFailure,
};
use rstest::rstest;
use tokio::time::Instant;

use super::peer::{Service, called, config, exchange, number, submit};

fn statuses(callbacks: &[super::peer::Callback]) -> Vec<String> {
    callbacks.iter().map(|callback| callback.json()["status"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[case(HttpFaults::default(), &["sent", "delivered"])]
#[case(HttpFaults { duplicate_receipt: 1.0, ..HttpFaults::default() }, &["sent", "delivered", "delivered"])]
#[case(HttpFaults { reordered_receipt: 1.0, ..HttpFaults::default() }, &["delivered", "sent"])]
#[case(HttpFaults { unknown_status: 1.0, ..HttpFaults::default() }, &["sent", "evaporated"])]
#[case(HttpFaults { expired: 1.0, ..HttpFaults::default() }, &["sent", "expired"])]
#[case(HttpFaults { no_receipt: 1.0, ..HttpFaults::default() }, &[])]
#[tokio::test(start_paused = true)]
async fn receipts_come_as_fate_has_it(#[case] faults: HttpFaults, #[case] expected: &[&str]) {
    let (provider, service) = called(Contract::Http, faults).await;
    exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    let callbacks = service.callbacks(expected.len()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(statuses(&service.so_far()), expected);
    assert!(callbacks.iter().all(|callback| callback.json()["reference"] == "r"));
}

#[tokio::test(start_paused = true)]
async fn an_early_receipt_was_answered_before_the_submit_is() {
    let faults =
        HttpFaults { early_receipt: 1.0, receipt_delay_ms: (60_000, 60_000), ..HttpFaults::default() };
    let (provider, service) = called(Contract::Http, faults).await;
    exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    assert_eq!(statuses(&service.so_far()), ["sent", "delivered"], "without waiting");
    assert_eq!(provider.stats().callbacks_acknowledged, 2);
}

#[tokio::test(start_paused = true)]
async fn an_early_receipt_that_is_refused_does_not_hold_the_answer_up() {
    let faults = HttpFaults { early_receipt: 1.0, ..HttpFaults::default() };
    let (provider, service) = called(Contract::Http, faults).await;
    service.answer(&[(503, "")]);
    assert_eq!(exchange(&provider, &submit(&number(1), "r")).await.unwrap().status, 201);
    assert_eq!(statuses(&service.callbacks(3).await), ["sent", "sent", "delivered"]);
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_repeated_until_it_is_taken_and_holds_back_those_of_its_message() {
    let (provider, service) = called(Contract::Http, HttpFaults::default()).await;
    service.answer(&[(503, ""), (404, ""), (302, "")]);
    let start = Instant::now();
    exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    let callbacks = service.callbacks(5).await;
    assert_eq!(statuses(&callbacks), ["sent", "sent", "sent", "sent", "delivered"]);
    assert!(start.elapsed() >= Duration::from_millis(300), "three minutes of 100 ms");
    provider.shutdown().await;
    let stats = provider.stats();
    assert_eq!((stats.callbacks, stats.callbacks_failed, stats.callbacks_dropped), (5, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_given_up_after_its_last_repetition() {
    let (provider, service) = called(Contract::Http, HttpFaults::default()).await;
    service.answer(&[(500, ""); 22]);
    exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    service.callbacks(22).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    let stats = provider.stats();
    assert_eq!(
        (stats.callbacks, stats.callbacks_dropped, stats.pending),
        (22, 2, 0),
        "one and ten repetitions each"
    );
}

#[rstest]
#[case(Contract::Http, 204, 1, "any 2xx is taken")]
#[case(Contract::Twilio, 500, 1, "nothing is repeated")]
#[tokio::test(start_paused = true)]
async fn what_is_repeated_is_the_contracts_affair(
    #[case] contract: Contract,
    #[case] answer: u16,
    #[case] calls: usize,
    #[case] why: &str,
) {
    let (provider, service) = called(contract, HttpFaults::default()).await;
    service.answer(&[(answer, "")]);
    assert_eq!(provider.send_inbound("+31612345678", "1000", "Gezien").await, Ok(answer));
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(service.so_far().len(), calls, "{contract}: {why}");
}

#[tokio::test(start_paused = true)]
async fn an_inbound_sms_needs_somewhere_to_go() {
    let plain = HttpProvider::start(config(Contract::Http, HttpFaults::default())).await.unwrap();
    assert_eq!(plain.send_inbound("31612345678", "1000", "x").await, Err(InboundFailure::Nowhere));
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inbound = Some(format!("http://{}/mo", gone.local_addr().unwrap()));
    drop(gone);
    plain.set_callbacks(CallbackUrls { inbound, ..CallbackUrls::default() });
    assert_eq!(plain.send_inbound("31612345678", "1000", "x").await, Err(InboundFailure::NotAnswered));
    let service = Service::start().await;
    plain.set_callbacks(service.urls());
    let callbacks = service.callbacks(1).await;
    assert_eq!((callbacks[0].line.as_str(), &callbacks[0].json()["text"]), ("POST /token/mo", &"x".into()));
}

#[tokio::test(start_paused = true)]
async fn a_text_in_the_answer_of_twilios_callback_rings() {
    let (provider, service) = called(Contract::Twilio, HttpFaults::default()).await;
    assert_eq!(provider.send_inbound("+31612345678", "1000", "x").await, Ok(200));
    assert_eq!(provider.stats().texts_in_answers, 0, "an empty answer says nothing");
    service.answer(&[(200, "<Response><Message>OK</Message></Response>")]);
    assert_eq!(provider.send_inbound("+31612345678", "1000", "x").await, Ok(200));
    provider.shutdown().await;
    assert_eq!(provider.stats().texts_in_answers, 1);
    assert_eq!(&*provider.rings_of("31612345678")[0].text, "OK");
}

#[tokio::test(start_paused = true)]
async fn handsets_answer_when_they_ring() {
    let service = Service::start().await;
    let config = HttpConfig {
        callbacks: service.urls(),
        auto_replies: vec![AutoReply { share: 1.0, text: "Gezien".into(), delay_ms: 2_000 }],
        ..config(Contract::Http, HttpFaults::default())
    };
    let provider = HttpProvider::start(config).await.unwrap();
    exchange(&provider, &submit("31612345678", "018f")).await.unwrap();
    let callbacks = service.callbacks(3).await;
    let reply = callbacks.iter().find(|callback| callback.line == "POST /token/mo").unwrap().json();
    assert_eq!((&reply["text"], &reply["from"]), (&"Gezien".into(), &"+31612345678".into()));
    assert_eq!(reply["to"], "1000");
}

#[tokio::test(start_paused = true)]
async fn infobip_pushes_the_receipts_of_several_messages_together_and_repeats_them_together() {
    let faults = HttpFaults { duplicate_receipt: 1.0, ..HttpFaults::default() };
    let (provider, service) = called(Contract::Infobip, faults).await;
    service.answer(&[(503, "")]);
    let destinations: Vec<String> =
        (0..60).map(|i| format!(r#"{{"to":"{}","messageId":"m{i}"}}"#, number(i))).collect();
    let body = format!(
        r#"{{"messages":[{{"sender":"1000","destinations":[{}],"content":{{"text":"Let op"}}}}]}}"#,
        destinations.join(",")
    );
    exchange(&provider, &super::peer::request("POST /sms/3/messages", &["authorization: App secret"], &body))
        .await
        .unwrap();
    let callbacks = service.callbacks(3).await;
    let results = callbacks.iter().map(|callback| callback.json()["results"].as_array().unwrap().clone());
    let results: Vec<Vec<serde_json::Value>> = results.collect();
    let mut told: Vec<String> =
        results[1..].concat().iter().map(|one| one["messageId"].to_string()).collect();
    assert_eq!((results[0].len(), told.len()), (100, 120), "each twice");
    assert_eq!(results.iter().map(Vec::len).max(), Some(100));
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 60);
    provider.shutdown().await;
    assert_eq!((provider.stats().callbacks, provider.stats().callbacks_failed), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_drops_and_counts() {
    let service = Service::start().await;
    let config = HttpConfig {
        callbacks: service.urls(),
        callback_queue_max: 2,
        callback_window: 1,
        minute_ms: 1_000,
        ..config(Contract::Http, HttpFaults::default())
    };
    let provider = HttpProvider::start(config).await.unwrap();
    service.answer(&[(503, ""); 3]);
    for i in 0..3 {
        exchange(&provider, &submit(&number(i), "r")).await.unwrap();
    }
    exchange(&provider, &submit(&number(3), "r")).await.unwrap();
    assert!(provider.stats().callbacks_dropped >= 1);
    assert_eq!(provider.total_rings(), 4, "rings are not lost with their receipts");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_called_again_and_does_not_hold_the_end_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receipts = Some(format!("http://{}/dlr", silent.local_addr().unwrap()));
    let config = HttpConfig {
        callbacks: CallbackUrls { receipts, ..CallbackUrls::default() },
        ..config(Contract::Http, HttpFaults::default())
    };
    let provider = HttpProvider::start(config).await.unwrap();
    exchange(&provider, &submit(&number(1), "r")).await.unwrap();
    let mut connections = Vec::new();
    for _ in 0..2 {
        // Each attempt that is given up takes its connection with it.
        connections.push(silent.accept().await.unwrap());
    }
    assert_eq!(provider.stats().callbacks_failed, 1);
    provider.shutdown().await;
    let stats = provider.stats();
    assert_eq!((stats.callbacks, stats.callbacks_acknowledged), (2, 0));
}
