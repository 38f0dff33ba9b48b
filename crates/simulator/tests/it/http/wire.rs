//! One submit of each contract as it stands on the wire, from its octets to the receipt that is called back.

use klaroen_simulator::{Contract, HttpFaults};
use rstest::rstest;
use serde_json::Value;

use super::peer::{called, exchange, provider, request};

const TWILIO: &str = "To=%2B31610000001&From=1000&Body=Let+op";
const INFOBIP: &str = r#"{"messages":[{"sender":"1000","destinations":[{"to":"31610000001","messageId":"018f"}],"content":{"text":"Let op"}}]}"#;
const PLAIN: &str = r#"{"from":"1000","to":"+31610000001","text":"Let op","reference":"018f"}"#;

const BASIC: &str = "authorization: Basic dXNlcjpzZWNyZXQ=";

#[rstest]
#[case(
    Contract::Twilio,
    "POST /2010-04-01/Accounts/user/Messages.json",
    BASIC,
    TWILIO,
    201,
    2,
    "POST /token/dlr"
)]
#[case(
    Contract::Infobip,
    "POST /sms/3/messages",
    "authorization: App secret",
    INFOBIP,
    200,
    1,
    "POST /token/dlr"
)]
#[case(Contract::Http, "POST /messages", "authorization: Bearer secret", PLAIN, 201, 2, "POST /token/dlr")]
#[tokio::test(start_paused = true)]
async fn a_submit_rings_once_and_is_reported(
    #[case] contract: Contract,
    #[case] line: &str,
    #[case] header: &str,
    #[case] body: &str,
    #[case] status: u16,
    #[case] receipts: usize,
    #[case] callback: &str,
) {
    let (provider, service) = called(contract, HttpFaults::default()).await;
    let answer = exchange(&provider, &request(line, &[header], body)).await.unwrap();
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(serde_json::from_str::<Value>(&answer.body).is_ok());
    let callbacks = service.callbacks(receipts).await;
    assert!(callbacks[receipts - 1].line.starts_with(callback), "{}", callbacks[receipts - 1].line);
    assert_eq!(&*provider.rings_of("+31610000001")[0].text, "Let op");
    assert_eq!(provider.total_rings(), 1);
    let kept = provider.taken_for("31610000001");
    assert_eq!((kept.len(), kept[0].status, kept[0].text.as_str()), (1, "delivered", "Let op"));
    provider.shutdown().await;
    assert_eq!(service.so_far().len(), receipts, "nothing more is called");
}

#[tokio::test(start_paused = true)]
async fn the_whole_answer_of_an_error() {
    let provider = provider(Contract::Twilio, HttpFaults::default()).await;
    let wrong =
        request("POST /2010-04-01/Accounts/user/Messages.json", &[BASIC], "To=%2B31610000001&From=1000");
    let answer = exchange(&provider, &wrong).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            400,
            r#"{"code":21602,"message":"Message body is required.","more_info":"https://www.twilio.com/docs/errors/21602","status":400}"#
        )
    );
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_eq!(provider.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn callbacks_carry_the_signature_of_their_provider() {
    let (provider, service) = called(Contract::Twilio, HttpFaults::default()).await;
    let submit = request("POST /2010-04-01/Accounts/user/Messages.json", &[BASIC], TWILIO);
    exchange(&provider, &submit).await.unwrap();
    let callback = service.callbacks(1).await.remove(0);
    assert!(callback.header("x-twilio-signature").is_some_and(|signature| signature.len() >= 28));
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_its_limit_is_refused() {
    let provider = provider(Contract::Http, HttpFaults::default()).await;
    let huge = request("POST /messages", &["authorization: Bearer secret"], &"x".repeat(2 * 1024 * 1024));
    let answer = exchange(&provider, &huge).await;
    assert!(answer.is_none_or(|answer| answer.status == 413));
    assert_eq!(provider.stats().submits, 0);
}
