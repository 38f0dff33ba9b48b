//! Keys that gateways of several types share, how they are read and what may be wrong with them.

mod endpoint;
mod error;
mod fault;
mod originator;
pub(crate) mod regroup;
mod routing;
pub(crate) mod secret;
mod senders;
pub mod tls;

pub use self::endpoint::Endpoint;
pub use self::error::{ConnectError, PasswordError};
pub use self::fault::ConfigFault;
pub(crate) use self::originator::{SHORT_CODE_DIGITS_MAX, sender_fault};
pub use self::routing::Routing;
pub(crate) use self::senders::Senders;
