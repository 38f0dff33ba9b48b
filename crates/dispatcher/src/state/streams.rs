//! The number of open event streams is limited, because each asks the database twice a second.

use std::sync::Arc;

use klaroen_domain::id::{KeyId, OrganisationId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::state::concurrency_limit::{ConcurrencyLimit, Slot};

/// Streams at once.
const STREAMS_MAX: usize = 256;
/// Of these, of one organisation: a quarter, so that it takes more than one to keep the others out.
const STREAMS_MAX_PER_ORGANISATION: u32 = 64;
/// Of these, of one key: a desk watches the alerts that are under way.
const STREAMS_MAX_PER_KEY: u32 = 8;

/// The event streams that are open.
#[derive(Debug)]
pub struct Streams {
    all: Arc<Semaphore>,
    by_organisation: ConcurrencyLimit<OrganisationId>,
    by_key: ConcurrencyLimit<KeyId>,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub struct StreamPlace {
    _all: OwnedSemaphorePermit,
    _organisation: Slot<OrganisationId>,
    _key: Slot<KeyId>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(STREAMS_MAX)),
            by_organisation: ConcurrencyLimit::new(STREAMS_MAX_PER_ORGANISATION),
            by_key: ConcurrencyLimit::new(STREAMS_MAX_PER_KEY),
        }
    }
}

impl Streams {
    /// A place for one more stream.
    ///
    /// # Errors
    /// The reason, for people, if too many are open.
    pub fn take(&self, organisation: OrganisationId, key: KeyId) -> Result<StreamPlace, &'static str> {
        Ok(StreamPlace {
            _key: self.by_key.acquire(key).ok_or("this key has too many event streams open")?,
            _organisation: self
                .by_organisation
                .acquire(organisation)
                .ok_or("your organisation has too many event streams open")?,
            _all: Arc::clone(&self.all).try_acquire_owned().map_err(|_| "too many event streams are open")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_or_organisation_does_not_keep_the_others_out() {
        let streams = Streams::default();
        let (organisation, key) = (OrganisationId::generate(), KeyId::generate());
        let mut open: Vec<_> =
            (0..STREAMS_MAX_PER_KEY).map(|_| streams.take(organisation, key).unwrap()).collect();
        assert!(streams.take(organisation, key).unwrap_err().contains("this key"));
        while let Ok(place) = streams.take(organisation, KeyId::generate()) {
            open.push(place);
        }
        assert_eq!(open.len(), STREAMS_MAX_PER_ORGANISATION as usize);
        assert!(streams.take(OrganisationId::generate(), KeyId::generate()).is_ok());
        open.pop();
        assert!(streams.take(organisation, KeyId::generate()).is_ok(), "a refusal holds no place");
    }
}
