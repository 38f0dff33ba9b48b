//! A provider's HTTP callback, before and after it is verified.

use std::borrow::Cow;
use std::net::IpAddr;

use klaroen_domain::time::Timestamp;

use super::event::GatewayEvent;

/// The path of a gateway that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackKind {
    /// `/v1/gateways/{gateway}/{token}/receipts`
    Receipts,
    /// `/v1/gateways/{gateway}/{token}/inbound`
    Inbound,
}

/// An HTTP callback as it came. `Debug` shows neither token, numbers nor text.
#[derive(Clone, Copy)]
pub struct RawCallback<'a> {
    /// The path that was called.
    pub kind: CallbackKind,
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query exactly as received, undecoded. Signatures are over it behind the configured public URL, never behind
    /// what a `Host` header says.
    pub path_and_query: &'a str,
    /// The token in the path.
    pub token: &'a str,
    /// Address of the caller; behind a trusted proxy, of the one before it.
    pub peer: IpAddr,
    /// Header names in lower case, and values.
    pub headers: &'a [(String, String)],
    /// The raw body: signatures are over these bytes.
    pub body: &'a [u8],
    /// When it came.
    pub received_at: Timestamp,
}

impl RawCallback<'_> {
    /// The first header of that name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for RawCallback<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawCallback")
            .field("kind", &self.kind)
            .field("method", &self.method)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A callback that is the provider's.
#[derive(Clone, Debug)]
pub struct VerifiedCallback {
    /// Its events, in its order.
    pub events: Vec<GatewayEvent>,
    /// How many of its entries could not be read: they are lost, so count them.
    pub unreadable: usize,
    /// Unique to this request where the provider signs such a thing. The caller refuses a second request with the same key:
    /// it stores the key together with the events for at least [`REPLAY_WINDOW_S`] seconds, and answers the repetition with
    /// `answer` and without effect.
    pub replay_key: Option<String>,
    /// The answer once the events are stored, and not before.
    pub answer: CallbackAnswer,
}

pub use klaroen_domain::incoming::REPLAY_WINDOW_S;

/// The answer that makes a provider stop repeating itself, and send nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if there is a body.
    pub content_type: Option<Cow<'static, str>>,
    /// The body: some providers send it to the phone as an SMS.
    pub body: Cow<'static, str>,
}

impl CallbackAnswer {
    /// 200 without a body.
    pub const EMPTY: Self = Self { status: 200, content_type: None, body: Cow::Borrowed("") };

    pub(crate) const fn text(content_type: &'static str, body: &'static str) -> Self {
        Self { status: 200, content_type: Some(Cow::Borrowed(content_type)), body: Cow::Borrowed(body) }
    }
}

/// Why a callback was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// This gateway has no callbacks of this kind.
    #[error("this gateway takes no such callbacks")]
    NotSupported,
    /// The token in the path is not ours.
    #[error("the token is wrong")]
    Token,
    /// Not an address of the provider.
    #[error("the address is not allowed")]
    Address,
    /// The signature is missing or wrong.
    #[error("the signature does not verify")]
    Signature,
    /// The signature was right once: its time is over, or has not come.
    #[error("the signature is out of date")]
    Expired,
    /// More than any callback of the contract.
    #[error("the callback is too large")]
    TooLarge,
    /// The body is not what the contract says.
    #[error("unreadable callback: {0}")]
    Malformed(&'static str),
}

impl CallbackError {
    /// The HTTP status to answer with. Whoever does not know the token learns nothing.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotSupported | Self::Token | Self::Address => 404,
            Self::Signature | Self::Expired => 403,
            Self::TooLarge => 413,
            Self::Malformed(_) => 400,
        }
    }
}
