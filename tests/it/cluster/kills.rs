//! Processes that are killed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::reports::{Reporter, report};
use super::stage::Cluster;
use super::verdict;

const PEOPLE: usize = 20_000;
const KILLS: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn whichever_process_is_killed_nobody_is_lost_and_every_channel_is_taken_over() {
    let mut random = StdRng::seed_from_u64(31);
    let mut cluster = Cluster::set(31, PEOPLE).await;
    let reporter = Reporter::start(&cluster);
    let large = report(&cluster, "groot", 0).await;
    cluster.rings(100).await;
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        let n = random.random_range(0..cluster.processes.len());
        cluster.kill(n);
    }
    let (rung, all) = (cluster.smsc.total_rings(), PEOPLE as u64);
    assert!(rung < all, "it was over before the last kill: {rung}");
    cluster.balanced().await;
    let small = reporter.stop().await;
    let doubts = verdict::check(&mut cluster, &[(large, PEOPLE)], &small).await;
    assert!(doubts < PEOPLE / 10, "{doubts} are in doubt: a kill leaves some dozens");
    cluster.strike().await;
}
