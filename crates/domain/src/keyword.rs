//! What a participant's SMS asks for: out, in, help, or something for the operator.

/// What an inbound text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyword {
    /// STOP and its kin: opt out.
    Stop,
    /// START and its kin: opt in again.
    Start,
    /// HELP, INFO.
    Help,
}

/// The keyword that a text consists of; `None` where it is a message for the operator.
#[must_use]
pub fn classify(_text: &str) -> Option<Keyword> {
    unimplemented!()
}
