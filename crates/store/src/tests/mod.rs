//! Tests of the crate as a whole, and what the tests of the rooms begin with.

mod early_plans;
pub(crate) mod fixture;
mod full;
mod plans;
mod schema;
mod statements;
