//! The inbound side of a session: every `deliver_sm` becomes an event, and is answered after the consumer's verdict.
//!
//! The reader never waits: events go into the queue of the consumer or, if the budget has no room for them, straight back to the
//! SMSC as "later". The reader also collects the verdicts, so that those of one batch are answered in one write.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::{EventBudget, Room};
use super::concatenation::{Joined, Joiner};
use super::dedupe::Repetitions;
use super::deliver_sm::{self, Inbound, Sms};
use crate::redeliver::{self, redeliver};
use crate::smpp::codec::pdu::DeliverSm;
use crate::smpp::config::SmppConfig;
use crate::smpp::connection::acknowledged::Acknowledged;
use crate::smpp::connection::bound::Bound;
use crate::sms::{Ack, Delivered, GatewayEvent, InboundSms};

/// An event for the consumer.
struct Offer {
    event: GatewayEvent,
    /// Sequence numbers of the `deliver_sm` that are answered for it.
    unanswered: Vec<u32>,
    /// The SMSC cannot send all of it again.
    ours_alone: bool,
    /// For the repetitions of an SMS; those of receipts change nothing.
    acknowledged: Option<Acknowledged>,
}

/// An answer that is owed once the consumer has said what to say.
struct Owed {
    verdict: oneshot::Receiver<Ack>,
    /// Held until then.
    _room: Room,
    unanswered: Vec<u32>,
    acknowledged: Option<Acknowledged>,
}

impl Future for Owed {
    type Output = (Ack, Vec<u32>, Option<Acknowledged>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let verdict = ready!(Pin::new(&mut self.verdict).poll(cx)).unwrap_or(Ack::Retry);
        Poll::Ready((verdict, std::mem::take(&mut self.unanswered), self.acknowledged.take()))
    }
}

/// Turns `deliver_sm` into events. Lives as long as its gateway: links come and go.
pub(in crate::smpp) struct Deliveries {
    config: Arc<SmppConfig>,
    country: Country,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Delivered>,
    budget: Arc<EventBudget>,
    /// Events that were told back to the SMSC since there was room last.
    refused: u64,
    /// Tasks that hold what the SMSC will not send again.
    kept: TaskTracker,
    stop: CancellationToken,
    /// No part is answered any more before its SMS is whole: nobody would wait for the rest.
    ending: bool,
    /// Answers to be given on the present connection.
    owed: FuturesUnordered<Unconstrained<Owed>>,
    joiner: Joiner,
    repetitions: Repetitions,
}

impl Deliveries {
    pub(in crate::smpp) fn new(
        config: Arc<SmppConfig>,
        country: Country,
        clock: Arc<dyn Clock>,
        events: mpsc::Sender<Delivered>,
        budget: Arc<EventBudget>,
        kept: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let joiner = Joiner::new(config.alphabet);
        Self {
            config,
            country,
            clock,
            events,
            budget,
            refused: 0,
            kept,
            stop,
            ending: false,
            owed: FuturesUnordered::new(),
            joiner,
            repetitions: Repetitions::default(),
        }
    }

    /// A `deliver_sm` came.
    pub(in crate::smpp) fn take(&mut self, bound: &Arc<Bound>, sequence_number: u32, pdu: &DeliverSm<'_>) {
        match deliver_sm::read(pdu, &self.config, self.country) {
            Inbound::Receipt(receipt) => {
                let event = GatewayEvent::Receipt(receipt);
                let unanswered = vec![sequence_number];
                self.offer(bound, Offer { event, unanswered, ours_alone: false, acknowledged: None });
            }
            Inbound::UselessReceipt => {
                tracing::warn!(gateway = %self.config.name, "receipt without a message id");
                bound.answer(&[sequence_number], Ack::Stored, None);
            }
            Inbound::Sms(sms) => {
                self.offer_sms(bound, Joined { sms, unanswered: vec![sequence_number], ours_alone: false });
            }
            Inbound::Part(part) => {
                let joined = self.joiner.add(part, sequence_number, Instant::now());
                self.offer_joined(bound, joined);
            }
        }
    }

    /// When [`Deliveries::tick`] next has something to do.
    pub(in crate::smpp) fn next_deadline(&self) -> Option<Instant> {
        if self.ending { None } else { self.joiner.next_deadline() }
    }

    /// Releases and expires parts of long SMS.
    pub(in crate::smpp) fn tick(&mut self, bound: &Arc<Bound>) {
        let now = Instant::now();
        let expired = self.joiner.expire(now);
        self.offer_joined(bound, expired);
        if self.ending {
            return;
        }
        let released = self.joiner.release(now);
        if !released.is_empty() {
            bound.answer(&released, Ack::Stored, None);
        }
    }

    /// Answers what the consumer has judged. Never ready: it goes on with every verdict.
    pub(in crate::smpp) fn poll_verdicts(&mut self, cx: &mut Context<'_>, bound: &Bound) {
        while let Poll::Ready(Some((verdict, unanswered, acknowledged))) = self.owed.poll_next_unpin(cx) {
            bound.answer(&unanswered, verdict, acknowledged);
        }
    }

    /// We are about to end: offers what is in our memory only, as it is.
    pub(in crate::smpp) fn end(&mut self, bound: &Arc<Bound>) {
        self.ending = true;
        let partial = self.joiner.drain();
        self.offer_joined(bound, partial);
    }

    /// The connection is gone, and with it the answers that were owed on it. Their events are still with the consumer, so they
    /// keep their room until it has judged them.
    pub(in crate::smpp) fn connection_lost(&mut self, bound: &Arc<Bound>) {
        let partial = self.joiner.drain();
        self.offer_joined(bound, partial);
        let mut owed = std::mem::take(&mut self.owed);
        if owed.is_empty() {
            return;
        }
        let stop = self.stop.clone();
        self.kept.spawn(async move {
            let judged = async { while owed.next().await.is_some() {} };
            // Nothing is judged any more when all is to end.
            let _: Option<()> = stop.run_until_cancelled(judged).await;
        });
    }

    fn offer_joined(&mut self, bound: &Arc<Bound>, joined: Vec<Joined>) {
        for joined in joined {
            self.offer_sms(bound, joined);
        }
    }

    fn offer_sms(&mut self, bound: &Arc<Bound>, Joined { sms, unanswered, ours_alone }: Joined) {
        let received_at = self.clock.now();
        let (dedupe_key, acknowledged) = self.repetitions.key(&sms, received_at);
        let Sms { from, to, text } = sms;
        let event =
            GatewayEvent::Inbound(InboundSms { dedupe_key, from, to, text, keyword: None, received_at });
        self.offer(bound, Offer { event, unanswered, ours_alone, acknowledged: Some(acknowledged) });
    }

    fn offer(&mut self, bound: &Arc<Bound>, offer: Offer) {
        let Some(room) = self.budget.reserve(&offer.event) else {
            return self.overflow(bound, offer);
        };
        let Offer { event, unanswered, ours_alone, acknowledged } = offer;
        let kept = ours_alone.then(|| event.clone());
        let (ack, verdict) = oneshot::channel();
        if let Err(refused) = self.events.try_send(Delivered { event, ack }) {
            let event = refused.into_inner().event;
            return self.overflow(bound, Offer { event, unanswered, ours_alone, acknowledged });
        }
        if self.refused > 0 {
            tracing::warn!(gateway = %self.config.name, refused = self.refused, "room for events again; events were refused meanwhile");
            self.refused = 0;
        }
        match kept {
            // Bounded, so the runtime's budget need not cut a batch into pieces.
            None => self.owed.push(unconstrained(Owed { verdict, _room: room, unanswered, acknowledged })),
            Some(event) => self.keep(bound, event, Owed { verdict, _room: room, unanswered, acknowledged }),
        }
    }

    /// Offers an event again that the SMSC cannot send again, whatever becomes of the connection.
    fn keep(&self, bound: &Arc<Bound>, event: GatewayEvent, owed: Owed) {
        let (bound, events) = (Arc::clone(bound), self.events.clone());
        self.spawn(id(&event), async move {
            let (verdict, unanswered, acknowledged) = owed.await;
            bound.answer(&unanswered, Ack::Stored, acknowledged);
            if verdict == Ack::Stored {
                return true;
            }
            tokio::time::sleep(redeliver::EVERY).await;
            redeliver(&events, event).await
        });
    }

    /// There is no room: the SMSC is to send it again later, unless it cannot.
    fn overflow(&mut self, bound: &Bound, offer: Offer) {
        let Offer { event, unanswered, ours_alone, acknowledged } = offer;
        if ours_alone {
            let events = self.events.clone();
            self.spawn(id(&event), async move { redeliver(&events, event).await });
        } else {
            if self.refused == 0 {
                tracing::warn!(gateway = %self.config.name, "no room for events; telling the SMSC to send them again");
            }
            self.refused += 1;
        }
        bound.answer(&unanswered, if ours_alone { Ack::Stored } else { Ack::Retry }, acknowledged);
    }

    /// Runs what stores an event, and says whether it did.
    fn spawn(&self, id: String, task: impl Future<Output = bool> + Send + 'static) {
        let stop = self.stop.clone();
        self.kept.spawn(async move {
            if stop.run_until_cancelled(task).await != Some(true) {
                tracing::error!(id, "SMS was not stored and is lost; the provider will not send it again");
            }
        });
    }
}

/// The id of an event for the log: no number, no text.
fn id(event: &GatewayEvent) -> String {
    match event {
        GatewayEvent::Inbound(sms) => sms.dedupe_key.clone(),
        GatewayEvent::Receipt(receipt) => receipt.provider_id.0.clone(),
        GatewayEvent::LateAnswer { delivery, .. } => delivery.to_string(),
    }
}
