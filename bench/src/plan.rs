//! The parts that the command line asks for, and what is measured then.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::installation::database::Engine;

/// Measures this machine: matching, import and alerts, beside PostGIS, Kannel and the bare SMPP client.
///
/// Everything runs on 127.0.0.1 in temporary directories (TMPDIR should be on a real disk) and is gone afterwards. What is
/// not installed is left out, and the table says so. The pure parts have benches of their own: cargo bench.
#[derive(Debug, Parser)]
#[command(
    name = "klaroen-bench",
    version,
    after_help = "Examples:\n  klaroen-bench --quick\n  klaroen-bench --only sending --recipients 10000,100000 --json figures.json"
)]
pub struct BenchArgs {
    /// The program that is measured [default: klaroen, in the folder of this program].
    #[arg(long, value_name = "FILE")]
    klaroen: Option<PathBuf>,
    /// Only these parts.
    #[arg(
        long,
        value_name = "PARTS",
        value_delimiter = ',',
        default_value = "matching,sending,first-alert,import,fairness,degraded,scale,peers"
    )]
    only: Vec<Part>,
    /// On these databases. PostgreSQL runs as a private server in a temporary directory.
    #[arg(long, value_name = "ENGINES", value_delimiter = ',', default_value = "sqlite,postgres")]
    databases: Vec<Engine>,
    /// A few minutes instead of half an hour: fewer runs, smaller registries.
    #[arg(long)]
    quick: bool,
    /// Sizes of the registries in which is matched [default: 100000,1000000,2000000; quick: 100000,400000].
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(5_000..=20_000_000))]
    places: Option<Vec<u32>>,
    /// Recipients of one alert [default: 1000,10000,100000; quick: 1000,10000].
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    recipients: Option<Vec<u32>>,
    /// Runs of each alert and gateway; medians are shown [default: 5; quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: Option<u32>,
    /// Runs of the import; medians are shown [default: 3; quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    import_runs: Option<u32>,
    /// Rows of the import [default: 1000000; quick: 100000].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    import_rows: Option<u32>,
    /// Recipients of the large alert of `fairness` and of the alert of `degraded` [default: 100000; quick: 10000].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    large: Option<u32>,
    /// Recipients of the alert of `scale` [default: 1000000; quick: 100000].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    scale: Option<u32>,
    /// Receipts that the SMSC leaves unanswered on one connection. Klaroen answers one when it is on the disk.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    receipt_window: u32,
    /// Messages for Kannel, for the bare SMPP client and for Klaroen beside them [default: 50000; quick: 10000].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: Option<u32>,
    /// Match the largest polygon of the *.geojson in this folder too (around 52.09 N, 5.12 E people live densely).
    #[arg(long, value_name = "FOLDER")]
    geodata: Option<PathBuf>,
    /// Write all figures of all runs to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Be the SMSC of a bench: the first line of the standard input says which.
    #[arg(long, hide = true)]
    pub as_smsc: bool,
}

/// A part that can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Who is inside a geofence
    Matching,
    /// From the POST to the last receipt
    Sending,
    /// The first alert after an import on a PostgreSQL as it comes, beside a tuned one
    FirstAlert,
    /// Rows per second
    Import,
    /// A small alert beside a large one under way
    Fairness,
    /// A good gateway beside a slow one and a stuck one
    Degraded,
    /// A million recipients through a dispatcher and a worker, on PostgreSQL only
    Scale,
    /// PostGIS, Kannel and the bare SMPP client
    Peers,
    /// PostGIS alone, with the shapes of matching
    Postgis,
    /// Kannel alone
    Kannel,
    /// The bare SMPP client alone
    Bare,
}

/// The measurements of a run, nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The program that is measured, if it is not the one beside this program.
    pub klaroen: Option<PathBuf>,
    pub parts: Vec<Part>,
    pub engines: Vec<Engine>,
    /// The smallest first: a registry grows.
    pub places: Vec<u32>,
    pub recipients: Vec<u32>,
    pub runs: u32,
    pub import_rows: u32,
    pub import_runs: u32,
    pub large: u32,
    pub scale: u32,
    pub receipt_window: u32,
    pub messages: u32,
    pub geodata: Option<PathBuf>,
    pub json: Option<PathBuf>,
}

impl BenchArgs {
    /// With the defaults.
    pub fn plan(&self) -> Plan {
        let usual = |long, quick| if self.quick { quick } else { long };
        let list = |given: &Option<Vec<u32>>, long: &[u32], quick: &[u32]| {
            let mut list =
                given.clone().unwrap_or_else(|| if self.quick { quick.to_vec() } else { long.to_vec() });
            list.sort_unstable();
            list.dedup();
            list
        };
        Plan {
            klaroen: self.klaroen.clone(),
            parts: self.only.clone(),
            engines: self.databases.clone(),
            places: list(&self.places, &[100_000, 1_000_000, 2_000_000], &[100_000, 400_000]),
            recipients: list(&self.recipients, &[1_000, 10_000, 100_000], &[1_000, 10_000]),
            runs: self.runs.unwrap_or(usual(5, 1)),
            import_rows: self.import_rows.unwrap_or(usual(1_000_000, 100_000)),
            // Five on two databases would take as long as everything else.
            import_runs: self.import_runs.unwrap_or(usual(3, 1)),
            large: self.large.unwrap_or(usual(100_000, 10_000)),
            scale: self.scale.unwrap_or(usual(1_000_000, 100_000)),
            receipt_window: self.receipt_window,
            messages: self.messages.unwrap_or(usual(50_000, 10_000)),
            geodata: self.geodata.clone(),
            json: self.json.clone(),
        }
    }
}

impl Plan {
    /// Whether a part was asked for, by its own name or by that of all peers.
    pub fn has(&self, part: Part) -> bool {
        let is_peer = matches!(part, Part::Postgis | Part::Kannel | Part::Bare);
        self.parts.contains(&part) || (is_peer && self.parts.contains(&Part::Peers))
    }

    /// Whether Klaroen's own program is needed.
    pub fn needs_program(&self) -> bool {
        [Part::Sending, Part::FirstAlert, Part::Import, Part::Fairness, Part::Degraded, Part::Scale]
            .iter()
            .any(|part| self.has(*part))
    }

    /// Whether a PostgreSQL server is needed.
    pub fn needs_server(&self) -> bool {
        let klaroen = self.has(Part::Matching) || self.needs_program();
        self.has(Part::Postgis) || (klaroen && self.engines.contains(&Engine::Postgres))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        BenchArgs::command().debug_assert();
    }

    fn plan(line: &str) -> Plan {
        BenchArgs::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}")).plan()
    }

    #[test]
    fn without_options_everything_is_measured() {
        let plan = plan("bench");
        assert!(
            [Part::Matching, Part::Sending, Part::Import, Part::Peers].iter().all(|part| plan.has(*part))
        );
        assert!([Part::Fairness, Part::Degraded, Part::Scale].iter().all(|part| plan.has(*part)));
        assert_eq!((plan.large, plan.scale, plan.receipt_window), (100_000, 1_000_000, 1_000));
        assert_eq!(plan.engines, [Engine::Sqlite, Engine::Postgres]);
        assert_eq!((plan.places.as_slice(), plan.runs), (&[100_000, 1_000_000, 2_000_000][..], 5));
    }

    #[test]
    fn what_is_given_goes_before_quick_and_sizes_grow() {
        let plan =
            plan("bench --quick --only sending,peers --databases postgres --recipients 500,20,500 --runs 4");
        assert_eq!((plan.recipients.as_slice(), plan.runs, plan.import_rows), (&[20, 500][..], 4, 100_000));
        assert!(plan.has(Part::Peers) && !plan.has(Part::Matching));
        assert!(plan.has(Part::Kannel) && plan.has(Part::Postgis) && plan.needs_server());
        assert_eq!(plan.engines, [Engine::Postgres]);
    }

    #[test]
    fn one_peer_alone_needs_no_more_than_itself() {
        let kannel = plan("bench --only kannel");
        assert!(
            kannel.has(Part::Kannel)
                && !kannel.has(Part::Bare)
                && !kannel.needs_server()
                && !kannel.needs_program()
        );
        assert!(plan("bench --only bare,postgis").needs_server());
        assert!(!plan("bench --only import --databases sqlite").needs_server());
        assert!(plan("bench --only scale").needs_server());
        assert!(plan("bench --only first-alert").needs_server());
        assert!(!plan("bench --only fairness,degraded --databases sqlite").needs_server());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "bench --only speed",
            "bench --runs 0",
            "bench --places 10",
            "bench --databases mysql",
            "bench --receipt-window 0",
        ] {
            assert!(BenchArgs::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
