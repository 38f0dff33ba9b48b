//! Warnings about settings that are allowed, and would be missed one day.

use klaroen_domain::alert::Priority;
use klaroen_domain::phone::Country;
use klaroen_gateway::config::GatewayConfig;

use super::sheet::{Sheet, takes};

/// All of them. A gateway that only gets something when another one fails is none of them: it is the reserve.
pub fn of(gateways: &[GatewayConfig], sheets: &[Sheet], country: Country) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(no_failover(gateways));
    for (gateway, sheet) in gateways.iter().zip(sheets) {
        let mut about = |warning: String| warnings.push(format!("{}: {warning}", gateway.name()));
        if sends_nothing(gateway) {
            about("sends nothing, and people who are given to it get no message".to_owned());
        } else if let Some(reason) = sheet.no_receipts {
            about(format!("no receipts, {reason}: nobody sees who was not reached"));
        }
        let routing = gateway.routing();
        let shares_tier = |other: &GatewayConfig| {
            other.name() != gateway.name() && other.routing().priority == routing.priority
        };
        if routing.weight == 0 && !gateways.iter().any(shares_tier) {
            let priority = routing.priority;
            about(format!("weight 0 does nothing: no other gateway has priority {priority}"));
        }
    }
    warnings.extend(unserved(gateways, country));
    warnings
}

fn no_failover(gateways: &[GatewayConfig]) -> Option<String> {
    match gateways {
        [_] => Some("there is one gateway: when it fails, alerts wait until it works again".to_owned()),
        [first, others @ ..] if others.iter().all(|other| place(other) == place(first)) => {
            Some(format!("all gateways lead to {}: when it fails, all of them do", place(first)))
        }
        _ => None,
    }
}

/// The destination of the gateway: a host, or the usual address of the type.
fn place(gateway: &GatewayConfig) -> &str {
    gateway.host().unwrap_or(gateway.type_name())
}

const fn sends_nothing(gateway: &GatewayConfig) -> bool {
    matches!(gateway, GatewayConfig::Log(_) | GatewayConfig::Simulator(_))
}

/// Messages that no gateway may get.
fn unserved(gateways: &[GatewayConfig], country: Country) -> Option<String> {
    let nobody = |priority: &&Priority| !gateways.iter().any(|gateway| takes(gateway, country, **priority));
    let missing: Vec<&str> = Priority::ALL.iter().filter(nobody).map(|priority| priority.as_str()).collect();
    if missing.is_empty() {
        None
    } else if missing.len() == Priority::ALL.len() {
        Some(format!("no gateway serves {country}, the country of [sending]: nothing goes out"))
    } else {
        let missing = missing.join(", ");
        Some(format!(
            "no gateway serves numbers of {country} in alerts of priority {missing}: they wait for ever"
        ))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::check_config::sheet;

    fn smpp(name: &str, host: &str, more: &Value) -> Value {
        let mut table = json!({"type": "smpp", "name": name, "host": host, "system_id": "s", "password": "p",
            "sender": "1000"});
        for (key, value) in more.as_object().unwrap() {
            table[key] = value.clone();
        }
        table
    }

    fn two(more: &Value, other: &Value) -> Value {
        json!([smpp("a", "one.example", more), smpp("b", "two.example", other)])
    }

    #[rstest]
    #[case::two_that_are_fine(two(&json!({}), &json!({})), &[])]
    #[case::a_reserve(two(&json!({"priority": 10}), &json!({"priority": 200})), &[])]
    #[case::a_reserve_in_its_tier(two(&json!({}), &json!({"weight": 0})), &[])]
    #[case::one(json!([smpp("a", "one.example", &json!({}))]), &["there is one gateway"])]
    #[case::one_host(json!([smpp("a", "h", &json!({})), smpp("b", "h", &json!({}))]), &["all gateways lead to h:"])]
    #[case::one_type(
        json!([{"type": "cm", "name": "a", "sender": "1", "product_token": "t"},
               {"type": "cm", "name": "b", "sender": "1", "product_token": "u"}]),
        &["all gateways lead to cm:", "a: no receipts, callback_token", "b: no receipts, callback_token"]
    )]
    #[case::weight_alone(two(&json!({"weight": 0, "priority": 1}), &json!({})), &["a: weight 0 does nothing"])]
    #[case::no_country(two(&json!({"countries": ["BE"]}), &json!({"countries": ["DE"]})), &["no gateway serves NL, "])]
    #[case::no_priority(
        two(&json!({"priorities": ["urgent"]}), &json!({"priorities": ["life_threatening"]})),
        &["no gateway serves numbers of NL in alerts of priority normal"]
    )]
    #[case::a_priority_elsewhere(
        two(&json!({"priorities": ["urgent", "normal"]}), &json!({"countries": ["BE"]})),
        &["no gateway serves numbers of NL in alerts of priority life_threatening"]
    )]
    #[case::a_dry_run_beside_a_real_one(
        json!([smpp("a", "h", &json!({})), {"type": "log", "name": "dry"}]),
        &["dry: sends nothing"]
    )]
    fn what_is_missed_one_day(#[case] tables: Value, #[case] expected: &[&str]) {
        let gateways: Vec<GatewayConfig> = serde_json::from_value(tables).unwrap();
        let sheets: Vec<_> =
            gateways.iter().map(|gateway| sheet::of(gateway, Country::NL).unwrap()).collect();
        let told = of(&gateways, &sheets, Country::NL);
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, start) in told.iter().zip(expected) {
            assert!(told.starts_with(start), "{told} does not begin with {start}");
        }
    }
}
