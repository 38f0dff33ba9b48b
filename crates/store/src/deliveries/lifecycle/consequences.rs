//! The consequences that events of deliveries have elsewhere.

use std::collections::BTreeMap;

use klaroen_domain::delivery::{DeliveryEvent, DeliveryState, Life};
use klaroen_domain::time::Timestamp;
use serde_json::json;

use super::{Step, counts_as_lost};
use crate::Result;
use crate::deliveries::doubts::{self, Resolution};
use crate::deliveries::messages;
use crate::engine::db::Tx;
use crate::engine::lock;

/// Deliveries by what follows, collected so that each statement is issued once.
#[derive(Default)]
pub(super) struct Consequences {
    /// Their messages have new times of sending, and are not settled.
    taken: Vec<i64>,
    /// Something can happen to their messages again.
    unsettled: Vec<i64>,
    /// They counted as lost, and rang after all.
    rang_late: Vec<i64>,
    /// In doubt from now on.
    doubted: Vec<i64>,
    /// In doubt until now, by how it ended; the last time of each.
    settled: BTreeMap<Resolution, (Vec<i64>, Timestamp)>,
}

impl Consequences {
    /// Notes what follows from a step that is written.
    pub(super) fn add(&mut self, step: &Step<'_>, after: Life) {
        let (id, before) = (step.delivery.id, step.delivery.life);
        if step.taken().is_some() {
            self.taken.push(id);
        } else if matches!(after.state, DeliveryState::Queued | DeliveryState::Sent) {
            self.unsettled.push(id);
        }
        if after.state.reached() && counts_as_lost(before.state) {
            self.rang_late.push(id);
        }
        if after.state == DeliveryState::Unknown && step.settle_at.is_some() {
            self.doubted.push(id);
        }
        if ends_doubt(step) {
            let (ids, at) = self.settled.entry(step.settled_by).or_insert((Vec::new(), step.at));
            ids.push(id);
            *at = step.at.max(*at);
        }
    }

    /// Writes all of it: messages, then doubts.
    pub(super) async fn carry_out(self, tx: &mut Tx) -> Result<()> {
        let Self { taken, unsettled, rang_late, doubted, settled } = self;
        if !rang_late.is_empty() {
            let rang_late = ids(&rang_late);
            // Those that were seen to be lost before they were locked have it by now.
            lock::alerts_of(tx, &rang_late).await?;
            let messages_of = ids(&[&*taken, &*unsettled].concat());
            lock::messages_and_follow_ups(tx, &messages_of, &rang_late).await?;
        } else if !taken.is_empty() && !unsettled.is_empty() {
            // Each of the two statements below keeps to the order of the messages; one after the other they do not.
            lock::messages_of(tx, &ids(&[&*taken, &*unsettled].concat())).await?;
        }
        if !taken.is_empty() {
            messages::note_sent(tx, &ids(&taken)).await?;
        }
        if !unsettled.is_empty() {
            messages::unsettle(tx, &ids(&unsettled)).await?;
        }
        doubts::open(tx, &doubted).await?;
        for (how, (deliveries, at)) in settled {
            doubts::settle(tx, &deliveries, how, at).await?;
        }
        if !rang_late.is_empty() {
            messages::owe_follow_ups(tx, &ids(&rang_late)).await?;
        }
        Ok(())
    }
}

fn ids(deliveries: &[i64]) -> String {
    json!(deliveries).to_string()
}

/// Whether the event, which is written, says what became of an attempt whose answer was lost. A delivery that waits to be
/// sent again is in doubt, too, and evidence that it was taken ends that.
const fn ends_doubt(step: &Step<'_>) -> bool {
    match step.delivery.life.state {
        DeliveryState::Unknown => true,
        DeliveryState::Queued => {
            matches!(step.event, DeliveryEvent::Accepted | DeliveryEvent::Receipt(_))
        }
        _ => false,
    }
}
