//! The whole service on a free port (dispatcher, worker, a simulated message centre) and those who call it over HTTP.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use klaroen_dispatcher::{
    CallbackGateways, ConfiguredGateway, Dispatcher, DispatcherSettings, GatewayHealth, ServeError, serve,
};
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_domain::role::Role;
use klaroen_domain::time::{Clock, Timestamp};
use klaroen_gateway::ChannelStatus;
use klaroen_simulator::{Faults, Smsc};
use klaroen_store::Actor;
use klaroen_store::keys::USUAL_LIFE;
use klaroen_test_databases::Engine;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::Desk;
use crate::service::{PATIENCE, Service, gateway, smsc};
use crate::world::{Answers, World};
use klaroen_testkit::api::plain_http;

/// Runs like the system's clock, from a Wednesday at noon, so that hours and dates are always the same.
#[derive(Debug)]
struct FromNoon {
    noon: Timestamp,
    begun: Instant,
}

impl Clock for FromNoon {
    fn now(&self) -> Timestamp {
        self.noon.plus(self.begun.elapsed())
    }
}

/// How a service is set up.
pub struct Setup {
    pub faults: Faults,
    /// Members of the gateway's configuration.
    pub gateway: Value,
    pub requests_per_second: u32,
    pub burst: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            gateway: json!({}),
            requests_per_second: 1_000_000,
            burst: 1_000_000,
        }
    }
}

/// A service that runs until it is closed.
pub struct ControlRoom {
    pub world: World,
    pub smsc: Smsc,
    pub clock: Arc<dyn Clock>,
    base: String,
    http: Client,
    tokens: HashMap<&'static str, String>,
    service: Service,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl ControlRoom {
    pub async fn open(engine: Engine) -> Self {
        Self::open_with(engine, Setup::default()).await
    }

    pub async fn open_with(engine: Engine, setup: Setup) -> Self {
        let noon = Timestamp::parse("2026-11-25T12:00:00+01:00").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FromNoon { noon, begun: Instant::now() });
        let world = World::at(engine, noon).await;
        let smsc = smsc(setup.faults).await;
        let config = gateway(&smsc, setup.gateway);
        let service = Service::start_gateway(&world, &config, Arc::clone(&clock));
        let tasks = TaskTracker::new();
        let settings = DispatcherSettings {
            price_per_segment: 0.07,
            segments_per_second: 500.0,
            requests_per_second_per_key: setup.requests_per_second,
            burst_per_key: setup.burst,
            gateways: vec![ConfiguredGateway::of(&config).unwrap()],
            ..DispatcherSettings::new(Country::NL, world.rules.clone())
        };
        let channels = Arc::clone(&service.health);
        let up = move || {
            let up = channels().iter().any(|channel| channel.status == ChannelStatus::Up);
            if up { GatewayHealth::Up } else { GatewayHealth::Down }
        };
        let dispatcher = Dispatcher {
            clock_watch: Arc::default(),
            store: world.store.clone(),
            clock: Arc::clone(&clock),
            wake: Arc::clone(&service.wake),
            settings: Arc::new(settings),
            callbacks: Arc::new(CallbackGateways::new([], Country::NL, Arc::new(Answers)).unwrap()),
            health: Arc::new(up),
            metrics: recorder(),
            tasks: tasks.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, dispatcher, shutdown.clone()));
        let http = plain_http(PATIENCE);
        let mut tokens = HashMap::new();
        for role in Role::ALL {
            tokens.insert(role.as_str(), token(&world, world.organisation, role, None).await);
        }
        Self { world, smsc, clock, base, http, tokens, service, tasks, shutdown, server }
    }

    /// Who calls with a key of this role.
    pub fn desk(&self, role: Role) -> Desk {
        self.stranger(Some(&self.tokens[role.as_str()]))
    }

    pub fn operator(&self) -> Desk {
        self.desk(Role::Operator)
    }

    pub fn admin(&self) -> Desk {
        self.desk(Role::Admin)
    }

    /// Who calls with this key, or without one.
    pub fn stranger(&self, token: Option<&str>) -> Desk {
        Desk::new(self.http.clone(), self.base.clone(), token.map(str::to_owned))
    }

    /// Another tenant on the same service: a key of each role.
    pub async fn other_organisation(&self) -> impl Fn(Role) -> Desk + use<> {
        let made =
            self.world.store.create_organisation("amersfoort", "Gemeente Amersfoort", self.clock.now());
        let id = made.await.unwrap().unwrap().id;
        let mut desks = HashMap::new();
        for role in Role::ALL {
            desks.insert(role, self.stranger(Some(&token(&self.world, id, role, None).await)));
        }
        move |role| desks[&role].clone()
    }

    /// Makes a key of the organisation.
    pub async fn token(&self, role: Role, expires_at: Option<Timestamp>) -> String {
        token(&self.world, self.world.organisation, role, expires_at).await
    }

    /// Looks at an alert until it is as wanted, or nothing of it changes any more; sums are checked at every look.
    pub async fn until(&self, alert: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (mut before, mut deadline) = (Value::Null, Instant::now() + PATIENCE);
        loop {
            let begun = Instant::now();
            let view = self.operator().get(&format!("/v1/alerts/{alert}")).await.ok(200);
            for message in view["messages"].as_array().unwrap() {
                let counts = message["counts"].as_object().unwrap();
                let sum: u64 = counts.values().map(|n| n.as_u64().unwrap()).sum();
                assert_eq!(message["recipients"], sum, "the states add up");
            }
            if wanted(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "waited too long: {view:#}");
            if view != before {
                (before, deadline) = (view, Instant::now() + PATIENCE);
            }
            // Looking must not take the time of what is looked at, nor miss it.
            let pause = 10 * begun.elapsed();
            tokio::time::sleep(pause.clamp(Duration::from_millis(20), Duration::from_millis(250))).await;
        }
    }

    /// Enrols `count` people at the Dom with the numbers `0612000000` and up.
    pub async fn enrol(&self, count: usize) {
        let row = |n| format!("resident,06120{n:05},52.0907,5.1214,2026-01-31,web");
        let header = "kind,phone,latitude,longitude,consent_at,consent_method".to_owned();
        let rows: Vec<_> = [header].into_iter().chain((0..count).map(row)).collect();
        assert_eq!(self.admin().import("", rows.join("\n")).await.ok(200)["created"], count);
    }

    /// How many incidents there are: what is refused writes none.
    pub async fn incidents(&self) -> usize {
        let page = self.operator().get("/v1/incidents?limit=500").await.ok(200);
        page["items"].as_array().unwrap().len()
    }

    /// Stops everything; requests that hang are a failure.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
        self.tasks.close();
        self.tasks.wait().await;
        self.service.stop().await;
        self.smsc.shutdown().await;
    }
}

async fn token(
    world: &World,
    organisation: OrganisationId,
    role: Role,
    expires_at: Option<Timestamp>,
) -> String {
    let expires_at = expires_at.unwrap_or(world.now().plus(USUAL_LIFE));
    // The role of the installation belongs to no organisation.
    let owner = Some(organisation).filter(|_| !role.is_of_installation());
    let made = world.store.create_key(owner, role, "test", expires_at, Actor::CommandLine, world.now()).await;
    made.unwrap().token
}

/// One for the process: that is how metrics are recorded.
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).clone()
}

/// A report at the Dom, with an alert.
pub fn incident(alert: &Value) -> Value {
    json!({
        "reference": "2026-4711", "category": "robbery", "description": "Overval op winkel, verdachte te voet gevlucht",
        "subject": {"kind": "person", "text": "man, rode jas"},
        "location": {"latitude": 52.0907, "longitude": 5.1214}, "occurred_at": "2026-11-25T11:50:00+01:00",
        "alert": alert,
    })
}

/// An alert for everybody around the Dom.
pub fn circle(radius_m: f64) -> Value {
    json!({
        "area": {"circle": {"center": {"latitude": 52.0907, "longitude": 5.1214}, "radius_m": radius_m}},
        "text": "Let op: man, rode jas, te voet richting station.",
    })
}

/// A GeoJSON Polygon of a box.
pub fn rectangle(west: f64, south: f64, east: f64, north: f64) -> Value {
    json!({"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]})
}
