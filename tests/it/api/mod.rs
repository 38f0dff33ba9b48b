//! The API from outside: real HTTP, the real parts behind it.

mod access;
mod bad_csv;
mod bad_input;
mod canary;
mod city;
mod control;
mod gateways;
mod idempotency;
mod members;
mod one_alert;
mod openapi;
mod reads;
