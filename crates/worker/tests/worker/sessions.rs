//! How a connection's session ends, and begins anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_domain::participant::Language;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::{
    Ack, Capabilities, Channel, Delivered, GatewayEvent, InboundSms, OutboundSms, SmsGateway,
};
use klaroen_store::channels::{ChannelName, Lease};
use klaroen_store::replies::{AutoReply, AutoReplyTexts};
use klaroen_worker::WorkerSettings;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixture::{PATIENCE, Running, World, accepted, at_once, connection, failure, phone, settings};

fn stop_from(number: &str) -> GatewayEvent {
    GatewayEvent::Inbound(InboundSms {
        dedupe_key: "k1".into(),
        from: number.into(),
        to: "1000".into(),
        text: "Stop".into(),
        keyword: None,
        received_at: SystemClock.now(),
    })
}

/// Takes every message, and when it is drained has one more thing to tell.
struct Teller {
    events: mpsc::Sender<Delivered>,
    stored: Arc<AtomicBool>,
}

impl Teller {
    async fn tell(events: &mpsc::Sender<Delivered>) -> Option<Ack> {
        let (ack, answer) = oneshot::channel();
        events.send(Delivered { event: stop_from(phone(0).expose()), ack }).await.ok()?;
        answer.await.ok()
    }
}

#[async_trait]
impl SmsGateway for Teller {
    fn capabilities(&self) -> Capabilities {
        Capabilities { receipts: true, inbound: true, max_segments: 6, ..Capabilities::default() }
    }

    async fn submit(&self, _: &OutboundSms) -> SubmitOutcome {
        accepted(0)
    }

    async fn drain(&self, _: Duration) {
        let stored = Self::tell(&self.events).await == Some(Ack::Stored);
        self.stored.store(stored, Ordering::SeqCst);
    }
}

/// Fails the first time.
struct Texts(AtomicBool);

impl AutoReplyTexts for Texts {
    fn text(&self, _: AutoReply, _: Language) -> MessageText {
        assert!(self.0.swap(true, Ordering::SeqCst), "scripted panic");
        MessageText::parse("You get no more alerts.", 1).unwrap()
    }
}

/// A worker whose gateway is a [`Teller`], the way to its worker of each connection that is made, and whether what it told last
/// was stored.
fn running(
    world: &World,
    failing: bool,
) -> (Running, mpsc::Receiver<mpsc::Sender<Delivered>>, Arc<AtomicBool>) {
    let (mut spec, provider) = connection("main", 10, 0, at_once(accepted));
    let (connected, connections) = mpsc::channel(10);
    let stored = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stored);
    let status = provider.status.subscribe();
    spec.connect = Box::new(move || {
        let (events, heard) = mpsc::channel(100);
        connected.try_send(events.clone()).unwrap();
        let gateway = Arc::new(Teller { events, stored: Arc::clone(&stored) });
        Ok(Channel { gateway, events: heard, status: status.clone() })
    });
    let settings = settings(vec![spec], vec![], PATIENCE);
    let settings = WorkerSettings { texts: Arc::new(Texts(AtomicBool::new(!failing))), ..settings };
    (Running::of(world, settings, provider), connections, seen)
}

/// Takes nothing before it is halted, and then says so.
#[derive(Default)]
struct Waiting {
    asked: Notify,
    halted: CancellationToken,
}

#[async_trait]
impl SmsGateway for Waiting {
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_segments: 6, ..Capabilities::default() }
    }

    async fn submit(&self, _: &OutboundSms) -> SubmitOutcome {
        self.asked.notify_one();
        self.halted.cancelled().await;
        SubmitOutcome::NotTaken(failure(Scope::Gateway))
    }

    fn halt(&self) {
        self.halted.cancel();
    }
}

#[tokio::test]
async fn what_waits_in_a_connection_that_is_anothers_goes_back_and_is_not_in_doubt() {
    let world = World::new(10).await;
    let (mut spec, provider) = connection("main", 3, 0, at_once(accepted));
    let (gateway, status) = (Arc::new(Waiting::default()), provider.status.subscribe());
    let (_events, heard) = mpsc::channel(1);
    let (waiting, heard) = (Arc::clone(&gateway), Mutex::new(Some(heard)));
    spec.connect = Box::new(move || {
        let gateway = Arc::clone(&gateway) as Arc<dyn SmsGateway>;
        let events = heard.try_lock().unwrap().take().expect("the test connects once");
        Ok(Channel { gateway, events, status: status.clone() })
    });
    let running = Running::of(&world, settings(vec![spec], vec![], PATIENCE), provider);
    waiting.asked.notified().await;
    let now = SystemClock.now();
    let name = ChannelName { gateway: "main".into(), channel: 0 };
    world.store.release_all_channels().await.unwrap();
    let taken =
        world.store.lease_channel(&name, Uuid::new_v4(), now.plus(Duration::from_hours(1)), now).await;
    assert!(matches!(taken, Ok(Lease::Taken { .. })), "{taken:?}");
    running.until_given_up().await;
    running.stop().await;
    assert!(waiting.halted.is_cancelled());
    // Those under way are put in doubt by the take-over, before anybody knows; all others are queued.
    world.until(S::Queued, 10).await;
}

#[tokio::test]
async fn what_a_connection_tells_while_it_is_drained_is_stored() {
    let world = World::new(1).await;
    let (running, _connections, stored) = running(&world, false);
    world.until(S::Sent, 1).await;
    assert!(!stored.load(Ordering::SeqCst));
    running.stop().await;
    assert!(stored.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_session_that_cannot_hear_replies_any_more_begins_anew() {
    let world = World::new(1).await;
    let (running, mut connections, _) = running(&world, true);
    world.until(S::Sent, 1).await;
    let first = connections.recv().await.unwrap();
    assert_eq!(Teller::tell(&first).await, None, "who was to store it has failed");
    let anew = tokio::time::timeout(PATIENCE, connections.recv()).await;
    let second = anew.expect("another connection").unwrap();
    assert_eq!(Teller::tell(&second).await, Some(Ack::Stored));
    running.stop().await;
}
