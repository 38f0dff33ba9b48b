//! When a silent connection is probed with `enquire_link`, and when it is given up.

use std::time::Duration;

use tokio::time::Instant;

/// An `enquire_link` that nothing follows in this time is a miss.
const ENQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Misses in a row after which the connection is given up.
const ENQUIRE_MISSES: u32 = 2;

/// The step that follows a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::smpp) enum Probe {
    /// Send an `enquire_link`.
    Send,
    /// End the connection.
    GiveUp,
}

/// How long nothing was heard. Whatever comes is a sign of life, not only the answer.
pub(in crate::smpp) struct Silence {
    patience: Duration,
    deadline: Instant,
    /// Enquiries since something was heard.
    sent: u32,
}

impl Silence {
    /// A connection that was heard at `now` and is probed after `patience`.
    pub(in crate::smpp) fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, deadline: now + patience, sent: 0 }
    }

    /// When [`Silence::probe`] next has something to say.
    pub(in crate::smpp) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Something came.
    pub(in crate::smpp) fn end(&mut self, now: Instant) {
        *self = Self::new(self.patience, now);
    }

    /// The step that is due at `now`. After a miss the next probe goes out at once.
    pub(in crate::smpp) fn probe(&mut self, now: Instant) -> Option<Probe> {
        if now < self.deadline {
            return None;
        }
        if self.sent >= ENQUIRE_MISSES {
            return Some(Probe::GiveUp);
        }
        self.sent += 1;
        self.deadline = now + ENQUIRE_TIMEOUT;
        Some(Probe::Send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_misses_end_a_link_and_any_sign_of_life_begins_anew() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut silence = Silence::new(Duration::from_secs(30), start);
        assert_eq!(silence.probe(at(29)), None);
        assert_eq!(silence.probe(at(30)), Some(Probe::Send));
        assert_eq!(silence.probe(at(39)), None);
        assert_eq!(silence.probe(at(40)), Some(Probe::Send));
        silence.end(at(45));
        assert_eq!((silence.probe(at(74)), silence.deadline()), (None, at(75)));
        let said = [75, 85, 95].map(|s| silence.probe(at(s)));
        assert_eq!(said, [Some(Probe::Send), Some(Probe::Send), Some(Probe::GiveUp)]);
    }
}
