//! Whether the provider knows that we have an SMS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the provider was told that we have it. Set when the answer is written.
#[derive(Clone, Default)]
pub(in crate::smpp) struct Acknowledged(Arc<AtomicBool>);

impl Acknowledged {
    /// The answer is written: there is no reason to send it again.
    pub(in crate::smpp) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    pub(in crate::smpp) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
