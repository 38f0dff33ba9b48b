//! What an operator should know before, or while, an alert is sent.

use serde::Serialize;
use utoipa::ToSchema;

/// Something that the operator should check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Warning {
    /// About an alert: one of `no_recipients`, `many_recipients`, `ucs2`, `several_segments`, `replaced_characters`,
    /// `quiet_hours`, `slower_than_expiry`. About gateways: `gateway_paused` if one that serves such alerts is out of use by hand,
    /// `no_gateway` if some messages have no gateway now.
    #[schema(example = "no_gateway")]
    pub code: &'static str,
    /// The meaning of the warning now.
    pub detail: String,
}
