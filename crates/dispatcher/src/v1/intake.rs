//! Taking an alert and writing its deliveries, whether or not the client waits for it.

use std::time::Duration;

use klaroen_domain::id::IncidentId;
use klaroen_domain::time::Timestamp;
use klaroen_store::alerts::{AlertDraft, Intake, Taken};
use klaroen_store::idempotency::{Idempotency, Once};
use klaroen_store::incidents::IncidentDraft;
use tracing::Instrument;

use crate::app::App;
use crate::authentication::Caller;
use crate::problem::Problem;

/// Tries of a page of deliveries while the database is away; after that a worker goes on.
const FAN_OUT_TRIES: u32 = 10;
const FAN_OUT_PAUSE: Duration = Duration::from_millis(500);

/// Who asks, in a form that outlives the request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Everything at hand.
    pub(crate) app: App,
    /// Who asks.
    pub(crate) caller: Caller,
    /// Makes a repetition known.
    pub(crate) idempotency: Option<Idempotency>,
    /// When it was asked.
    pub(crate) now: Timestamp,
}

impl Request {
    /// As the store takes it.
    pub(crate) fn intake(&self) -> Intake<'_> {
        Intake {
            organisation: self.caller.organisation(),
            operator: self.caller.key().id,
            idempotency: self.idempotency.as_ref(),
            rules: &self.app.settings.rules,
            now: self.now,
        }
    }

    /// Runs `work` to its end even where the client hangs up: an intake that was committed is fanned out.
    pub(crate) async fn carry_out<T, F>(self, work: impl FnOnce(Self) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let tasks = self.app.tasks.clone();
        tasks.spawn(work(self).in_current_span()).await.unwrap_or_else(|error| {
            tracing::error!(%error, "an intake did not come to its end");
            Err(Problem::internal())
        })
    }

    /// Takes an incident, and fans its alert out.
    pub(crate) async fn take_incident(
        self,
        incident: IncidentDraft,
        alert: Option<AlertDraft>,
    ) -> Result<Once<Taken>, Problem> {
        let once = self.app.store.take_incident(&self.intake(), &incident, alert.as_ref()).await?;
        self.fan_out(&once).await;
        Ok(once)
    }

    /// Takes an alert about an incident that is there, and fans it out.
    pub(crate) async fn take_alert(
        self,
        incident: IncidentId,
        alert: AlertDraft,
    ) -> Result<Once<Taken>, Problem> {
        let taken = self.app.store.take_alert(&self.intake(), incident, &alert).await?;
        let once = taken.map_err(|_| Problem::not_found("incident"))?;
        self.fan_out(&once).await;
        Ok(once)
    }

    /// Wakes the worker for the first page and writes the others.
    pub(crate) async fn fan_out(&self, once: &Once<Taken>) {
        let Once::Done(taken) = once else { return };
        let Some(alert) = taken.alert else { return };
        let wake = &self.app.wake;
        wake.notify_one();
        if !taken.more {
            return;
        }
        for attempt in 1..=FAN_OUT_TRIES {
            let rules = &self.app.settings.rules;
            let written = self.app.store.continue_fanout(alert, rules, self.now, || wake.notify_one()).await;
            match written {
                Ok(()) => return,
                Err(error) if error.is_retryable() && attempt < FAN_OUT_TRIES => {
                    tracing::warn!(%alert, %error, attempt, "a fan-out waits for the database");
                    tokio::time::sleep(FAN_OUT_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(%alert, %error, "a fan-out stopped; the sweep of a worker goes on with it");
                    return;
                }
            }
        }
    }
}
