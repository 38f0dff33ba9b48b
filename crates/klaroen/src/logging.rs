//! Logs and panics: to standard error, ids only.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Libraries that would print what must not be printed (SMPP PDUs hold numbers and texts, a mistyped part of a database
/// address may be a password), or statements one by one. They come last, so that no configured level turns them on.
const QUIET: &str = "rusmpp=off,sqlx=warn,sqlx_postgres::options=off";

/// Starts logging. Called once, before anything is logged.
pub fn start(format: LogFormat, level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = filter(level)?;
    let registry = tracing_subscriber::registry().with(filter);
    // A log that cannot be written (a closed pipe) must not end what is being logged; telling of it would panic there.
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
    Ok(())
}

/// The directives of the configuration and the ones that always hold.
pub fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().parse(format!("{level},{QUIET}"))
}

/// Panics say the place, not the cause: a panic's text may hold a value, and values may be a person's.
pub fn tell_panics_without_their_text() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "internal error: please report it with this place");
        crate::output::note(format_args!("klaroen: internal error at {place}"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_turns_the_protocol_library_on() {
        for level in ["trace", "rusmpp=trace,info", "rusmpp=trace"] {
            let filter = filter(level).unwrap().to_string();
            assert!(filter.contains("rusmpp=off"), "{filter}");
            assert!(!filter.contains("rusmpp=trace"), "{filter}");
        }
        assert!(filter("loud,,=").is_err());
    }
}
