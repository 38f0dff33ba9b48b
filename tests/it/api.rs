//! The API from outside: real HTTP, the real parts behind it.

mod access;
mod bad_csv;
mod bad_input;
mod control;
mod idempotency;
mod one_alert;
