use klaroen_domain::time::Timestamp;
use klaroen_store::gateways::Figures;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn gateway(name: &str, keys: &Value) -> ConfiguredGateway {
    let mut table = json!({"type": "log", "name": name});
    for (key, value) in keys.as_object().unwrap() {
        table[key] = value.clone();
    }
    ConfiguredGateway::of(&serde_json::from_value(table).unwrap()).unwrap()
}

fn report(gateway: &str, state: GatewayState) -> GatewayReport {
    GatewayReport {
        gateway: gateway.into(),
        worker: Uuid::nil(),
        state,
        since: Timestamp::from_millis(1),
        reason: String::new(),
        paused_until: None,
        usable: matches!(state, GatewayState::Up | GatewayState::Throttled | GatewayState::Suspect),
        channels_up: 1,
        channels_held: 1,
        rate: Some(10.0),
        in_flight: 2,
        figures: Figures::default(),
        last_error: None,
    }
}

/// Which of two gateways take messages.
fn in_use(first: &Value, second: &Value, states: [Option<GatewayState>; 2]) -> [bool; 2] {
    let configured = [gateway("a", first), gateway("b", second)];
    let reports: Vec<_> =
        ["a", "b"].into_iter().zip(states).filter_map(|(n, s)| Some(report(n, s?))).collect();
    let all = Overview::of(&configured, &reports, &[], &[]);
    ["a", "b"].map(|name| all.not_in_use(name).is_none())
}

#[rstest]
#[case(json!({}), json!({}), [true, true])]
#[case(json!({"priority": 10}), json!({}), [true, false])]
#[case(json!({"weight": 0}), json!({}), [false, true])]
#[case(json!({"weight": 0}), json!({"weight": 0}), [true, true])]
#[case(json!({"priority": 10, "countries": ["NL"]}), json!({}), [true, true])]
#[case(json!({"priority": 10}), json!({"countries": ["NL"]}), [true, false])]
#[case(json!({"priority": 10, "priorities": ["normal"]}), json!({}), [true, true])]
fn two_that_are_well_share_by_the_configuration(
    #[case] first: Value,
    #[case] second: Value,
    #[case] expected: [bool; 2],
) {
    assert_eq!(in_use(&first, &second, [Some(GatewayState::Up); 2]), expected);
}

#[rstest]
#[case([Some(GatewayState::Down), Some(GatewayState::Up)], [false, true])]
#[case([Some(GatewayState::Suspect), Some(GatewayState::Up)], [false, true])]
#[case([Some(GatewayState::Suspect), Some(GatewayState::Suspect)], [true, false])]
#[case([Some(GatewayState::Probing), Some(GatewayState::Up)], [false, true])]
#[case([Some(GatewayState::Throttled), Some(GatewayState::Up)], [true, false])]
#[case([None, Some(GatewayState::Up)], [false, true])]
#[case([None, None], [false, false])]
fn one_that_is_not_well_leaves_it_to_the_next(
    #[case] states: [Option<GatewayState>; 2],
    #[case] expected: [bool; 2],
) {
    assert_eq!(in_use(&json!({"priority": 10}), &json!({}), states), expected);
}

#[test]
fn what_waits_is_counted_where_it_may_go_and_said_where_it_cannot() {
    let configured =
        [gateway("nl", &json!({"countries": ["NL"]})), gateway("all", &json!({"priorities": ["normal"]}))];
    let due = |priority, country: &str, count| Due { priority, country: country.into(), count };
    let due = [due(Priority::Urgent, "NL", 5), due(Priority::Normal, "BE", 3), due(Priority::Normal, "", 1)];
    let reports = [report("all", GatewayState::Up)];
    let all = Overview::of(&configured, &reports, &[], &due);
    assert_eq!(all.gateways.iter().map(|seen| seen.due).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(
        all.without_gateway(None),
        ["life_threatening alerts to numbers of NL", "urgent alerts to numbers of NL"]
    );
    assert_eq!(all.not_in_use("nl").as_deref(), Some("no running worker serves it"));
    assert_eq!(all.gateways[0].state(), UNSERVED);
}

/// If no gateway names a country, there are no other countries.
#[test]
fn what_waits_everywhere_is_not_said_to_wait_in_other_countries() {
    let normal = json!({"priorities": ["normal"]});
    let one = [gateway("all", &normal)];
    assert_eq!(Overview::of(&one, &[], &[], &[]).without_gateway(None), ["normal alerts"]);
    let two =
        [gateway("all", &normal), gateway("nl", &json!({"priorities": ["normal"], "countries": ["NL"]}))];
    let said = ["normal alerts to numbers of other countries", "normal alerts to numbers of NL"];
    assert_eq!(Overview::of(&two, &[], &[], &[]).without_gateway(None), said);
}

#[test]
fn a_message_that_waits_is_told_why() {
    let gateways = [
        gateway("home", &json!({"countries": ["NL"]})),
        gateway("life", &json!({"priorities": ["life_threatening"]})),
    ];
    let pause = GatewayPause {
        gateway: "home".into(),
        paused_at: Timestamp::from_millis(1),
        paused_by: "system".into(),
        reason: None,
    };
    let both = [report("home", GatewayState::Up), report("life", GatewayState::Up)];
    let all = Overview::of(&gateways, &both, &[], &[]);
    assert!(!all.leaves_any_waiting(Priority::LifeThreatening) && all.leaves_any_waiting(Priority::Urgent));
    assert_eq!(all.why_it_waits(Priority::Urgent, "NL"), None);
    let nobody = "no gateway is configured for urgent alerts to these numbers";
    for country in ["BE", ""] {
        assert_eq!(all.why_it_waits(Priority::Urgent, country).as_deref(), Some(nobody));
    }
    let all = Overview::of(&gateways, &both[..1], &[pause], &[]);
    let whys = "home: taken out of use by hand; life: no running worker serves it";
    assert_eq!(all.why_it_waits(Priority::LifeThreatening, "NL").as_deref(), Some(whys));
}

#[test]
fn several_workers_are_one_gateway() {
    let mut up = report("a", GatewayState::Up);
    let mut down = report("a", GatewayState::Down);
    down.reason = "no connection".into();
    down.channels_up = 0;
    up.figures.quarter.accepted = 3;
    down.figures.quarter.accepted = 4;
    up.figures.quarter.delivered = 9;
    (up.figures.receipt_median_s, down.figures.receipt_median_s) = (Some(2.0), Some(60.0));
    let error = |at, code: &str| Some(LastError { code: code.into(), detail: String::new(), at });
    (up.last_error, down.last_error) = (error(1, "older"), error(2, "newer"));
    let standing = Standing::of(&[&down, &up]);
    assert_eq!(standing.best.unwrap().state, GatewayState::Up);
    assert_eq!((standing.channels_up, standing.in_flight, standing.rate), (1, 4, Some(20.0)));
    assert_eq!((standing.counts.accepted, standing.receipt_median_s), (7, Some(2.0)));
    assert_eq!(standing.last_error.unwrap().code, "newer");
    up.rate = None;
    assert_eq!(Standing::of(&[&down, &up]).rate, None, "one without a limit has none");
    assert_eq!(Standing::of(&[]).rate, Some(0.0));
}
