//! One bound connection: submits go out through its window, answers come back by sequence number.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use rusmpp::pdus::{DeliverSmResp, SubmitSm};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::{message_id, outcome};
use crate::config::{MessageIdFormat, SmppConfig};
use crate::failure::{not_taken, unknown};
use crate::insist::insist;
use crate::{Ack, Delivered, GatewayEvent};

/// How long an answer may come late and still settle its submit.
const LATE_MAX: Duration = Duration::from_mins(10);

/// Sequence numbers end at `0x7FFF_FFFF` (SMPP 3.4 §3.2); the library counts on. Some room for what is not a submit.
const SEQUENCE_MAX: u32 = 0x7FFF_0000;

/// Sequence numbers of the SMSC's that we answered and that are remembered.
const ANSWERED_MAX: usize = 1_000;

/// A bound connection.
pub(super) struct Link {
    pub(super) client: rusmppc::Client,
    window: Semaphore,
    window_size: u32,
    answers: Answers,
    /// What our latest `deliver_sm_resp` had for sequence numbers: the SMSC's count, which runs beside ours.
    answered: Mutex<VecDeque<u32>>,
    response_timeout: Duration,
    id_format: MessageIdFormat,
    /// Cancelled when it is lost.
    lost: CancellationToken,
    /// Cancelled when its sequence numbers are used up.
    worn_out: CancellationToken,
}

/// What is known of one part.
enum Part {
    Settled(SubmitOutcome),
    /// Written, and no answer in time.
    Overdue(u32, oneshot::Receiver<SubmitOutcome>),
}

impl Link {
    pub(super) fn new(client: rusmppc::Client, config: &SmppConfig) -> Self {
        Self {
            client,
            window: Semaphore::new(usize::from(config.window)),
            window_size: u32::from(config.window),
            answers: Answers::default(),
            answered: Mutex::default(),
            response_timeout: Duration::from_secs(config.response_timeout_s),
            id_format: config.message_id_format,
            lost: CancellationToken::new(),
            worn_out: CancellationToken::new(),
        }
    }

    /// Everything in the window is in doubt from now on.
    pub(super) fn lose(&self) {
        self.lost.cancel();
        self.answers.close();
    }

    /// Waits until nothing is in flight; later submits wait for ever, so it has to be closed then.
    pub(super) async fn drain(&self) {
        // The semaphore is never closed.
        if let Ok(permits) = self.window.acquire_many(self.window_size).await {
            permits.forget();
        }
    }

    /// Returns when it has to be replaced for want of sequence numbers, and is empty.
    pub(super) async fn worn_out_and_empty(&self) {
        self.worn_out.cancelled().await;
        self.drain().await;
    }

    /// An answer to a submit, by `submit_sm_resp` or `generic_nack`.
    ///
    /// A `generic_nack` names only a sequence number. Where one of our `deliver_sm_resp` had the same, it may be meant, so
    /// it settles nothing: the submit waits for its own answer, and is in doubt where none comes.
    pub(super) fn settle(&self, command: &Command) {
        if command.id() == CommandId::GenericNack && self.has_answered(command.sequence_number()) {
            tracing::warn!("a generic_nack that may be to a submit or to an answer of ours");
            return;
        }
        let outcome = match (command.status(), command.pdu()) {
            (CommandStatus::EsmeRok, Some(Pdu::SubmitSmResp(response))) => SubmitOutcome::Accepted {
                provider_ids: message_id::of_submit(response.message_id().as_str(), self.id_format)
                    .into_iter()
                    .collect(),
                segments: 1,
            },
            // Without a body: taken, and its receipts cannot be joined.
            (CommandStatus::EsmeRok, None) if command.id() == CommandId::SubmitSmResp => {
                SubmitOutcome::Accepted { provider_ids: Vec::new(), segments: 1 }
            }
            (CommandStatus::EsmeRok, _) => unknown("unreadable", "the answer cannot be read"),
            (status, _) => outcome::refused(status.into()),
        };
        self.answers.settle(command.sequence_number(), outcome);
    }

    /// Answers `deliver_sm`: `ESME_ROK` only for what is stored, else `ESME_RX_T_APPN`, after which the SMSC sends it again.
    /// `false` where the link is gone: it sends it again on the next one.
    pub(super) async fn answer(&self, sequence_numbers: &[u32], ack: Ack) -> bool {
        let status = match ack {
            Ack::Stored => CommandStatus::EsmeRok,
            Ack::Retry => CommandStatus::EsmeRxTAppn,
        };
        for sequence_number in sequence_numbers {
            self.remember_answered(*sequence_number);
            let response =
                self.client.status(status).deliver_sm_resp(*sequence_number, DeliverSmResp::default());
            if response.await.is_err() {
                return false;
            }
        }
        true
    }

    fn remember_answered(&self, sequence_number: u32) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() >= ANSWERED_MAX {
            answered.pop_front();
        }
        answered.push_back(sequence_number);
    }

    fn has_answered(&self, sequence_number: u32) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(&sequence_number)
    }

    /// Submits one part. Whoever asked may be gone by the time that the window lets it through: it is not sent then,
    /// because its delivery may already be on its way by another attempt.
    async fn submit_part(&self, pdu: SubmitSm, caller: &oneshot::Sender<SubmitOutcome>) -> Part {
        let settled = |outcome| Part::Settled(outcome);
        let _permit = tokio::select! {
            biased;
            () = self.lost.cancelled() => return settled(not_taken("disconnected", "connection lost before it was sent")),
            () = self.worn_out.cancelled() => return settled(not_taken("renewing", "connection is being renewed")),
            permit = self.window.acquire() => permit,
        };
        if caller.is_closed() {
            return settled(not_taken("abandoned", "given up before it was sent"));
        }
        let before = self.answers.before();
        // The library reports a PDU as written when all its octets left for the socket. Where it does not, some are missing
        // (see `sieve` for why no late flush completes it), and an SMSC cannot take half a PDU.
        let Ok(sequence_number) = self.client.no_wait().submit_sm(pdu).await else {
            return settled(not_taken("disconnected", "connection lost before it was sent"));
        };
        if sequence_number >= SEQUENCE_MAX {
            self.worn_out.cancel();
        }
        let mut answer = self.answers.expect(sequence_number, before);
        match tokio::time::timeout(self.response_timeout, &mut answer).await {
            Ok(Ok(outcome)) => settled(outcome),
            Ok(Err(_)) => settled(unknown("disconnected", "connection lost before the answer")),
            Err(_) => Part::Overdue(sequence_number, answer),
        }
    }
}

/// One message on its way: runs on after its caller has given up, so that a late answer still settles it.
pub(super) struct Attempt {
    pub link: Arc<Link>,
    pub delivery: DeliveryId,
    /// [`crate::OutboundSms::attempt`].
    pub number: i64,
    pub pdus: Vec<SubmitSm>,
    pub caller: oneshot::Sender<SubmitOutcome>,
    pub events: mpsc::Sender<Delivered>,
    /// Bounds how many wait for late answers.
    pub late: Arc<Semaphore>,
}

impl Attempt {
    pub(super) async fn run(self) {
        let Self { link, delivery, number: attempt, pdus, caller, events, late } = self;
        // Polled in order, and the window is fair: the parts go out in order.
        let parts = join_all(pdus.into_iter().map(|pdu| link.submit_part(pdu, &caller))).await;
        let in_time = parts.iter().all(|part| matches!(part, Part::Settled(_)));
        let outcome = outcome::fold(parts.iter().map(Part::so_far).collect());
        let gone = caller.send(outcome.clone()).is_err();
        if in_time && !gone {
            return;
        }
        let Ok(_permit) = late.try_acquire() else {
            for part in &parts {
                part.forget(&link);
            }
            return;
        };
        let outcome = if in_time { outcome } else { outcome::fold(settle_late(parts, &link).await) };
        // The caller has `Unknown` already, or takes its silence for it.
        if !matches!(outcome, SubmitOutcome::Unknown(_)) {
            tracing::info!(%delivery, "late answer to a submit");
            insist(&events, GatewayEvent::LateAnswer { delivery, attempt, outcome }).await;
        }
    }
}

impl Part {
    fn so_far(&self) -> SubmitOutcome {
        match self {
            Self::Settled(outcome) => outcome.clone(),
            Self::Overdue(..) => unknown("timeout", "no answer in time"),
        }
    }

    fn forget(&self, link: &Link) {
        if let Self::Overdue(sequence_number, _) = self {
            link.answers.forget(*sequence_number);
        }
    }
}

async fn settle_late(parts: Vec<Part>, link: &Link) -> Vec<SubmitOutcome> {
    let deadline = tokio::time::Instant::now() + LATE_MAX;
    join_all(parts.into_iter().map(|part| async move {
        match part {
            Part::Settled(outcome) => outcome,
            Part::Overdue(sequence_number, answer) => match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => unknown("disconnected", "connection lost before the answer"),
                Err(_) => {
                    link.answers.forget(sequence_number);
                    unknown("timeout", "no answer")
                }
            },
        }
    }))
    .await
}
