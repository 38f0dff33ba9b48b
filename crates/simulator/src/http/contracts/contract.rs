//! The parts that all contracts have: a request that is read into messages, an answer, and callbacks.

use std::sync::Arc;

use crate::http::config::{Account, CallbackUrls};
use crate::http::contracts::message::{Message, Refusal, Sms, Stage};
use crate::http::wire::{Callback, Reply, Request, hex_id};

/// A provider's side of one contract.
pub(crate) trait Wire: Send + Sync {
    fn traits(&self) -> Traits;
    /// Reads a request, or gives the answer that refuses it. The credentials are checked here.
    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply>;
    /// The id of the `n`th message, in the provider's shape.
    fn id(&self, n: u64) -> String {
        hex_id(n)
    }
    /// The answer to a submit of which at least one message was taken, or which the contract answers one by one.
    fn answer(&self, answered: &[Answered<'_>], context: &Context<'_>) -> Reply;
    /// The answer to a submit of which nothing was taken.
    fn refuse(&self, refusal: Refusal) -> Reply;
    /// The answer to a look-up, oldest first.
    fn found(&self, _search: &Search, _found: &[Found], _context: &Context<'_>) -> Reply {
        Reply::text(404, "")
    }
    /// The receipt that says `stage`; `None` if the contract has none, or nowhere to send it to.
    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback>;
    /// Several receipts that go to one URL in one call; one of them where the contract calls for each.
    fn receipts(&self, reports: &[Report<'_>], context: &Context<'_>) -> Option<Callback> {
        self.receipt(reports.first()?, context)
    }
    /// An SMS from a handset; `None` if the contract has none, or nowhere to send it to.
    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback>;
    /// The text in the answer to an inbound callback that the contract sends to the handset, and bills.
    fn spoken(&self, _answer: &[u8]) -> Option<String> {
        None
    }
}

/// The kind of a contract.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    /// Whether one answer can take some messages and refuse others.
    pub mixed: bool,
    /// Whether a reference that was seen is refused.
    pub dedupes: bool,
    /// Receipts that one call can carry.
    pub together: usize,
    /// Minutes before the `n`th repetition (from 1) of a callback; `None` gives up.
    pub repeat: fn(u32) -> Option<u64>,
}

impl Traits {
    /// The kind that most are.
    pub(crate) const USUAL: Self =
        Self { mixed: false, dedupes: false, together: 1, repeat: |n| (n <= 10).then_some(1) };
}

/// A request that was read.
#[derive(Debug)]
pub(crate) enum Asked {
    Send(Vec<Message>),
    Find(Search),
    Balance(fn(u64) -> Reply),
}

/// Messages that are looked for. Members that are not set are not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub id: Option<String>,
    pub reference: Option<String>,
    pub number: Option<String>,
    /// Whether one message is asked for, by its own path, rather than a list.
    pub one: bool,
}

/// The outcome of one message of a submit.
pub(crate) struct Answered<'a> {
    pub message: &'a Message,
    /// Its id, or why it was refused.
    pub outcome: Result<String, Refusal>,
}

/// A receipt to be.
pub(crate) struct Report<'a> {
    pub sms: &'a Sms,
    pub stage: Stage,
    pub done_ms: i64,
}

/// A message that a look-up found.
#[derive(Clone)]
pub(crate) struct Found {
    pub sms: Arc<Sms>,
    pub stage: Stage,
    pub changed_ms: i64,
}

/// An SMS from a handset.
pub(crate) struct Inbound {
    pub n: u64,
    pub from: Box<str>,
    pub to: Box<str>,
    pub text: String,
    pub at_ms: i64,
}

/// The parts of an answer or a callback besides the message.
pub(crate) struct Context<'a> {
    pub account: &'a Account,
    pub urls: &'a CallbackUrls,
    pub now_ms: i64,
    /// Different at each use.
    pub nonce: u64,
    pub balance: u64,
}

impl Context<'_> {
    /// The address for the receipts of a message.
    pub(crate) fn receipt_url(&self, message: &Message) -> Option<String> {
        message.receipt_url.as_deref().or(self.urls.receipts.as_deref()).map(str::to_owned)
    }
}
