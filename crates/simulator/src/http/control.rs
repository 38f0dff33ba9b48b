//! The simulator's own routes, for whoever has no handle: scripts and people. They are open to all that reach the port.
//!
//! * `GET /simulator/stats`
//! * `GET /simulator/rings?number=31612345678` gives `{"rings": 2, "texts": ["…"]}`
//! * `PUT /simulator/faults` with the members of [`HttpFaults`] that are not at their default
//! * `PUT /simulator/balance` with `{"balance": 100}`, or null for one without end
//! * `POST /simulator/mishaps` with `{"mishap": "throttled", "times": 10}`
//! * `POST /simulator/inbound` with `{"from", "to", "text"}`: a handset sends an SMS

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::faults::{HttpFaults, Mishap};
use crate::http::state::ProviderState;
use crate::http::state::job::Job;
use crate::http::wire::form::Form;
use crate::http::wire::{Reply, Request};

#[derive(Deserialize)]
struct Ordered {
    mishap: Mishap,
    times: usize,
}

#[derive(Deserialize)]
struct Balance {
    balance: Option<u64>,
}

#[derive(Deserialize)]
struct FromHandset {
    from: String,
    to: String,
    text: String,
}

/// The answer to a request to the simulator itself; `None` if it is for the provider.
pub(crate) fn handle(state: &ProviderState, request: &Request<'_>) -> Option<Reply> {
    let route = request.path.strip_prefix("/simulator/")?;
    let done = match (request.method, route) {
        (&Method::GET, "stats") => Ok(json!(state.stats())),
        (&Method::GET, "rings") => Ok(rings(state, request.query)),
        (&Method::PUT, "faults") => read::<HttpFaults>(request.body).and_then(|faults| {
            faults.check().map_err(|error| error.to_string())?;
            state.set_faults(faults);
            Ok(json!({}))
        }),
        (&Method::PUT, "balance") => read(request.body).map(|Balance { balance }| {
            state.set_balance(balance);
            json!({})
        }),
        (&Method::POST, "mishaps") => read(request.body).map(|Ordered { mishap, times }| {
            state.order(mishap, times);
            json!({})
        }),
        (&Method::POST, "inbound") => read(request.body).map(|FromHandset { from, to, text }| {
            state.call(Job::new([state.inbound_event(from.trim_start_matches('+'), &to, &text)], None));
            json!({})
        }),
        _ => return Some(Reply::json(404, &json!({"error": "there is no such route"}))),
    };
    Some(match done {
        Ok(body) => Reply::json(200, &body),
        Err(words) => Reply::json(400, &json!({"error": words})),
    })
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn rings(state: &ProviderState, query: &str) -> Value {
    let number = Form::parse(query.as_bytes()).text("number").unwrap_or_default();
    let rings = state.with_ledger(|ledger| ledger.rings_of(number.trim()));
    json!({"rings": rings.len(), "texts": rings.iter().map(|ring| &*ring.text).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::config::Contract;
    use crate::http::raw::Bench;

    #[test]
    fn a_script_can_do_what_a_handle_can() {
        let bench = Bench::new(Contract::Http);
        let send = "POST /messages HTTP/1.1\r\nauthorization: Bearer secret\r\n\r\n{\"from\":\"1000\",\"to\":\"+31612345678\",\"text\":\"x\"}";
        assert_eq!(bench.json("PUT /simulator/balance HTTP/1.1\r\n\r\n{\"balance\":1}").0, 200);
        assert_eq!((bench.json(send).0, bench.json(send).0), (201, 402));
        assert_eq!(bench.json("PUT /simulator/balance HTTP/1.1\r\n\r\n{\"balance\":null}").0, 200);
        assert_eq!(
            bench.json("POST /simulator/mishaps HTTP/1.1\r\n\r\n{\"mishap\":\"throttled\",\"times\":1}").0,
            200
        );
        assert_eq!((bench.json(send).0, bench.json(send).0), (429, 201));
        assert_eq!(bench.json("PUT /simulator/faults HTTP/1.1\r\n\r\n{\"bare_error\":1.0}").0, 200);
        assert_eq!(bench.text(send).0, 503);
        let (status, rings) = bench.json("GET /simulator/rings?number=%2B31612345678 HTTP/1.1\r\n\r\n");
        assert_eq!((status, rings), (200, json!({"rings": 2, "texts": ["x", "x"]})));
        let (_, counted) = bench.json("GET /simulator/stats HTTP/1.1\r\n\r\n");
        assert_eq!(
            (&counted["submits"], &counted["taken"], &counted["throttled"]),
            (&json!(5), &json!(2), &json!(1))
        );
        assert_eq!(bench.json("PUT /simulator/faults HTTP/1.1\r\n\r\n{\"bare_error\":2}").0, 400);
        assert_eq!(bench.json("GET /simulator/secrets HTTP/1.1\r\n\r\n").0, 404);
    }
}
