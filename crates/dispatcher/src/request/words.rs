//! Words of requests whose types do not list them.

/// The kinds of participants.
pub const PARTICIPANT_KINDS: [&str; 2] = ["resident", "business"];
/// The languages of automatic texts.
pub const LANGUAGES: [&str; 2] = ["nl", "en"];
/// The kinds of replies.
pub const REPLY_KINDS: &[&str] = &["message", "reaction"];
/// The states that a reply can be marked with.
pub const REPLY_STATES: [&str; 3] = ["new", "read", "handled"];
