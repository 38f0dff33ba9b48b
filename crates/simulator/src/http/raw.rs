//! A provider without sockets, for the tests of the contracts: the octets of a request in, those of the answer out.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;

use crate::http::config::{Account, CallbackUrls, Contract, HttpConfig};
use crate::http::contracts::contract::{Report, Search};
use crate::http::contracts::message::{Message, Sms, Stage};
use crate::http::control;
use crate::http::handler::Outcome;
use crate::http::state::ProviderState;
use crate::http::wire::{Callback, Reply, Request};
use crate::ledger::Ring;

// 2026-11-23T16:00:00Z
pub(crate) const NOW_MS: i64 = 1_795_449_600_000;

/// A perfect provider whose account is `user` and `secret`; it calls `http://there/`.
pub(crate) struct Bench(ProviderState);

impl Bench {
    pub(crate) fn new(contract: Contract) -> Self {
        let account = Account { user: Some("user".into()), secret: Some("secret".into()) };
        let callbacks = CallbackUrls {
            receipts: Some("http://there/dlr".into()),
            inbound: Some("http://there/mo".into()),
        };
        let state =
            ProviderState::new(HttpConfig { account, callbacks, ..HttpConfig::new(contract) }, NOW_MS);
        Self(state)
    }

    /// With one message that was taken, whatever the form of a submit.
    pub(crate) fn with_message(contract: Contract) -> Self {
        let bench = Self::new(contract);
        let mut message = Message::new("1000", "31612345678", "Let op");
        message.reference = Some("018f".into());
        message.receipt_url = Some("http://there/%d".into());
        let sms = Arc::new(Sms { id: bench.0.wire.id(7), message, created_ms: NOW_MS });
        bench.0.with_records(|records| records.insert(&sms, Instant::now()));
        bench
    }

    fn reply(&self, raw: &str) -> Reply {
        let (head, body) = raw.split_once("\r\n\r\n").expect("a request has a head");
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap().parse().unwrap(), first.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: HeaderMap = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
            })
            .collect();
        let request = Request { method: &method, path, query, headers: &headers, body: body.as_bytes() };
        if let Some(reply) = control::handle(&self.0, &request) {
            return reply;
        }
        match self.0.handle(&request).outcome {
            Outcome::Reply(reply) => reply,
            other => panic!("no answer: {other:?}"),
        }
    }

    pub(crate) fn json(&self, raw: &str) -> (u16, Value) {
        let reply = self.reply(raw);
        let body = serde_json::from_slice(&reply.body);
        assert_eq!(reply.content_type, "application/json");
        (reply.status, body.unwrap())
    }

    pub(crate) fn text(&self, raw: &str) -> (u16, String) {
        let reply = self.reply(raw);
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    pub(crate) fn rings(&self, number: &str) -> Vec<Ring> {
        self.0.with_ledger(|ledger| ledger.rings_of(number))
    }

    fn first(&self) -> Arc<Sms> {
        let search = Search { number: Some("31612345678".into()), ..Search::default() };
        self.0.with_records(|records| records.find(&search)[0].sms.clone())
    }

    pub(crate) fn first_id(&self) -> String {
        self.first().id.clone()
    }

    /// The receipt of the first message to 31612345678.
    pub(crate) fn receipt(&self, stage: Stage) -> Callback {
        let sms = self.first();
        let report = Report { sms: &sms, stage, done_ms: NOW_MS };
        // The state's own clock has gone on since; what a callback says of now is taken from where it opened.
        self.0.with_context(|context| {
            let context = crate::http::contracts::contract::Context { now_ms: NOW_MS, ..*context };
            self.0.wire.receipt(&report, &context).unwrap()
        })
    }

    /// An SMS from 31612345678 to 1000.
    pub(crate) fn inbound(&self, text: &str) -> Callback {
        self.inbound_to("1000", text)
    }

    /// An SMS from 31612345678.
    pub(crate) fn inbound_to(&self, to: &str, text: &str) -> Callback {
        let inbound = crate::http::contracts::contract::Inbound {
            n: 7,
            from: "31612345678".into(),
            to: to.into(),
            text: text.into(),
            at_ms: NOW_MS,
        };
        self.0.with_context(|context| {
            let context = crate::http::contracts::contract::Context { now_ms: NOW_MS, ..*context };
            self.0.wire.inbound(&inbound, &context).unwrap()
        })
    }
}
