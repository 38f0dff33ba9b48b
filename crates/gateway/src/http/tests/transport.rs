//! The faults below the contract: alike for every adapter.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::outcome::{Scope, SubmitOutcome};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};

use super::provider::{Provider, Reply};
use super::specimen::{Expect, sms};
use super::specimens;

/// Replies that are no answer of any contract, and their outcome.
fn strange_replies() -> Vec<(&'static str, Reply, Expect)> {
    let raw = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
    let giant = vec![b' '; 70 * 1024];
    let many = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
        + &format!("1000\r\n{}\r\n", " ".repeat(0x1000)).repeat(20);
    vec![
        ("a page instead of an answer", Reply::html(200), Expect::Unknown("http_200")),
        ("nothing", Reply::Answer(204, vec![], vec![]), Expect::Unknown("http_204")),
        ("broken JSON", Reply::json(200, "{\"id\": "), Expect::Unknown("http_200")),
        ("JSON of something else", Reply::json(200, "[1,2,3]"), Expect::Unknown("http_200")),
        ("deep JSON", Reply::json(200, &"[".repeat(20_000)), Expect::Unknown("http_200")),
        ("no UTF-8", Reply::Answer(200, vec![], vec![0xFF; 40]), Expect::Unknown("http_200")),
        ("a giant", Reply::Answer(200, vec![], giant), Expect::Unknown("http_200")),
        ("a giant without a length", raw(&many), Expect::Unknown("http_200")),
        (
            "cut short",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":"),
            Expect::Unknown("http_200"),
        ),
        (
            "a giant header",
            raw(&format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(100_000))),
            Expect::Unknown("connection_lost"),
        ),
        ("no HTTP", raw("220 mail.example.com ESMTP\r\n"), Expect::Unknown("connection_lost")),
        ("the end", Reply::Bytes(vec![]), Expect::Unknown("connection_lost")),
        ("the end before the request", Reply::HangUp, Expect::Unknown("connection_lost")),
        ("500 bare", Reply::Answer(500, vec![], vec![]), Expect::Unknown("http_500")),
        ("500 page", Reply::html(500), Expect::Unknown("http_500")),
        ("502", Reply::html(502), Expect::Unknown("http_502")),
        ("503 of a proxy", Reply::html(503), Expect::Unknown("http_503")),
        ("504", Reply::json(504, "{\"code\":20500}"), Expect::Unknown("http_504")),
        ("403 of a firewall", Reply::html(403), Expect::Rejected(Scope::Gateway, "http_403")),
        ("405", Reply::html(405), Expect::Rejected(Scope::Gateway, "http_405")),
        ("408", Reply::html(408), Expect::Unknown("http_408")),
        ("429", Reply::html(429), Expect::Throttled(None)),
        ("429 with a wish", Reply::html(429).with("retry-after", "7"), Expect::Throttled(Some(7_000))),
        (
            "429 with a long wish",
            Reply::html(429).with("retry-after", "86400"),
            Expect::Throttled(Some(60_000)),
        ),
        (
            "429 with a date",
            Reply::html(429).with("retry-after", "Mon, 23 Nov 2026 12:00:00 GMT"),
            Expect::Throttled(None),
        ),
    ]
}

#[tokio::test]
async fn what_is_no_answer_of_the_contract_is_in_doubt_or_a_no_and_never_accepted() {
    for specimen in specimens() {
        for (name, reply, expected) in strange_replies() {
            let what = format!("{}, {name}", specimen.kind);
            let provider = Provider::start([reply]).await;
            let outcome = specimen.gateway(&provider.url).submit(&sms()).await;
            // Some contracts give a meaning to the status alone: a no then, and as certain.
            let gateway_refused =
                matches!(&outcome, SubmitOutcome::Rejected(failure) if failure.scope == Scope::Gateway);
            if !(matches!(expected, Expect::Rejected(Scope::Gateway, _)) && gateway_refused) {
                expected.check(&outcome, &what);
            }
            provider.finish().await;
        }
    }
}

/// An answer that is right but for its size: read within the limit, and in doubt beyond it.
#[tokio::test]
async fn an_answer_is_read_up_to_its_limit() {
    for specimen in specimens() {
        let accepted = specimen.accepted();
        let padded =
            |blanks: usize| Reply::json(accepted.status, &format!("{}{}", accepted.body, " ".repeat(blanks)));
        let provider = Provider::start([padded(32 * 1024), padded(64 * 1024)]).await;
        let gateway = specimen.gateway(&provider.url);
        accepted.expected[0].check(&gateway.submit(&sms()).await, specimen.kind);
        let outcome = gateway.submit(&sms()).await;
        let code = format!("http_{}", accepted.status);
        assert!(matches!(&outcome, SubmitOutcome::Unknown(failure) if failure.code == code), "{outcome:?}");
        provider.finish().await;
    }
}

/// Providers are not asked who we were the last time, and what they call their answer does not matter.
#[tokio::test]
async fn no_cookie_is_kept_and_no_content_type_believed() {
    for specimen in specimens() {
        let accepted = specimen.accepted();
        let reply = Reply::Answer(
            accepted.status,
            vec![("content-type", "text/html".to_owned()), ("set-cookie", "session=1; Path=/".to_owned())],
            accepted.body.clone().into_bytes(),
        );
        let provider = Provider::start([reply.clone(), reply]).await;
        let gateway = specimen.gateway(&provider.url);
        for _ in 0..2 {
            accepted.expected[0].check(&gateway.submit(&sms()).await, specimen.kind);
        }
        for seen in provider.finish().await {
            for name in ["cookie", "referer", "accept-encoding"] {
                assert_eq!(seen.header(name), None, "{}: {name}", specimen.kind);
            }
        }
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for specimen in specimens() {
        for (status, gateway_is_at_fault) in
            [(301, true), (302, false), (303, false), (307, true), (308, true), (300, false), (304, false)]
        {
            let elsewhere = Provider::start([]).await;
            let provider =
                Provider::start([Reply::html(status).with("location", format!("{}/take", elsewhere.url))])
                    .await;
            let outcome = specimen.gateway(&provider.url).submit(&sms()).await;
            let what = format!("{} {status}: {outcome:?}", specimen.kind);
            match &outcome {
                SubmitOutcome::Rejected(failure) => {
                    assert!(gateway_is_at_fault && failure.scope == Scope::Gateway, "{what}");
                }
                SubmitOutcome::Unknown(_) => assert!(!gateway_is_at_fault, "{what}"),
                _ => panic!("{what}"),
            }
            provider.finish().await;
            assert_eq!(elsewhere.connections(), 0, "{what}");
            elsewhere.finish().await;
        }
    }
}

#[tokio::test]
async fn a_request_that_never_left_was_not_taken() {
    // Bound, so that nobody else gets the port, and not listening.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    for specimen in specimens() {
        let refused = specimen.gateway(&format!("http://{address}")).submit(&sms()).await;
        Expect::NotTaken("refused").check(&refused, specimen.kind);

        let nameless = specimen.gateway("https://provider.example.com").submit(&sms()).await;
        Expect::NotTaken("no_connection").check(&nameless, specimen.kind);

        let no_tls = Provider::start([Reply::HangUp]).await;
        let url = no_tls.url.replace("http://", "https://");
        let outcome = specimen.gateway(&url).submit(&sms()).await;
        assert!(matches!(outcome, SubmitOutcome::NotTaken(_)), "{}: {outcome:?}", specimen.kind);
        no_tls.finish().await;

        let closed = specimen.gateway("http://127.0.0.1:9");
        closed.close(Duration::ZERO).await;
        Expect::NotTaken("closed").check(&closed.submit(&sms()).await, specimen.kind);
    }
}

/// The adapters have no part in the time-outs of connecting and answering: one stands for all.
#[tokio::test]
async fn time_outs_tell_what_left_from_what_did_not() {
    let specimen = specimens().remove(0);
    let silent = Provider::start([Reply::Silence]).await;
    let short = json!({"response_timeout_s": 1});
    let gateway = specimen.gateway_with(&silent.url, &short);
    let drip = Provider::start([Reply::Drip]).await;
    let dripping = specimen.gateway_with(&drip.url, &short);
    // A port that takes connections and says nothing to a TLS handshake.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handshake = specimen.gateway_with(&format!("https://{}", mute.local_addr().unwrap()), &short);
    let (message, other, third) = (sms(), sms(), sms());
    let (silence, slow, tls) =
        tokio::join!(gateway.submit(&message), dripping.submit(&other), handshake.submit(&third));
    Expect::Unknown("timeout").check(&silence, "no answer");
    Expect::Unknown("http_200").check(&slow, "an answer without end");
    Expect::NotTaken("connect_timeout").check(&tls, "no handshake");
    assert_eq!(silent.finish().await.len(), 1);
    assert_eq!(drip.finish().await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_the_provider_closes_is_not_written_to() {
    for specimen in specimens() {
        let accepted = specimen.accepted();
        let (status, body) = (accepted.status, accepted.body.as_bytes());
        let head =
            format!("HTTP/1.1 {status} OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let closing = Reply::Bytes([head.as_bytes(), body].concat());
        let provider = Provider::start([closing, Reply::json(status, &accepted.body)]).await;
        let gateway = specimen.gateway(&provider.url);
        for _ in 0..2 {
            accepted.expected[0].check(&gateway.submit(&sms()).await, specimen.kind);
        }
        assert_eq!(provider.connections(), 2, "{}", specimen.kind);
        provider.finish().await;
    }
}

#[tokio::test]
async fn closing_waits_for_what_is_in_flight() {
    let specimen = specimens().remove(0);
    let provider = Provider::start([Reply::Silence]).await;
    let gateway = specimen.gateway_with(&provider.url, &json!({"response_timeout_s": 1}));
    let submitting = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.submit(&sms()).await }
    });
    while provider.connections() == 0 {
        tokio::task::yield_now().await;
    }
    gateway.close(Duration::from_mins(1)).await;
    assert!(submitting.is_finished());
    Expect::NotTaken("closed").check(&gateway.submit(&sms()).await, "after closing");
    let outcome =
        tokio::time::timeout(Duration::from_secs(10), submitting).await.expect("it has ended").unwrap();
    Expect::Unknown("timeout").check(&outcome, "in flight");
    provider.finish().await;
}
