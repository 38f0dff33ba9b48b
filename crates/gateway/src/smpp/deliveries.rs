//! The inbound side of a session: every `deliver_sm` becomes an event, and is answered after the consumer's verdict.
//!
//! The reader never waits: events go into the bounded channel or, where that is full, straight back to the SMSC as "later". What
//! the library has read but the reader has not yet seen is bounded by the SMSC's own window of unanswered `deliver_sm`, and by
//! our window of submits; beyond [`UNSETTLED_MAX`] unanswered ones are refused at once.

use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use rusmpp::pdus::DeliverSm;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::concatenation::{Joined, Joiner};
use super::dedupe::{Repetitions, Taken};
use super::inbound::{self, Inbound, Sms};
use super::link::Link;
use crate::config::SmppConfig;
use crate::insist::{self, insist};
use crate::{Ack, Delivered, GatewayEvent, InboundSms};

/// `deliver_sm` that wait for the consumer. An SMSC has 10 to 100 open at a time.
const UNSETTLED_MAX: usize = 1_000;

/// Answers without a consumer that wait to be written.
const ANSWERING_MAX: usize = 4_000;

/// An event for the consumer.
struct Offer {
    event: GatewayEvent,
    /// Whose answers are owed for it.
    unanswered: Vec<u32>,
    /// The SMSC cannot send all of it again.
    ours_alone: bool,
    /// For its repetitions.
    taken: Taken,
}

/// Turns `deliver_sm` into events. Lives as long as its gateway: links come and go.
pub(super) struct Deliveries {
    config: Arc<SmppConfig>,
    country: Country,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Delivered>,
    tasks: TaskTracker,
    stop: CancellationToken,
    unsettled: Arc<Semaphore>,
    answering: Arc<Semaphore>,
    joiner: Joiner,
    repetitions: Repetitions,
}

impl Deliveries {
    pub(super) fn new(
        config: Arc<SmppConfig>,
        country: Country,
        clock: Arc<dyn Clock>,
        events: mpsc::Sender<Delivered>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let joiner = Joiner::new(config.alphabet);
        Self {
            config,
            country,
            clock,
            events,
            tasks,
            stop,
            unsettled: Arc::new(Semaphore::new(UNSETTLED_MAX)),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            joiner,
            repetitions: Repetitions::default(),
        }
    }

    /// A `deliver_sm` came.
    pub(super) fn take(&mut self, link: &Arc<Link>, sequence_number: u32, pdu: &DeliverSm) {
        match inbound::read(pdu, &self.config, self.country) {
            Inbound::Receipt(receipt) => {
                let event = GatewayEvent::Receipt(receipt);
                let unanswered = vec![sequence_number];
                self.offer(link, Offer { event, unanswered, ours_alone: false, taken: Taken::default() });
            }
            Inbound::UselessReceipt => {
                tracing::warn!(gateway = %self.config.name, "receipt without a message id");
                self.answer(link, vec![sequence_number], Ack::Stored, Taken::default());
            }
            Inbound::Sms(sms) => {
                self.offer_sms(link, Joined { sms, unanswered: vec![sequence_number], ours_alone: false });
            }
            Inbound::Part(part) => {
                let joined = self.joiner.add(part, sequence_number, Instant::now());
                self.offer_joined(link, joined);
            }
        }
    }

    /// When [`Deliveries::tick`] next has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.joiner.next_deadline()
    }

    /// Releases and expires parts of long SMS.
    pub(super) fn tick(&mut self, link: &Arc<Link>) {
        let now = Instant::now();
        let expired = self.joiner.expire(now);
        self.offer_joined(link, expired);
        let released = self.joiner.release(now);
        if !released.is_empty() {
            self.answer(link, released, Ack::Stored, Taken::default());
        }
    }

    /// The link is gone, and with it the answers that were owed on it.
    pub(super) fn link_lost(&mut self, link: &Arc<Link>) {
        let partial = self.joiner.drain();
        self.offer_joined(link, partial);
    }

    fn offer_joined(&mut self, link: &Arc<Link>, joined: Vec<Joined>) {
        for joined in joined {
            self.offer_sms(link, joined);
        }
    }

    fn offer_sms(&mut self, link: &Arc<Link>, Joined { sms, unanswered, ours_alone }: Joined) {
        let received_at = self.clock.now();
        let (dedupe_key, taken) = self.repetitions.key(&sms, received_at);
        let Sms { from, to, text } = sms;
        let event = GatewayEvent::Inbound(InboundSms { dedupe_key, from, to, text, received_at });
        self.offer(link, Offer { event, unanswered, ours_alone, taken });
    }

    fn offer(&self, link: &Arc<Link>, offer: Offer) {
        let Ok(permit) = Arc::clone(&self.unsettled).try_acquire_owned() else {
            return self.overflow(link, offer);
        };
        let Offer { event, unanswered, ours_alone, taken } = offer;
        let kept = ours_alone.then(|| event.clone());
        let (ack, verdict) = oneshot::channel();
        if let Err(refused) = self.events.try_send(Delivered { event, ack }) {
            let event = refused.into_inner().event;
            return self.overflow(link, Offer { event, unanswered, ours_alone, taken });
        }
        let (link, events) = (Arc::clone(link), self.events.clone());
        self.spawn(async move {
            let verdict = verdict.await.unwrap_or(Ack::Retry);
            let ack = if kept.is_some() { Ack::Stored } else { verdict };
            if link.answer(&unanswered, ack).await && ack == Ack::Stored {
                taken.set();
            }
            if let (Ack::Retry, Some(event)) = (verdict, kept) {
                tokio::time::sleep(insist::EVERY).await;
                insist(&events, event).await;
            }
            drop::<OwnedSemaphorePermit>(permit);
        });
    }

    /// The consumer is behind: the SMSC is to send it again later, unless it cannot.
    fn overflow(&self, link: &Arc<Link>, offer: Offer) {
        let Offer { event, unanswered, ours_alone, taken } = offer;
        if ours_alone {
            let events = self.events.clone();
            self.spawn(async move { insist(&events, event).await });
        }
        self.answer(link, unanswered, if ours_alone { Ack::Stored } else { Ack::Retry }, taken);
    }

    /// Answers without the reader waiting for the write. Where even that is too much, the SMSC's own time-out has to do.
    fn answer(&self, link: &Arc<Link>, sequence_numbers: Vec<u32>, ack: Ack, taken: Taken) {
        // Its own count: submits share the tasks, and must not take the room of answers.
        let Ok(permit) = Arc::clone(&self.answering).try_acquire_owned() else {
            tracing::warn!(gateway = %self.config.name, "too many answers wait to be written: one is left out");
            return;
        };
        let link = Arc::clone(link);
        self.spawn(async move {
            if link.answer(&sequence_numbers, ack).await && ack == Ack::Stored {
                taken.set();
            }
            drop::<OwnedSemaphorePermit>(permit);
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Stopped: what was not answered is sent again.
            let _: Option<()> = stop.run_until_cancelled(task).await;
        });
    }
}
