//! One bound connection: submits go out through its window, answers come back by sequence number.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::outcome::SubmitOutcome;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::acknowledged::Acknowledged;
use super::flight::{Flight, Reporter};
use super::outbox::Outbox;
use super::pending::{PendingResponse, PendingResponses};
use crate::failure::{not_taken, unknown};
use crate::smpp::codec::command_id::CommandId;
use crate::smpp::codec::message_id;
use crate::smpp::codec::pdu::{self, Header, status};
use crate::smpp::config::{MessageIdFormat, SmppConfig};
use crate::smpp::outcome;
use crate::smpp::submit::Message;
use crate::sms::{Ack, OutboundSms};

/// Sequence numbers end at `0x7FFF_FFFF` (SMPP 3.4 §3.2). Some room for what is not a submit.
const SEQUENCE_MAX: u32 = 0x7FFF_0000;

/// Sequence numbers of the SMSC's that we answered and that are remembered.
const ANSWERED_MAX: usize = 1_000;

/// Octets that may wait to be written before answers are left out. An SMSC that does not read gets to its own time-out; the
/// window bounds the submits.
const BACKLOG_MAX: u64 = 1024 * 1024;

/// How long a message waits for a place in the window before its first part leaves. Messages that hang in a provider are not to keep
/// others from going elsewhere.
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// The message id of a `deliver_sm_resp` is unused and empty (SMPP 3.4 §4.6.2), and so is ours of a `data_sm_resp` (§4.7.2).
const NO_MESSAGE_ID: &[u8] = b"\0";

/// A bound connection.
pub(in crate::smpp) struct Bound {
    outbox: Arc<Outbox>,
    window: Arc<Semaphore>,
    window_size: u32,
    id_format: MessageIdFormat,
    reporter: Arc<Reporter>,
    inner: Mutex<Inner>,
    /// Cancelled when no more parts may leave.
    halted: CancellationToken,
    /// Cancelled when our `unbind` is answered, or cannot be any more.
    unbound: CancellationToken,
}

struct Inner {
    next_sequence: u32,
    /// Refused for want of sequence numbers.
    worn_out: bool,
    lost: bool,
    pending: PendingResponses,
    /// Sequence numbers of our latest `deliver_sm_resp`: the SMSC's count, which runs next to ours.
    answered: VecDeque<u32>,
    /// Sequence numbers of the SMSC's `data_sm` that wait for their answer, which is a `data_sm_resp`.
    data_sms: HashSet<u32>,
    /// Inbound SMS whose answer is on its way out, with the position where it ends.
    thanked: VecDeque<(u64, Acknowledged)>,
}

impl Bound {
    /// A connection whose first sequence number is `first_sequence`.
    pub(in crate::smpp) fn new(
        outbox: Arc<Outbox>,
        first_sequence: u32,
        config: &SmppConfig,
        reporter: Arc<Reporter>,
    ) -> Self {
        let inner = Inner {
            next_sequence: first_sequence,
            worn_out: false,
            lost: false,
            pending: PendingResponses::new(Duration::from_secs(config.response_timeout_s)),
            answered: VecDeque::new(),
            data_sms: HashSet::new(),
            thanked: VecDeque::new(),
        };
        Self {
            outbox,
            window: Arc::new(Semaphore::new(usize::from(config.window))),
            window_size: u32::from(config.window),
            id_format: config.message_id_format,
            reporter,
            inner: Mutex::new(inner),
            halted: CancellationToken::new(),
            unbound: CancellationToken::new(),
        }
    }

    /// Submits a message, part by part as the window lets them through.
    pub(in crate::smpp) async fn submit(&self, sms: &OutboundSms, message: &Message) -> SubmitOutcome {
        let (flight, outcome) = Flight::new(sms, message, Arc::clone(&self.reporter));
        let mut launch = Launch { flight: Arc::new(flight), launched: 0, parts: message.parts(), outcome };
        while launch.launched < launch.parts {
            let window = Arc::clone(&self.window);
            let room = async { self.halted.run_until_cancelled(window.acquire_owned()).await?.ok() };
            let part = launch.launched;
            let permit = if part > 0 {
                room.await
            } else if let Ok(permit) = tokio::time::timeout(ROOM_WITHIN, room).await {
                permit
            } else {
                // Nothing of it has left, and nobody is to be told so twice.
                launch.launched = launch.parts;
                return not_taken(
                    "window_full",
                    "the provider answers nothing, and no more may be under way",
                );
            };
            launch.launched += 1;
            if let Err(refusal) = self.launch(&launch.flight, part, permit, message) {
                launch.flight.settle(part, refusal);
            }
        }
        let closed = |_| unknown("closed", "the gateway was closed before the answer");
        (&mut launch.outcome).await.unwrap_or_else(closed)
    }

    /// Puts one part where it is written. `permit`: of the window, unless the connection is lost or halted.
    fn launch(
        &self,
        flight: &Arc<Flight>,
        part: usize,
        permit: Option<OwnedSemaphorePermit>,
        message: &Message,
    ) -> Result<(), SubmitOutcome> {
        if self.halted.is_cancelled() {
            return Err(not_taken("closed", "the gateway is being closed"));
        }
        let mut inner = self.lock();
        let Some(permit) = permit.filter(|_| !inner.lost) else {
            return Err(not_taken("disconnected", "connection lost before it was sent"));
        };
        if inner.next_sequence >= SEQUENCE_MAX {
            inner.worn_out = true;
            self.outbox.wake();
            return Err(not_taken("renewing", "connection is being renewed"));
        }
        let sequence_number = inner.take_sequence();
        let end = self.outbox.put(|out| message.write(out, sequence_number, part));
        inner.pending.add(sequence_number, PendingResponse { flight: Arc::clone(flight), part, end }, permit);
        Ok(())
    }

    /// An answer to a submit, by `submit_sm_resp` or `generic_nack`.
    ///
    /// A `generic_nack` names only a sequence number. Where one of our `deliver_sm_resp` had the same, it may be meant, so
    /// it settles nothing: the submit waits for its own answer, and is in doubt where none comes.
    pub(in crate::smpp) fn settle(&self, header: Header, body: &[u8]) {
        let nack = header.id == CommandId::GENERIC_NACK;
        let response = {
            let mut inner = self.lock();
            if nack && inner.answered.contains(&header.sequence_number) {
                tracing::warn!("generic_nack ignored; it may answer a submit or a response of ours");
                return;
            }
            // An answer to a number that has not left yet is to something else.
            inner.pending.take(header.sequence_number, self.outbox.written())
        };
        let Some(PendingResponse { flight, part, .. }) = response else { return };
        let outcome = match header.status {
            status::OK if nack => unknown("unreadable", "the answer cannot be read"),
            // Without an id: taken, and its receipts cannot be joined.
            status::OK => SubmitOutcome::Accepted {
                provider_ids: message_id::of_submit(&pdu::message_id(body), self.id_format)
                    .into_iter()
                    .collect(),
                segments: 1,
            },
            status => outcome::refused(status),
        };
        flight.settle(part, outcome);
    }

    /// The SMSC's PDU of this number is a `data_sm`, and so will its answer be.
    pub(in crate::smpp) fn came_as_data_sm(&self, sequence_number: u32) {
        self.lock().data_sms.insert(sequence_number);
    }

    /// Answers `deliver_sm` and `data_sm`: `ESME_ROK` only for what is stored, else `ESME_RX_T_APPN`, after which the SMSC sends it again.
    /// Sets `acknowledged` once an `ESME_ROK` is written. If the connection is gone, the SMSC sends it again on the next one.
    pub(in crate::smpp) fn answer(
        &self,
        sequence_numbers: &[u32],
        ack: Ack,
        acknowledged: Option<Acknowledged>,
    ) {
        let status = match ack {
            Ack::Stored => status::OK,
            Ack::Retry => status::COME_AGAIN,
        };
        if let Some(end) = self.respond(sequence_numbers, status)
            && let (Ack::Stored, Some(acknowledged)) = (ack, acknowledged)
        {
            self.lock().thanked.push_back((end, acknowledged));
        }
    }

    /// Refuses a `deliver_sm` that cannot be read, now or later (SMPP 3.4 §4.3: its header was good, so no `generic_nack`).
    pub(in crate::smpp) fn refuse(&self, sequence_number: u32) {
        self.respond(&[sequence_number], status::INVALID_LENGTH);
    }

    fn respond(&self, sequence_numbers: &[u32], status: u32) -> Option<u64> {
        let mut inner = self.lock();
        if inner.lost {
            return None;
        }
        if self.outbox.backlog() > BACKLOG_MAX {
            tracing::warn!("provider does not read; leaving out a response");
            return None;
        }
        for sequence_number in sequence_numbers {
            if inner.answered.len() >= ANSWERED_MAX {
                inner.answered.pop_front();
            }
            inner.answered.push_back(*sequence_number);
        }
        let data_sms = &mut inner.data_sms;
        Some(self.outbox.put(|out| {
            for sequence_number in sequence_numbers {
                let by_data_sm = data_sms.remove(sequence_number);
                let id = if by_data_sm { CommandId::DATA_SM_RESP } else { CommandId::DELIVER_SM_RESP };
                pdu::put(out, id, status, *sequence_number, NO_MESSAGE_ID);
            }
        }))
    }

    /// Says something without a body.
    pub(in crate::smpp) fn say(&self, id: CommandId, status: u32, sequence_number: u32) {
        if self.outbox.backlog() <= BACKLOG_MAX {
            self.outbox.put(|out| pdu::put(out, id, status, sequence_number, &[]));
        }
    }

    /// Asks for a sign of life.
    pub(in crate::smpp) fn enquire(&self) {
        let sequence_number = self.lock().take_sequence();
        self.say(CommandId::ENQUIRE_LINK, status::OK, sequence_number);
    }

    /// Ends the session, and waits for the answer.
    pub(in crate::smpp) async fn unbind(&self) {
        let sequence_number = self.lock().take_sequence();
        self.say(CommandId::UNBIND, status::OK, sequence_number);
        self.unbound.cancelled().await;
    }

    /// Our `unbind` was answered.
    pub(in crate::smpp) fn unbound(&self) {
        self.unbound.cancel();
    }

    /// When [`Bound::tick`] next has something to do.
    pub(in crate::smpp) fn next_deadline(&self) -> Option<Instant> {
        self.lock().pending.next_deadline()
    }

    /// Ends what waited too long, and notes which answers were written.
    pub(in crate::smpp) fn tick(&self, now: Instant) {
        let (overdue, given_up) = {
            let mut inner = self.lock();
            inner.note_written(self.outbox.written());
            inner.pending.expire(now)
        };
        for PendingResponse { flight, part, .. } in overdue {
            flight.overdue(part);
        }
        for PendingResponse { flight, part, .. } in given_up {
            flight.settle(part, unknown("timeout", "no answer"));
        }
    }

    /// It has to be replaced for want of sequence numbers, and nothing is in flight.
    pub(in crate::smpp) fn is_worn_out(&self) -> bool {
        let inner = self.lock();
        inner.worn_out && inner.pending.is_window_empty()
    }

    /// From now on no part leaves: those that wait for the window, and later ones, are certain not to be taken.
    pub(in crate::smpp) fn halt(&self) {
        self.halted.cancel();
    }

    /// Waits until nothing is in flight. Later submits are not taken.
    pub(in crate::smpp) async fn drain(&self) {
        // Lost, or drained before: nothing is in flight.
        if let Ok(_all) = self.window.acquire_many(self.window_size).await {
            self.window.close();
        }
    }

    /// The connection is gone: what was written is in doubt, and what was not is certain not to be taken. To be called when
    /// nothing is written any more.
    pub(in crate::smpp) fn lose(&self) {
        self.window.close();
        let written = self.outbox.written();
        let open = {
            let mut inner = self.lock();
            inner.lost = true;
            inner.note_written(written);
            inner.pending.clear()
        };
        for PendingResponse { flight, part, end } in open {
            flight.settle(
                part,
                if end <= written {
                    unknown("disconnected", "connection lost before the answer")
                } else {
                    not_taken("disconnected", "connection lost before it was sent")
                },
            );
        }
        self.unbound.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while holding it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take_sequence(&mut self) -> u32 {
        let sequence_number = self.next_sequence;
        self.next_sequence += 1;
        sequence_number
    }

    fn note_written(&mut self, written: u64) {
        while let Some((_, taken)) = self.thanked.pop_front_if(|(end, _)| *end <= written) {
            taken.set();
        }
    }
}

/// A submit that may be dropped at any time. Whoever asked may be gone by the time that the window lets a part through: it is
/// not sent then, because its delivery may already be on its way by another attempt.
struct Launch {
    flight: Arc<Flight>,
    parts: usize,
    launched: usize,
    outcome: oneshot::Receiver<SubmitOutcome>,
}

impl Drop for Launch {
    fn drop(&mut self) {
        self.outcome.close();
        // An answer that nobody looked at; the receiver is empty where it was.
        if let Ok(outcome) = self.outcome.try_recv() {
            self.flight.report(outcome);
        }
        for part in self.launched..self.parts {
            self.flight.settle(part, not_taken("abandoned", "given up before it was sent"));
        }
    }
}

#[cfg(test)]
#[path = "bound_tests.rs"]
mod tests;
