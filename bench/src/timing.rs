//! Durations as figures have them, and the limit of a measurement.

use std::time::Duration;

use anyhow::{Context, Result};

/// As figures have it.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The figures of a part that takes too long are no figures.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.with_context(|| format!("{what}, after {} s", limit.as_secs()))?
}
