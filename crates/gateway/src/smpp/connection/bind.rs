//! The bind: who we are, and what the provider says to it.

use std::io;

use klaroen_domain::outcome::SubmitOutcome;
use rusmpp::pdus::BindTransceiver;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::COctetString;
use rusmpp::values::{InterfaceVersion, Npi, Ton};
use rusmpp::{Command, CommandId, CommandStatus};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::bytes::{BufMut, BytesMut};
use tokio_util::codec::Encoder;

use super::transport::Transport;
use crate::smpp::codec::pdu::{self, Header, status};
use crate::smpp::config::SmppConfig;
use crate::smpp::outcome;

/// The sequence number of the bind, the first of a session (SMPP 3.4 §3.2).
pub(in crate::smpp) const SEQUENCE: u32 = 1;

/// Why there is no bind.
pub(in crate::smpp) enum NotBound {
    /// The provider does not want us.
    Refused(String),
    /// The account is good, and its bind is held: perhaps still by the one before us.
    Held(String),
    /// It may work later.
    Failed(String),
}

/// What a PDU that comes before the bind means for it.
enum Step {
    Bound,
    NotBound(NotBound),
}

/// Binds. What came behind the answer stays in the transport.
///
/// # Errors
/// [`NotBound`].
pub(in crate::smpp) async fn bind(
    transport: &mut Transport,
    config: &SmppConfig,
    password: &SecretString,
) -> Result<(), NotBound> {
    let request = request(config, password).ok_or_else(|| {
        NotBound::Refused("system_id, password or system_type does not fit SMPP".to_owned())
    })?;
    let outbox = transport.outbox().clone();
    outbox.put(|out| out.put_slice(&request));
    loop {
        let failed = |error: io::Error| NotBound::Failed(error.to_string());
        transport.exchange().await.map_err(failed)?;
        let step = transport.take_all(|header, _body| {
            if header.id == CommandId::EnquireLink {
                let number = header.sequence_number;
                outbox.put(|out| pdu::put(out, CommandId::EnquireLinkResp, status::OK, number, &[]));
            }
            answer(header)
        });
        match step {
            Ok(None) => {}
            Ok(Some(Step::Bound)) => return Ok(()),
            Ok(Some(Step::NotBound(why))) => return Err(why),
            Err(_unframed) => return Err(NotBound::Failed("PDU of an impossible length".to_owned())),
        }
    }
}

/// What came before we are bound and is not an answer is sent again when we are.
fn answer(header: Header) -> Option<Step> {
    match (header.id, header.status) {
        (CommandId::BindTransceiverResp, status::OK) => Some(Step::Bound),
        (CommandId::GenericNack, status::OK) => {
            Some(Step::NotBound(NotBound::Failed("the answer cannot be read".to_owned())))
        }
        (CommandId::BindTransceiverResp | CommandId::GenericNack, status) => {
            Some(Step::NotBound(why_not_bound(status)))
        }
        (CommandId::Unbind, _) => {
            Some(Step::NotBound(NotBound::Failed("unbound by the provider".to_owned())))
        }
        _ => None,
    }
}

fn why_not_bound(code: u32) -> NotBound {
    if code == status::ALREADY_BOUND {
        return NotBound::Held(outcome::describe(code));
    }
    match outcome::refused(code) {
        // Account, password, rights: trying again soon changes nothing and may lock the account.
        SubmitOutcome::Rejected(_) => NotBound::Refused(outcome::describe(code)),
        _ => NotBound::Failed(outcome::describe(code)),
    }
}

/// `bind_transceiver` (SMPP 3.4 §4.1.5): one session for submits, receipts and replies.
fn request(config: &SmppConfig, password: &SecretString) -> Option<BytesMut> {
    let bind = BindTransceiver::builder()
        .system_id(COctetString::from_string(config.system_id.clone()).ok()?)
        .password(COctetString::from_string(password.expose_secret().to_owned()).ok()?)
        .system_type(COctetString::from_string(config.system_type.clone()).ok()?)
        .interface_version(InterfaceVersion::Smpp3_4)
        .addr_ton(Ton::Unknown)
        .addr_npi(Npi::Unknown)
        .address_range(COctetString::empty())
        .build();
    let mut octets = BytesMut::new();
    CommandCodec::new().encode(Command::new(CommandStatus::EsmeRok, SEQUENCE, bind), &mut octets).ok()?;
    Some(octets)
}
