//! The sheet of what each gateway can do and cannot, in words: asked of the adapter itself.

use klaroen_domain::alert::Priority;
use klaroen_domain::phone::Country;
use klaroen_gateway::config::GatewayConfig;
use klaroen_gateway::{Callbacks, Capabilities, ConnectError, callbacks, capabilities};

/// One gateway: a name and a word for each of [`ROWS`].
#[derive(Debug)]
pub struct Sheet {
    name: String,
    words: [String; ROWS.len()],
    /// The reason why no receipts come, if none do.
    pub no_receipts: Option<&'static str>,
}

const ROWS: [&str; 11] = [
    "type",
    "sender",
    "serves",
    "priority, weight",
    "receipts",
    "replies",
    "asked about lost answers",
    "sending again is harmless",
    "segments of a message",
    "messages in a request",
    "rate",
];

/// # Errors
/// Returns [`ConnectError`] if the adapter cannot be made, which the check of the configuration finds before.
pub fn of(gateway: &GatewayConfig, country: Country) -> Result<Sheet, ConnectError> {
    let can = capabilities(gateway)?;
    let callbacks = callbacks(gateway, country)?;
    let no_receipts = why_no_receipts(gateway, can, callbacks.as_ref());
    let routing = gateway.routing();
    let yes = |can: bool| if can { "yes" } else { "no" }.to_owned();
    let words = [
        gateway.type_name().to_owned(),
        senders(gateway),
        serves(gateway),
        format!("{}, {}", routing.priority, routing.weight),
        answer(no_receipts),
        answer(why_no_replies(gateway, can, callbacks.as_ref())),
        yes(can.status_query),
        yes(can.idempotent_submit),
        if can.max_segments == u8::MAX { "any".to_owned() } else { can.max_segments.to_string() },
        can.batch_max.max(1).to_string(),
        rate(gateway),
    ];
    Ok(Sheet { name: gateway.name().to_owned(), words, no_receipts })
}

/// One column for each gateway: a column of facts is read in one go, and there are few gateways.
pub fn table(sheets: &[Sheet]) -> String {
    let label_width = ROWS.iter().map(|row| row.len()).max().unwrap_or_default();
    let line = |label: &str, words: &mut dyn Iterator<Item = (&str, usize)>| {
        let cells = words.map(|(word, width)| format!("{word:width$}"));
        let cells: Vec<String> = std::iter::once(format!("{label:label_width$}")).chain(cells).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let width = |sheet: &Sheet| {
        sheet.words.iter().chain([&sheet.name]).map(|word| word.chars().count()).max().unwrap_or_default()
    };
    let head = line("gateway", &mut sheets.iter().map(|sheet| (sheet.name.as_str(), width(sheet))));
    let rows = ROWS.iter().enumerate().map(|(index, row)| {
        line(row, &mut sheets.iter().map(|sheet| (sheet.words[index].as_str(), width(sheet))))
    });
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

fn answer(why_not: Option<&str>) -> String {
    why_not.map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}"))
}

fn senders(gateway: &GatewayConfig) -> String {
    let usual = if gateway.sender().is_empty() { "none" } else { gateway.sender() };
    let own = gateway.routing().senders().unwrap_or_default();
    let own = own.iter().map(|(country, sender)| format!("{country}: {sender}"));
    std::iter::once(usual.to_owned()).chain(own).collect::<Vec<_>>().join(", ")
}

fn serves(gateway: &GatewayConfig) -> String {
    let routing = gateway.routing();
    let countries: Vec<String> =
        routing.countries().unwrap_or_default().iter().map(ToString::to_string).collect();
    let priorities: Vec<&str> = routing.priorities.iter().map(|priority| priority.as_str()).collect();
    match (countries.as_slice(), priorities.as_slice()) {
        ([], []) => "all".to_owned(),
        (_, []) => countries.join(", "),
        ([], _) => priorities.join(", "),
        _ => format!("{}: {}", countries.join(", "), priorities.join(", ")),
    }
}

/// Whether it may get messages of that kind.
pub fn takes(gateway: &GatewayConfig, country: Country, priority: Priority) -> bool {
    let routing = gateway.routing();
    let countries = routing.countries().unwrap_or_default();
    (countries.is_empty() || countries.contains(&country))
        && (routing.priorities.is_empty() || routing.priorities.contains(&priority))
}

fn rate(gateway: &GatewayConfig) -> String {
    let segments = match gateway.segments_per_second() {
        0 => "no limit".to_owned(),
        segments => format!("{segments} segments/s"),
    };
    let (channels, window) = (gateway.channels().get(), gateway.window());
    let windows = if channels == 1 { String::new() } else { format!("{channels} binds of ") };
    format!("{segments}, {windows}{window} at once")
}

/// `None` if they come.
fn why_no_receipts(
    gateway: &GatewayConfig,
    can: Capabilities,
    callbacks: Option<&Callbacks>,
) -> Option<&'static str> {
    match (gateway, callbacks) {
        _ if can.receipts => None,
        (GatewayConfig::Http(template), _) if template.receipts.is_none() => {
            Some("[gateways.receipts] is not set")
        }
        (_, Some(callbacks)) if !callbacks.are_open() => Some("callback_token is not set"),
        (_, Some(_)) => Some("callback_url is not set"),
        (_, None) => Some("of this type none come"),
    }
}

/// `None` if they come.
fn why_no_replies(
    gateway: &GatewayConfig,
    can: Capabilities,
    callbacks: Option<&Callbacks>,
) -> Option<&'static str> {
    match (gateway, callbacks) {
        _ if can.inbound && is_name(gateway.sender()) => Some("a sender that is a name gets none"),
        _ if can.inbound => None,
        (GatewayConfig::Http(template), _) if template.inbound.is_none() => {
            Some("[gateways.inbound] is not set")
        }
        (_, Some(callbacks)) if callbacks.possible().inbound => Some("callback_token is not set"),
        _ => Some("of this type none come"),
    }
}

fn is_name(sender: &str) -> bool {
    !sender.strip_prefix('+').unwrap_or(sender).bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn gateway(keys: &Value) -> GatewayConfig {
        serde_json::from_value(keys.clone()).unwrap()
    }

    fn word(keys: &Value, row: &str) -> String {
        let index = ROWS.iter().position(|known| *known == row).unwrap();
        of(&gateway(keys), Country::NL).unwrap().words[index].clone()
    }

    fn with(mut keys: Value, more: &Value) -> Value {
        for (key, value) in more.as_object().unwrap() {
            keys[key] = value.clone();
        }
        keys
    }

    fn cm() -> Value {
        json!({"type": "cm", "name": "c", "sender": "1000", "product_token": "t",
               "callback_token": "0123456789abcdefABCDEF-_"})
    }

    fn http() -> Value {
        json!({"type": "http", "name": "h", "sender": "1000", "base_url": "https://sms.example.com", "path": "/s",
               "body": "{text}", "answer": {}, "callback_token": "0123456789abcdefABCDEF-_"})
    }

    #[rstest]
    #[case(cm(), "yes", "yes")]
    #[case(with(cm(), &json!({"callback_token": null})), "no: callback_token is not set", "no: callback_token is not set")]
    #[case(with(cm(), &json!({"sender": "Klaroen"})), "yes", "no: a sender that is a name gets none")]
    #[case(json!({"type": "spryng", "name": "s", "sender": "1000", "api_token": "t"}),
           "no: callback_token is not set", "no: of this type none come")]
    #[case(json!({"type": "twilio", "name": "t", "sender": "1000", "account_sid": "AC1", "auth_token": "t"}),
           "no: callback_token is not set", "no: callback_token is not set")]
    #[case(http(), "no: [gateways.receipts] is not set", "no: [gateways.inbound] is not set")]
    #[case(with(http(), &json!({"receipts": {"status": "s", "id": "i"}, "callback_token": null})),
           "no: callback_token is not set", "no: [gateways.inbound] is not set")]
    #[case(json!({"type": "smpp", "name": "m", "host": "h", "system_id": "s", "password": "p", "sender": "1000"}),
           "yes", "yes")]
    #[case(json!({"type": "log", "name": "dry"}), "no: of this type none come", "no: of this type none come")]
    fn what_does_not_come_has_its_reason(#[case] keys: Value, #[case] receipts: &str, #[case] replies: &str) {
        assert_eq!(
            (word(&keys, "receipts"), word(&keys, "replies")),
            (receipts.to_owned(), replies.to_owned())
        );
    }

    #[rstest]
    #[case(json!({}), "all", "1000")]
    #[case(json!({"countries": ["nl", "BE"], "senders": {"BE": "8850"}}), "NL, BE", "1000, BE: 8850")]
    #[case(json!({"priorities": ["life_threatening"]}), "life_threatening", "1000")]
    #[case(json!({"countries": ["NL"], "priorities": ["urgent", "normal"]}), "NL: urgent, normal", "1000")]
    fn whom_it_serves_and_as_whom(#[case] more: Value, #[case] serves: &str, #[case] sender: &str) {
        let keys = with(cm(), &more);
        assert_eq!((word(&keys, "serves"), word(&keys, "sender")), (serves.to_owned(), sender.to_owned()));
    }

    #[test]
    fn every_gateway_is_a_column() {
        let smpp = json!({"type": "smpp", "name": "main", "host": "h", "system_id": "s", "password": "p",
            "sender": "1000", "binds": 2, "segments_per_second": 500});
        let sheets = [of(&gateway(&smpp), Country::NL).unwrap(), of(&gateway(&cm()), Country::NL).unwrap()];
        let table = table(&sheets);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 1 + ROWS.len());
        let words = |line: &str| {
            line.split("  ").filter(|word| !word.is_empty()).map(str::trim).collect::<Vec<_>>().join("|")
        };
        assert_eq!(words(lines[0]), "gateway|main|c");
        assert_eq!(words(lines[11]), "rate|500 segments/s, 2 binds of 50 at once|no limit, 20 at once");
        let second = lines[0].find("  c").unwrap();
        assert!(
            lines.iter().all(|line| line[second..].starts_with("  ") && !line[second + 2..].starts_with(' ')),
            "{table}"
        );
    }
}
