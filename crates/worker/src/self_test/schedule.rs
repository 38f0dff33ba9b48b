//! The daily tests, and reports about failed tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::hours::Today;
use klaroen_store::StoreError;
use klaroen_store::gateway_tests::DailyTest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Shared, instruments, jitter};

const EVERY: Duration = Duration::from_secs(1);
/// The gauges show the state in the database, so all processes show the same.
const SHOW_EVERY: Duration = Duration::from_secs(10);

/// Runs until shutdown. Every worker does this; the database ensures that each step happens once.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut done = HashMap::new();
    let mut show_at = Instant::now();
    while !shutdown.is_cancelled() {
        let show = Instant::now() >= show_at;
        if show {
            show_at = Instant::now() + SHOW_EVERY;
        }
        match tend(&shared, &mut done, show).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "upkeep of gateway tests failed; retrying");
            }
            Err(error) => tracing::error!(%error, "upkeep of gateway tests failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(jitter::around(EVERY)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// `done` is the day of the last daily test of each gateway, so that the database is not asked again all day.
async fn tend(shared: &Shared, done: &mut HashMap<String, String>, show: bool) -> Result<(), StoreError> {
    let (store, now) = (&shared.store, shared.clock.now());
    let today = Today::at(now, &shared.rules.zone);
    for test in &shared.self_tests {
        if !test.at.is_some_and(|at| today.is_past(at)) || done.get(&test.gateway) == Some(&today.date) {
            continue;
        }
        match store.request_daily_test(&test.gateway, &today.date, now).await? {
            DailyTest::Made | DailyTest::Done => {
                done.insert(test.gateway.clone(), today.date.clone());
            }
            DailyTest::UnderWay => {}
        }
    }
    store.tend_gateway_tests(now).await?;
    let failed = store.failed_gateway_tests(now).await?;
    for test in &failed {
        tracing::warn!(
            gateway = test.gateway,
            test = %test.id,
            daily = test.daily,
            state = %test.state,
            code = test.code,
            detail = test.detail,
            "a test of a gateway failed"
        );
    }
    if show || !failed.is_empty() {
        for test in store.latest_gateway_tests().await? {
            let ours = shared.self_tests.iter().any(|own| own.gateway == test.gateway);
            if let Some(succeeded) = test.succeeded().filter(|_| ours) {
                instruments::tested(&test.gateway, succeeded);
            }
        }
    }
    Ok(())
}
