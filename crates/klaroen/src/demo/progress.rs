//! The view of the person at the terminal while an alert runs: two bars, or a line each second if there is no terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::output;

/// How far the message of an alert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The number of all its recipients.
    pub recipients: u64,
    /// Handed to the gateway, whatever became of it.
    pub submitted: u64,
    /// Rang.
    pub delivered: u64,
    /// The gateway said that it will not ring.
    pub undelivered: u64,
    /// May or may not have been taken.
    pub unknown: u64,
    /// Not sent, because the person opted out.
    pub suppressed: u64,
    /// Handed over, and nothing heard since.
    pub waiting: u64,
    /// All counts together: has to be `recipients`.
    pub sum: u64,
}

impl Standing {
    /// Of one message as the API tells it.
    pub fn of(message: &Value) -> Self {
        let counts = &message["counts"];
        let count = |state: &str| counts[state].as_u64().unwrap_or_default();
        let sum =
            counts.as_object().map(|all| all.values().filter_map(Value::as_u64).sum()).unwrap_or_default();
        let (delivered, waiting) = (count("delivered"), count("sent") + count("no_receipt"));
        let undelivered = count("undelivered") + count("failed");
        Self {
            recipients: message["recipients"].as_u64().unwrap_or_default(),
            submitted: waiting + delivered + undelivered + count("unknown"),
            delivered,
            undelivered,
            unknown: count("unknown"),
            suppressed: count("suppressed"),
            waiting,
            sum,
        }
    }

    /// Whether everything has left that will leave.
    pub fn all_left(&self) -> bool {
        self.submitted + self.suppressed >= self.recipients
    }
}

/// The two bars.
pub struct Progress {
    bars: Option<(ProgressBar, ProgressBar)>,
    told: Instant,
    before: Standing,
    started: Instant,
}

/// Without a terminal a line each second is enough.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

impl Progress {
    /// Begins with nothing sent.
    pub fn new(recipients: u64) -> Self {
        let now = Instant::now();
        let bars = std::io::stderr().is_terminal().then(|| {
            let bars = MultiProgress::new();
            let bar = |name: &str| {
                let style = ProgressStyle::with_template(&format!(
                    "  {name:<10} [{{bar:40}}] {{pos:>6}}/{{len}}  {{per_sec}}  {{elapsed_precise}}"
                ));
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
                bars.add(ProgressBar::new(recipients).with_style(style))
            };
            (bar("submitted"), bar("delivered"))
        });
        Self { bars, told: now, before: Standing::default(), started: now }
    }

    /// Shows how far it is.
    pub fn show(&mut self, standing: Standing) {
        if let Some((submitted, delivered)) = &self.bars {
            submitted.set_position(standing.submitted);
            delivered.set_position(standing.delivered);
        } else if self.told.elapsed() >= PLAIN_EVERY && standing != self.before {
            self.line(standing);
        }
    }

    /// Shows the last standing and leaves it there.
    pub fn finish(mut self, standing: Standing) {
        self.show(standing);
        match self.bars.take() {
            Some((submitted, delivered)) => {
                submitted.abandon();
                delivered.abandon();
            }
            None => self.line(standing),
        }
    }

    fn line(&mut self, standing: Standing) {
        output::note(format_args!(
            "  {:>5.1} s  submitted {:>5}/{}  delivered {:>5}",
            self.started.elapsed().as_secs_f64(),
            standing.submitted,
            standing.recipients,
            standing.delivered
        ));
        self.told = Instant::now();
        self.before = standing;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_delivery_is_counted_once() {
        let message = json!({"recipients": 28, "counts": {"queued": 1, "sending": 2, "sent": 3, "delivered": 4, "undelivered": 5,
            "failed": 6, "unknown": 7, "suppressed": 0, "no_receipt": 0}});
        let standing = Standing::of(&message);
        assert_eq!((standing.submitted, standing.undelivered, standing.sum), (25, 11, 28));
        assert!(!standing.all_left());
    }
}
