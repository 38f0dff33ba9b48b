//! A `deliver_sm` (SMPP 3.4 §4.6.1): a receipt, an SMS, or a part of one. Pure and total.

use std::borrow::Cow;
use std::fmt::Write as _;

use klaroen_domain::outcome::ReceiptStatus;
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::text::national::{Language, Tables};

use super::receipt::{self, Fields};
use crate::smpp::codec::coding::{self, Coding};
use crate::smpp::codec::message_id;
use crate::smpp::codec::pdu::DeliverSm;
use crate::smpp::config::SmppConfig;
use crate::sms::Receipt;

/// The content of a `deliver_sm`.
#[derive(Debug)]
pub(in crate::smpp) enum Inbound {
    /// A receipt with an id.
    Receipt(Receipt),
    /// A receipt without one: nothing can be done with it, now or later.
    UselessReceipt,
    /// A whole SMS.
    Sms(Sms),
    /// A part of a long one.
    Part(Part),
}

/// A whole SMS. No `Debug` of its content.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::smpp) struct Sms {
    /// Source address as the provider writes it.
    pub from: String,
    /// Destination address.
    pub to: String,
    /// Text.
    pub text: String,
}

impl std::fmt::Debug for Sms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sms").finish_non_exhaustive()
    }
}

/// One part of a long SMS.
#[derive(Clone)]
pub(in crate::smpp) struct Part {
    /// Source address.
    pub from: String,
    /// Destination address.
    pub to: String,
    /// Reference that all parts share.
    pub reference: u16,
    /// How many parts there are; at least two.
    pub total: u8,
    /// Number of this part: 1 to `total`.
    pub number: u8,
    /// Its octets without the header. A character may be cut at the end, so parts are joined before they are decoded.
    pub octets: Vec<u8>,
    /// Their coding.
    pub coding: Coding,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("number", &self.number)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// `source_addr_ton` (SMPP 3.4 §5.2.5).
const UNKNOWN: u8 = 0;
const INTERNATIONAL: u8 = 1;
const NATIONAL: u8 = 2;

/// Digits of a number with its country code (ITU-T E.164 §6).
const E164_LEN_MAX: usize = 15;
/// Shorter ones may be short codes.
const E164_SAFE_LEN_MIN: usize = 10;

/// Reads a `deliver_sm`.
///
/// Only the message type in `esm_class` (SMPP 3.4 §5.2.12) makes it a receipt, because anybody can text us "id:1 stat:DELIVRD".
/// If a provider forgets the type, the configuration may allow a look at the text; the consumer then still has to find
/// the message that it is about, sent to the number that it came from.
pub(in crate::smpp) fn read(pdu: &DeliverSm<'_>, config: &SmppConfig, country: Country) -> Inbound {
    let DeliverSm { esm_class, data_coding, .. } = *pdu;
    // An empty short_message means that the text is in message_payload (SMPP 3.4 §5.3.2.32).
    let body: &[u8] = match pdu.payload {
        Some(payload) if pdu.short_message.is_empty() => payload,
        _ => pdu.short_message,
    };
    let (UserDataHeader { part, tables }, octets) = split_header(body, esm_class & 0x40 != 0);

    let message_type = esm_class & 0x3C;
    let intermediate = message_type == 0x20;
    if message_type == 0x04 || intermediate {
        let text = coding::decode_receipt(octets, data_coding);
        let fields = Fields::read(&text);
        return read_receipt(&fields, pdu, intermediate, config, country);
    }
    if config.receipts_without_esm_class && message_type == 0 && part.is_none() {
        let text = coding::decode_receipt(octets, data_coding);
        let fields = Fields::read(&text);
        if fields.is_receipt() {
            return read_receipt(&fields, pdu, false, config, country);
        }
    }

    let (from, to) = (source(pdu, country).into_owned(), pdu.destination.clone().into_owned());
    let coding = Coding { data_coding, tables };
    match part.or_else(|| sar(pdu)) {
        Some((reference, total, number)) if total > 1 && (1..=total).contains(&number) => {
            Inbound::Part(Part { from, to, reference, total, number, octets: octets.to_vec(), coding })
        }
        _ => Inbound::Sms(Sms { from, to, text: coding::decode(octets, coding, config.alphabet) }),
    }
}

fn read_receipt(
    fields: &Fields<'_>,
    pdu: &DeliverSm<'_>,
    intermediate: bool,
    config: &SmppConfig,
    country: Country,
) -> Inbound {
    // The TLVs win, the text fills gaps: some providers send the one without the other.
    let canonical = |raw| message_id::of_receipt(raw, config.message_id_format);
    let Some(provider_id) =
        pdu.receipted_id.as_deref().and_then(canonical).or_else(|| fields.get("id").and_then(canonical))
    else {
        return Inbound::UselessReceipt;
    };
    let status = match (pdu.state, fields.get("stat")) {
        (Some(state), _) => receipt::status_of_state(state),
        (None, Some(word)) => receipt::status_of_word(word),
        (None, None) => ReceiptStatus::Unknown,
    };
    // An intermediate notification tells of one try that failed; the SMSC goes on (SMPP 3.4 §5.2.12).
    let status = match status {
        ReceiptStatus::Undelivered if intermediate => ReceiptStatus::Underway,
        status => status,
    };
    let error = pdu
        .network_error
        .map(|(network, code)| format!("{network}:{code}"))
        .or_else(|| fields.error().map(str::to_owned));
    let mut raw = fields.raw();
    let mut add = |pair: std::fmt::Arguments<'_>| {
        let space = if raw.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(raw, "{space}{pair}");
    };
    if let Some(id) = &pdu.receipted_id {
        add(format_args!("receipted_message_id:{id}"));
    }
    if let Some(state) = pdu.state {
        add(format_args!("message_state:{state}"));
    }
    if let Some((network, code)) = pdu.network_error {
        add(format_args!("network_error_code:{network}:{code}"));
    }
    // Many may wait, so each takes no more than it needs.
    raw.shrink_to_fit();
    let recipient = if is_ours(&pdu.source, config) {
        PhoneNumber::parse_sender(&pdu.destination, country)
    } else {
        recipient(pdu, country)
    };
    Inbound::Receipt(Receipt { provider_id, reference: None, status, error, recipient, raw })
}

/// The source address; a national one gets the trunk prefix that nobody transmits. Some providers call every address
/// national, with the digits of an international one: those stay as they are, or a STOP from there would be nobody's. An
/// address of unknown type is national only if it is no number of this country with its code.
fn source<'a>(pdu: &'a DeliverSm<'_>, country: Country) -> Cow<'a, str> {
    let may_be_national = match pdu.source_ton {
        NATIONAL => true,
        UNKNOWN => PhoneNumber::parse_sender(&pdu.source, country)
            .is_none_or(|number| number.country() != Some(country)),
        _ => false,
    };
    if may_be_national && !pdu.source.starts_with(['0', '+']) {
        let national = format!("0{}", pdu.source);
        if PhoneNumber::parse_sender(&national, country).is_some() {
            return Cow::Owned(national);
        }
    }
    Cow::Borrowed(&pdu.source)
}

/// Whether an address is a sender of this gateway. A receipt that comes from one has its addresses as the message had them: SMPP 3.4
/// §4.6 swaps them, and not every provider does.
fn is_ours(address: &str, config: &SmppConfig) -> bool {
    let mut senders = std::iter::once(&config.sender).chain(config.routing.senders.values());
    senders.any(|sender| sender.trim_start_matches('+') == address.trim_start_matches('+'))
}

/// The phone that a receipt is about. An address that calls itself international and looks like it is E.164 without its plus
/// sign (SMPP 3.4 §5.2.5), and needs no parser, which would cost more than all the rest of a receipt. A zero near the
/// country code may be a trunk prefix that does not belong there.
fn recipient(pdu: &DeliverSm<'_>, country: Country) -> Option<PhoneNumber> {
    let digits = pdu.source.as_bytes();
    let plain = pdu.source_ton == INTERNATIONAL
        && (E164_SAFE_LEN_MIN..=E164_LEN_MAX).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && !digits[..4].contains(&b'0');
    if plain {
        Some(PhoneNumber::from_sealed(format!("+{}", pdu.source)))
    } else {
        PhoneNumber::parse_sender(&source(pdu, country), country)
    }
}

/// What a user data header says (3GPP TS 23.040 §9.2.3.24).
#[derive(Default)]
struct UserDataHeader {
    /// `(reference, total, number)` if this is a part of a long SMS.
    part: Option<(u16, u8, u8)>,
    /// The national language tables that the text is written with.
    tables: Tables,
}

/// Splits the user data header off. A header that cannot be is left in the text.
fn split_header(body: &[u8], has_header: bool) -> (UserDataHeader, &[u8]) {
    let mut header = UserDataHeader::default();
    let Some((&length, rest)) = body.split_first() else { return (header, body) };
    let length = usize::from(length);
    if !has_header || length > rest.len() {
        return (header, body);
    }
    let (mut elements, octets) = rest.split_at(length);
    while let [kind, size, tail @ ..] = elements {
        let size = usize::from(*size);
        if size > tail.len() {
            break;
        }
        match (*kind, &tail[..size]) {
            (0x00, [reference, total, number]) => {
                header.part = Some((u16::from(*reference), *total, *number));
            }
            (0x08, [high, low, total, number]) => {
                header.part = Some((u16::from_be_bytes([*high, *low]), *total, *number));
            }
            // National language single shift and locking shift (§9.2.3.24.15 and §9.2.3.24.16).
            (0x24, [language]) => header.tables.single = Language::of_identifier(*language),
            (0x25, [language]) => header.tables.locking = Language::of_identifier(*language),
            _ => {}
        }
        elements = &tail[size..];
    }
    (header, octets)
}

/// The same from the `sar_*` parameters (SMPP 3.4 §5.3.2.22 to §5.3.2.24).
const fn sar(pdu: &DeliverSm<'_>) -> Option<(u16, u8, u8)> {
    match pdu.sar {
        (Some(reference), Some(total), Some(number)) => Some((reference, total, number)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "deliver_sm_tests.rs"]
mod tests;
