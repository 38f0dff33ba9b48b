//! Processes that are killed.

use std::time::Duration;

use klaroen_domain::time::{Clock as _, SystemClock, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::reports::{Reporter, report};
use super::stage::Cluster;
use super::verdict;
use crate::sizes::cluster::{KILLS, PEOPLE, PEOPLE_OF_ONE_BIND};
use crate::sizes::seeds;

#[tokio::test(flavor = "multi_thread")]
async fn whichever_process_is_killed_nobody_is_lost_and_every_channel_is_taken_over() {
    for seed in seeds(31) {
        kill_any(seed).await;
    }
}

async fn kill_any(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::set(seed, PEOPLE).await;
    let reporter = Reporter::start(&cluster);
    let large = report(&cluster, "groot", 0).await;
    cluster.rings(100).await;
    let mut cut = 0;
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        let n = random.random_range(0..cluster.processes.len());
        cut += cluster.held(n).await;
        cluster.kill(n);
    }
    let (rung, all) = (cluster.smsc.total_rings(), PEOPLE as u64);
    assert!(rung < all, "it was over before the last kill: {rung}");
    cluster.balanced().await;
    let small = reporter.stop().await;
    // A dispatcher has nothing in flight.
    verdict::check(&mut cluster, &[(large, PEOPLE)], &small, cut).await;
    cluster.strike().await;
}

/// How long a channel may still belong to a worker that is gone (`LEASE` in the worker's lease).
const LEASE: Duration = Duration::from_secs(4);
/// By how much a worker may take the database's clock to be ahead of ours: half of the shortest of some ways there and back.
const APART: Duration = Duration::from_millis(25);

/// When the lease of the only bind ends, whoever has it.
async fn lease_until(database: &mut PgConnection) -> Timestamp {
    let until = sqlx::query_scalar("SELECT lease_until FROM channels WHERE gateway = 'main' AND channel = 0");
    Timestamp::from_millis(until.fetch_one(database).await.unwrap())
}

#[expect(clippy::print_stderr, reason = "a figure, of which a busy machine makes what it likes")]
fn say(took: Duration) {
    eprintln!("the next worker sends {took:?} after the kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_channel_of_a_worker_that_is_killed_is_free_within_its_lease_and_taken_over() {
    let mut cluster = Cluster::set_with(34, PEOPLE_OF_ONE_BIND, 1).await;
    let reporter = Reporter::start(&cluster);
    let large = report(&cluster, "groot", 0).await;
    for _ in 0..3 {
        cluster.rings(200).await;
        let mut database = cluster.database().await;
        let (holder, binds) = (cluster.holder().await, cluster.smsc.stats().binds);
        cluster.kill(holder);
        let (killed, killed_at) = (Instant::now(), SystemClock.now());
        // By the clock on the wall, on which leases are written: however slow the machine is, nobody renewed it since.
        let lease_until = lease_until(&mut database).await;
        let latest = killed_at.plus(LEASE + APART);
        assert!(lease_until <= latest, "held for {:?}", lease_until.since(killed_at));
        cluster.next_bind_sends(binds).await;
        say(killed.elapsed());
    }
    let small = reporter.stop().await;
    verdict::check(&mut cluster, &[(large, PEOPLE_OF_ONE_BIND)], &small, 3).await;
    cluster.strike().await;
}
