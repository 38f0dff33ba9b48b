//! What every database must do, whatever engine it runs on.

mod alerts;
mod matching;
mod queue;
mod receipts;
mod replies;
