//! Replies of participants.

pub(crate) mod inbound;
mod marks;
pub(crate) mod opt_outs;
pub(crate) mod senders;
pub(crate) mod views;

pub use marks::{Marked, ReplyMark};
pub use opt_outs::{Lifted, LiftedOptOut, NewOptOut, OptOut, OptOutSource, RecordedOptOut};
pub use views::{AutoReply, AutoReplyTexts, IncomingReply, ReplyKind, ReplyState, ReplyStored, ReplyView};
