//! Random deviations, so that many workers do not do the same thing at the same moment.

use std::time::Duration;

/// A number from -1 to 1.
pub(crate) fn signed() -> f64 {
    rand::random_range(-1.0..=1.0)
}

/// `duration`, longer or shorter by up to a fifth.
pub(crate) fn around(duration: Duration) -> Duration {
    duration.mul_f64(1.0 + 0.2 * signed())
}
