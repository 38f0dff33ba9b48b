//! A database with an alert in it, a gateway that follows a script, and a worker between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::hours::{DailyTime, Today};
use klaroen_domain::id::{AlertId, DeliveryId, OrganisationId};
use klaroen_domain::outcome::{Failure, ProviderId, Scope, SubmitOutcome};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::{
    Ack, Capabilities, Channel, ChannelStatus, Delivered, GatewayEvent, OutboundSms, SmsGateway,
};
use klaroen_store::Store;
use klaroen_store::channels::ChannelName;
use klaroen_store::participants::ParticipantDraft;
use klaroen_store::retention::Retention;
use klaroen_test_databases::Engine;
use klaroen_testkit::world;
use klaroen_worker::{
    ChannelConfig, ChannelHealth, GatewayRoute, SelfTest, SettleAfter, Worker, WorkerError, WorkerSettings,
};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway's answer to its `n`th message, from 0.
pub type Script = Arc<dyn Fn(u32) -> BoxFuture<'static, SubmitOutcome> + Send + Sync>;

pub fn accepted(n: u32) -> SubmitOutcome {
    SubmitOutcome::Accepted { provider_ids: vec![ProviderId(format!("p{n}"))], segments: 1 }
}

pub fn failure(scope: Scope) -> Failure {
    Failure { scope, code: "scripted".into(), detail: "the script says so".into() }
}

/// A script that answers at once.
pub fn at_once(answer: impl Fn(u32) -> SubmitOutcome + Send + Sync + 'static) -> Script {
    Arc::new(move |n| Box::pin(std::future::ready(answer(n))))
}

/// A script that answers after a moment, so that what it says is written down before everything was claimed.
pub fn in_a_moment(answer: impl Fn(u32) -> SubmitOutcome + Send + Sync + 'static) -> Script {
    let answer = Arc::new(answer);
    Arc::new(move |n| {
        let answer = Arc::clone(&answer);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer(n)
        })
    })
}

/// A script that takes each message when the test adds a permit.
pub fn gated() -> (Arc<Semaphore>, Script) {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let script: Script = Arc::new(move |n| {
        let gate = Arc::clone(&opened);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            accepted(n)
        })
    });
    (gate, script)
}

struct Scripted {
    script: Script,
    /// Of each message; they go one by one where there are several.
    segments: u8,
    count: AtomicU32,
    submitted: mpsc::Sender<OutboundSms>,
}

#[async_trait]
impl SmsGateway for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_reference: true,
            receipts: true,
            inbound: true,
            max_segments: 6,
            window_of_segments: self.segments > 1,
            ..Capabilities::default()
        }
    }

    fn segments(&self, _: &MessageText) -> u8 {
        self.segments
    }

    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        self.submitted.try_send(sms.clone()).expect("the test has room for every submit");
        (self.script)(n).await
    }
}

/// A gateway's answers to the messages of a request.
pub type BatchScript = Box<dyn Fn(&[OutboundSms]) -> Vec<SubmitOutcome> + Send + Sync>;

/// How a gateway answers a request of one or several messages, and which it takes together.
pub struct BatchGateway {
    pub answer: BatchScript,
    pub together: fn(&OutboundSms, &OutboundSms) -> bool,
}

struct Batching {
    batch_max: u16,
    gateway: BatchGateway,
}

#[async_trait]
impl SmsGateway for Batching {
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_segments: 6, batch_max: self.batch_max, ..Capabilities::default() }
    }

    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome {
        self.submit_batch(std::slice::from_ref(sms)).await.pop().expect("one outcome")
    }

    fn together(&self, a: &OutboundSms, b: &OutboundSms) -> bool {
        (self.gateway.together)(a, b)
    }

    async fn submit_batch(&self, batch: &[OutboundSms]) -> Vec<SubmitOutcome> {
        assert!(batch.len() <= usize::from(self.batch_max));
        (self.gateway.answer)(batch)
    }
}

/// The provider's side of the connection.
pub struct Provider {
    pub submitted: mpsc::Receiver<OutboundSms>,
    events: mpsc::Sender<Delivered>,
    pub status: watch::Sender<ChannelStatus>,
}

impl Provider {
    /// The next message that was handed over.
    pub async fn next(&mut self) -> OutboundSms {
        tokio::time::timeout(PATIENCE, self.submitted.recv()).await.expect("a submit").expect("open")
    }

    /// Tells the worker something.
    pub async fn say(&self, event: GatewayEvent) -> oneshot::Receiver<Ack> {
        let (ack, answer) = oneshot::channel();
        self.events.send(Delivered { event, ack }).await.expect("the worker listens");
        answer
    }
}

/// A database with `n` participants and an alert to all of them, in the time that the worker's clock shows.
pub struct World {
    pub store: Store,
    pub organisation: OrganisationId,
    pub alert: AlertId,
    inner: world::World,
}

pub fn phone(n: u32) -> PhoneNumber {
    world::phone(n as usize)
}

/// Whether another day has begun since `then` where the tests are.
pub fn midnight_passed(then: klaroen_domain::time::Timestamp) -> bool {
    let zone = "Europe/Amsterdam".parse().unwrap();
    Today::at(then, &zone).date != Today::at(SystemClock.now(), &zone).date
}

impl World {
    pub async fn new(participants: u32) -> Self {
        Self::of((0..participants).map(phone).collect()).await
    }

    /// With these numbers.
    pub async fn of(phones: Vec<PhoneNumber>) -> Self {
        let inner = world::World::at(Engine::Sqlite, SystemClock.now()).await;
        for (n, phone) in phones.into_iter().enumerate() {
            inner.enrol_one(&ParticipantDraft { phone, ..world::draft(n, world::at_metres_east(0.0)) }).await;
        }
        let alert = inner.alert_all().await;
        Self { store: inner.store.clone(), organisation: inner.organisation, alert, inner }
    }

    /// Deliveries of the start message in `state`.
    pub async fn count(&self, state: DeliveryState) -> u64 {
        self.inner.count(self.alert, 0, state).await
    }

    /// Waits until that many deliveries are in `state`.
    pub async fn until(&self, state: DeliveryState, expected: u64) {
        let reached = async {
            while self.count(state).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, reached).await.is_ok(),
            "{} are {state}, not {expected}",
            self.count(state).await
        );
    }
}

/// A connection of a gateway that follows a script, and the provider's side of it.
pub fn connection(
    gateway: &str,
    window: usize,
    segments_per_second: u32,
    script: Script,
) -> (ChannelConfig, Provider) {
    connection_of(gateway, window, segments_per_second, 1, script)
}

/// The same where each message goes out as so many segments.
fn connection_of(
    gateway: &str,
    window: usize,
    segments_per_second: u32,
    segments: u8,
    script: Script,
) -> (ChannelConfig, Provider) {
    let name = ChannelName { gateway: gateway.into(), channel: 0 };
    let (submitted, seen) = mpsc::channel(50_000);
    let (events, heard) = mpsc::channel(100);
    let (status, shown) = watch::channel(ChannelStatus::Up);
    let gateway = Arc::new(Scripted { script, segments, count: AtomicU32::new(0), submitted });
    let heard = Arc::new(Mutex::new(Some(heard)));
    let connect = move || {
        Ok(Channel {
            gateway: Arc::clone(&gateway) as Arc<dyn SmsGateway>,
            events: heard.try_lock().unwrap().take().expect("the tests connect once"),
            status: shown.clone(),
        })
    };
    let spec = ChannelConfig { name, window, segments_per_second, connect: Box::new(connect) };
    (spec, Provider { submitted: seen, events, status })
}

pub fn settings(
    channels: Vec<ChannelConfig>,
    routes: Vec<GatewayRoute>,
    drain_deadline: Duration,
) -> WorkerSettings {
    WorkerSettings {
        channels,
        routes,
        country: Country::NL,
        receipt_grace: Duration::from_hours(1),
        rules: world::rules(),
        texts: Arc::new(world::Answers),
        drain_deadline,
        settle_after: SettleAfter::default(),
        retention: Retention {
            idempotency: Duration::from_hours(24),
            parked_receipts: Duration::from_hours(24),
            receipts: Duration::from_hours(24),
        },
        clock_watch: Arc::default(),
        self_tests: vec![],
    }
}

/// A worker that runs.
pub struct Running {
    pub provider: Provider,
    pub wake: Arc<Notify>,
    pub health: Box<dyn Fn() -> Vec<ChannelHealth>>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    pub fn start(world: &World, window: usize, script: Script) -> Self {
        Self::with_drain(world, window, script, PATIENCE)
    }

    pub fn with_drain(world: &World, window: usize, script: Script, drain_deadline: Duration) -> Self {
        Self::on("main", world, window, script, drain_deadline)
    }

    pub fn on(gateway: &str, world: &World, window: usize, script: Script, drain_deadline: Duration) -> Self {
        let (spec, provider) = connection(gateway, window, 0, script);
        Self::of(world, settings(vec![spec], vec![], drain_deadline), provider)
    }

    /// A worker whose messages go out as so many segments, which take their places in the window one by one.
    pub fn long(world: &World, window: usize, segments: u8, script: Script) -> Self {
        let (spec, provider) = connection_of("main", window, 0, segments, script);
        Self::of(world, settings(vec![spec], vec![], PATIENCE), provider)
    }

    /// A worker of gateway `main` that may test it, every day at `at`.
    pub fn testing(world: &World, script: Script, at: Option<DailyTime>) -> Self {
        let (spec, provider) = connection("main", 10, 0, script);
        let test = SelfTest { gateway: "main".into(), number: phone(99), at };
        let settings = settings(vec![spec], vec![], Duration::from_secs(1));
        Self::of(world, WorkerSettings { self_tests: vec![test], ..settings }, provider)
    }

    /// A worker whose gateway takes up to `batch_max` messages at once and answers them by `answer`.
    pub fn batching(world: &World, window: usize, batch_max: u16, gateway: BatchGateway) -> Self {
        let (mut spec, provider) = connection("main", window, 0, at_once(accepted));
        let status = provider.status.subscribe();
        let gateway = Arc::new(Batching { batch_max, gateway });
        spec.connect = Box::new(move || {
            let (_silent, events) = mpsc::channel(1);
            let gateway = Arc::clone(&gateway) as Arc<dyn SmsGateway>;
            Ok(Channel { gateway, events, status: status.clone() })
        });
        Self::of(world, settings(vec![spec], vec![], PATIENCE), provider)
    }

    pub fn of(world: &World, settings: WorkerSettings, provider: Provider) -> Self {
        let wake = Arc::new(Notify::new());
        let worker = Worker::new(world.store.clone(), Arc::new(SystemClock), Arc::clone(&wake), settings);
        let health = Box::new(worker.health());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(worker.run(shutdown.clone()));
        Self { provider, wake, health, shutdown, task }
    }

    /// Waits until the worker holds its channel no more.
    pub async fn until_given_up(&self) {
        let given_up = async {
            while (self.health)()[0].leased {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, given_up).await.expect("the channel is given up");
    }

    pub fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops the worker; returns the deliveries that were submitted and not looked at yet.
    pub async fn stop(mut self) -> Vec<DeliveryId> {
        self.shutdown.cancel();
        tokio::time::timeout(2 * PATIENCE, self.task)
            .await
            .expect("it ends")
            .expect("no panic")
            .expect("no error");
        let mut submitted = Vec::new();
        while let Ok(sms) = self.provider.submitted.try_recv() {
            submitted.push(sms.delivery);
        }
        submitted
    }
}
