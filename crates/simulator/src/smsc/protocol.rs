//! The SMPP 3.4 side of one connection without its socket: PDUs go in, octets come out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::AnyOctetString;
use rusmpp::{Command, CommandId, Pdu};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::Decoder;

use crate::faults::Faults;
use crate::schedule::Schedule;
use crate::smsc::bind_account::{Account, Delivery};
use crate::smsc::core::{SmscCore, Task, Verdict};
use crate::smsc::counters::count;
use crate::smsc::wire::{self, Header, status};

/// The longest PDU that is read: a `message_payload` of 64 KiB and everything around it.
pub(crate) const FRAME_MAX: usize = 70_000;

/// Sequence numbers end here (SMPP 3.4 §5.1.4).
const SEQUENCE_MAX: u32 = 0x7FFF_FFFF;

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    Close,
}

struct Bound {
    account: Arc<Account>,
    sends: bool,
    receives: bool,
}

/// An answer to a submit that is not due yet.
struct LateAnswer {
    sequence: u32,
    status: u32,
    message_id: Option<u64>,
}

/// One connection.
pub(crate) struct Connection {
    core: Arc<SmscCore>,
    faults_changed: watch::Receiver<Arc<Faults>>,
    faults: Arc<Faults>,
    bound: Option<Bound>,
    /// `deliver_sm` without their answer, by sequence number, which is the order they were sent in.
    unanswered: BTreeMap<u32, Delivery>,
    answers: Schedule<LateAnswer>,
    next_sequence: u32,
    next_enquiry: Option<Instant>,
    /// Octets to be written.
    pub output: BytesMut,
}

impl Connection {
    pub(crate) fn new(core: Arc<SmscCore>) -> Self {
        let faults_changed = core.faults.subscribe();
        let faults = Arc::clone(&faults_changed.borrow());
        Self {
            core,
            faults_changed,
            faults,
            bound: None,
            unanswered: BTreeMap::new(),
            answers: Schedule::new(),
            next_sequence: 1,
            next_enquiry: None,
            output: BytesMut::new(),
        }
    }

    /// Takes one whole PDU.
    pub(crate) fn frame(&mut self, header: Header, mut frame: BytesMut) -> io::Result<Next> {
        match CommandCodec::new().with_max_length(FRAME_MAX).decode(&mut frame) {
            Ok(Some(command)) => self.command(&command),
            // A response that cannot be read is not answered: that could go back and forth for ever.
            Ok(None) | Err(_) if header.command_id.is_response() => Ok(Next::Go),
            Ok(None) | Err(_) => self.nack(header.sequence, status::INVALID_LENGTH),
        }
    }

    /// Answers what cannot be understood (SMPP 3.4 §4.3).
    pub(crate) fn nack(&mut self, sequence: u32, status: u32) -> io::Result<Next> {
        count(&self.core.counters.nacked);
        wire::put(&mut self.output, status, sequence, Pdu::GenericNack)?;
        Ok(Next::Go)
    }

    fn command(&mut self, command: &Command) -> io::Result<Next> {
        let sequence = command.sequence_number();
        match (command.id(), command.pdu()) {
            (_, Some(Pdu::SubmitSm(submit))) => return self.submit(sequence, submit),
            (_, Some(Pdu::BindTransmitter(bind))) => {
                self.bind(command, bind.system_id.as_str(), bind.password.as_str(), (true, false))?;
            }
            (_, Some(Pdu::BindReceiver(bind))) => {
                self.bind(command, bind.system_id.as_str(), bind.password.as_str(), (false, true))?;
            }
            (_, Some(Pdu::BindTransceiver(bind))) => {
                self.bind(command, bind.system_id.as_str(), bind.password.as_str(), (true, true))?;
            }
            (CommandId::EnquireLink, _) => {
                wire::put(&mut self.output, status::OK, sequence, Pdu::EnquireLinkResp)?;
            }
            (CommandId::Unbind, _) => {
                wire::put(&mut self.output, status::OK, sequence, Pdu::UnbindResp)?;
                return Ok(Next::Close);
            }
            (CommandId::DeliverSmResp | CommandId::GenericNack, _) => {
                self.delivery_answered(sequence, u32::from(command.status()));
            }
            (id, _) if id.is_response() => {}
            (
                CommandId::SubmitSm
                | CommandId::BindTransmitter
                | CommandId::BindReceiver
                | CommandId::BindTransceiver,
                _,
            ) => return self.nack(sequence, status::INVALID_LENGTH),
            _ => return self.nack(sequence, status::INVALID_COMMAND),
        }
        Ok(Next::Go)
    }

    fn bind(
        &mut self,
        command: &Command,
        system_id: &str,
        password: &str,
        (sends, receives): (bool, bool),
    ) -> io::Result<()> {
        let response = command.id().matching_response();
        let status = self.bind_status(system_id, password);
        let pdu = wire::bound(response).filter(|_| status == status::OK);
        let pdu = pdu.unwrap_or_else(|| wire::header_only(response, AnyOctetString::empty()));
        wire::put(&mut self.output, status, command.sequence_number(), pdu)?;
        if status != status::OK {
            count(&self.core.counters.binds_refused);
            return Ok(());
        }
        count(&self.core.counters.binds);
        let account = self.core.account(system_id);
        if receives {
            self.core.receivers.send_modify(|receivers| receivers.push(Arc::clone(&account)));
        }
        self.bound = Some(Bound { account, sends, receives });
        self.plan_enquiry(Instant::now());
        Ok(())
    }

    fn bind_status(&mut self, system_id: &str, password: &str) -> u32 {
        let config = &self.core.config;
        let differs =
            |wanted: &Option<String>, given| wanted.as_deref().is_some_and(|wanted| wanted != given);
        if self.bound.is_some() {
            return status::ALREADY_BOUND;
        }
        if let Some(refusal) = self.faults_changed.borrow().bind_refusal {
            return refusal;
        }
        if differs(&config.system_id, system_id) {
            status::INVALID_SYSTEM_ID
        } else if differs(&config.password, password) {
            status::INVALID_PASSWORD
        } else {
            status::OK
        }
    }

    fn submit(&mut self, sequence: u32, submit: &rusmpp::pdus::SubmitSm) -> io::Result<Next> {
        if self.faults_changed.has_changed().unwrap_or(false) {
            self.faults = Arc::clone(&self.faults_changed.borrow_and_update());
        }
        let Some(bound) = self.bound.as_ref().filter(|bound| bound.sends) else {
            self.answer(&LateAnswer { sequence, status: status::WRONG_BIND_STATE, message_id: None })?;
            return Ok(Next::Go);
        };
        match self.core.take(&bound.account, submit, &self.faults) {
            Verdict::Drop => return Ok(Next::Close),
            Verdict::Silence => {}
            Verdict::Answer { status, message_id, at } => {
                let answer = LateAnswer { sequence, status, message_id };
                if at <= Instant::now() {
                    self.answer(&answer)?;
                } else if self.answers.len() < self.core.config.pending_max {
                    self.answers.push(at, answer);
                } else {
                    // A client that sends millions without waiting for an answer gets the rest at once.
                    self.answer(&answer)?;
                }
            }
        }
        Ok(Next::Go)
    }

    fn answer(&mut self, answer: &LateAnswer) -> io::Result<()> {
        let pdu = match answer.message_id {
            Some(id) => wire::taken(id, self.faults.message_id),
            None => wire::header_only(CommandId::SubmitSmResp, AnyOctetString::empty()),
        };
        wire::put(&mut self.output, answer.status, answer.sequence, pdu)
    }

    /// The client has answered a `deliver_sm`: it is done, or it is sent again later.
    fn delivery_answered(&mut self, sequence: u32, command_status: u32) {
        let Some(mut delivery) = self.unanswered.remove(&sequence) else { return };
        if let Some(waiter) = delivery.answered.take() {
            // Nobody waits any more: that is their choice, and the delivery stands.
            let _ = waiter.send(command_status);
        }
        let config = &self.core.config;
        if command_status == status::OK {
            count(&self.core.counters.deliveries_acknowledged);
            return;
        }
        count(&self.core.counters.deliveries_refused);
        let Some(bound) = &self.bound else { return };
        if delivery.attempts >= config.deliver_attempts_max {
            count(&self.core.counters.deliveries_dropped);
            return;
        }
        let at = Instant::now() + Duration::from_millis(config.redelivery_delay_ms);
        self.core.agenda.push(at, Task::Deliver(Arc::clone(&bound.account), delivery));
    }

    /// The account whose queue this connection empties.
    pub(crate) fn receiving(&self) -> Option<Arc<Account>> {
        self.bound.as_ref().filter(|bound| bound.receives).map(|bound| Arc::clone(&bound.account))
    }

    /// Writes what is due: answers, and as many `deliver_sm` as the window has room for.
    pub(crate) fn advance(&mut self, now: Instant) -> io::Result<()> {
        while let Some(answer) = self.answers.pop_due(now) {
            self.answer(&answer)?;
        }
        if self.next_enquiry.is_some_and(|at| at <= now) {
            let sequence = self.take_sequence();
            wire::put(&mut self.output, status::OK, sequence, Pdu::EnquireLink)?;
            self.plan_enquiry(now);
        }
        let Some(account) = self.receiving() else { return Ok(()) };
        if self.faults_changed.borrow().hold_deliveries {
            return Ok(());
        }
        while self.unanswered.len() < self.core.config.deliver_window {
            let Some(mut delivery) = account.pop() else { break };
            let Some(pdu) = wire::deliver(&delivery.content, &self.faults_changed.borrow()) else {
                count(&self.core.counters.deliveries_dropped);
                continue;
            };
            let sequence = self.take_sequence();
            wire::put(&mut self.output, status::OK, sequence, pdu)?;
            delivery.attempts += 1;
            self.unanswered.insert(sequence, delivery);
            count(&self.core.counters.deliveries_sent);
        }
        Ok(())
    }

    /// When something is due next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        [self.answers.next_at(), self.next_enquiry].into_iter().flatten().min()
    }

    fn plan_enquiry(&mut self, now: Instant) {
        let every_ms = self.core.config.enquire_link_ms;
        self.next_enquiry = (every_ms > 0).then(|| now + Duration::from_millis(every_ms));
    }

    fn take_sequence(&mut self) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence = if sequence >= SEQUENCE_MAX { 1 } else { sequence + 1 };
        sequence
    }
}

impl Drop for Connection {
    /// Deliveries without an answer wait for the next receiver.
    fn drop(&mut self) {
        let Some(account) = self.receiving() else { return };
        self.core.receivers.send_modify(|receivers| {
            if let Some(index) = receivers.iter().position(|other| Arc::ptr_eq(other, &account)) {
                receivers.swap_remove(index);
            }
        });
        let (again, spent): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unanswered)
            .into_values()
            .partition(|delivery| delivery.attempts < self.core.config.deliver_attempts_max);
        let spent = u64::try_from(spent.len()).unwrap_or(u64::MAX);
        self.core.counters.deliveries_dropped.fetch_add(spent, Ordering::Relaxed);
        account.put_back(again.into_iter());
    }
}
