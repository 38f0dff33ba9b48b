//! What is asked for at the command line, and what is measured then.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::database::Engine;

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Only these parts.
    #[arg(
        long,
        value_name = "PARTS",
        value_delimiter = ',',
        default_value = "matching,sending,import,beside,trouble,million,peers"
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
    /// Recipients of the large alert of `beside` and of the alert of `trouble` [default: 100000; quick: 10000].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    large: Option<u32>,
    /// Recipients of the alert of `million` [default: 1000000; quick: 100000].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    million: Option<u32>,
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

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Who is inside a geofence
    Matching,
    /// From the POST to the last receipt
    Sending,
    /// Rows per second
    Import,
    /// A small alert beside a large one under way
    Beside,
    /// A good gateway beside a slow one and a stuck one
    Trouble,
    /// A million recipients through a dispatcher and a worker, on PostgreSQL only
    Million,
    /// PostGIS, Kannel and the bare SMPP client
    Peers,
    /// PostGIS alone, with the shapes of matching
    Postgis,
    /// Kannel alone
    Kannel,
    /// The bare SMPP client alone
    Bare,
}

/// What is measured, nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub parts: Vec<Part>,
    pub engines: Vec<Engine>,
    /// The smallest first: a registry grows.
    pub places: Vec<u32>,
    pub recipients: Vec<u32>,
    pub runs: u32,
    pub import_rows: u32,
    pub import_runs: u32,
    pub large: u32,
    pub million: u32,
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
            parts: self.only.clone(),
            engines: self.databases.clone(),
            places: list(&self.places, &[100_000, 1_000_000, 2_000_000], &[100_000, 400_000]),
            recipients: list(&self.recipients, &[1_000, 10_000, 100_000], &[1_000, 10_000]),
            runs: self.runs.unwrap_or(usual(5, 1)),
            import_rows: self.import_rows.unwrap_or(usual(1_000_000, 100_000)),
            // Five on two databases would take as long as everything else.
            import_runs: self.import_runs.unwrap_or(usual(3, 1)),
            large: self.large.unwrap_or(usual(100_000, 10_000)),
            million: self.million.unwrap_or(usual(1_000_000, 100_000)),
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

    /// Whether a PostgreSQL server is needed.
    pub fn needs_server(&self) -> bool {
        let of_klaroen =
            [Part::Matching, Part::Sending, Part::Import, Part::Beside, Part::Trouble, Part::Million];
        let klaroen = of_klaroen.iter().any(|part| self.has(*part));
        self.has(Part::Postgis) || (klaroen && self.engines.contains(&Engine::Postgres))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn plan(line: &str) -> Plan {
        Line::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}")).bench.plan()
    }

    #[test]
    fn without_options_everything_is_measured() {
        let plan = plan("bench");
        assert!(
            [Part::Matching, Part::Sending, Part::Import, Part::Peers].iter().all(|part| plan.has(*part))
        );
        assert!([Part::Beside, Part::Trouble, Part::Million].iter().all(|part| plan.has(*part)));
        assert_eq!((plan.large, plan.million, plan.receipt_window), (100_000, 1_000_000, 1_000));
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
        assert!(kannel.has(Part::Kannel) && !kannel.has(Part::Bare) && !kannel.needs_server());
        assert!(plan("bench --only bare,postgis").needs_server());
        assert!(!plan("bench --only import --databases sqlite").needs_server());
        assert!(plan("bench --only million").needs_server());
        assert!(!plan("bench --only beside,trouble --databases sqlite").needs_server());
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
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
