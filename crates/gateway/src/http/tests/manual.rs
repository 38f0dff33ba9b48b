//! The examples of the manual are right.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::GatewayConfig;

const MANUAL: &str = include_str!("../../../../../docs/gateways.md");

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
