//! The state of the gateways: their configuration, the reports of workers, and the orders of administrators. Nothing
//! comes from the memory of a worker, which may be another process.

use klaroen_domain::alert::Priority;
use klaroen_domain::gateway::GatewayState;
use klaroen_store::Store;
use klaroen_store::gateways::{Counts, Due, GatewayPause, GatewayReport, LastError};

use crate::problem::Problem;
use crate::resources::warning::Warning;
use crate::settings::gateway::ConfiguredGateway;

/// The state of a gateway that no worker reports about.
pub(crate) const UNSERVED: &str = "unserved";

/// The reports of all workers about one gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The report of the worker with the best connection. `None` if no worker reports.
    pub(crate) best: Option<GatewayReport>,
    pub(crate) channels_up: u16,
    /// Segments per second that may be handed over now; `None`: no limit.
    pub(crate) rate: Option<f64>,
    pub(crate) in_flight: u32,
    /// The last 15 minutes.
    pub(crate) counts: Counts,
    pub(crate) receipt_median_s: Option<f64>,
    pub(crate) last_error: Option<LastError>,
    /// Every worker that serves it has heard that it is out of use by hand, and hands nothing over to it.
    pub(crate) is_stopped: bool,
}

impl Standing {
    fn of(reports: &[&GatewayReport]) -> Self {
        let best = reports.iter().min_by_key(|report| (!report.usable, report.state.rank()));
        let newest_error = reports.iter().filter_map(|r| r.last_error.clone()).max_by_key(|error| error.at);
        // Of several medians the one that stands for the most receipts.
        let most = reports.iter().filter(|r| r.figures.receipt_median_s.is_some());
        let most = most.max_by_key(|r| r.figures.quarter.delivered + r.figures.quarter.undelivered);
        let mut counts = Counts::default();
        for Counts { accepted, refused, throttled, not_taken, unknown, delivered, undelivered } in
            reports.iter().map(|report| report.figures.quarter)
        {
            counts.accepted += accepted;
            counts.refused += refused;
            counts.throttled += throttled;
            counts.not_taken += not_taken;
            counts.unknown += unknown;
            counts.delivered += delivered;
            counts.undelivered += undelivered;
        }
        Self {
            best: best.map(|report| (*report).clone()),
            channels_up: reports.iter().map(|r| r.channels_up).fold(0, u16::saturating_add),
            // One without a connection adds nothing, whatever it could do with one.
            rate: reports.iter().filter(|r| r.channels_held > 0).map(|r| r.rate).sum(),
            in_flight: reports.iter().map(|r| r.in_flight).fold(0, u32::saturating_add),
            counts,
            receipt_median_s: most.and_then(|r| r.figures.receipt_median_s),
            last_error: newest_error,
            is_stopped: reports.iter().all(|report| report.state == GatewayState::Stopped),
        }
    }
}

/// All gateways as they stand at one moment.
pub(crate) struct Overview<'a> {
    pub(crate) gateways: Vec<Seen<'a>>,
}

/// One gateway as it stands.
pub(crate) struct Seen<'a> {
    pub(crate) configured: &'a ConfiguredGateway,
    pub(crate) standing: Standing,
    pub(crate) pause: Option<GatewayPause>,
    /// Deliveries that are due and that it may take.
    pub(crate) due: u64,
}

impl<'a> Overview<'a> {
    /// Asks the database.
    pub(crate) async fn read(
        configured: &'a [ConfiguredGateway],
        store: &Store,
        now: klaroen_domain::time::Timestamp,
    ) -> Result<Self, Problem> {
        let (reports, pauses, due) = (
            store.gateway_reports(now).await?,
            store.gateway_pauses().await?,
            store.due_for_gateways(now).await?,
        );
        Ok(Self::of(configured, &reports, &pauses, &due))
    }

    /// The same without what is due, which takes a look at the whole queue.
    pub(crate) async fn read_standings(
        configured: &'a [ConfiguredGateway],
        store: &Store,
        now: klaroen_domain::time::Timestamp,
    ) -> Result<Self, Problem> {
        Ok(Self::of(configured, &store.gateway_reports(now).await?, &store.gateway_pauses().await?, &[]))
    }

    fn of(
        configured: &'a [ConfiguredGateway],
        reports: &[GatewayReport],
        pauses: &[GatewayPause],
        due: &[Due],
    ) -> Self {
        let seen = |configured: &'a ConfiguredGateway| {
            let own: Vec<_> = reports.iter().filter(|report| report.gateway == configured.name).collect();
            let waiting = due.iter().filter(|due| configured.serves(due.priority, &due.country));
            Seen {
                configured,
                standing: Standing::of(&own),
                pause: pauses.iter().find(|pause| pause.gateway == configured.name).cloned(),
                due: waiting.map(|due| due.count).sum(),
            }
        };
        Self { gateways: configured.iter().map(seen).collect() }
    }

    /// Every kind of message that some gateway is configured for: priority and country.
    fn kinds(&self) -> Vec<(Priority, &'a str)> {
        let mut countries = vec![""];
        for country in self.gateways.iter().flat_map(|seen| &seen.configured.countries) {
            if !countries.contains(&country.as_str()) {
                countries.push(country);
            }
        }
        let all = Priority::ALL.iter().flat_map(|p| countries.iter().map(move |country| (*p, *country)));
        all.filter(|(p, country)| self.gateways.iter().any(|seen| seen.configured.serves(*p, country)))
            .collect()
    }

    /// Whether some number's messages of this priority would wait now.
    pub(crate) fn leaves_any_waiting(&self, priority: Priority) -> bool {
        let named = self.gateways.iter().flat_map(|seen| &seen.configured.countries).map(String::as_str);
        named.chain([""]).any(|country| self.takers(priority, country).is_empty())
    }

    /// Returns why a message of this kind waits, or `None` if a gateway takes it. `country` is empty if it is not known.
    pub(crate) fn why_it_waits(&self, priority: Priority, country: &str) -> Option<String> {
        if !self.takers(priority, country).is_empty() {
            return None;
        }
        let serving = self.gateways.iter().filter(|seen| seen.configured.serves(priority, country));
        let whys = serving.map(|seen| {
            let why = seen.not_usable().unwrap_or_else(|| "it is in reserve".to_owned());
            format!("{}: {why}", seen.configured.name)
        });
        let whys: Vec<String> = whys.collect();
        let nobody = || format!("no gateway is configured for {priority} alerts to these numbers");
        Some(if whys.is_empty() { nobody() } else { whys.join("; ") })
    }

    /// The gateways that take messages of a kind now: of those that can the best, of these the lowest priority, of these the
    /// ones that have a share.
    fn takers(&self, priority: Priority, country: &str) -> Vec<&Seen<'a>> {
        let mut can: Vec<&Seen<'a>> = self
            .gateways
            .iter()
            .filter(|seen| seen.not_usable().is_none() && seen.configured.serves(priority, country))
            .collect();
        if can.iter().any(|seen| !seen.is_suspect()) {
            can.retain(|seen| !seen.is_suspect());
        }
        let first = can.iter().map(|seen| seen.configured.priority).min();
        can.retain(|seen| Some(seen.configured.priority) == first);
        if can.iter().any(|seen| seen.configured.weight > 0) {
            can.retain(|seen| seen.configured.weight > 0);
        }
        can
    }

    /// Returns why a gateway takes no new messages now, or `None` if it does.
    pub(crate) fn not_in_use(&self, name: &str) -> Option<String> {
        let own = self.gateways.iter().find(|seen| seen.configured.name == name)?;
        if let Some(why) = own.not_usable() {
            return Some(why);
        }
        let mut instead: Vec<&str> = Vec::new();
        for (priority, country) in self.kinds() {
            if !own.configured.serves(priority, country) {
                continue;
            }
            let takers = self.takers(priority, country);
            if takers.iter().any(|seen| seen.configured.name == name) {
                return None;
            }
            instead.extend(takers.iter().map(|seen| seen.configured.name.as_str()));
        }
        instead.sort_unstable();
        instead.dedup();
        Some(format!("in reserve: {} goes first", instead.join(", ")))
    }

    /// What an operator should know about an alert of this priority: which gateways are out of use by hand that would serve it, and
    /// whether some of its messages would wait.
    pub(crate) fn warnings(&self, priority: Priority) -> Vec<Warning> {
        let serving = self.gateways.iter().filter(|seen| seen.configured.serves_some(priority));
        let paused = serving.filter_map(|seen| seen.pause.as_ref());
        let mut warnings: Vec<Warning> = paused
            .map(|pause| {
                let reason = pause.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
                let GatewayPause { gateway, paused_at, .. } = pause;
                let detail = format!("gateway {gateway} is out of use by hand since {paused_at}{reason}");
                Warning { code: "gateway_paused", detail }
            })
            .collect();
        warnings.extend(self.no_gateway_warning(Some(priority)));
        warnings
    }

    /// The warning that messages wait, of one priority or of any.
    pub(crate) fn no_gateway_warning(&self, priority: Option<Priority>) -> Option<Warning> {
        let waiting = self.without_gateway(priority);
        let detail =
            || format!("no gateway takes these messages now; they stay in the queue: {}", waiting.join("; "));
        (!waiting.is_empty()).then(|| Warning { code: "no_gateway", detail: detail() })
    }

    /// The kinds of messages that wait because no gateway that serves them can take any, in words.
    fn without_gateway(&self, only: Option<Priority>) -> Vec<String> {
        let kinds = self.kinds();
        // There are other countries only if some are named.
        let named = kinds.iter().any(|(_, country)| !country.is_empty());
        let wanted = kinds.into_iter().filter(|(p, _)| only.is_none_or(|only| only == *p));
        let open = wanted.filter(|(p, country)| self.takers(*p, country).is_empty());
        let word = |(priority, country): (Priority, &str)| match country {
            "" if named => format!("{priority} alerts to numbers of other countries"),
            "" => format!("{priority} alerts"),
            country => format!("{priority} alerts to numbers of {country}"),
        };
        open.map(word).collect()
    }
}

impl Seen<'_> {
    /// The word for its state. An order holds from the moment that it is given.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.pause, &self.standing.best) {
            (Some(_), _) => GatewayState::Stopped.as_str(),
            // The order was taken back a moment ago, and no worker has looked since.
            (None, Some(best)) => best.state.as_str(),
            (None, None) => UNSERVED,
        }
    }

    fn is_suspect(&self) -> bool {
        self.standing.best.as_ref().is_some_and(|best| best.state == GatewayState::Suspect)
    }

    fn not_usable(&self) -> Option<String> {
        if self.pause.is_some() {
            return Some("taken out of use by hand".to_owned());
        }
        let Some(best) = &self.standing.best else {
            return Some("no running worker serves it".to_owned());
        };
        if best.usable && best.state != GatewayState::Probing {
            return None;
        }
        Some(match (best.state, best.reason.as_str()) {
            (GatewayState::Down, "") => "it has no connection".to_owned(),
            (state, "") => format!("it is {state}"),
            (_, reason) => reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
