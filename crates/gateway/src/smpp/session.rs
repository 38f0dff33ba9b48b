//! The life of a bind: connect, bind, serve, and again after a wait.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use crate::smpp::codec::command_id::CommandId;
use crate::smpp::codec::pdu::{self, DeliverSm, Header, Unframed, status};
use crate::smpp::config::SmppConfig;
use crate::smpp::connection::backoff::{self, Ladder};
use crate::smpp::connection::bind::{self, NotBound};
use crate::smpp::connection::bound::Bound;
use crate::smpp::connection::dial::dial;
use crate::smpp::connection::flight::Reporter;
use crate::smpp::connection::probe::{Probe, Silence};
use crate::smpp::connection::transport::{Transport, Went};
use crate::smpp::inbound::deliveries::Deliveries;
use crate::smpp::tls::Tls;
use crate::sms::ChannelStatus;

/// Longest time for a last PDU to leave before the connection is closed anyway.
const GOODBYE: Duration = Duration::from_secs(1);

/// Reads of what came before the connection ended: more than any window, and an end where the peer goes on sending.
const REST_READS_MAX: usize = 100;

/// The connection of the moment, if there is one.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Arc<Bound>>>>);

impl Slot {
    pub(super) fn get(&self) -> Option<Arc<Bound>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn fill(&self, bound: Arc<Bound>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
    }

    pub(super) fn empty(&self) -> Option<Arc<Bound>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The parts of a session.
pub(super) struct Session {
    pub config: Arc<SmppConfig>,
    pub channel: u16,
    pub password: SecretString,
    pub tls: Option<Tls>,
    pub status: watch::Sender<ChannelStatus>,
    pub slot: Slot,
    pub reporter: Arc<Reporter>,
    pub deliveries: Deliveries,
    pub ending: Ending,
}

/// The orderly end: what is in our memory only is to be offered before the connection is closed.
#[derive(Clone, Default)]
pub(super) struct Ending {
    /// Cancelled when it is to be offered.
    pub asked: CancellationToken,
    /// Cancelled when it is.
    pub offered: CancellationToken,
}

/// Why a connection ends, and what is still to be said.
enum End {
    /// Nothing.
    Silent(&'static str),
    /// The provider unbinds and waits for an answer.
    Unbound(u32),
}

impl Session {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let (mut ladder, mut held) = (Ladder::default(), 0_usize);
        loop {
            let outcome = self.bind().await;
            held = if matches!(outcome, Err(NotBound::Held(_))) { held + 1 } else { 0 };
            let pause = match outcome {
                Ok(transport) => {
                    let since = Instant::now();
                    let reason = self.serve(transport).await;
                    tracing::warn!(gateway = %self.config.name, channel = self.channel, reason, "connection lost");
                    if since.elapsed() >= backoff::HEALTHY {
                        ladder.reset();
                    }
                    self.status.send_replace(ChannelStatus::Connecting);
                    ladder.next(backoff::AFTER_LOSS, rand::random())
                }
                Err(NotBound::Failed(reason)) => {
                    tracing::warn!(gateway = %self.config.name, channel = self.channel, reason, "connection failed");
                    self.status.send_replace(ChannelStatus::Connecting);
                    ladder.next(backoff::AFTER_FAILURE, rand::random())
                }
                Err(NotBound::Held(reason) | NotBound::Refused(reason)) => {
                    tracing::error!(gateway = %self.config.name, channel = self.channel, reason, "bind refused");
                    self.status.send_replace(ChannelStatus::Refused { reason });
                    let soon =
                        held.checked_sub(1).and_then(|before| backoff::while_held(before, rand::random()));
                    soon.unwrap_or_else(|| backoff::after_refusal(rand::random()))
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn bind(&self) -> Result<Transport, NotBound> {
        let wire =
            dial(&self.config, self.tls.as_ref()).await.map_err(|e| NotBound::Failed(e.to_string()))?;
        let mut transport = Transport::new(wire);
        let limit = Duration::from_secs(self.config.response_timeout_s);
        let bound = tokio::time::timeout(limit, bind::bind(&mut transport, &self.config, &self.password));
        bound.await.unwrap_or_else(|_| Err(NotBound::Failed("no answer in time".to_owned())))?;
        Ok(transport)
    }

    async fn serve(&mut self, mut transport: Transport) -> String {
        let outbox = Arc::clone(transport.outbox());
        let bound = Bound::new(outbox, bind::SEQUENCE + 1, &self.config, Arc::clone(&self.reporter));
        let bound = Arc::new(bound);
        tracing::info!(gateway = %self.config.name, channel = self.channel, "bound");
        self.slot.fill(Arc::clone(&bound));
        self.status.send_replace(ChannelStatus::Up);
        let reason = self.exchange(&bound, &mut transport).await;
        // First nobody takes the connection any more, then what was answered is settled, then the rest of the window is in doubt.
        self.slot.empty();
        settle_rest(&bound, &mut transport);
        bound.lose();
        self.deliveries.connection_lost(&bound);
        if self.ending.asked.is_cancelled() {
            self.ending.offered.cancel();
        }
        reason
    }

    /// The one reader and writer. It waits for nothing but the wire, verdicts and its timer.
    async fn exchange(&mut self, bound: &Arc<Bound>, transport: &mut Transport) -> String {
        let mut silence = Silence::new(Duration::from_secs(self.config.enquire_link_s), Instant::now());
        let timer = tokio::time::sleep_until(silence.deadline());
        tokio::pin!(timer);
        let ending = self.ending.clone();
        loop {
            // The bind may have read more than its answer, so this comes before the first wait.
            match self.take_all(bound, transport) {
                Ok(None) => {}
                Ok(Some(End::Silent(reason))) => return reason.to_owned(),
                Ok(Some(End::Unbound(sequence_number))) => {
                    say_goodbye(transport, CommandId::UNBIND_RESP, status::OK, sequence_number).await;
                    return "unbound by the provider".to_owned();
                }
                Err(Unframed { sequence_number }) => {
                    let id = CommandId::GENERIC_NACK;
                    say_goodbye(transport, id, status::INVALID_LENGTH, sequence_number).await;
                    return "PDU of an impossible length".to_owned();
                }
            }
            if bound.is_worn_out() {
                return "sequence numbers are used up".to_owned();
            }
            let wakes = [Some(silence.deadline()), bound.next_deadline(), self.deliveries.next_deadline()];
            // Later than it rings is no harm: it is looked at then, and set again.
            if let Some(wake) = wakes.into_iter().flatten().min()
                && (wake < timer.deadline() || timer.is_elapsed())
            {
                timer.as_mut().reset(wake);
            }
            let came = tokio::select! {
                // A PDU that came counts before a timer that it answers.
                biased;
                () = ending.asked.cancelled(), if !ending.offered.is_cancelled() => {
                    self.deliveries.end(bound);
                    ending.offered.cancel();
                    continue;
                }
                came = self.verdicts_and(bound, transport) => Some(came),
                () = &mut timer => None,
            };
            let now = Instant::now();
            match came {
                Some(Ok(Went::In)) => silence.end(now),
                // A submit that was written waits for its response, which the timer has to know.
                Some(Ok(Went::Out)) => {}
                Some(Err(error)) => return error.to_string(),
                None => match silence.probe(now) {
                    Some(Probe::Send) => bound.enquire(),
                    Some(Probe::GiveUp) => return "enquire_link is not answered".to_owned(),
                    None => {}
                },
            }
            // A provider that never pauses must not keep the timers from their turn.
            bound.tick(now);
            if self.deliveries.next_deadline().is_some_and(|deadline| deadline <= now) {
                self.deliveries.tick(bound);
            }
        }
    }

    /// Answers verdicts as they come, so that they leave with what else waits; ready when octets went either way.
    async fn verdicts_and(&mut self, bound: &Bound, transport: &mut Transport) -> io::Result<Went> {
        std::future::poll_fn(|cx| {
            self.deliveries.poll_verdicts(cx, bound);
            transport.poll_exchange(cx)
        })
        .await
    }

    fn take_all(&mut self, bound: &Arc<Bound>, transport: &mut Transport) -> Result<Option<End>, Unframed> {
        let mut refused = 0_u32;
        let end = transport.take_all(|header, body| self.take(bound, header, body, &mut refused));
        if refused > 0 {
            tracing::warn!(gateway = %self.config.name, refused, "refused PDUs that cannot be read or are not expected");
        }
        end
    }

    /// One PDU; counts the `refused`.
    fn take(&mut self, bound: &Arc<Bound>, header: Header, body: &[u8], refused: &mut u32) -> Option<End> {
        let sequence_number = header.sequence_number;
        match header.id {
            CommandId::SUBMIT_SM_RESP | CommandId::GENERIC_NACK => {
                bound.settle(header, body);
                // Bound as a receiver, or not at all any more: a new bind mends it.
                (header.status == status::WRONG_BIND_STATE).then_some(End::Silent("not bound for submitting"))
            }
            id @ (CommandId::DELIVER_SM | CommandId::DATA_SM) => {
                let deliver = if id == CommandId::DATA_SM {
                    bound.came_as_data_sm(sequence_number);
                    DeliverSm::read_data_sm(body)
                } else {
                    DeliverSm::read(body)
                };
                if let Some(deliver) = deliver {
                    self.deliveries.take(bound, sequence_number, &deliver);
                } else {
                    *refused += 1;
                    bound.refuse(sequence_number);
                }
                None
            }
            CommandId::ENQUIRE_LINK => {
                bound.say(CommandId::ENQUIRE_LINK_RESP, status::OK, sequence_number);
                None
            }
            CommandId::UNBIND => Some(End::Unbound(sequence_number)),
            CommandId::UNBIND_RESP => {
                bound.unbound();
                None
            }
            // Has no answer (SMPP 3.4 §4.12), and nothing to say to us.
            CommandId::ALERT_NOTIFICATION => None,
            id if id.is_response() => None,
            _ => {
                *refused += 1;
                bound.say(CommandId::GENERIC_NACK, status::INVALID_COMMAND, sequence_number);
                None
            }
        }
    }
}

/// Says a last thing, and nothing that waited.
async fn say_goodbye(transport: &mut Transport, id: CommandId, status: u32, sequence_number: u32) {
    let mut last = BytesMut::new();
    pdu::put(&mut last, id, status, sequence_number, &[]);
    // Bounded, and lost with the connection otherwise.
    let _: Result<_, _> = tokio::time::timeout(GOODBYE, transport.say_goodbye(last)).await;
}

/// Settles the submits whose answers came before the connection ended and were not read yet: they are certain, not in doubt. What else
/// came is not answered, so it comes again.
fn settle_rest(bound: &Bound, transport: &mut Transport) {
    for _ in 0..REST_READS_MAX {
        let rest = transport.take_all(|header, body| {
            if matches!(header.id, CommandId::SUBMIT_SM_RESP | CommandId::GENERIC_NACK) {
                bound.settle(header, body);
            }
            None::<()>
        });
        if rest.is_err() || !transport.receive_now() {
            return;
        }
    }
}
