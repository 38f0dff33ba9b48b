//! Certainty and doubt, by the octets that had left when something happened. Only the test writes here.

use futures::FutureExt;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::ProviderId;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::*;
use crate::smpp::config::tests::config;
use crate::smpp::submit::Composer;
use crate::smpp::tests::sms;
use crate::sms::{Delivered, GatewayEvent};

struct Rig {
    outbox: Arc<Outbox>,
    bound: Bound,
    composer: Composer,
    events: mpsc::Receiver<Delivered>,
    _sender: mpsc::Sender<Delivered>,
}

impl Rig {
    fn new(window: u16) -> Self {
        let config = Arc::new(config(&json!({"window": window})));
        let (sender, events) = mpsc::channel(10);
        let reporter = Reporter {
            events: sender.downgrade(),
            kept: TaskTracker::new(),
            runtime: Handle::current(),
            stop: CancellationToken::new(),
            room: Arc::new(Semaphore::new(10)),
        };
        let outbox = Arc::new(Outbox::default());
        let bound = Bound::new(Arc::clone(&outbox), 2, &config, Arc::new(reporter));
        Self {
            outbox,
            bound,
            composer: Composer::new(config, Arc::new(klaroen_domain::time::SystemClock)),
            events,
            _sender: sender,
        }
    }

    async fn submit(&self, id: i64, text: &str) -> SubmitOutcome {
        let sms = sms(id, text);
        self.bound.submit(&sms, &self.composer.message(&sms).unwrap()).await
    }

    /// All that waits leaves.
    fn write(&self) {
        self.outbox.wrote(usize::try_from(self.outbox.backlog()).unwrap());
    }

    fn accept(&self, sequence_number: u32, id: &[u8]) {
        self.bound.settle(Header { id: CommandId::SUBMIT_SM_RESP, status: status::OK, sequence_number }, id);
    }

    async fn late(&mut self) -> (DeliveryId, SubmitOutcome) {
        match self.events.recv().await.unwrap().event {
            GatewayEvent::LateAnswer { delivery, outcome, .. } => (delivery, outcome),
            other => panic!("{other:?}"),
        }
    }
}

fn accepted(id: &str) -> SubmitOutcome {
    SubmitOutcome::Accepted { provider_ids: vec![ProviderId(id.into())], segments: 1 }
}

#[tokio::test]
async fn a_lost_link_leaves_in_doubt_what_was_written_and_nothing_else() {
    let rig = Rig::new(10);
    let (mut written, mut queued) = (Box::pin(rig.submit(1, "een")), Box::pin(rig.submit(2, "twee")));
    assert!((&mut written).now_or_never().is_none());
    rig.write();
    assert!((&mut queued).now_or_never().is_none());
    // All but the last octet, which nobody can take for a PDU.
    rig.outbox.wrote(usize::try_from(rig.outbox.backlog()).unwrap() - 1);
    rig.bound.lose();
    assert!(matches!(written.await, SubmitOutcome::Unknown(_)));
    assert!(matches!(queued.await, SubmitOutcome::NotTaken(_)));
    assert!(matches!(rig.submit(3, "drie").await, SubmitOutcome::NotTaken(_)), "and what comes later");
}

#[tokio::test]
async fn an_answer_to_what_has_not_left_is_to_something_else() {
    let rig = Rig::new(10);
    let mut submit = Box::pin(rig.submit(1, "een"));
    assert!((&mut submit).now_or_never().is_none());
    rig.accept(2, b"4710\0");
    rig.write();
    rig.accept(3, b"4711\0");
    assert!((&mut submit).now_or_never().is_none());
    rig.accept(2, b"4712\0");
    assert_eq!(submit.await, accepted("4712"));
}

#[tokio::test]
async fn the_window_has_room_again_after_each_way_to_end() {
    let rig = Rig::new(1);
    for number in 2..20 {
        let mut submit = Box::pin(rig.submit(1, "een"));
        assert!((&mut submit).now_or_never().is_none());
        rig.write();
        match number % 3 {
            0 => rig.accept(number, b"1\0"),
            1 => rig.bound.tick(Instant::now() + Duration::from_hours(1)),
            _ => {
                drop(submit);
                rig.accept(number, b"1\0");
            }
        }
        assert_eq!(rig.bound.window.available_permits(), 1, "{number}");
    }
}

#[tokio::test]
async fn a_message_that_is_given_up_between_its_parts_is_said_not_to_have_left() {
    let mut rig = Rig::new(1);
    let text = "a".repeat(200);
    let mut submit = Box::pin(rig.submit(1, &text));
    assert!((&mut submit).now_or_never().is_none());
    rig.write();
    drop(submit);
    rig.accept(2, b"1\0");
    // A part of it did, and nothing rang.
    assert_eq!(rig.late().await, (DeliveryId(1), not_taken("abandoned", "given up before it was sent")));
}

#[tokio::test]
async fn no_part_leaves_a_link_that_is_halted_and_what_left_is_heard() {
    let rig = Rig::new(2);
    let (mut left, text) = (Box::pin(rig.submit(1, "een")), "a".repeat(200));
    assert!((&mut left).now_or_never().is_none());
    let mut half = Box::pin(rig.submit(2, &text));
    assert!((&mut half).now_or_never().is_none());
    let mut waiting = Box::pin(rig.submit(3, "drie"));
    assert!((&mut waiting).now_or_never().is_none());
    rig.write();
    rig.bound.halt();
    assert!(matches!(waiting.await, SubmitOutcome::NotTaken(_)));
    assert!(matches!(rig.submit(4, "vier").await, SubmitOutcome::NotTaken(_)));
    let mut drained = Box::pin(rig.bound.drain());
    assert!((&mut drained).now_or_never().is_none(), "two parts are under way");
    rig.accept(2, b"1\0");
    rig.accept(3, b"2\0");
    assert_eq!(left.await, accepted("1"));
    assert!(matches!(half.await, SubmitOutcome::NotTaken(_)), "nothing rang");
    drained.await;
    assert_eq!(rig.outbox.backlog(), 0);
}

#[tokio::test]
async fn an_answer_that_came_and_was_not_looked_at_is_a_late_one() {
    let mut rig = Rig::new(1);
    let mut submit = Box::pin(rig.submit(1, "een"));
    assert!((&mut submit).now_or_never().is_none());
    rig.write();
    rig.accept(2, b"1\0");
    drop(submit);
    assert_eq!(rig.late().await, (DeliveryId(1), accepted("1")));
}

#[tokio::test]
async fn an_sms_is_taken_when_the_answer_is_written() {
    let rig = Rig::new(1);
    let [stored, again] = [Acknowledged::default(), Acknowledged::default()];
    rig.bound.answer(&[5], Ack::Stored, Some(stored.clone()));
    rig.bound.answer(&[6], Ack::Retry, Some(again.clone()));
    rig.bound.tick(Instant::now());
    assert!(!stored.get());
    rig.write();
    rig.bound.tick(Instant::now());
    assert!(stored.get() && !again.get());
}

#[tokio::test]
async fn used_up_sequence_numbers_renew_an_empty_link() {
    let rig = Rig::new(2);
    rig.bound.lock().next_sequence = SEQUENCE_MAX - 1;
    let mut last = Box::pin(rig.submit(1, "een"));
    assert!((&mut last).now_or_never().is_none());
    rig.write();
    assert!(matches!(rig.submit(2, "twee").await, SubmitOutcome::NotTaken(_)));
    assert!(!rig.bound.is_worn_out(), "one is under way");
    rig.accept(SEQUENCE_MAX - 1, b"1\0");
    assert_eq!(last.await, accepted("1"));
    assert!(rig.bound.is_worn_out());
}

#[tokio::test]
async fn a_provider_that_does_not_read_gets_no_more_answers() {
    let rig = Rig::new(1);
    for number in 0..100_000 {
        rig.bound.answer(&[number], Ack::Retry, None);
    }
    assert!(rig.outbox.backlog() <= BACKLOG_MAX + 100);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_in_the_window_has_not_left_and_may_go_elsewhere() {
    let rig = Rig::new(1);
    let mut hangs = Box::pin(rig.submit(1, "een"));
    assert!((&mut hangs).now_or_never().is_none());
    rig.write();
    for text in ["twee", &"a".repeat(200)] {
        let waited = Instant::now();
        let SubmitOutcome::NotTaken(failure) = rig.submit(2, text).await else { panic!("it left") };
        assert_eq!((&*failure.code, waited.elapsed()), ("window_full", ROOM_WITHIN));
    }
    rig.accept(2, b"1\0");
    assert_eq!(hangs.await, accepted("1"));
    assert_eq!(rig.bound.window.available_permits(), 1);
}
