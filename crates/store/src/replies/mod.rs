//! Replies of participants.

pub(crate) mod inbound;
pub(crate) mod senders;
pub(crate) mod views;

pub use views::{AutoReply, AutoReplyTexts, IncomingReply, ReplyState, ReplyStored, ReplyView};
