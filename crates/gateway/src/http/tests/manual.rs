//! The examples of the manual are right.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::GatewayConfig;

const MANUAL: &str = include_str!("../../../../../docs/gateways.md");
const README: &str = include_str!("../../../../../README.md");

/// Types without an adapter of the battery.
fn others() -> [GatewayConfig; 3] {
    [
        json!({"type": "smpp", "name": "m", "host": "h", "system_id": "s", "password": "p", "sender": "1000"}),
        json!({"type": "log", "name": "l"}),
        json!({"type": "simulator", "name": "s"}),
    ]
    .map(|table| serde_json::from_value(table).unwrap())
}

/// The row of a type, as far as the adapter knows it.
fn row(config: &GatewayConfig) -> String {
    let can = crate::capabilities(config).unwrap();
    let word = |can: bool| if can { "yes" } else { "no" };
    let segments = if can.max_segments == u8::MAX { "any".to_owned() } else { can.max_segments.to_string() };
    let (receipts, replies, segments, batch) = match config {
        GatewayConfig::Http(_) => ("if set up", "if set up", "as set up".to_owned(), "as set up".to_owned()),
        _ => (word(can.receipts), word(can.inbound), segments, can.batch_max.max(1).to_string()),
    };
    let (asked, harmless) = (word(can.status_query), word(can.idempotent_submit));
    format!(
        "| `{}` | {receipts} | {replies} | {asked} | {harmless} | {segments} | {batch} |",
        config.type_name()
    )
}

#[test]
fn the_tables_say_what_the_adapters_say() {
    let specimens = super::specimens();
    let adapters = specimens.iter().map(|specimen| specimen.config("http://127.0.0.1:9", &json!({})));
    let rows: BTreeSet<String> = adapters.chain(others()).map(|config| row(&config)).collect();
    for (page, text) in [("README.md", README), ("docs/gateways.md", MANUAL)] {
        let (_, table) = text.split_once("| asked about lost answers |").unwrap();
        let lines = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        // A page's own additions stand in the last column.
        let told = lines.map(|line| line.split_inclusive('|').take(8).collect::<String>());
        assert_eq!(told.collect::<BTreeSet<_>>(), rows, "{page}");
    }
}

fn examples() -> Vec<Value> {
    let blocks = MANUAL.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let tables =
        blocks.map(|block| toml::from_str::<Value>(block).unwrap_or_else(|error| panic!("{error}: {block}")));
    tables.flat_map(|file| file["gateways"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_example_is_valid_but_for_the_files_of_its_secrets() {
    for table in examples() {
        let config: GatewayConfig =
            serde_json::from_value(table.clone()).unwrap_or_else(|error| panic!("{error}: {table}"));
        let missing: BTreeSet<&str> = config.validate().iter().map(|fault| fault.field).collect();
        let named =
            table.as_object().unwrap().keys().map(String::as_str).filter(|key| key.ends_with("_file"));
        assert_eq!(missing, named.collect(), "{table}");
    }
}

#[test]
fn every_type_has_an_example_and_stands_in_the_table() {
    let shown: BTreeSet<String> =
        examples().iter().map(|table| table["type"].as_str().unwrap().to_owned()).collect();
    for specimen in super::specimens() {
        assert!(shown.contains(specimen.kind), "{}", specimen.kind);
        assert!(MANUAL.contains(&format!("| `{}` |", specimen.kind)), "{}", specimen.kind);
    }
}
