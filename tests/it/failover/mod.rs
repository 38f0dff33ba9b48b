//! The first of two gateways fails in the middle of an alert: the second takes over what is not in doubt, nobody is given up,
//! nobody rings twice unseen, and the first comes back by itself.

mod program;
mod several;
mod stage;
pub mod time;

use std::collections::HashMap;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_simulator::HttpFaults;
use klaroen_test_databases::Engine;
use rstest::rstest;

use self::stage::{Stage, WINDOW, well};
use crate::service::in_states;
use crate::sizes::failover::{BEFORE, PEOPLE};

/// They live some 10 cm apart.
const ALL_WITHIN_M: f64 = 10_000.0;
/// Who gets the alert that shows that the first gateway is back.
const FEW: u32 = 200;
const FEW_WITHIN_M: f64 = 19.99;
/// Longer than what is in doubt waits for its receipt where life is at stake.
const RECEIPT_WAIT: Duration = Duration::from_secs(11);
/// The longest pause; then a probe, and the pace of before.
const PAUSE: Duration = Duration::from_mins(1);
const TRIES: u32 = 6;
const BETWEEN_TRIES: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing listens any more; what was under way breaks off.
    Refuses,
    /// Connections are accepted and nothing is answered. Half of it rings all the same, and no receipt tells.
    Hangs,
    /// It answers that there is no credit left.
    OutOfCredit,
    /// It takes ten a second and says so.
    Throttles,
}

impl Fault {
    async fn begin(self, stage: &Stage) {
        match self {
            Self::Refuses => stage.first.stop_listening().await,
            Self::Hangs => stage.first.set_faults(HttpFaults {
                ignored: 0.5,
                lost_response: 1.0,
                no_receipt: 1.0,
                ..well()
            }),
            Self::OutOfCredit => stage.first.set_balance(Some(0)),
            Self::Throttles => {
                stage.first.set_faults(HttpFaults { throttle_above_per_second: Some(10), ..well() });
            }
        }
    }

    async fn end(self, stage: &Stage) {
        match self {
            Self::Refuses => stage.first.listen_again().await.unwrap(),
            Self::Hangs | Self::Throttles => stage.first.set_faults(well()),
            Self::OutOfCredit => stage.first.set_balance(None),
        }
    }

    /// A second ring is for those alone whose life is at stake: there the policy has something to do.
    fn priority(self) -> Priority {
        if self == Self::Hangs { Priority::LifeThreatening } else { Priority::Urgent }
    }
}

/// Nobody rang twice but those who are shown as sent again in doubt; everybody else rang once. Returns how many are or were in
/// doubt, as is shown.
async fn check_rings(stage: &Stage, alert: AlertId, people: u32) -> u64 {
    let rings = stage.rings();
    let deliveries = stage.deliveries(alert, None).await;
    assert_eq!(deliveries.len(), people as usize);
    let mut doubts = 0;
    for delivery in deliveries {
        let number = delivery.phone.as_ref().unwrap().expose_digits();
        let rang = rings.get(number).copied().unwrap_or(0);
        let told = format!("{:?} (in doubt {}), rang {rang} times", delivery.state, delivery.in_doubt);
        match delivery.state {
            S::Delivered if delivery.in_doubt => assert!(rang == 1 || rang == 2, "{told}"),
            S::Delivered => assert_eq!(rang, 1, "{told}"),
            S::Unknown => assert!(rang <= 1 + u32::from(delivery.in_doubt), "{told}"),
            _ => panic!("{told}"),
        }
        doubts += u64::from(delivery.in_doubt || delivery.state == S::Unknown);
    }
    doubts
}

/// Small alerts until one goes through the first gateway alone; each rings every recipient once.
async fn until_it_is_back(stage: &Stage) {
    stage.leap(PAUSE).await;
    for _ in 0..TRIES {
        let (before, taken) = (stage.rings(), stage.first.stats().taken);
        let alert = stage.raise(FEW_WITHIN_M, FEW, Priority::Urgent).await;
        stage.until(alert, |view| in_states(view, 0, &[S::Delivered]) == u64::from(FEW)).await;
        let mut more: HashMap<u32, u32> = HashMap::new();
        for (number, times) in stage.rings() {
            *more.entry(times - before.get(&number).copied().unwrap_or(0)).or_default() += 1;
        }
        more.remove(&0);
        assert_eq!(more, HashMap::from([(1, FEW)]), "each of them once");
        if stage.first.stats().taken - taken == u64::from(FEW) {
            return;
        }
        stage.leap(BETWEEN_TRIES).await;
    }
    panic!("the first gateway does not come back: {:?}", stage.first.stats());
}

/// On one thread, so that time can leap; everything else is real.
#[rstest]
#[tokio::test]
async fn the_second_gateway_takes_over_and_the_first_comes_back(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Fault::Refuses, Fault::Hangs, Fault::OutOfCredit, Fault::Throttles)] fault: Fault,
) {
    let (people, before) = (PEOPLE, BEFORE);
    let stage = Stage::set(engine, people as usize).await;
    let alert = stage.raise(ALL_WITHIN_M, people, fault.priority()).await;
    stage.until_taken(before.into()).await;
    assert_eq!(stage.second.submits(), 0, "it is the reserve");
    fault.begin(&stage).await;

    // A message under way at a provider that does not answer is not known to be in doubt before the time-out.
    let hanging = if fault == Fault::Hangs { WINDOW } else { 0 };
    let out =
        |view: &_| in_states(view, 0, &[S::Queued]) == 0 && in_states(view, 0, &[S::Sending]) <= hanging;
    stage.until(alert, out).await;
    assert!(stage.second.total_rings() > 0);

    if fault == Fault::Hangs {
        stage.until(alert, |view| in_states(view, 0, &[S::Sending]) == 0).await;
        // The policy for lost answers sends them again, by the second gateway.
        stage.leap(RECEIPT_WAIT).await;
    }
    // If a life is in danger nothing stays in doubt: no message tries the gateway that hangs while the other one works.
    let done = |view: &_| {
        let unknown = in_states(view, 0, &[S::Unknown]);
        in_states(view, 0, &[S::Delivered]) + unknown == u64::from(people)
            && (fault != Fault::Hangs || unknown == 0)
    };
    let view = stage.until(alert, done).await;
    let doubts = check_rings(&stage, alert, people).await;
    let doubts_most = match fault {
        Fault::Refuses | Fault::Hangs => WINDOW,
        Fault::OutOfCredit | Fault::Throttles => 0,
    };
    assert!(doubts <= doubts_most, "{doubts} are in doubt");
    assert!(fault != Fault::Hangs || doubts > 0, "those under way when it began to hang");
    // The simulator knows how many it took without a word, for which no receipt came either.
    let in_silence = if fault == Fault::Hangs { stage.first.stats().answers_lost } else { 0 };
    let rings: u64 = stage.rings().values().map(|times| u64::from(*times)).sum();
    assert_eq!(rings, in_states(&view, 0, &[S::Delivered]) + in_silence, "no ring that is not accounted for");

    fault.end(&stage).await;
    until_it_is_back(&stage).await;
    stage.close().await;
}
