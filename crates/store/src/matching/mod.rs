//! Who is in an area: the query, its pages, and the record of a place that it reads.

pub(crate) mod match_record;
pub(crate) mod pages;
pub(crate) mod query;

pub use query::{Audience, MatchQuery, MatchRules, Matched, Matches};
