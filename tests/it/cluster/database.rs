//! A database that goes away and comes back, under processes that go on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::reports::{Reporter, report};
use super::stage::{BINDS, Cluster};
use super::verdict;
use crate::sizes::cluster::{PEOPLE_OF_DEMOTION, PEOPLE_OF_RESTARTS, RESTARTS};
use crate::sizes::seeds;

/// Waits until the sending goes on after the database is back, and says how long that took.
#[expect(clippy::print_stderr, reason = "a figure, of which a busy machine makes what it likes")]
async fn resumes(cluster: &mut Cluster, how: &str) {
    let back = tokio::time::Instant::now();
    cluster.submits().await;
    let sends = back.elapsed();
    cluster.all_answer("/readyz", 200).await;
    eprintln!("{how}: sends after {sends:?}, all are ready after {:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_stopped_or_crashes_again_and_again_loses_nothing_and_everything_goes_on_by_itself()
 {
    for seed in seeds(32) {
        restart(seed).await;
    }
}

async fn restart(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::set(seed, PEOPLE_OF_RESTARTS).await;
    let reporter = Reporter::start(&cluster);
    let large = report(&cluster, "groot", 0).await;
    for n in 0..RESTARTS {
        cluster.rings(300).await;
        let crashes = n % 3 != 0;
        if crashes {
            cluster.server.crash();
        } else {
            cluster.server.stop();
        }
        // Seen by all of them, and none is ended by it.
        cluster.all_answer("/readyz", 503).await;
        cluster.all_answer("/livez", 200).await;
        // Every other time longer than a lease.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..800) + (n as u64 % 2) * 5_000)).await;
        cluster.server.resume().await;
        resumes(&mut cluster, if crashes { "after a crash" } else { "after a stop" }).await;
    }
    cluster.rings(300).await;
    cluster.balanced().await;
    let small = reporter.stop().await;
    verdict::check(&mut cluster, &[(large, PEOPLE_OF_RESTARTS)], &small, RESTARTS * BINDS).await;
    cluster.strike().await;
}

/// Each a transaction of its own.
const READ_ONLY: [&str; 2] =
    ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"];
const WRITABLE: [&str; 2] =
    ["ALTER SYSTEM SET default_transaction_read_only = off", "SELECT pg_reload_conf()"];

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_demoted_under_its_connections_is_noticed_and_left_when_it_is_over() {
    let mut cluster = Cluster::set(33, PEOPLE_OF_DEMOTION).await;
    // The first wave fills the pools with connections to a primary.
    let reporter = Reporter::start(&cluster);
    let first = report(&cluster, "eerste", 0).await;
    cluster.rings(300).await;
    for statement in READ_ONLY {
        cluster.server.execute(statement).await;
    }
    cluster.all_answer("/readyz", 503).await;
    cluster.all_answer("/livez", 200).await;
    let rung = cluster.smsc.total_rings();
    // Longer than any lease: every connection in the pools is one that was demoted, or was made while it was.
    cluster.all_leases_end().await;
    let more = cluster.smsc.total_rings() - rung;
    assert!(more < 200, "{more} rang although nothing could be claimed");
    for statement in WRITABLE {
        cluster.server.execute(statement).await;
    }
    resumes(&mut cluster, "writable again").await;
    // The second wave goes through the same pools.
    let second = report(&cluster, "tweede", 0).await;
    let small = reporter.stop().await;
    verdict::check(&mut cluster, &[(first, PEOPLE_OF_DEMOTION), (second, PEOPLE_OF_DEMOTION)], &small, BINDS)
        .await;
    cluster.balanced().await;
    cluster.strike().await;
}
