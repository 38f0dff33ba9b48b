//! The fixture of the tests: the whole service on a database in a temporary directory, without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use klaroen_domain::id::OrganisationId;
use klaroen_domain::participant::Language;
use klaroen_domain::phone::Country;
use klaroen_domain::role::Role;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{Clock, ManualClock, Timestamp};
use klaroen_gateway::config::GatewayConfig;
use klaroen_store::keys::USUAL_LIFE;
use klaroen_store::matching::MatchRules;
use klaroen_store::replies::{AutoReply, AutoReplyTexts};
use klaroen_store::seal::Keys;
use klaroen_store::{Actor, Store, StoreOptions};
use klaroen_test_databases::Engine;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::server::router;
use crate::settings::DispatcherSettings;
use crate::settings::gateway::ConfiguredGateway;
use crate::state::callback_gateways::CallbackGateways;
use crate::state::{App, Dispatcher, GatewayHealth};

/// 2026-11-23T16:00:00Z, a Monday.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

/// A response of the service.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The pointers of the errors, after a check of the status.
    pub(crate) fn pointers(&self, status: u16) -> Vec<String> {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let json = self.json();
        let errors = json["errors"].as_array().unwrap();
        errors.iter().map(|e| e["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

/// The unguessable part of the callback URLs of `kannel`.
pub(crate) const TOKEN: &str = "token-0123456789-abcdef";

/// One that is called back, and one that is not.
fn gateways() -> [GatewayConfig; 2] {
    [
        json!({"type": "kannel", "name": "kannel", "base_url": "http://127.0.0.1:9", "sender": "1000", "username": "u",
               "password": "p", "callback_token": TOKEN, "callback_url": "http://127.0.0.1:8080",
               "callback_addresses": ["192.0.2.0/24"], "test_number": "+31612345678", "test_at": "06:30"}),
        json!({"type": "log", "name": "dry"}),
    ]
    .map(|table| serde_json::from_value(table).unwrap())
}

/// Says one thing whatever is asked.
struct NoAnswers;

impl AutoReplyTexts for NoAnswers {
    fn text(&self, _: AutoReply, _: Language) -> MessageText {
        MessageText::parse("Dank u.", 1).unwrap()
    }
}

/// The input of the service, with a new database.
pub(crate) async fn dispatcher() -> (Dispatcher, TempDir) {
    let directory = TempDir::new().unwrap();
    let url = Engine::Sqlite.database(directory.path()).await;
    let store = Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap();
    let rules =
        MatchRules { zone: "Europe/Amsterdam".parse().unwrap(), quiet_hours: None, max_alerts_per_day: 0 };
    let mut settings = DispatcherSettings::new(Country::NL, rules);
    settings.price_per_segment = 0.07;
    settings.segments_per_second = 100.0;
    settings.burst_per_key = 1_000;
    settings.gateways = gateways().iter().map(|config| ConfiguredGateway::of(config).unwrap()).collect();
    let dispatcher = Dispatcher {
        clock_watch: Arc::default(),
        store,
        clock: Arc::new(ManualClock::new(NOW)),
        wake: Arc::new(Notify::new()),
        settings: Arc::new(settings),
        callbacks: Arc::new(CallbackGateways::new(&gateways(), Country::NL, Arc::new(NoAnswers)).unwrap()),
        health: Arc::new(|| GatewayHealth::Up),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        tasks: TaskTracker::new(),
    };
    (dispatcher, directory)
}

/// The service, with a key of every role.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) organisation: OrganisationId,
    router: Router,
    tokens: Vec<(Role, String)>,
    stranger: Vec<(Role, String)>,
    _directory: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let (mut dispatcher, directory) = dispatcher().await;
        dispatcher.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let (store, wake) = (dispatcher.store.clone(), Arc::clone(&dispatcher.wake));
        let organisation = store.create_organisation("utrecht", "Utrecht", NOW).await.unwrap().unwrap().id;
        let other = store.create_organisation("zwolle", "Zwolle", NOW).await.unwrap().unwrap().id;
        let router = router::build(App::new(dispatcher, CancellationToken::new()));
        let tokens = keys(&store, organisation).await;
        let stranger = keys(&store, other).await;
        Self { store, clock, wake, organisation, router, tokens, stranger, _directory: directory }
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(r, _)| *r == role).unwrap().1
    }

    /// A key of another organisation.
    pub(crate) fn strange_token(&self, role: Role) -> &str {
        &self.stranger.iter().find(|(r, _)| *r == role).unwrap().1
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 * 1024 * 1024).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// The body of the answer as it comes.
    pub(crate) async fn stream(&self, request: Request<Body>) -> axum::body::BodyDataStream {
        self.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream()
    }

    pub(crate) fn request(&self, role: Role, method: &Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token(role)))
    }

    pub(crate) async fn get(&self, role: Role, path: &str) -> Answer {
        self.send(self.request(role, &Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn call(&self, role: Role, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(role, &method, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn post(&self, role: Role, path: &str, body: &Value) -> Answer {
        self.call(role, Method::POST, path, body).await
    }

    /// Imports a CSV file and gives the report.
    pub(crate) async fn import(&self, query: &str, csv: impl Into<Body>) -> Answer {
        let path = format!("/v1/participants/imports{query}");
        let request =
            self.request(Role::Admin, &Method::POST, &path).header(header::CONTENT_TYPE, "text/csv");
        self.send(request.body(csv.into()).unwrap()).await
    }

    /// `n` residents in the centre of Utrecht.
    pub(crate) async fn enrol(&self, n: u32) {
        let header = "kind,phone,latitude,longitude,consent_at,consent_method\n".to_owned();
        let row = |i| format!("resident,+316{:08},52.0907,5.1214,2026-01-31,form\n", 10_000_000 + i);
        let csv = std::iter::once(header).chain((0..n).map(row)).collect::<String>();
        let report = self.import("", csv).await;
        assert_eq!(report.json()["created"], n, "{}", report.text);
    }
}

async fn keys(store: &Store, organisation: OrganisationId) -> Vec<(Role, String)> {
    let mut keys = Vec::new();
    for role in Role::ALL {
        let owner = Some(organisation).filter(|_| !role.is_of_installation());
        let (name, until) = (role.as_str(), NOW.plus(USUAL_LIFE));
        let key = store.create_key(owner, role, name, until, Actor::System, NOW).await.unwrap();
        keys.push((role, key.token));
    }
    keys
}

/// An alert around the centre of Utrecht.
pub(crate) fn alert() -> Value {
    json!({
        "area": {"circle": {"center": {"latitude": 52.0907, "longitude": 5.1214}, "radius_m": 1500}},
        "text": "Let op: man, 30 jaar, rode jas, te voet. Gezien? Bel 112",
    })
}

/// An incident with that alert.
pub(crate) fn incident() -> Value {
    json!({
        "reference": "2026-1", "category": "burglary", "description": "Inbraak, dader te voet gevlucht",
        "subject": {"kind": "person", "text": "man, 30 jaar, rode jas"},
        "location": {"latitude": 52.0907, "longitude": 5.1214},
        "alert": alert(),
    })
}
