//! The recorder of the process's numbers.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::task::AbortOnDropHandle;

use crate::failure::Failure;

/// One for the process, because numbers are counted without a handle; the tests start several services.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Folds what was recorded into histograms, so that a service whose numbers are never asked for does not keep them all.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// From a look-up to the deadline of a request, in seconds.
const REQUEST_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// The recorder of numbers, and the task that looks after them.
pub fn recorder() -> Result<(PrometheusHandle, AbortOnDropHandle<()>), Failure> {
    let handle = if let Some(handle) = RECORDER.get() {
        handle.clone()
    } else {
        let requests = Matcher::Full("klaroen_http_request_duration_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(requests, &REQUEST_SECONDS)?;
        let handle = builder.install_recorder()?;
        RECORDER.get_or_init(|| handle).clone()
    };
    let upkeep = handle.clone();
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            upkeep.run_upkeep();
        }
    });
    Ok((handle, AbortOnDropHandle::new(task)))
}
