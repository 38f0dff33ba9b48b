//! Gateways over HTTP: the contract of each provider in a file of its own, which is pure; the client, the classification of
//! what went wrong and the gate for callbacks, which they share.
//!
//! The client is reqwest on rustls: no redirects, no proxy of the environment, no decompression, no cookies, no retries, HTTP/1.1 only.

mod classify;
mod client;
mod cm;
mod contract;
mod fields;
mod gate;
mod infobip;
mod jwt;
mod kannel;
mod messagebird;
mod spryng;
mod template;
mod template_config;
mod template_text;
#[cfg(test)]
mod tests;
mod twilio;
mod twilio_signature;
mod vonage;
mod vonage_signature;
mod xml;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use cm::CmConfig;
pub use infobip::InfobipConfig;
pub use kannel::KannelConfig;
pub use messagebird::MessagebirdConfig;
pub use spryng::SpryngConfig;
pub use template_config::{AnswerRules, InboundRules, ReceiptRules, ReplyRules, TemplateConfig};
pub use twilio::TwilioConfig;
pub use vonage::{SignatureMethod, VonageConfig};

pub(crate) use self::contract::HttpConfig;

use self::client::{Client, Exchange};
use self::contract::Contract;
use self::gate::Gate;
use crate::failure::{not_taken, unknown};
use crate::settings::ConnectError;
use crate::sms::{
    CallbackError, CallbackKind, Capabilities, Channel, ChannelStatus, Delivered, OutboundSms, RawCallback,
    SmsGateway, StatusAnswer, VerifiedCallback,
};

struct HttpGateway {
    callbacks: Callbacks,
    client: Client,
    status: watch::Sender<ChannelStatus>,
    /// Held so that the consumer's end stays open: nothing ever comes, which is not the same as being closed.
    _events: mpsc::Sender<Delivered>,
    closed: CancellationToken,
    in_flight: TaskTracker,
}

/// Reads what the provider of one gateway calls back with: its contract and its gate, without a connection.
pub struct Callbacks {
    contract: Box<dyn Contract>,
    gate: Gate,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callbacks").field("open", &self.gate.is_open()).finish_non_exhaustive()
    }
}

impl Callbacks {
    /// # Errors
    /// [`ConnectError::Config`].
    pub(crate) fn of(config: &dyn HttpConfig, country: Country) -> Result<Self, ConnectError> {
        Ok(Self {
            contract: config.contract(country).map_err(ConnectError::Config)?,
            gate: Gate::new(config.routing()).map_err(|fault| ConnectError::Config(vec![fault]))?,
        })
    }

    /// What the gateway can do: what its contract can, and nothing of callbacks where it takes none.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let can = self.contract.capabilities();
        let called = self.gate.is_open();
        Capabilities { receipts: can.receipts && called, inbound: can.inbound && called, ..can }
    }

    /// What the provider can do, were its callbacks let in.
    #[must_use]
    pub fn possible(&self) -> Capabilities {
        self.contract.capabilities()
    }

    /// Whether callbacks are let in: there is a token.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.gate.is_open()
    }

    /// Whether somebody who calls from `peer` with this token is heard: to be asked before anything of the body is read.
    ///
    /// # Errors
    /// [`CallbackError::NotSupported`], `Token` or `Address`.
    pub fn admit(&self, token: &str, peer: IpAddr) -> Result<(), CallbackError> {
        self.gate.admit(token, peer)
    }

    /// Bytes that path, query and body of a callback have together at most.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.contract.callback_bytes_max()
    }

    /// Verifies token, address and signature over the raw bytes, then parses. Pure.
    ///
    /// # Errors
    /// [`CallbackError`]; the caller answers with its [`CallbackError::status`].
    pub fn parse(&self, callback: &RawCallback<'_>) -> Result<VerifiedCallback, CallbackError> {
        self.admit(callback.token, callback.peer)?;
        if callback.body.len() + callback.path_and_query.len() > self.bytes_max() {
            return Err(CallbackError::TooLarge);
        }
        let url = self.gate.url_of(callback);
        let replay_key = self.contract.authenticate(callback, &url)?;
        let found = match callback.kind {
            CallbackKind::Receipts => self.contract.receipts(callback)?,
            CallbackKind::Inbound => self.contract.inbound(callback)?,
        };
        Ok(VerifiedCallback {
            events: found.events,
            unreadable: found.unreadable,
            replay_key,
            answer: self.contract.answer(callback.kind),
        })
    }
}

/// Makes it ready. There is nothing to connect: it is up from the start, and connections come with the messages.
///
/// # Errors
/// [`ConnectError`].
pub(crate) fn connect(config: &dyn HttpConfig, country: Country) -> Result<Channel, ConnectError> {
    let one = |fault| ConnectError::Config(vec![fault]);
    let (sender, events) = mpsc::channel(1);
    let (status_sender, status) = watch::channel(ChannelStatus::Up);
    let gateway = HttpGateway {
        callbacks: Callbacks::of(config, country)?,
        client: Client::new(config.endpoint()).map_err(one)?,
        status: status_sender,
        _events: sender,
        closed: CancellationToken::new(),
        in_flight: TaskTracker::new(),
    };
    Ok(Channel { gateway: Arc::new(gateway), events, status })
}

impl HttpGateway {
    /// Messages that fit the contract, one outcome for each.
    async fn hand_over(&self, batch: &[OutboundSms]) -> Vec<SubmitOutcome> {
        let alike = |outcome: SubmitOutcome| vec![outcome; batch.len()];
        let _in_flight = self.in_flight.token();
        if self.closed.is_cancelled() {
            return alike(not_taken("closed", "the gateway is closed"));
        }
        match self.client.exchange(self.callbacks.contract.submission(batch)).await {
            Exchange::NotWritten(code, detail) => alike(not_taken(code, detail)),
            Exchange::NoAnswer(code, detail) => alike(unknown(code, detail)),
            Exchange::Answered(answer) => {
                if let Some(outcome) = classify::outside_the_contract(&answer) {
                    return alike(outcome);
                }
                // One outcome for each message, whatever the contract made of the answer.
                let read = self
                    .callbacks
                    .contract
                    .outcomes(batch, &answer)
                    .filter(|found| found.len() == batch.len());
                read.unwrap_or_else(|| alike(classify::of_request(&answer, batch.len())))
            }
        }
    }
}

#[async_trait]
impl SmsGateway for HttpGateway {
    fn capabilities(&self) -> Capabilities {
        self.callbacks.capabilities()
    }

    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome {
        let mut outcomes = self.submit_batch(std::slice::from_ref(sms)).await;
        outcomes.pop().unwrap_or_else(|| unknown("no_outcome", "the answer says nothing of the message"))
    }

    fn together(&self, a: &OutboundSms, b: &OutboundSms) -> bool {
        let contract = &self.callbacks.contract;
        let can = contract.capabilities();
        fits(a, can) == fits(b, can) && contract.together(a, b)
    }

    async fn submit_batch(&self, batch: &[OutboundSms]) -> Vec<SubmitOutcome> {
        let can = self.callbacks.contract.capabilities();
        let size = usize::from(can.batch_max).max(1);
        let mut outcomes = Vec::with_capacity(batch.len());
        // What is too long would be cut or refused there: it stays here, and the others go without it.
        for run in batch.chunk_by(|a, b| self.together(a, b)) {
            if run.first().is_some_and(|sms| fits(sms, can)) {
                for part in run.chunks(size) {
                    outcomes.append(&mut self.hand_over(part).await);
                }
            } else {
                let detail = "more segments than the provider takes";
                let too_long = classify::outcome(classify::Meaning::Message, "too_long", detail, None);
                outcomes.extend(std::iter::repeat_n(too_long, run.len()));
            }
        }
        outcomes
    }

    fn parse_callback(&self, callback: &RawCallback<'_>) -> Result<VerifiedCallback, CallbackError> {
        self.callbacks.parse(callback)
    }

    async fn query_status(&self, sms: &OutboundSms, since: Timestamp) -> StatusAnswer {
        let Some(call) = self.callbacks.contract.question(sms, since) else {
            return StatusAnswer::Unsupported;
        };
        match self.client.exchange(call).await {
            Exchange::Answered(answer) => self.callbacks.contract.finding(sms, since, &answer),
            Exchange::NotWritten(..) | Exchange::NoAnswer(..) => StatusAnswer::NoAnswer,
        }
    }

    async fn close(&self, deadline: Duration) {
        self.closed.cancel();
        self.in_flight.close();
        // What has no answer by then is in doubt, and its caller is told so when it stops waiting.
        let _late = tokio::time::timeout(deadline, self.in_flight.wait()).await;
        self.status.send_replace(ChannelStatus::Closed);
    }
}

fn fits(sms: &OutboundSms, can: Capabilities) -> bool {
    sms.text.segments() <= can.max_segments
}
