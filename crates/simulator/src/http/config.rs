//! Configuration of an HTTP provider.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::AutoReply;
use crate::http::faults::HttpFaults;

/// The contract that a provider speaks: one for each kind of provider. Bodies of other providers are in the cases of their
/// adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// Twilio Messages 2010-04-01: look-ups without a reference of ours, and signed callbacks.
    Twilio,
    /// Infobip SMS v3: batches that are answered one by one, submits that can be repeated, and look-ups by our reference.
    Infobip,
    /// A plain JSON contract that no provider has; it stands with its code, in `contracts/plain.rs`. Batches are answered as a
    /// whole, and nothing is signed.
    Http,
}

const NAMES: [(Contract, &str); 3] =
    [(Contract::Twilio, "twilio"), (Contract::Infobip, "infobip"), (Contract::Http, "http")];

impl Contract {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Twilio, Self::Infobip, Self::Http];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(contract, _)| *contract == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no contract has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write twilio, infobip or http")]
pub struct ContractError;

impl FromStr for Contract {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Self, ContractError> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(contract, _)| *contract).ok_or(ContractError)
    }
}

/// How an HTTP provider is started. The default is a perfect one on a free port of the loopback interface that lets
/// everybody in and calls nobody back. `Debug` shows neither credentials nor URLs.
#[derive(Clone, PartialEq)]
pub struct HttpConfig {
    /// The contract that it speaks.
    pub contract: Contract,
    /// Address to listen on; port 0 takes a free one, see [`crate::HttpProvider::addr`]. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Decides the fate of every message together with its destination. Default 1.
    pub seed: u64,
    /// Account that may submit, and the keys of callbacks. Default everybody, unsigned.
    pub account: Account,
    /// Addresses for receipts and inbound SMS; can be changed at run time. Default nowhere.
    pub callbacks: CallbackUrls,
    /// Faults; can be changed at run time. Default nothing.
    pub faults: HttpFaults,
    /// Parts that can still be sent before the balance is gone; can be topped up at run time. Default without end.
    pub balance: Option<u64>,
    /// Replies of handsets that ring, tried in order. Default nothing.
    pub auto_replies: Vec<AutoReply>,
    /// Callbacks on their way at a time. Default 16.
    pub callback_window: usize,
    /// Milliseconds that a callback may take. Default 10,000.
    pub callback_timeout_ms: u64,
    /// Messages whose receipts wait to be called back; beyond it they are dropped and counted. Default 200,000.
    pub callback_queue_max: usize,
    /// Milliseconds that stand for a minute of the contract's schedule of repetitions. Default 100.
    pub minute_ms: u64,
    /// Messages that may wait for their final state; beyond it a submit is answered with an internal error. Default 500,000.
    pub pending_max: usize,
    /// Messages that look-ups can find; the oldest is forgotten first. Default 200,000.
    pub kept_max: usize,
    /// Whether rings keep their text. Default true.
    pub record_texts: bool,
}

impl HttpConfig {
    /// A perfect provider of that contract.
    #[must_use]
    pub fn new(contract: Contract) -> Self {
        Self {
            contract,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            account: Account::default(),
            callbacks: CallbackUrls::default(),
            faults: HttpFaults::default(),
            balance: None,
            auto_replies: Vec::new(),
            callback_window: 16,
            callback_timeout_ms: 10_000,
            callback_queue_max: 200_000,
            minute_ms: 100,
            pending_max: 500_000,
            kept_max: 200_000,
            record_texts: true,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("contract", &self.contract)
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// The account at the provider. What is not set is not compared; that credentials are shown at all is always asked.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// Twilio's Account SID, or the user name of Infobip's Basic.
    pub user: Option<String>,
    /// The token or password. Twilio also signs its callbacks with it.
    pub secret: Option<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

impl Account {
    pub(crate) fn is_user(&self, shown: &str) -> bool {
        !shown.is_empty() && self.user.as_deref().is_none_or(|user| user == shown)
    }

    pub(crate) fn is_secret(&self, shown: &str) -> bool {
        !shown.is_empty() && self.secret.as_deref().is_none_or(|secret| secret == shown)
    }
}

/// Addresses that a provider calls back. `Debug` shows no URL: it carries a token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallbackUrls {
    /// Receipts of messages that name no URL of their own; plain `http:`. Kannel's may have its escapes (`%d`).
    pub receipts: Option<String>,
    /// Inbound SMS; plain `http:`. Kannel's may have its escapes (`%p`, `%P`, `%a`, …).
    pub inbound: Option<String>,
}

impl fmt::Debug for CallbackUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackUrls")
            .field("receipts", &self.receipts.is_some())
            .field("inbound", &self.inbound.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_has_a_name_that_is_read_back() {
        for contract in Contract::ALL {
            assert_eq!(contract.to_string().parse(), Ok(contract));
            let json = serde_json::to_string(&contract).unwrap();
            assert_eq!(json, format!("\"{contract}\""));
        }
        assert_eq!("smpp".parse::<Contract>(), Err(ContractError));
    }
}
