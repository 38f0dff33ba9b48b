//! A client of the API. Every alert that it gets has to add up.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::{Api, ApiError};
use crate::program::{Installation, PATIENCE, Program};

/// The place of the first neighbourhood; the others lie some 14 km east of one another.
const FIRST: (f64, f64) = (52.09, 5.12);
const APART_DEGREES: f64 = 0.2;

/// One server and its two keys.
#[derive(Clone)]
pub struct Client {
    operator: Api,
    admin: Api,
}

/// A delivery as the API shows it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub message: String,
    pub participant: String,
    pub state: String,
    pub attempts: u64,
    pub reason: Option<String>,
}

impl Client {
    pub fn new(installation: &Installation, program: &Program) -> Self {
        Self::with_patience(installation, program.url(), PATIENCE)
    }

    /// One that gives a request up after `patience`.
    pub fn with_patience(installation: &Installation, url: String, patience: Duration) -> Self {
        Self::with_keys(url, installation.operator.clone(), installation.admin.clone(), patience)
    }

    /// The same without an installation at hand.
    pub fn with_keys(url: String, operator: String, admin: String, patience: Duration) -> Self {
        let operator = Api::new(url, operator, patience);
        Self { admin: operator.with_key(admin), operator }
    }

    /// The status of `/readyz`, `/livez`; `None` if nothing answers.
    pub async fn status(&self, path: &str) -> Option<StatusCode> {
        let request = self.operator.request(Method::GET, path);
        request.send().await.ok().map(|response| response.status())
    }

    /// The numbers of the process.
    pub async fn metrics(&self) -> Option<String> {
        self.operator.request(Method::GET, "/metrics").send().await.ok()?.text().await.ok()
    }

    /// As operator, with an idempotency key.
    ///
    /// # Errors
    ///
    /// Returns [`ApiError::Unanswered`] if there is no whole answer.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Result<(StatusCode, Value), ApiError> {
        let request = self.operator.request(Method::POST, path);
        Api::answer(request.header("Idempotency-Key", key).json(body)).await
    }

    /// A gateway as an operator sees it.
    pub async fn gateway(&self, name: &str) -> Value {
        got(self.operator.get(&format!("/v1/gateways/{name}")).await)
    }

    /// Stops what has not left of an alert.
    pub async fn cancel(&self, alert: &str) {
        let request = self.operator.request(Method::POST, &format!("/v1/alerts/{alert}/cancel"));
        let (status, cancelled) = got(Api::answer(request).await);
        assert_eq!(status, StatusCode::OK, "{cancelled}");
        check_sums(&cancelled);
    }

    /// Waits until a connection to the gateway is up.
    pub async fn ready(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if self.status("/readyz").await == Some(StatusCode::OK) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "it does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One alert. Its counts add up, always.
    pub async fn alert(&self, id: &str) -> Value {
        let alert = got(self.operator.get(&format!("/v1/alerts/{id}")).await);
        check_sums(&alert);
        alert
    }

    /// Looks at an alert until it is as wanted.
    pub async fn until(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let alert = self.alert(id).await;
            if wanted(&alert) {
                return alert;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}: {alert:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every delivery of an alert.
    pub async fn deliveries(&self, alert: &str) -> Vec<Delivery> {
        let deliveries = got(self.operator.list(&format!("/v1/alerts/{alert}/deliveries")).await);
        deliveries.iter().map(Delivery::of).collect()
    }

    /// Those in one state.
    pub async fn deliveries_in(&self, alert: &str, state: &str) -> Vec<Delivery> {
        let path = format!("/v1/alerts/{alert}/deliveries?state={state}");
        got(self.operator.list(&path).await).iter().map(Delivery::of).collect()
    }

    /// The incidents with this reference.
    pub async fn incidents(&self, reference: &str) -> Vec<Value> {
        let mut incidents = got(self.operator.list("/v1/incidents").await);
        incidents.retain(|incident| incident["reference"] == reference);
        incidents
    }

    /// Id and reference of every incident.
    pub async fn all_incidents(&self) -> Vec<(String, String)> {
        let incidents = got(self.operator.list("/v1/incidents").await);
        incidents.iter().map(|incident| (text(&incident["id"]), text(&incident["reference"]))).collect()
    }

    /// Digits of the number of each participant.
    pub async fn numbers(&self) -> HashMap<String, String> {
        let participants = got(self.admin.list("/v1/participants").await);
        let number = |p: &Value| (text(&p["id"]), text(&p["phone"]).trim_start_matches('+').to_owned());
        participants.iter().map(number).collect()
    }

    /// Messages whose deliveries do not add up.
    pub async fn broken_sums(&self) -> usize {
        let alerts = got(self.operator.list("/v1/alerts").await);
        let messages = alerts.iter().flat_map(|alert| alert["messages"].as_array().unwrap());
        let sum = |message: &Value| {
            message["counts"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>()
        };
        messages.filter(|message| message["recipients"] != sum(message)).count()
    }
}

fn got<T>(answer: Result<T, ApiError>) -> T {
    answer.unwrap_or_else(|error| panic!("{error}"))
}

impl Delivery {
    fn of(value: &Value) -> Self {
        Self {
            message: text(&value["message_id"]),
            participant: text(&value["participant_id"]),
            state: text(&value["state"]),
            attempts: value["attempts"].as_u64().unwrap(),
            reason: value["reason"].as_str().map(str::to_owned),
        }
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// `queued + sending + … = recipients`, for each message.
fn check_sums(alert: &Value) {
    for message in alert["messages"].as_array().unwrap() {
        let sum: u64 = message["counts"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(message["recipients"].as_u64(), Some(sum), "the states add up: {message:#}");
    }
}

/// How many deliveries of message `n` are in these states; none if there is no such message.
pub fn count(alert: &Value, n: usize, states: &[&str]) -> u64 {
    let counts = &alert["messages"][n]["counts"];
    states.iter().map(|state| counts[state].as_u64().unwrap_or(0)).sum()
}

/// An incident with an alert to every participant in a neighbourhood.
pub fn incident(reference: &str, neighbourhood: usize, priority: &str) -> Value {
    let centre = json!({ "latitude": FIRST.0, "longitude": longitude(neighbourhood) });
    json!({
        "reference": reference, "category": "robbery", "description": "Overval op winkel", "location": centre,
        "alert": {
            "area": { "circle": { "center": centre, "radius_m": 5_000 } },
            "text": format!("Let op ({reference}): man, rode jas."),
            "priority": priority,
        },
    })
}

#[expect(clippy::cast_precision_loss, reason = "a handful")]
fn longitude(neighbourhood: usize) -> f64 {
    FIRST.1 + APART_DEGREES * neighbourhood as f64
}

/// Digits of the number of person `n` of a neighbourhood.
pub fn number(neighbourhood: usize, n: usize) -> String {
    format!("3161{neighbourhood:02}{n:05}")
}

/// A registry of `people` in each of some neighbourhoods.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub fn registry(neighbourhoods: usize, people: usize) -> String {
    let mut csv = String::from("kind,phone,label,latitude,longitude,external_id,consent_at,consent_method\n");
    for neighbourhood in 0..neighbourhoods {
        for n in 0..people {
            let longitude = longitude(neighbourhood) + n as f64 * 1e-6;
            let number = number(neighbourhood, n);
            let row = format!(
                "resident,+{number},thuis,{},{longitude:.7},p-{number},2026-01-31T10:00:00+01:00,formulier\n",
                FIRST.0
            );
            csv.push_str(&row);
        }
    }
    csv
}
