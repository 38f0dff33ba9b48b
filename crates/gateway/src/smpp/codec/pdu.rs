//! The PDUs that we speak, as octets (SMPP 3.4 §3.2 and §4).
//!
//! Reading is lenient and total: whatever a provider sends, the connection goes on unless the framing itself is lost. A strict reader
//! would end it at one citizen's odd sender name, or at a receipt id without its terminator, and the SMSC would send the same
//! `deliver_sm` on every new connection.

use std::borrow::Cow;

use tokio_util::bytes::{BufMut, BytesMut};

use super::command_id::CommandId;

/// Longest PDU: `message_payload` may have 64 KiB less its header, real ones a few hundred octets.
pub(in crate::smpp) const PDU_LEN_MAX: usize = 64 * 1024;
/// Length, id, status and sequence number (SMPP 3.4 §3.2).
pub(in crate::smpp) const HEADER_LEN: usize = 16;

/// `command_status` values that are written or looked for (SMPP 3.4 §5.1.3).
pub(in crate::smpp) mod status {
    pub(in crate::smpp) const OK: u32 = 0x00;
    pub(in crate::smpp) const INVALID_LENGTH: u32 = 0x02;
    pub(in crate::smpp) const INVALID_COMMAND: u32 = 0x03;
    pub(in crate::smpp) const WRONG_BIND_STATE: u32 = 0x04;
    /// `ESME_RALYBND`.
    pub(in crate::smpp) const ALREADY_BOUND: u32 = 0x05;
    /// `ESME_RX_T_APPN`: the SMSC is to send it again later.
    pub(in crate::smpp) const COME_AGAIN: u32 = 0x64;
}

/// The header of a PDU, without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::smpp) struct Header {
    pub id: CommandId,
    pub status: u32,
    pub sequence_number: u32,
}

/// The framing is lost: the length cannot be, so nobody knows where the next PDU begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::smpp) struct Unframed {
    /// Number of the PDU whose length is impossible; 0 if the number has not come.
    pub sequence_number: u32,
}

/// The PDU that `octets` begin with: its header and its length. `None` if it is not whole yet.
///
/// # Errors
/// Returns [`Unframed`] if `octets` do not begin with a PDU.
pub(in crate::smpp) fn next(octets: &[u8]) -> Result<Option<(Header, usize)>, Unframed> {
    let word = |at: usize| octets.get(at..at + 4).and_then(|w| w.try_into().ok()).map(u32::from_be_bytes);
    let Some(length) = word(0).map(|length| usize::try_from(length).unwrap_or(usize::MAX)) else {
        return Ok(None);
    };
    if !(HEADER_LEN..=PDU_LEN_MAX).contains(&length) {
        return Err(Unframed { sequence_number: word(12).unwrap_or(0) });
    }
    let (Some(id), Some(status), Some(sequence_number)) = (word(4), word(8), word(12)) else {
        return Ok(None);
    };
    let header = Header { id: CommandId(id), status, sequence_number };
    Ok((octets.len() >= length).then_some((header, length)))
}

/// Appends a PDU.
pub(in crate::smpp) fn put(
    out: &mut BytesMut,
    id: CommandId,
    status: u32,
    sequence_number: u32,
    body: &[u8],
) {
    put_header(out, id, status, sequence_number, body.len());
    out.put_slice(body);
}

/// Appends the header of a PDU whose body of `body_len` octets follows.
pub(in crate::smpp) fn put_header(
    out: &mut BytesMut,
    id: CommandId,
    status: u32,
    sequence_number: u32,
    body_len: usize,
) {
    let length = HEADER_LEN + body_len;
    out.reserve(length);
    // Nothing that we write comes near 4 GiB.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.put_u32(id.0);
    out.put_u32(status);
    out.put_u32(sequence_number);
}

/// The message id of a `submit_sm_resp` body (SMPP 3.4 §4.4.2); empty if there is none.
pub(in crate::smpp) fn message_id(mut body: &[u8]) -> Cow<'_, str> {
    c_string(&mut body, 65)
}

/// The fields of a `deliver_sm` (SMPP 3.4 §4.6.1) or `data_sm` (§4.7.1) that matter here. No `Debug`: it holds a number and a text.
#[derive(Default)]
pub(in crate::smpp) struct DeliverSm<'a> {
    pub source_ton: u8,
    pub source: Cow<'a, str>,
    pub destination: Cow<'a, str>,
    pub esm_class: u8,
    pub data_coding: u8,
    pub short_message: &'a [u8],
    /// `message_payload`.
    pub payload: Option<&'a [u8]>,
    /// `receipted_message_id`.
    pub receipted_id: Option<Cow<'a, str>>,
    /// `message_state`.
    pub state: Option<u8>,
    /// `network_error_code`: the network's type and its code.
    pub network_error: Option<(u8, u16)>,
    /// `sar_msg_ref_num`, `sar_total_segments` and `sar_segment_seqnum`.
    pub sar: (Option<u16>, Option<u8>, Option<u8>),
}

impl<'a> DeliverSm<'a> {
    /// Reads a body: the mandatory parameters in their order, then the optional ones that are known here and have their length.
    /// `None` if it ends before its text does.
    pub(in crate::smpp) fn read(mut body: &'a [u8]) -> Option<Self> {
        let body = &mut body;
        c_string(body, 6); // service_type
        let (source_ton, _npi) = (take_u8(body)?, take_u8(body)?);
        let source = c_string(body, 21);
        take(body, 2)?; // TON and NPI of the destination: ours
        let destination = c_string(body, 21);
        let esm_class = take_u8(body)?;
        take(body, 2)?; // protocol_id and priority_flag
        c_string(body, 17); // schedule_delivery_time and validity_period mean nothing here
        c_string(body, 17);
        take(body, 2)?; // registered_delivery and replace_if_present_flag
        let data_coding = take_u8(body)?;
        take(body, 1)?; // sm_default_msg_id
        let length = take_u8(body)?;
        let short_message = take(body, usize::from(length))?;
        let mut deliver = Self {
            source_ton,
            source,
            destination,
            esm_class,
            data_coding,
            short_message,
            ..Self::default()
        };
        deliver.read_optional(body);
        Some(deliver)
    }

    /// Reads the body of a `data_sm`, whose text is in `message_payload` and which leaves out what an SMS in store has (SMPP 3.4
    /// §4.7.1). `None` if it ends before its optional parameters.
    pub(in crate::smpp) fn read_data_sm(mut body: &'a [u8]) -> Option<Self> {
        let body = &mut body;
        c_string(body, 6); // service_type
        let (source_ton, _npi) = (take_u8(body)?, take_u8(body)?);
        let source = c_string(body, 65);
        take(body, 2)?; // TON and NPI of the destination: ours
        let destination = c_string(body, 65);
        let (esm_class, _registered_delivery, data_coding) = (take_u8(body)?, take_u8(body)?, take_u8(body)?);
        let mut data = Self { source_ton, source, destination, esm_class, data_coding, ..Self::default() };
        data.read_optional(body);
        Some(data)
    }

    /// The rest of a parameter that is cut off is dropped.
    fn read_optional(&mut self, body: &mut &'a [u8]) {
        while let Some(tag) = take_u16(body) {
            let Some(mut value) = take_u16(body).and_then(|length| take(body, usize::from(length))) else {
                return;
            };
            match (tag, value) {
                (0x0424, payload) => self.payload = Some(payload),
                (0x001E, _) => self.receipted_id = Some(c_string(&mut value, 65)),
                (0x0427, [state]) => self.state = Some(*state),
                (0x0423, [network, high, low]) => {
                    self.network_error = Some((*network, u16::from_be_bytes([*high, *low])));
                }
                (0x020C, [high, low]) => self.sar.0 = Some(u16::from_be_bytes([*high, *low])),
                (0x020E, [total]) => self.sar.1 = Some(*total),
                (0x020F, [number]) => self.sar.2 = Some(*number),
                _ => {}
            }
        }
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn take_u8(from: &mut &[u8]) -> Option<u8> {
    let (first, rest) = from.split_first()?;
    *from = rest;
    Some(*first)
}

fn take_u16(from: &mut &[u8]) -> Option<u16> {
    take(from, 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
}

/// A C string up to its terminator or the end, at most `max` octets with a terminator; what is not ASCII becomes `?`.
fn c_string<'a>(from: &mut &'a [u8], max: usize) -> Cow<'a, str> {
    let end = from.iter().position(|b| *b == 0).unwrap_or(from.len());
    let text = &from[..end.min(max - 1)];
    *from = from.get(end + 1..).unwrap_or_default();
    if text.is_ascii()
        && let Ok(text) = str::from_utf8(text)
    {
        return Cow::Borrowed(text);
    }
    text.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '?' }).collect()
}

#[cfg(test)]
#[path = "pdu_tests.rs"]
mod tests;
