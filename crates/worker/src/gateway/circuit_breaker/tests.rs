use super::*;

const ID: DeliveryId = DeliveryId(1);
const QUICK: Duration = Duration::from_millis(20);

const fn one(first: DeliveryId) -> RequestRef {
    RequestRef { first, messages: 1 }
}

fn failure(scope: Scope) -> Failure {
    Failure { scope, code: "x".into(), detail: "it is".into() }
}

fn good() -> SubmitOutcome {
    SubmitOutcome::Accepted { provider_ids: vec![], segments: 1 }
}

fn not_taken() -> SubmitOutcome {
    SubmitOutcome::NotTaken(failure(Scope::Gateway))
}

fn refused() -> SubmitOutcome {
    SubmitOutcome::Rejected(failure(Scope::Gateway))
}

fn unknown() -> SubmitOutcome {
    SubmitOutcome::Unknown(failure(Scope::Recipient))
}

/// A breaker and its time, which only the test moves.
struct Play {
    breaker: CircuitBreaker,
    now: Instant,
}

impl Play {
    /// Connected, with another gateway as an alternative.
    fn new() -> Self {
        let now = Instant::now();
        let mut breaker = CircuitBreaker::new(now);
        breaker.on_connections(1, now);
        Self { breaker, now }
    }

    fn only_gateway() -> Self {
        let mut play = Self::new();
        play.breaker.set_only_gateway(true);
        play
    }

    fn answers(&mut self, count: u32, outcome: &SubmitOutcome) -> GatewayState {
        for _ in 0..count {
            self.breaker.on_submit(one(ID), self.now);
            self.breaker.on_response(one(ID), outcome, QUICK, true, self.now);
        }
        self.breaker.state()
    }

    fn wait(&mut self, time: Duration) -> GatewayState {
        self.now += time;
        self.breaker.tick(1.0, self.now);
        self.breaker.state()
    }

    fn wait_s(&mut self, seconds: u64) -> GatewayState {
        self.wait(Duration::from_secs(seconds))
    }
}

use GatewayState::{Down, Paused, Probing, Stopped, Suspect, Throttled, Up};

#[tokio::test]
async fn a_refusal_pauses_at_once_then_one_message_tries() {
    let mut play = Play::new();
    play.breaker.on_submit(one(DeliveryId(2)), play.now);
    assert_eq!(play.answers(1, &refused()), Paused);
    let until = play.breaker.paused_until();
    // The rest of the window: a refusal makes the pause no longer, an acceptance makes it no shorter.
    play.wait_s(20);
    assert_eq!(play.answers(3, &refused()), Paused);
    play.breaker.on_response(one(DeliveryId(2)), &good(), QUICK, true, play.now);
    assert_eq!((play.breaker.state(), play.breaker.paused_until()), (Paused, until));
    assert_eq!(play.wait(GATEWAY_PAUSE), Probing);
    assert!(play.breaker.wants_probe());
    play.breaker.on_submit(one(ID), play.now);
    assert!(!play.breaker.wants_probe(), "one is enough");
    play.breaker.on_response(one(ID), &refused(), QUICK, true, play.now);
    assert_eq!(play.breaker.state(), Paused);
    assert_eq!(play.wait(GATEWAY_PAUSE), Probing);
    assert_eq!(play.answers(1, &good()), Up);
    assert_eq!(play.breaker.reason(), "");
}

#[tokio::test]
async fn what_cannot_be_reached_is_tried_less_and_less_often_and_forgiven_in_time() {
    let mut play = Play::new();
    assert_eq!(play.answers(NOT_TAKEN_RUN - 1, &not_taken()), Up);
    assert_eq!(play.answers(1, &good()), Up, "a run is broken by an answer");
    for _ in 0..NOT_TAKEN_RUN {
        play.breaker.on_response(one(ID), &not_taken(), QUICK, false, play.now);
    }
    assert_eq!(play.breaker.state(), Up, "one of its connections was lost");
    assert_eq!(play.answers(NOT_TAKEN_RUN, &not_taken()), Paused);
    for seconds in [5, 10, 20, 40, 60, 60] {
        assert_eq!(play.wait_s(seconds - 1), Paused, "{seconds}");
        assert_eq!(play.wait_s(1), Probing, "{seconds}");
        assert_eq!(play.answers(1, &not_taken()), Paused);
    }
    assert_eq!(play.wait(LONGEST_WAIT), Probing);
    assert_eq!(play.answers(1, &good()), Up);
    play.wait(FORGIVEN);
    play.answers(NOT_TAKEN_RUN, &not_taken());
    assert_eq!(play.wait(FIRST_WAIT), Probing);
}

#[tokio::test]
async fn the_only_gateway_is_tried_every_few_seconds() {
    let mut play = Play::only_gateway();
    play.answers(NOT_TAKEN_RUN, &not_taken());
    for _ in 0..5 {
        assert_eq!(play.wait(FIRST_WAIT), Probing);
        assert_eq!(play.answers(1, &not_taken()), Paused);
    }
}

#[tokio::test]
async fn a_new_connection_ends_a_pause_for_the_lack_of_one_but_not_a_refusal() {
    for (outcome, after) in [(not_taken(), Up), (refused(), Paused)] {
        let mut play = Play::new();
        play.answers(NOT_TAKEN_RUN, &outcome);
        play.breaker.on_connections(0, play.now);
        assert_eq!(play.breaker.state(), Down);
        play.breaker.on_connections(1, play.now);
        assert_eq!(play.breaker.state(), after);
    }
}

#[tokio::test]
async fn silence_makes_it_suspect_and_the_first_answer_clears_it() {
    let mut play = Play::new();
    play.answers(20, &good());
    play.breaker.on_submit(one(ID), play.now);
    play.breaker.on_submit(one(DeliveryId(2)), play.now);
    assert_eq!(play.wait(SILENT.saturating_sub(QUICK)), Up);
    assert_eq!(play.wait(QUICK), Suspect);
    // An unknown outcome is not an answer.
    play.breaker.on_response(one(ID), &unknown(), QUICK, true, play.now);
    assert_eq!(play.breaker.state(), Suspect);
    play.breaker.on_response(one(DeliveryId(2)), &good(), QUICK, true, play.now);
    assert_eq!(play.breaker.state(), Up);
    // Without anything in flight there is no silence.
    assert_eq!(play.wait_s(3600), Up);
}

#[tokio::test]
async fn a_slow_gateway_is_silent_later() {
    let mut play = Play::new();
    for _ in 0..50 {
        play.breaker.on_submit(one(ID), play.now);
        play.breaker.on_response(one(ID), &good(), Duration::from_secs(2), true, play.now);
    }
    play.breaker.on_submit(one(ID), play.now);
    assert_eq!(play.wait_s(7), Up);
    assert_eq!(play.wait_s(1), Suspect);
}

#[tokio::test]
async fn a_silent_gateway_is_tried_by_one_message_while_the_rest_hangs() {
    let mut play = Play::new();
    play.breaker.on_submit(one(DeliveryId(2)), play.now);
    play.wait(SILENT);
    assert_eq!(play.wait(FIRST_WAIT), Probing);
    play.breaker.on_submit(one(ID), play.now);
    assert_eq!(play.wait_s(1), Probing, "the one that hangs says nothing about the probe");
    assert_eq!(play.wait(SILENT), Suspect);
    assert_eq!(play.wait(FIRST_WAIT), Suspect, "the next try is later");
    assert_eq!(play.wait(FIRST_WAIT), Probing);
    assert!(play.breaker.wants_probe());
    assert_eq!(play.answers(1, &good()), Up);
    let mut only = Play::only_gateway();
    only.breaker.on_submit(one(ID), only.now);
    only.wait(SILENT);
    assert_eq!(only.wait(LONGEST_WAIT), Suspect, "it stays in use with its whole window");
}

#[tokio::test]
async fn many_errors_make_it_suspect_and_a_few_do_not() {
    let mut play = Play::new();
    play.answers(100, &good());
    play.answers(ERRORS_LEAST - 1, &unknown());
    assert_eq!(play.wait_s(1), Up);
    play.answers(30, &unknown());
    assert_eq!(play.wait_s(1), Suspect);
    play.answers(5, &good());
    assert_eq!(play.breaker.state(), Suspect, "others go first for a while");
    assert_eq!(play.wait(FIRST_WAIT), Probing);
    assert_eq!(play.answers(1, &good()), Up);
    assert_eq!(play.wait_s(1), Up, "what led to it is forgotten");
}

#[tokio::test]
async fn errors_of_the_only_gateway_pass_by_themselves() {
    let mut play = Play::only_gateway();
    play.answers(30, &unknown());
    assert_eq!(play.wait_s(1), Suspect);
    play.answers(200, &good());
    assert_eq!(play.wait_s(60), Up);
}

#[tokio::test]
async fn receipts_shift_work_once_in_some_minutes() {
    let mut play = Play::new();
    let bad = |play: &mut Play| {
        play.breaker.on_bad_receipts("nothing arrives".into(), play.now);
        play.breaker.state()
    };
    assert_eq!(bad(&mut play), Up, "it has just begun");
    play.wait(RECEIPTS_HOLD);
    assert_eq!(bad(&mut play), Suspect);
    assert_eq!(play.wait(RECEIPTS_HOLD), Probing);
    assert_eq!(play.answers(1, &good()), Up);
    assert_eq!(bad(&mut play), Up);
}

#[tokio::test]
async fn a_slower_pace_shows_below_half_and_until_it_was_whole_for_seconds() {
    let mut play = Play::new();
    let pace = |play: &mut Play, factor, seconds| {
        play.now += Duration::from_secs(seconds);
        play.breaker.tick(factor, play.now);
        play.breaker.state()
    };
    assert_eq!(pace(&mut play, 0.6, 1), Up);
    assert_eq!(pace(&mut play, 0.4, 1), Throttled);
    assert_eq!(pace(&mut play, 0.8, 1), Throttled);
    assert_eq!(pace(&mut play, 1.0, 1), Throttled);
    assert_eq!(pace(&mut play, 1.0, 2), Throttled);
    assert_eq!(pace(&mut play, 1.0, 1), Up);
}

#[tokio::test]
async fn an_order_and_a_lost_connection_are_above_all_else() {
    let mut play = Play::new();
    play.breaker.set_stopped(true, play.now);
    assert_eq!(play.answers(1, &refused()), Stopped);
    play.breaker.on_connections(0, play.now);
    assert_eq!((play.breaker.state(), play.breaker.reason()), (Stopped, "paused by hand"));
    play.breaker.set_stopped(false, play.now);
    assert_eq!(play.breaker.state(), Down);
}

#[tokio::test]
async fn a_gateway_that_has_just_started_is_waited_for() {
    let now = Instant::now();
    let mut breaker = CircuitBreaker::new(now);
    assert_eq!((breaker.state(), breaker.routing_state(now)), (Down, Up));
    assert_eq!(breaker.routing_state(now + STARTING), Down);
    breaker.on_connections(1, now);
    breaker.on_connections(0, now);
    assert_eq!(breaker.routing_state(now), Down, "one that was there is followed at once");
}

#[tokio::test]
async fn a_batch_without_an_answer_is_one_piece_of_evidence() {
    let mut play = Play::new();
    let batch = RequestRef { first: ID, messages: 100 };
    play.breaker.on_submit(batch, play.now);
    assert_eq!(play.breaker.in_flight(), 100);
    play.breaker.on_response(batch, &unknown(), QUICK, true, play.now);
    assert_eq!((play.breaker.in_flight(), play.wait_s(1)), (0, Up));
    play.answers(ERRORS_LEAST - 1, &unknown());
    assert_eq!(play.wait_s(1), Suspect, "ten requests are enough");
}

#[tokio::test]
async fn what_was_given_up_is_not_waited_for() {
    let mut play = Play::new();
    for id in 1..=3 {
        play.breaker.on_submit(one(DeliveryId(id)), play.now);
    }
    play.breaker.on_abandoned(&[DeliveryId(1), DeliveryId(2)], play.now);
    assert_eq!((play.breaker.in_flight(), play.wait_s(3)), (1, Suspect), "one is still waited for");
    play.breaker.on_response(one(DeliveryId(3)), &good(), QUICK, true, play.now);
    play.breaker.on_submit(one(DeliveryId(4)), play.now);
    play.breaker.on_abandoned(&[DeliveryId(4)], play.now);
    assert_eq!((play.breaker.in_flight(), play.wait_s(60)), (0, Up), "nothing to be silent about");
}

#[tokio::test]
async fn where_the_one_that_tries_was_given_up_another_tries() {
    let mut play = Play::new();
    play.answers(1, &refused());
    assert_eq!(play.wait(GATEWAY_PAUSE), Probing);
    play.breaker.on_submit(one(ID), play.now);
    play.breaker.on_abandoned(&[DeliveryId(2)], play.now);
    assert!(!play.breaker.wants_probe(), "it was another");
    play.breaker.on_abandoned(&[ID], play.now);
    assert!(play.breaker.wants_probe());
    assert_eq!(play.answers(1, &good()), Up);
}
