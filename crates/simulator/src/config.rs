//! Configuration of an SMSC.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// How an SMSC is started. The default is a perfect one on a free port of the loopback interface
/// that lets everybody in. `Debug` shows neither password nor texts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmscConfig {
    /// Address to listen on; port 0 takes a free one, see [`crate::Smsc::addr`]. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Decides the fate of every message together with its destination. Default 1.
    pub seed: u64,
    /// The only `system_id` that may bind; without it any may. Default none.
    pub system_id: Option<String>,
    /// The password that a bind must show (SMPP 3.4: at most 8 characters); without it any will do. Default none.
    pub password: Option<String>,
    /// Faults; can be changed at run time. Default nothing.
    pub faults: Faults,
    /// Replies of handsets that ring, tried in order. Default nothing.
    pub auto_replies: Vec<AutoReply>,
    /// `deliver_sm` that one connection may leave unanswered; `usize::MAX` is a centre without a window. Default 50.
    pub deliver_window: usize,
    /// Milliseconds until a `deliver_sm` that was answered with an error is sent again. Default 500.
    pub redelivery_delay_ms: u64,
    /// How often one `deliver_sm` is sent at most before it is dropped; 1 is a centre that never sends again. Default 100.
    pub deliver_attempts_max: u32,
    /// Receipts and inbound SMS that wait for a receiver of one `system_id`; beyond it they are dropped and counted. Default 1,000,000.
    pub deliver_queue_max: usize,
    /// Messages that may wait for their final state; beyond it a submit is answered with 0x14. Default 2,000,000.
    pub pending_max: usize,
    /// Milliseconds between the `enquire_link` that the SMSC sends; 0 sends none. Default 0.
    pub enquire_link_ms: u64,
    /// Milliseconds that [`crate::Smsc::send_inbound`] waits for a receiver to bind, and again for its answer. Default 10,000.
    pub inbound_wait_ms: u64,
    /// Whether rings keep their text. Without, [`crate::Ring::text`] is empty and a million rings take half the memory. Default true.
    pub record_texts: bool,
}

impl Default for SmscConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            system_id: None,
            password: None,
            faults: Faults::default(),
            auto_replies: Vec::new(),
            deliver_window: 50,
            redelivery_delay_ms: 500,
            deliver_attempts_max: 100,
            deliver_queue_max: 1_000_000,
            pending_max: 2_000_000,
            enquire_link_ms: 0,
            inbound_wait_ms: 10_000,
            record_texts: true,
        }
    }
}

impl fmt::Debug for SmscConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmscConfig")
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// An SMS that some handsets send back to the sender of a message when they ring.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoReply {
    /// The share of rings that get this reply, 0 to 1. The shares of a list add up; beyond 1 the rest never occurs.
    pub share: f64,
    /// The text that the handset sends.
    pub text: String,
    /// Milliseconds from the ring to the reply. Default 0.
    #[serde(default)]
    pub delay_ms: u64,
}
