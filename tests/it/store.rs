//! What every database must do, whatever engine it runs on.

mod alerts;
mod matching;
mod parts;
mod queue;
mod receipts;
mod replies;
