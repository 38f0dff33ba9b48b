//! Several dispatchers and workers on one PostgreSQL: processes are killed, the database is stopped or demoted, and nobody is
//! lost, nobody is rung twice unseen, and no provider gets more than its rate.
//!
//! The processes are the real program; the message centre runs in the test, outlives them all and remembers every ring.

mod database;
mod fan_out;
mod kills;
mod reports;
mod stage;
mod verdict;
