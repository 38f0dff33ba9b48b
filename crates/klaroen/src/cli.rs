//! The command line: what can be written, and what `--help` says. What each command does stands in its own file.

#![expect(clippy::doc_markdown, reason = "these comments are the text of --help, where backticks would show")]
#![expect(clippy::large_enum_variant, reason = "one of it exists, for as long as the program runs")]

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::areas_import::AreasArgs;
use crate::commands::audit_verify::VerifyArgs;
use crate::commands::gateway::pause::PauseArgs;
use crate::commands::gateway::resume::ResumeArgs;
use crate::commands::key::create::KeyArgs;
use crate::commands::key::list::ListArgs;
use crate::commands::key::revoke::RevokeArgs;
use crate::commands::organisation_create::OrganisationArgs;
use crate::commands::participants_import::ImportArgs;
use crate::commands::simulate::SmscArgs;
use crate::commands::simulate::http::HttpArgs;
use crate::config::Source;
use crate::demo::DemoArgs;

/// Citizen alert dispatch by SMS: an incident, a geofence, and every participant in it is asked to look out.
///
/// Results go to standard output, everything else to standard error. The exit status is 0 if the command did what it
/// says, 1 if it did not, and 2 if it was not understood.
#[derive(Debug, Parser)]
#[command(name = "klaroen", version, propagate_version = true, after_help = "Start with: klaroen demo")]
pub struct Cli {
    /// Configuration file (TOML). Without it klaroen.toml in this directory, if there is one, and the defaults.
    /// The environment overrides both: KLAROEN__SECTION__KEY.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Which configuration was asked for.
    pub fn source(&self) -> Source {
        self.config.clone().map_or(Source::Usual, Source::Named)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The keys that seal what is kept about people.
    Secrets {
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Look at the whole configuration and tell everything that is wrong with it. Opens no port and no database.
    #[command(after_help = "Example:\n  klaroen --config klaroen.toml check-config")]
    CheckConfig,
    /// Bring the database to the form that this version needs, and make a SQLite file if there is none. `serve`,
    /// `dispatcher` and `worker` do so too.
    #[command(after_help = "Example:\n  klaroen --config klaroen.toml migrate")]
    Migrate,
    /// The tenants: police units, municipalities.
    Organisation {
        #[command(subcommand)]
        command: OrganisationCommand,
    },
    /// API keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Gateways, which all organisations share.
    Gateway {
        #[command(subcommand)]
        command: GatewayCommand,
    },
    /// The audit logs.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// The registry of residents and businesses.
    Participants {
        #[command(subcommand)]
        command: ParticipantsCommand,
    },
    /// The library of named polygons.
    Areas {
        #[command(subcommand)]
        command: AreasCommand,
    },
    /// Take incidents over HTTP and send alerts, until SIGTERM or Ctrl-C; a second one ends at once.
    ///
    /// Dispatcher and worker in one process. With SQLite it is alone on its file; with PostgreSQL any number of them, of
    /// dispatchers and of workers share a database.
    #[command(after_help = "Example:\n  klaroen --config klaroen.toml serve")]
    Serve,
    /// Take incidents over HTTP and leave the sending to workers. Needs PostgreSQL.
    ///
    /// Any number of them serve the same API on one database; it listens on [http] listen. Ends like `serve`.
    #[command(
        after_help = "Example:\n  KLAROEN__HTTP__LISTEN=127.0.0.1:8090 klaroen --config klaroen.toml dispatcher"
    )]
    Dispatcher,
    /// Send what dispatchers queue. Needs PostgreSQL.
    ///
    /// Any number of them share the connections (binds) of the gateways evenly, and with them the rates; what one holds is
    /// taken over within 5 seconds of its death, and at once when it is stopped. /livez, /readyz and /metrics are answered
    /// on [worker] listen. Ends like `serve`: what is under way gets 30 seconds to finish.
    #[command(
        after_help = "Example:\n  KLAROEN__WORKER__LISTEN=127.0.0.1:8091 klaroen --config klaroen.toml worker"
    )]
    Worker,
    /// A whole alert on this machine, with a built-in SMSC: nothing leaves it, nothing is kept.
    #[command(
        after_help = "Examples:\n  klaroen demo\n  klaroen demo --once   # ends after the summary; exit status 0 if every check held"
    )]
    Demo(DemoArgs),
    /// Stand-ins for providers.
    Simulate {
        #[command(subcommand)]
        command: SimulateCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Write a new key file, readable by its owner only. Never overwrites one.
    #[command(after_help = "Example:\n  klaroen --config klaroen.toml secrets init")]
    Init,
}

#[derive(Debug, Subcommand)]
pub enum OrganisationCommand {
    /// Make an organisation.
    #[command(after_help = "Example:\n  klaroen organisation create utrecht --name \"Gemeente Utrecht\"")]
    Create(OrganisationArgs),
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, and nothing else, on standard output. It is shown this once.
    #[command(
        after_help = "Examples:\n  klaroen key create --organisation utrecht --role operator --name \"control room\"\n  \
                            KEY=$(klaroen key create --organisation utrecht --role admin --expires-in 90d)"
    )]
    Create(KeyArgs),
    /// List the keys of an organisation, or those of the installation: id, role, until when, name.
    #[command(
        after_help = "Examples:\n  klaroen key list --organisation utrecht\n  klaroen key list --platform"
    )]
    List(ListArgs),
    /// Make a key useless, at once and for good.
    #[command(after_help = "Example:\n  klaroen key revoke 019ad1c2-7f6e-7c3b-a1b5-3f2f5be1c0aa")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Take a gateway out of use, for every organisation, until it is resumed. Within two seconds no process hands it any more
    /// messages; they go to other gateways or stay in the queue.
    #[command(
        after_help = "Example:\n  klaroen gateway pause main --reason \"the provider has announced maintenance\""
    )]
    Pause(PauseArgs),
    /// Put a gateway back into use.
    #[command(after_help = "Example:\n  klaroen gateway resume main")]
    Resume(ResumeArgs),
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Recompute the chain of each audit log and name the first entry that was changed or is missing. The exit status is 1 if there
    /// is one. Entries that were cut off at the end do not show.
    #[command(
        after_help = "Examples:\n  klaroen audit verify\n  klaroen audit verify --organisation utrecht"
    )]
    Verify(VerifyArgs),
}

#[derive(Debug, Subcommand)]
pub enum ParticipantsCommand {
    /// Enrol or update every participant in a CSV file. Good rows are written whatever becomes of the others.
    ///
    /// A file says all places of whom it names: what it does not name of them is gone at its end. Who is not in it stays. Rows
    /// of one participant may stand anywhere; together they take the least time. Sort a file in which the rows of more than
    /// 200,000 people stand apart: of those beyond it a place is gone until its row is read. Into a SQLite file it is faster while
    /// no `klaroen serve` runs on it.
    ///
    /// The result is printed as JSON on standard output, rejected rows on standard error. The exit status is 1 if a
    /// row was rejected, so that a script notices. Ctrl-C finishes what is under way and tells what was done (exit status
    /// 130); a second one ends at once. An import that ended early is run again: rows that are there already are left alone.
    #[command(
        after_help = "Columns (header required, any order): kind, name, phone, language, label, latitude, longitude, rd_x, rd_y,\n\
                            postcode, house_number, groups, hours, external_id, consent_at, consent_method\n\
                            or Dutch ones such as Soort, Naam, Telefoonnummer, Datum toestemming, Toestemming via\n\n\
                            Examples:\n  klaroen participants import --organisation utrecht deelnemers.csv\n  \
                            klaroen participants import --organisation utrecht --dry-run deelnemers.csv"
    )]
    Import(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub enum AreasCommand {
    /// Create or replace the areas of a GeoJSON FeatureCollection, all or none.
    ///
    /// Each feature is a Polygon or MultiPolygon with `properties: {code, name, kind}`; its `id` stands in for a missing code.
    #[command(after_help = "Example:\n  klaroen areas import --organisation utrecht buurten.geojson")]
    Import(AreasArgs),
}

#[derive(Debug, Subcommand)]
pub enum SimulateCommand {
    /// An SMPP 3.4 server that answers like a provider, and misbehaves as it is told. Sends nothing anywhere.
    ///
    /// Counters go to standard error each second; the totals, as JSON, to standard output at the end (Ctrl-C or --for).
    #[command(after_help = "Examples:\n  klaroen simulate smsc --listen 127.0.0.1:2775\n  \
                            klaroen simulate smsc --undelivered 0.05 --lost-response 0.01 --throttle-above 500 --for 60")]
    Smsc(SmscArgs),
    /// An HTTP provider that speaks one of the contracts, and misbehaves as it is told. Sends nothing anywhere but callbacks.
    ///
    /// Counters go to standard error each second; the totals, as JSON, to standard output at the end (Ctrl-C or --for).
    /// While it runs it can be asked and told: GET /simulator/stats, GET /simulator/rings?number=316…,
    /// PUT /simulator/faults {"throttled": 0.5, …}, PUT /simulator/balance {"balance": 100},
    /// POST /simulator/mishaps {"mishap": "lost_response", "times": 3} for the next submits,
    /// POST /simulator/inbound {"from": "316…", "to": "1000", "text": "…"}.
    /// Mishaps: throttled, internal_error, bare_error, bare_error_after_taking, garbled_response, ignored, lost_response,
    /// close_before_taking, close_after_taking.
    ///
    /// The contract "http": POST /messages with "Authorization: Bearer SECRET" and {"from", "to", "text", "reference",
    /// "callback", "validity_seconds"} returns 201 {"id", "status", "parts"} or {"error": {"code", "message"}};
    /// GET /messages?reference=… returns {"messages": [{"id", "reference", "to", "status", "parts"}]}, GET /balance {"balance"}.
    /// Receipts are POST {"id", "reference", "to", "status", "error", "at"}, SMS from phones POST {"id", "from", "to", "text", "at"}.
    #[command(
        after_help = "Examples:\n  klaroen simulate http --contract twilio --listen 127.0.0.1:0 --secret test_key \\\n    \
                            --inbound-url http://127.0.0.1:8080/v1/gateways/ID/TOKEN/mo\n  \
                            klaroen simulate http --contract cm --lost-response 0.01 --throttled 0.1 --retry-after 2 --for 60"
    )]
    Http(HttpArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_of_the_manual_are_understood() {
        for line in [
            "klaroen --config k.toml secrets init",
            "klaroen check-config --config k.toml",
            "klaroen migrate",
            "klaroen organisation create utrecht --name Utrecht",
            "klaroen key create --organisation utrecht --role operator --name N --expires-in 90d",
            "klaroen key create --role platform",
            "klaroen key list --organisation utrecht",
            "klaroen key list --platform",
            "klaroen key revoke 019ad1c2-7f6e-7c3b-a1b5-3f2f5be1c0aa",
            "klaroen gateway pause main --reason maintenance",
            "klaroen gateway resume main",
            "klaroen audit verify --organisation utrecht",
            "klaroen participants import --organisation utrecht a.csv",
            "klaroen areas import --organisation utrecht a.geojson",
            "klaroen serve",
            "klaroen dispatcher",
            "klaroen worker --config k.toml",
            "klaroen demo --once",
            "klaroen simulate smsc --listen 127.0.0.1:2775 --seed 3 --for 5",
            "klaroen simulate http --contract twilio --listen 127.0.0.1:0 --throttled 0.1 --for 5",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "klaroen key create --organisation u --role king",
            "klaroen key list",
            "klaroen key list --platform --organisation u",
            "klaroen key revoke klr_1",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
