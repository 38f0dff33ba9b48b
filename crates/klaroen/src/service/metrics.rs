//! The recorder of the process's numbers.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::task::AbortOnDropHandle;

use crate::failure::Failure;

/// One for the process, because numbers are counted without a handle; the bench starts several services.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Folds what was recorded into histograms, so that a service that nobody asks for its numbers does not keep them all.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Where numbers go, and the task that looks after them.
pub fn recorder() -> Result<(PrometheusHandle, AbortOnDropHandle<()>), Failure> {
    let handle = if let Some(handle) = RECORDER.get() {
        handle.clone()
    } else {
        let handle = PrometheusBuilder::new().install_recorder()?;
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
