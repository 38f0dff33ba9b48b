//! Upkeep: whatever is due at a time, each second, and fan-outs that a crash interrupted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::id::AlertId;
use klaroen_store::StoreError;
use klaroen_store::sweep::Swept;
use metrics::gauge;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{Shared, instruments};

const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The check of the sums reads every open message, so it runs less often.
const CHECK_EVERY: Duration = Duration::from_mins(1);
/// Another machine may have written times ahead of this one's clock.
const FAR_EVERY: Duration = Duration::from_secs(10);
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// The depth is counted over the whole queue: as often as metrics are read, and less often if the count takes long.
const DEPTH_EVERY: Duration = Duration::from_secs(5);
const DEPTH_SHARE: u32 = 20;
/// A fan-out that wrote no page for this long was interrupted: a page takes 20 to 200 ms.
const CUT_OFF: Duration = Duration::from_secs(5);
/// Large alerts that are fanned out at the same time. The others wait for the next second.
const FANOUTS: usize = 4;

/// Runs until shutdown. A fan-out that is under way stops between two pages; the next worker that starts continues it.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    // After a stall, one sweep does the work of all that were missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fanouts = Fanouts::default();
    let (mut depth_at, mut check_at, mut prune_at) = (Instant::now(), Instant::now(), Instant::now());
    // The clock may have been set back while no process ran.
    let mut far_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(_) = fanouts.tasks.join_next() => {}
            _ = ticks.tick() => {
                let now = Instant::now();
                let stepped = shared.clock_watch.look(shared.clock.now()).is_some();
                if stepped || now >= far_at {
                    far_at = now + FAR_EVERY;
                    log_failure("far times", pull_in(&shared).await);
                }
                log_failure("sweep", sweep(&shared).await);
                log_failure("settled doubts", settled(&shared).await);
                log_failure("refused messages", refused(&shared).await);
                log_failure("fan-out", fanouts.start(&shared).await);
                if now >= depth_at {
                    let began = Instant::now();
                    log_failure("queue depth", depth(&shared).await);
                    depth_at = now + DEPTH_EVERY.max(began.elapsed() * DEPTH_SHARE);
                }
                if now >= check_at {
                    check_at = now + CHECK_EVERY;
                    log_failure("check of the sums", check(&shared).await);
                }
                if now >= prune_at {
                    let pruned = prune(&shared).await;
                    // If one pass does not delete all rows, the next second continues: receipts are deleted as soon as
                    // they are due.
                    let more = matches!(pruned, Ok(true));
                    prune_at = now + if more { Duration::ZERO } else { PRUNE_EVERY };
                    log_failure("pruning", pruned.map(drop));
                }
            }
        }
    }
}

/// Logs a failure. A failed step is repeated in the next second.
fn log_failure(what: &str, result: Result<(), StoreError>) {
    match result {
        Ok(()) => {}
        Err(error) if error.is_retryable() => tracing::warn!(what, %error, "upkeep failed; retrying"),
        Err(error) => tracing::error!(what, %error, "upkeep failed"),
    }
}

async fn sweep(shared: &Shared) -> Result<(), StoreError> {
    let swept = shared.store.sweep(shared.receipt_grace, shared.clock.now()).await?;
    for (what, count) in counts(&swept) {
        if count > 0 {
            instruments::swept(what, count);
        }
    }
    if swept.resent + swept.followed_up > 0 {
        shared.wake.notify_waiters();
    }
    if swept != Swept::default() {
        tracing::info!(?swept, "upkeep");
    }
    Ok(())
}

/// Pulls in what waits for a time that lies too far ahead.
async fn pull_in(shared: &Shared) -> Result<(), StoreError> {
    let due = shared.store.pull_in_far_times(shared.settle_after.longest(), shared.clock.now()).await?;
    if due > 0 {
        instruments::swept("pulled_in", due);
        tracing::warn!(
            deliveries = due,
            "these were due further ahead than anything waits: they are due now"
        );
        shared.wake.notify_waiters();
        shared.store.announce().await?;
    }
    Ok(())
}

/// Counts how lost submits were settled, by any process.
async fn settled(shared: &Shared) -> Result<(), StoreError> {
    for (gateway, resolution) in shared.store.count_settled_doubts().await? {
        instruments::settled(gateway, resolution);
    }
    Ok(())
}

/// Passes messages that one gateway refused on to other gateways, and fails those that no gateway accepts.
async fn refused(shared: &Shared) -> Result<(), StoreError> {
    let passed = shared.store.pass_on_refused_messages(&shared.gateways, shared.clock.now()).await?;
    if passed.failed > 0 {
        instruments::swept("message_refused", passed.failed);
        tracing::error!(deliveries = passed.failed, "every gateway refuses the message of these deliveries");
    }
    if passed.handed_over > 0 {
        shared.wake.notify_waiters();
        shared.store.announce().await?;
    }
    Ok(())
}

/// Every count with its name. The pattern has no `..`, so that a new count cannot be forgotten.
fn counts(swept: &Swept) -> [(&'static str, u64); 10] {
    let Swept {
        leases_lost,
        receipts_joined,
        resent,
        held,
        expired,
        cancelled,
        alerts_expired,
        followed_up,
        no_receipt,
        messages_settled,
    } = *swept;
    [
        ("leases_lost", leases_lost),
        ("receipts_joined", receipts_joined),
        ("resent", resent),
        ("held", held),
        ("expired", expired),
        ("cancelled", cancelled),
        ("alerts_expired", alerts_expired),
        ("followed_up", followed_up),
        ("no_receipt", no_receipt),
        ("messages_settled", messages_settled),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
async fn depth(shared: &Shared) -> Result<(), StoreError> {
    let depth = shared.store.queue_depth(shared.clock.now()).await?;
    for (lane, waiting) in depth.by_lane.iter().enumerate() {
        gauge!("klaroen_queue_depth", "lane" => lane.to_string()).set(*waiting as f64);
    }
    gauge!("klaroen_queue_oldest_age_seconds").set(depth.oldest_due.as_secs_f64());
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
async fn check(shared: &Shared) -> Result<(), StoreError> {
    let broken = shared.store.broken_sums().await?;
    gauge!("klaroen_broken_sums").set(broken as f64);
    if broken > 0 {
        tracing::error!(broken, "the deliveries of some messages do not add up to their recipients");
    }
    Ok(())
}

/// Deletes old rows. Returns whether there are more to delete.
async fn prune(shared: &Shared) -> Result<bool, StoreError> {
    let pruned = shared.store.prune(&shared.retention, shared.clock.now()).await?;
    instruments::swept("pruned", pruned.rows);
    Ok(pruned.more)
}

/// The fan-outs that this process is writing out.
#[derive(Default)]
struct Fanouts {
    tasks: JoinSet<()>,
    running: HashMap<AlertId, AbortHandle>,
}

impl Fanouts {
    async fn start(&mut self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        let before = shared.clock.now().minus(CUT_OFF);
        self.running.retain(|_, task| !task.is_finished());
        for alert in shared.store.open_fanouts(before).await? {
            if self.running.len() >= FANOUTS {
                break;
            }
            if !self.running.contains_key(&alert) {
                let task = self.tasks.spawn(write_out(Arc::clone(shared), alert));
                self.running.insert(alert, task);
            }
        }
        Ok(())
    }
}

async fn write_out(shared: Arc<Shared>, alert: AlertId) {
    let woken = || shared.wake.notify_waiters();
    match shared.store.continue_fanout(alert, &shared.rules, shared.clock.now(), woken).await {
        Ok(()) => tracing::info!(%alert, "finished the fan-out of an alert"),
        Err(error) => tracing::warn!(%alert, %error, "fan-out of an alert failed; retrying"),
    }
}
