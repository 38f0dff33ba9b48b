//! The life of a bind: connect, bind, serve, and again after a wait.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use klaroen_domain::outcome::SubmitOutcome;
use rusmpp::pdus::BindTransceiver;
use rusmpp::types::COctetString;
use rusmpp::values::{InterfaceVersion, Npi, Ton};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use rusmppc::error::Error;
use rusmppc::{ConnectionBuilder, Event};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::instrument::WithSubscriber;

use super::backoff::{self, Ladder};
use super::deliveries::Deliveries;
use super::dial::dial;
use super::link::Link;
use super::sieve::{self, PDU_LEN_MAX, Sieve, Traces};
use super::tls::Tls;
use super::{Slot, outcome};
use crate::ChannelStatus;
use crate::config::SmppConfig;

/// An `enquire_link` that is not answered in this time is a miss.
const ENQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Misses in a row after which the link is given up.
const ENQUIRE_MISSES: u32 = 2;
/// What a small answer may take to leave before the connection is closed anyway.
const GOODBYE: Duration = Duration::from_secs(1);

/// PDUs that are still looked at when the link has ended: more than any window, and an end where the peer goes on sending.
const REST_MAX: usize = 10_000;

/// What a session needs to run.
pub(super) struct Session {
    pub config: Arc<SmppConfig>,
    pub channel: u16,
    pub password: SecretString,
    pub tls: Option<Tls>,
    pub status: watch::Sender<ChannelStatus>,
    pub slot: Slot,
    pub deliveries: Deliveries,
}

/// Events of the library.
type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A bound connection, which ends when this is dropped.
struct Bound {
    link: Arc<Link>,
    events: Events,
    traces: Arc<Traces>,
    _connection: AbortOnDropHandle<()>,
}

/// Why there is no bind.
enum NotBound {
    /// The provider does not want us.
    Refused(String),
    /// It may work later.
    Failed(String),
}

impl Session {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut ladder = Ladder::default();
        loop {
            let pause = match self.bind().await {
                Ok(bound) => {
                    let since = Instant::now();
                    let reason = self.serve(bound).await;
                    tracing::warn!(gateway = %self.config.name, channel = self.channel, reason, "link lost");
                    if since.elapsed() >= backoff::HEALTHY {
                        ladder.reset();
                    }
                    self.status.send_replace(ChannelStatus::Connecting);
                    ladder.next(backoff::AFTER_LOSS, rand::random())
                }
                Err(NotBound::Failed(reason)) => {
                    tracing::warn!(gateway = %self.config.name, channel = self.channel, reason, "not connected");
                    self.status.send_replace(ChannelStatus::Connecting);
                    ladder.next(backoff::AFTER_FAILURE, rand::random())
                }
                Err(NotBound::Refused(reason)) => {
                    tracing::error!(gateway = %self.config.name, channel = self.channel, reason, "bind refused");
                    self.status.send_replace(ChannelStatus::Refused { reason });
                    backoff::after_refusal(rand::random())
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn bind(&self) -> Result<Bound, NotBound> {
        let wire =
            dial(&self.config, self.tls.as_ref()).await.map_err(|e| NotBound::Failed(e.to_string()))?;
        let wire = Sieve::new(wire);
        let traces = wire.traces();
        let (client, events, connection) = ConnectionBuilder::new()
            .max_command_length(PDU_LEN_MAX)
            .response_timeout(Duration::from_secs(self.config.response_timeout_s))
            // Ours come only when the link is silent, and two may be missed.
            .no_enquire_link_interval()
            // The check wants SMPP 5.0 in our own bind, which providers refuse.
            .disable_interface_version_check()
            .no_spawn()
            .connected(wire);
        // The codec writes every PDU to its debug log: password, numbers and texts. No log level may show those.
        let connection = tokio::spawn(
            sieve::run(connection, Arc::clone(&traces)).with_subscriber(tracing::Dispatch::none()),
        );
        let connection = AbortOnDropHandle::new(connection);
        let request = bind_request(&self.config, &self.password).ok_or_else(|| {
            NotBound::Refused("system_id, password or system_type does not fit SMPP".to_owned())
        })?;
        client.bind_transceiver(request).await.map_err(|error| why_not_bound(&error))?;
        let link = Arc::new(Link::new(client, &self.config));
        Ok(Bound { link, events: Box::pin(events), traces, _connection: connection })
    }

    async fn serve(&mut self, mut bound: Bound) -> String {
        let link = Arc::clone(&bound.link);
        tracing::info!(gateway = %self.config.name, channel = self.channel, "bound");
        self.slot.fill(Arc::clone(&link));
        self.status.send_replace(ChannelStatus::Up);
        let reason = self.read(&link, &mut bound).await;
        // First nobody takes the link any more, then what was answered is settled, then the rest of the window is in doubt.
        self.slot.empty();
        settle_rest(&link, &mut bound.events);
        link.lose();
        self.deliveries.link_lost(&link);
        reason
    }

    /// The one reader. It waits for nothing but the wire and its timers.
    async fn read(&mut self, link: &Arc<Link>, bound: &mut Bound) -> String {
        let silence = Duration::from_secs(self.config.enquire_link_s);
        let mut heard = Instant::now();
        let mut misses = 0;
        let mut probe: Option<Pin<Box<dyn Future<Output = Probe> + Send>>> = None;
        loop {
            let deadline = self.deliveries.next_deadline();
            tokio::select! {
                // What came counts before the end of the link, and before a timer that it answers.
                biased;
                event = bound.events.next() => match event {
                    Some(Event::Incoming(command)) => {
                        (heard, misses) = (Instant::now(), 0);
                        if deadline.is_some_and(|deadline| deadline <= heard) {
                            // A provider that never pauses must not keep the timer from its turn.
                            self.deliveries.tick(link);
                        }
                        let mended = bound.traces.take_mended();
                        if mended > 0 {
                            tracing::warn!(gateway = %self.config.name, mended, "PDUs that do not follow SMPP");
                        }
                        if let Some(reason) = self.on_command(link, &command).await {
                            return reason;
                        }
                    }
                    Some(Event::Error(error)) => return describe(&error),
                    None => return "connection closed".to_owned(),
                },
                result = async { if let Some(p) = probe.as_mut() { p.await } else { std::future::pending().await } } => {
                    probe = None;
                    match result {
                        Probe::Answered => (heard, misses) = (Instant::now(), 0),
                        Probe::Missed => misses += 1,
                        Probe::Broken => return "connection closed".to_owned(),
                    }
                    if misses >= ENQUIRE_MISSES {
                        return "enquire_link is not answered".to_owned();
                    }
                }
                // After a miss the next probe goes out at once.
                () = tokio::time::sleep_until(heard + silence), if probe.is_none() => {
                    probe = Some(Box::pin(enquire(link.client.clone())));
                }
                () = sleep_until(deadline) => self.deliveries.tick(link),
                () = link.worn_out_and_empty() => return "sequence numbers are used up".to_owned(),
            }
        }
    }

    /// A PDU that is no answer to a waiting call of the library. Gives the reason where the link is to end.
    async fn on_command(&mut self, link: &Arc<Link>, command: &Command) -> Option<String> {
        let sequence_number = command.sequence_number();
        match (command.id(), command.pdu()) {
            (CommandId::SubmitSmResp | CommandId::GenericNack, _) => {
                link.settle(command);
                // Bound as a receiver, or not at all any more: a new bind mends it.
                (command.status() == CommandStatus::EsmeRinvbndsts)
                    .then(|| "not bound for submitting".to_owned())
            }
            (CommandId::DeliverSm, Some(Pdu::DeliverSm(pdu))) => {
                self.deliveries.take(link, sequence_number, pdu);
                None
            }
            (CommandId::Unbind, _) => {
                // Bounded, and lost with the connection otherwise.
                let _: Result<_, _> =
                    tokio::time::timeout(GOODBYE, link.client.unbind_resp(sequence_number)).await;
                Some("unbound by the provider".to_owned())
            }
            // Has no answer (SMPP 3.4 §4.12), and nothing to say to us.
            (CommandId::AlertNotification, _) => None,
            (id, _) if id.is_response() => None,
            _ => {
                let client = link.client.clone();
                let refusal =
                    async { client.status(CommandStatus::EsmeRinvcmdid).generic_nack(sequence_number).await };
                match tokio::time::timeout(GOODBYE, refusal).await {
                    Ok(Ok(())) => None,
                    _ => Some("connection does not take an answer".to_owned()),
                }
            }
        }
    }
}

/// Settles the submits whose answers came before the link ended and were not read yet: they are certain, not in doubt. What else
/// came is not answered, so it comes again.
fn settle_rest(link: &Link, events: &mut Events) {
    for _ in 0..REST_MAX {
        // Without the runtime's budget, which would end this early.
        let Some(Some(event)) = tokio::task::unconstrained(events.next()).now_or_never() else { return };
        if let Event::Incoming(command) = event
            && matches!(command.id(), CommandId::SubmitSmResp | CommandId::GenericNack)
        {
            link.settle(&command);
        }
    }
}

/// How a probe ended.
enum Probe {
    Answered,
    Missed,
    Broken,
}

async fn enquire(client: rusmppc::Client) -> Probe {
    match tokio::time::timeout(ENQUIRE_TIMEOUT, client.enquire_link()).await {
        // Any answer is a sign of life.
        Ok(Ok(()) | Err(Error::UnexpectedResponse { .. })) => Probe::Answered,
        Err(_) | Ok(Err(Error::ResponseTimeout { .. })) => Probe::Missed,
        Ok(Err(_)) => Probe::Broken,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// `bind_transceiver` (SMPP 3.4 §4.1.5): one session for submits, receipts and replies.
fn bind_request(config: &SmppConfig, password: &SecretString) -> Option<BindTransceiver> {
    Some(
        BindTransceiver::builder()
            .system_id(COctetString::from_string(config.system_id.clone()).ok()?)
            .password(COctetString::from_string(password.expose_secret().to_owned()).ok()?)
            .system_type(COctetString::from_string(config.system_type.clone()).ok()?)
            .interface_version(InterfaceVersion::Smpp3_4)
            .addr_ton(Ton::Unknown)
            .addr_npi(Npi::Unknown)
            .address_range(COctetString::empty())
            .build(),
    )
}

fn why_not_bound(error: &Error) -> NotBound {
    let Error::UnexpectedResponse { response } = error else { return NotBound::Failed(describe(error)) };
    let status = u32::from(response.status());
    match outcome::refused(status) {
        // Account, password, rights: trying again soon changes nothing and may lock the account.
        SubmitOutcome::Rejected(_) => NotBound::Refused(outcome::describe(status)),
        _ => NotBound::Failed(outcome::describe(status)),
    }
}

/// For the log. The library's own words may quote PDUs.
fn describe(error: &Error) -> String {
    match error {
        Error::Connect(e) | Error::Io(e) => e.to_string(),
        Error::ConnectionClosedByPeer => "closed by the provider".to_owned(),
        Error::ConnectionClosed => "connection closed".to_owned(),
        Error::ResponseTimeout { .. } => "no answer in time".to_owned(),
        Error::EnquireLinkTimeout { .. } => "enquire_link is not answered".to_owned(),
        Error::Encode(_) | Error::Decode(_) => "unreadable PDU".to_owned(),
        Error::UnexpectedResponse { response } => outcome::describe(response.status().into()),
        _ => "protocol error".to_owned(),
    }
}
