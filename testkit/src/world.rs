//! The world that the tests begin with: a database in a temporary directory, a clock that stands still, an organisation, people.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::hours::Zone;
use klaroen_domain::id::{AlertId, KeyId, OrganisationId, ParticipantId};
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::point::Point;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{Clock, ManualClock, Timestamp};
use klaroen_store::alerts::{AlertDraft, AlertView, Intake, Taken};
use klaroen_store::channels::ChannelName;
use klaroen_store::claims::{Claim, ClaimRequest, Claimed, Turns, lease_token};
use klaroen_store::idempotency::{Idempotency, Once};
use klaroen_store::incidents::IncidentDraft;
use klaroen_store::matching::{Audience, MatchRules};
use klaroen_store::outcomes::Finished;
use klaroen_store::participants::{Consent, Participant, ParticipantDraft, Place};
use klaroen_store::replies::{AutoReply, AutoReplyTexts};
use klaroen_store::seal::Keys;
use klaroen_store::{Actor, Store, StoreOptions};
use klaroen_test_databases::Engine;

/// The middle of the test city.
pub const DOM: (f64, f64) = (52.0907, 5.1214);

/// A database with one organisation. Dropping it deletes the files.
pub struct World {
    pub store: Store,
    pub engine: Engine,
    /// The URL of the database.
    pub url: String,
    pub clock: Arc<ManualClock>,
    pub organisation: OrganisationId,
    pub operator: KeyId,
    pub rules: MatchRules,
    pub directory: tempfile::TempDir,
}

pub fn keys() -> Keys {
    Keys::new(&[7; 32], &[8; 32])
}

/// Everybody, at any hour, as often as it is.
pub fn rules() -> MatchRules {
    let zone = "Europe/Amsterdam".parse::<Zone>().unwrap();
    MatchRules { zone, quiet_hours: None, max_alerts_per_day: 0 }
}

impl World {
    /// On a Wednesday at noon.
    pub async fn new(engine: Engine) -> Self {
        Self::at(engine, Timestamp::parse("2026-11-25T12:00:00+01:00").unwrap()).await
    }

    pub async fn at(engine: Engine, now: Timestamp) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = engine.database(directory.path()).await;
        let store = Store::open(&StoreOptions::new(&url, keys())).await.unwrap();
        // As the program does: references are as long in the tests as they are in use.
        store.begin_references(now).await.unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let organisation =
            store.create_organisation("utrecht", "Gemeente Utrecht", clock.now()).await.unwrap().unwrap();
        Self {
            store,
            engine,
            url,
            clock,
            organisation: organisation.id,
            operator: KeyId::generate(),
            rules: rules(),
            directory,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Enrols `count` residents, some 5 m apart, eastward of the Dom, with numbers `0610000000` and up.
    pub async fn enrol(&self, count: usize) -> Vec<Participant> {
        let mut participants = Vec::with_capacity(count);
        for n in 0..count {
            participants.push(self.enrol_one(&draft(n, at_metres_east(5.0 * n as f64))).await);
        }
        participants
    }

    /// Imports `count` residents with the same numbers, so many metres apart: faster than to enrol them one by one.
    pub async fn import(&self, count: usize, apart_m: f64) {
        let drafts: Vec<_> = (0..count).map(|n| draft(n, at_metres_east(apart_m * n as f64))).collect();
        for batch in drafts.chunks(2_000) {
            let imported = self.store.import_participants(self.organisation, batch, false, self.now());
            imported.await.unwrap();
        }
    }

    pub async fn enrol_one(&self, draft: &ParticipantDraft) -> Participant {
        self.store
            .create_participant(self.organisation, draft, Actor::CommandLine, self.now())
            .await
            .unwrap()
            .unwrap()
    }

    pub fn intake<'a>(&'a self, idempotency: Option<&'a Idempotency>) -> Intake<'a> {
        Intake {
            organisation: self.organisation,
            operator: self.operator,
            idempotency,
            rules: &self.rules,
            now: self.now(),
        }
    }

    pub fn alert_draft(&self, radius_m: f64) -> AlertDraft {
        AlertDraft {
            geofence: circle(radius_m),
            area: serde_json::json!({ "circle": { "radius_m": radius_m } }),
            text: MessageText::parse("Let op: man, rode jas, te voet richting station.", 4).unwrap(),
            audience: Audience::default(),
            priority: Priority::Urgent,
            expires_at: self.now().plus(Duration::from_hours(1)),
            exercise: false,
        }
    }

    pub async fn take(&self, draft: &AlertDraft) -> Taken {
        match self.store.take_incident(&self.intake(None), &incident(), Some(draft)).await.unwrap() {
            Once::Done(taken) => taken,
            other => panic!("not taken: {other:?}"),
        }
    }

    /// An alert for everybody within 10 km, written to its end.
    pub async fn alert_all(&self) -> AlertId {
        self.raise(&self.alert_draft(10_000.0)).await
    }

    /// An alert, written to its end.
    pub async fn raise(&self, draft: &AlertDraft) -> AlertId {
        let taken = self.take(draft).await;
        let alert = taken.alert.unwrap();
        if taken.more {
            self.store.continue_fanout(alert, &self.rules, self.now(), || {}).await.unwrap();
        }
        alert
    }

    pub async fn view(&self, alert: AlertId) -> AlertView {
        self.store.alert(self.organisation, alert).await.unwrap().unwrap()
    }

    /// How many deliveries of an alert's message of index `message` are in `state`.
    pub async fn count(&self, alert: AlertId, message: usize, state: DeliveryState) -> u64 {
        self.view(alert).await.messages[message].counts[&state]
    }

    pub async fn claim(&self, limit: u32) -> Claim {
        self.claim_on(&channel(0), limit).await
    }

    pub async fn claim_on(&self, channel: &ChannelName, limit: u32) -> Claim {
        let now = self.now();
        let lease_until = now.plus(Duration::from_mins(1));
        let request = ClaimRequest { channel, limit, lease_until, now, lease_token: lease_token() };
        self.store.claim(&request, &mut Turns::default()).await.unwrap()
    }

    /// Claims everything that is due and has it accepted; returns the numbers that it went to.
    pub async fn send_all(&self) -> Vec<PhoneNumber> {
        let mut numbers = Vec::new();
        loop {
            let claim = self.claim(500).await;
            if claim.claimed.is_empty() {
                return numbers;
            }
            let finished: Vec<_> = claim.claimed.iter().map(|c| self.accepted(c)).collect();
            self.store.finish("main", &finished).await.unwrap();
            numbers.extend(claim.claimed.into_iter().filter_map(|c| c.phone));
        }
    }

    pub fn accepted(&self, claimed: &Claimed) -> Finished {
        self.finished(claimed, Decision::Sent, &[&provider_id(claimed)])
    }

    pub fn finished(&self, claimed: &Claimed, decision: Decision, provider_ids: &[&str]) -> Finished {
        Finished {
            id: claimed.id,
            lease_token: claimed.lease_token,
            decision,
            provider_ids: provider_ids.iter().map(|id| ProviderId((*id).to_owned())).collect(),
            segments: 1,
            at: self.now(),
        }
    }
}

pub fn provider_id(claimed: &Claimed) -> String {
    format!("smsc-{}-{}", claimed.id, claimed.lease_token)
}

pub fn channel(number: u16) -> ChannelName {
    ChannelName { gateway: "main".into(), channel: number }
}

pub fn circle(radius_m: f64) -> Geofence {
    Geofence::circle(Point::wgs84(DOM.0, DOM.1).unwrap(), radius_m).unwrap()
}

/// A point due east of the Dom; good to a per mille over a few kilometres.
pub fn at_metres_east(metres: f64) -> Point {
    Point::wgs84(DOM.0, DOM.1 + metres / (111_320.0 * DOM.0.to_radians().cos())).unwrap()
}

pub fn phone(n: usize) -> PhoneNumber {
    PhoneNumber::from_sealed(format!("+3161{n:07}"))
}

pub fn draft(n: usize, location: Point) -> ParticipantDraft {
    ParticipantDraft {
        kind: ParticipantKind::Resident,
        name: None,
        phone: phone(n),
        language: Language::Nl,
        places: vec![Place { label: "thuis".into(), location, hours: None }],
        groups: vec![],
        external_id: None,
        paused_until: None,
        consent: Consent {
            given_at: Timestamp::parse("2026-01-31T10:00:00+01:00").unwrap(),
            method: "formulier".into(),
        },
    }
}

pub fn incident() -> IncidentDraft {
    IncidentDraft {
        reference: Some("2026-4711".into()),
        category: "robbery".into(),
        description: "Overval op winkel, verdachte te voet gevlucht".into(),
        subject: None,
        location: Point::wgs84(DOM.0, DOM.1).unwrap(),
        occurred_at: None,
    }
}

pub fn text(text: &str) -> MessageText {
    MessageText::parse(text, 4).unwrap()
}

/// Texts that name the answer, so that a test sees which one went out.
pub struct Answers;

impl AutoReplyTexts for Answers {
    fn text(&self, reply: AutoReply, language: Language) -> MessageText {
        MessageText::parse(&format!("{reply:?} {}", language.as_str()), 1).unwrap()
    }
}

pub fn numbers(participants: &[Participant]) -> Vec<PhoneNumber> {
    let mut numbers: Vec<_> = participants.iter().map(|p| p.draft.phone.clone()).collect();
    numbers.sort();
    numbers
}

pub fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

pub fn ids(participants: &[Participant]) -> Vec<ParticipantId> {
    participants.iter().map(|p| p.id).collect()
}
