//! Who can be alerted: participants, their groups, the areas they are chosen by, and lists of them in and out.

pub mod areas;
pub mod groups;
pub mod import;
pub mod participants;
