//! The bind: who we are, and what the provider says to it.

use std::io;

use klaroen_domain::outcome::SubmitOutcome;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::bytes::BufMut;

use super::transport::Transport;
use crate::smpp::codec::command_id::CommandId;
use crate::smpp::codec::pdu::{self, Header, status};
use crate::smpp::config::{PASSWORD_LEN_MAX, SYSTEM_ID_LEN_MAX, SYSTEM_TYPE_LEN_MAX, SmppConfig};
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

/// The meaning of a PDU that comes before the bind.
enum Step {
    Bound,
    NotBound(NotBound),
}

/// Binds. What came behind the answer stays in the transport.
///
/// # Errors
/// Returns [`NotBound`] if the provider refuses us, the bind of the account is held, or the bind may work later.
pub(in crate::smpp) async fn bind(
    transport: &mut Transport,
    config: &SmppConfig,
    password: &SecretString,
) -> Result<(), NotBound> {
    let body = body(config, password).ok_or_else(|| {
        NotBound::Refused("system_id, password or system_type does not fit SMPP".to_owned())
    })?;
    let outbox = transport.outbox().clone();
    outbox.put(|out| pdu::put(out, CommandId::BIND_TRANSCEIVER, status::OK, SEQUENCE, &body));
    loop {
        let failed = |error: io::Error| NotBound::Failed(error.to_string());
        transport.exchange().await.map_err(failed)?;
        let step = transport.take_all(|header, _body| {
            if header.id == CommandId::ENQUIRE_LINK {
                let number = header.sequence_number;
                outbox.put(|out| pdu::put(out, CommandId::ENQUIRE_LINK_RESP, status::OK, number, &[]));
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

/// The SMSC sends again what came before we were bound and is not an answer.
fn answer(header: Header) -> Option<Step> {
    match (header.id, header.status) {
        (CommandId::BIND_TRANSCEIVER_RESP, status::OK) => Some(Step::Bound),
        (CommandId::GENERIC_NACK, status::OK) => {
            Some(Step::NotBound(NotBound::Failed("the answer cannot be read".to_owned())))
        }
        (CommandId::BIND_TRANSCEIVER_RESP | CommandId::GENERIC_NACK, status) => {
            Some(Step::NotBound(why_not_bound(status)))
        }
        (CommandId::UNBIND, _) => {
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

/// The body of a `bind_transceiver` (SMPP 3.4 §4.1.5): one session for submits, receipts and replies. `None` if a text does not
/// fit its field, which a password file may do that was changed after it was checked.
fn body(config: &SmppConfig, password: &SecretString) -> Option<Vec<u8>> {
    let texts = [
        (config.system_id.as_str(), SYSTEM_ID_LEN_MAX),
        (password.expose_secret(), PASSWORD_LEN_MAX),
        (config.system_type.as_str(), SYSTEM_TYPE_LEN_MAX),
    ];
    let mut body = Vec::new();
    for (text, len_max) in texts {
        if text.len() > len_max || !text.is_ascii() || text.contains('\0') {
            return None;
        }
        body.put_slice(text.as_bytes());
        body.put_u8(0);
    }
    // Version 3.4, and no range of addresses, of unknown type and plan: the account says what comes to us.
    body.put_slice(&[0x34, 0, 0, 0]);
    Some(body)
}

#[cfg(test)]
mod tests {
    use rusmpp::tokio_codec::CommandCodec;
    use rusmpp::values::{InterfaceVersion, Npi, Ton};
    use rusmpp::{CommandStatus, Pdu};
    use serde_json::json;
    use tokio_util::bytes::BytesMut;
    use tokio_util::codec::Decoder;

    use super::*;
    use crate::smpp::config::tests::config;

    #[test]
    fn another_codec_reads_the_bind() {
        let config = config(&json!({"system_type": "alert"}));
        let mut octets = BytesMut::new();
        let body = body(&config, &"secret08".into()).unwrap();
        pdu::put(&mut octets, CommandId::BIND_TRANSCEIVER, status::OK, SEQUENCE, &body);
        let command = CommandCodec::new().decode(&mut octets).unwrap().unwrap();
        assert_eq!((command.sequence_number(), command.status()), (SEQUENCE, CommandStatus::EsmeRok));
        let Some(Pdu::BindTransceiver(bind)) = command.pdu() else { panic!("{command:?}") };
        let texts = [bind.system_id.to_string(), bind.password.to_string(), bind.system_type.to_string()];
        assert_eq!(texts, ["klaroen", "secret08", "alert"]);
        assert_eq!(bind.interface_version, InterfaceVersion::Smpp3_4);
        assert_eq!(
            (bind.addr_ton, bind.addr_npi, &*bind.address_range.to_string()),
            (Ton::Unknown, Npi::Unknown, "")
        );
    }

    #[test]
    fn a_password_that_does_not_fit_is_not_sent() {
        let config = config(&json!({}));
        for password in ["123456789", "pass\0", "p\u{e4}ss"] {
            assert!(body(&config, &password.into()).is_none(), "{password}");
        }
    }
}
