//! The contracts on the wire, one file for each.

pub(super) mod contract;
mod infobip;
pub(super) mod message;
mod plain;
mod twilio;

use self::contract::Wire;
use crate::http::config::Contract;

/// The provider's side of a contract.
pub(super) fn wire(contract: Contract) -> &'static dyn Wire {
    match contract {
        Contract::Twilio => &twilio::Twilio,
        Contract::Infobip => &infobip::Infobip,
        Contract::Http => &plain::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::message::Stage;
    use super::*;
    use crate::http::raw::Bench;

    /// Every stage that ends a message has words of its own contract, and no two stages are told alike but for those
    /// that the contract does not tell apart.
    #[test]
    fn every_contract_tells_every_end() {
        for contract in Contract::ALL {
            let bench = Bench::with_message(contract);
            let told = |stage| (bench.receipt(stage).url, bench.receipt(stage).body);
            let (delivered, unknown) = (told(Stage::Delivered), told(Stage::Unknown));
            assert_ne!(delivered, unknown, "{contract}");
            for stage in [Stage::Undelivered, Stage::Expired, Stage::Rejected, Stage::Blocked] {
                assert!(told(stage) != delivered && told(stage) != unknown, "{contract} {stage:?}");
            }
        }
    }
}
