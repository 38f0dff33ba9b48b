//! A worker that can do nothing waits: it does not look at the clock again and again.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::ChannelStatus;
use klaroen_store::Actor;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rstest::rstest;
use tokio::time::Instant;

use crate::fixture::{Running, Script, World, accepted, at_once, failure};

/// As many as the window: they are all under way when the first answer comes, while the next claim finds nothing.
const PEOPLE: u32 = 10;
/// More than any session needs that polls its queue each second, looks at a probe four times a second, and tries the slowest pace.
const TURNS_PER_SECOND: f64 = 200.0;
/// Turns that belong to what had begun before: answers, claims, the change of a plan.
const TURNS_OF_BEFORE: f64 = 40.0;
/// How long it is watched.
const WATCHED: Duration = Duration::from_millis(2_500);

/// Why there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The queue is empty.
    AllSent,
    /// Each message is refused, and so the gateway is, for a while.
    RefusesUs,
    /// It takes nothing, for a while.
    TakesNothing,
    /// The provider asks for patience with each message.
    Throttles,
    /// No answer is known.
    LosesAnswers,
    /// The window is full of messages without an answer.
    Hangs,
    /// An operator has paused it.
    Paused,
    /// The connection is being made again.
    Connecting,
    /// The provider refuses the account.
    Refused,
}

impl State {
    fn script(self) -> Script {
        match self {
            Self::RefusesUs => at_once(|_| SubmitOutcome::Rejected(failure(Scope::Gateway))),
            Self::TakesNothing => at_once(|_| SubmitOutcome::NotTaken(failure(Scope::Gateway))),
            Self::Throttles => at_once(|_| SubmitOutcome::Throttled { retry_after: None }),
            Self::LosesAnswers => at_once(|_| SubmitOutcome::Unknown(failure(Scope::Gateway))),
            Self::Hangs => Arc::new(|_| Box::pin(std::future::pending())),
            _ => at_once(accepted),
        }
    }

    /// Brings it about, with an alert of which messages are left unless all were sent.
    async fn begin(self, world: &World) -> Running {
        if matches!(
            self,
            Self::RefusesUs | Self::TakesNothing | Self::Throttles | Self::LosesAnswers | Self::Hangs
        ) {
            let mut running = Running::with_drain(world, 10, self.script(), Duration::ZERO);
            // It has begun.
            running.provider.next().await;
            return running;
        }
        // It claims before it may not, and so it knows a time at which to claim again.
        let running = Running::start(world, 10, self.script());
        world.until(S::Sent, PEOPLE.into()).await;
        match self {
            Self::Paused => {
                let now = SystemClock.now();
                assert!(world.store.pause_gateway(Actor::System, "main", None, now).await.unwrap());
            }
            Self::Connecting => drop(running.provider.status.send_replace(ChannelStatus::Connecting)),
            Self::Refused => {
                let refused = ChannelStatus::Refused { reason: "scripted".into() };
                running.provider.status.send_replace(refused);
            }
            _ => {}
        }
        running
    }
}

fn turns(recorder: &PrometheusHandle) -> f64 {
    let metrics = recorder.render();
    let of = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        name.starts_with("klaroen_session_turns_total{").then(|| value.parse::<f64>().unwrap())
    };
    metrics.lines().filter_map(of).sum()
}

#[rstest]
fn an_idle_session_waits_in_every_state_of_its_gateway(
    #[values(
        State::AllSent,
        State::RefusesUs,
        State::TakesNothing,
        State::Throttles,
        State::LosesAnswers,
        State::Hangs,
        State::Paused,
        State::Connecting,
        State::Refused
    )]
    state: State,
) {
    // One recorder for each case: cases may share a process.
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let world = World::new(PEOPLE).await;
            let running = state.begin(&world).await;
            let (before, began) = (turns(&handle), Instant::now());
            assert!(before > 0.0, "the turns are counted");
            tokio::time::sleep(WATCHED).await;
            let made = turns(&handle) - before;
            let most = began.elapsed().as_secs_f64().mul_add(TURNS_PER_SECOND, TURNS_OF_BEFORE);
            assert!(made <= most, "{state:?}: {made} turns");
            drop(running);
        });
    });
}
