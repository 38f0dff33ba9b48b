//! What every database must do, whatever engine it runs on.

mod alerts;
mod doubts;
mod matching;
mod queue;
mod receipts;
mod refusals;
mod replies;
