//! `command_id` (SMPP 3.4 §5.1.2.1): what a PDU is.

/// The id of a PDU, known to us or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::smpp) struct CommandId(pub u32);

impl CommandId {
    pub(in crate::smpp) const GENERIC_NACK: Self = Self(0x8000_0000);
    pub(in crate::smpp) const SUBMIT_SM: Self = Self(0x0000_0004);
    pub(in crate::smpp) const SUBMIT_SM_RESP: Self = Self(0x8000_0004);
    pub(in crate::smpp) const DELIVER_SM: Self = Self(0x0000_0005);
    pub(in crate::smpp) const DELIVER_SM_RESP: Self = Self(0x8000_0005);
    pub(in crate::smpp) const UNBIND: Self = Self(0x0000_0006);
    pub(in crate::smpp) const UNBIND_RESP: Self = Self(0x8000_0006);
    pub(in crate::smpp) const BIND_TRANSCEIVER: Self = Self(0x0000_0009);
    pub(in crate::smpp) const BIND_TRANSCEIVER_RESP: Self = Self(0x8000_0009);
    pub(in crate::smpp) const ENQUIRE_LINK: Self = Self(0x0000_0015);
    pub(in crate::smpp) const ENQUIRE_LINK_RESP: Self = Self(0x8000_0015);
    pub(in crate::smpp) const ALERT_NOTIFICATION: Self = Self(0x0000_0102);
    pub(in crate::smpp) const DATA_SM: Self = Self(0x0000_0103);
    pub(in crate::smpp) const DATA_SM_RESP: Self = Self(0x8000_0103);

    /// A response has the highest bit (SMPP 3.4 §5.1.2).
    pub(in crate::smpp) const fn is_response(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }
}

#[cfg(test)]
mod tests {
    use rusmpp::CommandId as Other;

    use super::*;

    #[test]
    fn the_ids_are_those_of_another_codec() {
        for (ours, other) in [
            (CommandId::GENERIC_NACK, Other::GenericNack),
            (CommandId::SUBMIT_SM, Other::SubmitSm),
            (CommandId::SUBMIT_SM_RESP, Other::SubmitSmResp),
            (CommandId::DELIVER_SM, Other::DeliverSm),
            (CommandId::DELIVER_SM_RESP, Other::DeliverSmResp),
            (CommandId::UNBIND, Other::Unbind),
            (CommandId::UNBIND_RESP, Other::UnbindResp),
            (CommandId::BIND_TRANSCEIVER, Other::BindTransceiver),
            (CommandId::BIND_TRANSCEIVER_RESP, Other::BindTransceiverResp),
            (CommandId::ENQUIRE_LINK, Other::EnquireLink),
            (CommandId::ENQUIRE_LINK_RESP, Other::EnquireLinkResp),
            (CommandId::ALERT_NOTIFICATION, Other::AlertNotification),
            (CommandId::DATA_SM, Other::DataSm),
            (CommandId::DATA_SM_RESP, Other::DataSmResp),
        ] {
            assert_eq!(ours.0, u32::from(other), "{other:?}");
            assert_eq!(ours.is_response(), other.is_response(), "{other:?}");
        }
    }
}
