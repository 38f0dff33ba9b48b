//! Gateways over HTTP: the contract of each provider in a file of its own, which is pure; the client, the classification of
//! what went wrong and the gate for callbacks, which they share.
//!
//! The client is reqwest on rustls: no redirects, no proxy of the environment, no decompression, no cookies, no retries, HTTP/1.1 only.

mod callbacks;
mod classify;
mod client;
mod contract;
mod fields;
mod gate;
mod providers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::callbacks::Callbacks;
pub(crate) use self::contract::HttpConfig;
pub use self::providers::{
    AnswerRules, CmConfig, InboundRules, InfobipConfig, KannelConfig, MessagebirdConfig, ReceiptRules,
    ReplyRules, SignatureMethod, SpryngConfig, TemplateConfig, TwilioConfig, VonageConfig,
};

use self::client::{Client, Exchange};
use crate::failure::{not_taken, unknown};
use crate::settings::ConnectError;
use crate::sms::{
    CallbackError, Capabilities, Channel, ChannelStatus, Delivered, OutboundSms, RawCallback, SmsGateway,
    StatusAnswer, VerifiedCallback,
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

/// Makes it ready. There is nothing to connect: it is up from the start, and connections come with the messages.
///
/// # Errors
/// Returns a [`ConnectError`] if the configuration is wrong.
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
        match self.client.exchange(self.callbacks.contract().submission(batch)).await {
            Exchange::NotWritten(code, detail) => alike(not_taken(code, detail)),
            Exchange::NoAnswer(code, detail) => alike(unknown(code, detail)),
            Exchange::Answered(answer) => {
                if let Some(outcome) = classify::outside_the_contract(&answer) {
                    return alike(outcome);
                }
                // One outcome for each message, whatever the contract made of the answer.
                let read = self
                    .callbacks
                    .contract()
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
        let contract = self.callbacks.contract();
        let can = contract.capabilities();
        fits(a, can) == fits(b, can) && contract.together(a, b)
    }

    async fn submit_batch(&self, batch: &[OutboundSms]) -> Vec<SubmitOutcome> {
        let can = self.callbacks.contract().capabilities();
        let size = usize::from(can.batch_max).max(1);
        let mut outcomes = Vec::with_capacity(batch.len());
        // The provider would cut or refuse a text that is too long. It stays here, and the others go without it.
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
        let Some(call) = self.callbacks.contract().question(sms, since) else {
            return StatusAnswer::Unsupported;
        };
        match self.client.exchange(call).await {
            Exchange::Answered(answer) => self.callbacks.contract().finding(sms, since, &answer),
            Exchange::NotWritten(..) | Exchange::NoAnswer(..) => StatusAnswer::NoAnswer,
        }
    }

    async fn close(&self, deadline: Duration) {
        self.closed.cancel();
        self.in_flight.close();
        // A submit without an answer by then is in doubt; its caller learns that when it stops waiting.
        let _late = tokio::time::timeout(deadline, self.in_flight.wait()).await;
        self.status.send_replace(ChannelStatus::Closed);
    }
}

fn fits(sms: &OutboundSms, can: Capabilities) -> bool {
    sms.text.segments() <= can.max_segments
}
