//! Submitting: sends what the window, the rate and the places for results allow now, in as few requests as the provider
//! takes.
//!
//! A batch has the messages that are leased and have their tokens now. It does not wait for more: if the pace allows
//! one message, one is sent.

use std::sync::Arc;

use klaroen_domain::decide::Decision;
use klaroen_domain::time::Timestamp;
use klaroen_gateway::OutboundSms;
use klaroen_store::outcomes::Finished;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::gateway::request::{SubmitRequest, submit_request};
use crate::session::claim::Ready;
use crate::session::{Hold, Session};

/// A message of the next request.
struct Chosen {
    sms: OutboundSms,
    ready: Ready,
    /// The place that is reserved for its result.
    place: mpsc::OwnedPermit<Finished>,
    /// The slots of the window that it takes if it goes alone.
    places: usize,
}

impl Session {
    /// Submits what the window, the rate and the places for results allow.
    pub(super) fn submit_ready(&mut self, now: Instant) -> Hold {
        let wall = self.context.claimer.clock.now();
        loop {
            let (batch, hold) = self.next_batch(now, wall);
            let none = batch.is_empty();
            self.send(batch, now);
            if none || !matches!(hold, Hold::Nothing) {
                return hold;
            }
        }
    }

    /// Takes the messages of one request out of the queue; none if something delays them or the queue is empty.
    fn next_batch(&mut self, now: Instant, wall: Timestamp) -> (Vec<Chosen>, Hold) {
        let probing = self.context.handle.is_probing();
        let mut most = if probing { 1 } else { self.batch_max };
        let mut chosen: Vec<Chosen> = Vec::new();
        while let Some(next) = self.queue.front() {
            let Ok(place) = self.context.claimer.results.clone().try_reserve_owned() else {
                return (chosen, Hold::Results);
            };
            let attempt = next.attempt;
            let segments = self.context.gateway.segments(&next.message.text);
            let places = self.window_slots(segments);
            if wall >= attempt.expires_at {
                place.send(attempt.unsubmitted(Decision::Expired, wall));
                self.queue.pop_front();
                continue;
            }
            if now >= next.hand_over_by {
                place.send(attempt.put_back(wall));
                self.queue.pop_front();
                self.stalled = Some(places);
                continue;
            }
            // The message that probes a gateway does not wait for those that hang in it.
            let full = if probing { !self.context.handle.wants_probe() } else { self.is_full(places) };
            if chosen.is_empty() && full {
                return (chosen, Hold::Until(next.hand_over_by));
            }
            most = most.min(next.together.max(1));
            let sms = outbound(next, wall);
            let fits = |first: &Chosen| {
                chosen.len() < usize::from(most) && self.context.gateway.together(&first.sms, &sms)
            };
            if !chosen.first().is_none_or(fits) {
                return (chosen, Hold::Nothing);
            }
            if let Err(wait) = self.context.handle.pace.try_acquire(segments) {
                return (chosen, Hold::Until(now + wait));
            }
            let Some(ready) = self.queue.pop_front() else { break };
            chosen.push(Chosen { sms, ready, place, places });
        }
        (chosen, Hold::Nothing)
    }

    /// The slots of the window that a message takes. If the adapter sends each segment when it has a slot, a message
    /// without enough slots must not take its tokens: its segments would leave later, together with those of other
    /// messages.
    fn window_slots(&self, segments: u8) -> usize {
        if self.window_of_segments { usize::from(segments.max(1)) } else { 1 }
    }

    fn send(&mut self, chosen: Vec<Chosen>, now: Instant) {
        let Some((first, places)) = chosen.first().map(|first| (first.sms.delivery, first.places)) else {
            return;
        };
        let deadline = chosen.iter().map(|chosen| chosen.ready.deadline).min().unwrap_or(now);
        self.throughput.begin(now);
        self.context.handle.on_submit(first, chosen.len());
        let mut batch = Vec::with_capacity(chosen.len());
        for Chosen { sms, ready, place, .. } in chosen {
            self.attempts.insert(sms.delivery, (ready, place));
            batch.push(sms);
        }
        self.places += places;
        let lease_status = self.context.lease_status.clone();
        let is_held = move || lease_status.is_held(Instant::now());
        let request = SubmitRequest { batch, deadline, places };
        self.in_flight.push(submit_request(Arc::clone(&self.context.gateway), request, is_held));
    }
}

fn outbound(ready: &Ready, wall: Timestamp) -> OutboundSms {
    OutboundSms {
        delivery: ready.attempt.id,
        attempt: ready.attempt.lease_token,
        to: ready.phone.clone(),
        text: Arc::clone(&ready.message.text),
        validity: ready.attempt.expires_at.since(wall),
    }
}
