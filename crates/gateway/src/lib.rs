//! SMS gateways: one trait, one adapter per file. The only crate that talks to providers.
//!
//! An adapter hands over one message once and says what came of it; it never retries, sleeps or
//! touches the database. Receipts and inbound SMS come out of [`Channel::events`] (connections
//! that push, such as SMPP) or of [`SmsGateway::parse_callback`] (HTTP).

pub mod config;
mod connect;
mod failure;
mod http;

mod log;
mod redeliver;
mod settings;
mod simulator;
mod smpp;
mod sms;

pub use connect::{callbacks, capabilities, connect};
pub use http::Callbacks;
pub use settings::{ConnectError, tls};
pub use sms::{
    Ack, CallbackAnswer, CallbackError, CallbackKind, Candidate, Capabilities, Channel, ChannelStatus,
    ClientReference, Delivered, Failure, GatewayEvent, InboundSms, OutboundSms, ProviderId, REPLAY_WINDOW_S,
    RawCallback, Receipt, ReceiptStatus, Scope, SmsGateway, StatusAnswer, SubmitOutcome, VerifiedCallback,
};
