//! The duties of every database, whatever engine it runs on.

mod alerts;
mod clock_set_back;
mod doubts;
mod large;
mod matching;
mod opt_outs;
mod parts;
mod queue;
mod receipts;
mod refusals;
mod replies;
mod reply_attribution;
