//! Messages to a phone number that need not be a participant's: a code, a notice to a partner, a test of a gateway.

use klaroen_domain::alert::{MessageKind, Priority};
use klaroen_domain::id::{MessageId, OrganisationId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;

use crate::deliveries::messages::{self, NewMessage};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::seal::Keys;
use crate::{Result, Store};

const QUEUE: Sql = Sql::new(
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, recipient, phone, country, lane, state, due_at, changed_at)
     SELECT organisation_id, alert_id, id, $2, $3, $4, lane, 'queued', $5, $5 FROM messages WHERE id = $1
     ON CONFLICT (recipient, message_id) DO NOTHING",
);

/// A text for one phone.
#[derive(Clone, Debug)]
pub struct TextToNumber<'a> {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The phone.
    pub phone: &'a PhoneNumber,
    /// The purpose of the message.
    pub kind: MessageKind,
    /// How urgent.
    pub priority: Priority,
    /// The text.
    pub text: &'a MessageText,
    /// The one gateway that may take it; any, if there is none.
    pub gateway: Option<&'a str>,
    /// When it is over.
    pub expires_at: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}

/// Queues a message that is written for the phone, too; `false` if the phone has it already.
pub(crate) async fn queue_to_number(
    tx: &mut Tx,
    keys: &Keys,
    message: MessageId,
    phone: &PhoneNumber,
    now: Timestamp,
) -> Result<bool> {
    let recipient = keys.recipient(phone);
    // Sealed for the recipient, and not for a message, so that a follow-up can take it along.
    let sealed = keys.seal_phone(phone, &recipient.0);
    let country = phone.country().map_or_else(String::new, |country| country.code().to_owned());
    let added = on_tx!(&mut *tx, conn, d => sqlx::query(QUEUE.of(d))
        .bind(message.0).bind(recipient.0.as_slice()).bind(sealed).bind(country).bind(now.as_millis())
        .execute(conn).await?.rows_affected());
    if added > 0 {
        messages::count_more(tx, message, added).await?;
    }
    Ok(added > 0)
}

impl Store {
    /// Writes a message for one phone and queues it.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn send_to_number(&self, text: &TextToNumber<'_>) -> Result<MessageId> {
        let id = MessageId::generate();
        let message = NewMessage {
            id,
            organisation: text.organisation,
            alert: None,
            kind: text.kind,
            priority: text.priority,
            text: text.text,
            expires_at: text.expires_at,
            created_by: None,
            gateway: text.gateway,
            now: text.now,
        };
        let mut tx = self.db.begin().await?;
        messages::insert(&mut tx, &message).await?;
        queue_to_number(&mut tx, &self.keys, id, text.phone, text.now).await?;
        tx.commit().await?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klaroen_domain::delivery::DeliveryState;
    use klaroen_domain::phone::Country;
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::claims::{ClaimRequest, Claimed, Part, Role, Roles, Scan, Turns, lease_token};
    use crate::engine::db::on_db;
    use crate::gateways::channels::ChannelName;
    use crate::replies::views::{AutoReply, AutoReplyTexts, IncomingReply};
    use crate::tests::fixture::{ACTOR, Fixture, NOW, draft, phone};

    const STATE: Sql = Sql::new("SELECT state FROM deliveries WHERE message_id = $1");
    const NUMBERS: Sql = Sql::new("SELECT COUNT(*) FROM deliveries WHERE phone IS NOT NULL");
    const IN_LANE: Sql = Sql::new("UPDATE deliveries SET lane = $2 WHERE message_id = $1");

    struct Texts;

    impl AutoReplyTexts for Texts {
        fn text(&self, _: AutoReply, _: klaroen_domain::participant::Language) -> MessageText {
            MessageText::from_stored("Afgemeld.".into())
        }
    }

    /// The fields that the claims of one gateway return.
    struct Gateway<'a> {
        f: &'a Fixture,
        name: &'static str,
        part: Option<Part>,
    }

    impl Gateway<'_> {
        async fn claim(&self) -> Vec<Claimed> {
            let channel = ChannelName { gateway: self.name.into(), channel: 0 };
            let lease_until = NOW.plus(Duration::from_mins(1));
            let request = ClaimRequest {
                channel: &channel,
                limit: 10,
                lease_until,
                now: NOW,
                lease_token: lease_token(),
            };
            let (store, turns) = (&self.f.store, &mut Turns::default());
            let claim = match &self.part {
                None => store.claim(&request, turns).await,
                Some(part) => store.claim_part(&request, part, &mut Scan::default(), turns).await,
            };
            claim.unwrap().claimed
        }
    }

    fn all(f: &Fixture) -> Gateway<'_> {
        Gateway { f, name: "main", part: None }
    }

    /// A gateway that takes the numbers of this country, and nothing else.
    fn of_country<'a>(f: &'a Fixture, name: &'static str, country: &str) -> Gateway<'a> {
        let by_country = vec![(country.parse::<Country>().unwrap(), Role::WHOLE)];
        let roles = Roles { by_country, others: Role::Nothing };
        Gateway {
            f,
            name,
            part: Some(Part { life_threatening: roles.clone(), urgent: roles.clone(), normal: roles }),
        }
    }

    async fn send(f: &Fixture, n: u32, gateway: Option<&str>) -> MessageId {
        let (text, phone) = (MessageText::from_stored("Uw code is 123456.".into()), phone(n));
        let text = TextToNumber {
            organisation: f.organisation,
            phone: &phone,
            kind: MessageKind::Service,
            priority: Priority::Urgent,
            text: &text,
            gateway,
            expires_at: NOW.plus(Duration::from_hours(1)),
            now: NOW,
        };
        f.store.send_to_number(&text).await.unwrap()
    }

    async fn state(f: &Fixture, message: MessageId) -> DeliveryState {
        let state: String = on_db!(read f.store.db, pool, d =>
            sqlx::query_scalar(STATE.of(d)).bind(message.0).fetch_one(pool).await.unwrap());
        state.parse().unwrap()
    }

    async fn numbers(f: &Fixture) -> i64 {
        on_db!(read f.store.db, pool, d => sqlx::query_scalar(NUMBERS.of(d)).fetch_one(pool).await.unwrap())
    }

    async fn set_lane(f: &Fixture, message: MessageId, lane: i64) {
        on_db!(write f.store.db, pool, d =>
            sqlx::query(IN_LANE.of(d)).bind(message.0).bind(lane).execute(pool).await.unwrap().rows_affected());
    }

    async fn stop(f: &Fixture, n: u32) {
        let reply = IncomingReply {
            gateway: "main".into(),
            dedupe_key: format!("stop-{n}"),
            from: phone(n).expose().to_owned(),
            phone: Some(phone(n)),
            text: "STOP".into(),
            keyword: Some(klaroen_domain::keyword::Keyword::Stop),
            received_at: NOW,
        };
        f.store.store_reply(&reply, &Texts).await.unwrap();
    }

    #[rstest]
    #[tokio::test]
    async fn a_number_that_is_nobodys_rings_once_for_a_message(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let message = send(&f, 7, None).await;
        let mut tx = f.store.db.begin().await.unwrap();
        assert!(!queue_to_number(&mut tx, f.store.keys(), message, &phone(7), NOW).await.unwrap());
        assert!(queue_to_number(&mut tx, f.store.keys(), message, &phone(8), NOW).await.unwrap());
        tx.commit().await.unwrap();
        let claimed = all(&f).claim().await;
        let rings: Vec<_> = claimed.iter().map(|claimed| (claimed.message, claimed.phone.clone())).collect();
        assert_eq!(rings, [(message, Some(phone(7))), (message, Some(phone(8)))]);
        assert_eq!(f.store.broken_sums().await.unwrap(), 0);
    }

    #[rstest]
    #[tokio::test]
    async fn a_sealed_number_does_not_open_for_another_recipient(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        const SWAP: Sql = Sql::new("UPDATE deliveries SET recipient = $2 WHERE message_id = $1");
        let f = Fixture::new(engine).await;
        let message = send(&f, 7, None).await;
        on_db!(write f.store.db, pool, d => sqlx::query(SWAP.of(d))
            .bind(message.0).bind([1_u8; 16].as_slice()).execute(pool).await.unwrap().rows_affected());
        let claimed = all(&f).claim().await;
        assert_eq!(claimed.iter().map(|claimed| &claimed.phone).collect::<Vec<_>>(), [&None]);
    }

    #[rstest]
    #[tokio::test]
    async fn the_country_of_a_number_says_which_gateway_takes_it(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
        #[values(false, true)] handed_over: bool,
    ) {
        const HAND_OVER: Sql = Sql::new("UPDATE deliveries SET handed_by = 'south'");
        let f = Fixture::new(engine).await;
        send(&f, 7, None).await;
        if handed_over {
            on_db!(write f.store.db, pool, d =>
                sqlx::query(HAND_OVER.of(d)).execute(pool).await.unwrap().rows_affected());
        }
        assert_eq!(of_country(&f, "main", "DE").claim().await, []);
        let claimed = of_country(&f, "main", "NL").claim().await;
        assert_eq!(claimed.iter().map(|claimed| claimed.phone.clone()).collect::<Vec<_>>(), [Some(phone(7))]);
    }

    #[rstest]
    #[tokio::test]
    async fn what_is_for_one_gateway_is_taken_by_no_other_and_by_that_one_whatever_its_part(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let (first, second) = (send(&f, 7, Some("north")).await, send(&f, 8, Some("main")).await);
        let messages =
            |claimed: Vec<Claimed>| claimed.iter().map(|claimed| claimed.message).collect::<Vec<_>>();
        assert_eq!(messages(all(&f).claim().await), [second]);
        assert_eq!(messages(of_country(&f, "south", "NL").claim().await), []);
        assert_eq!(messages(of_country(&f, "north", "DE").claim().await), [first]);
    }

    #[rstest]
    #[tokio::test]
    async fn an_opt_out_stops_what_is_for_a_number_and_lets_answers_pass(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let before = send(&f, 7, None).await;
        set_lane(&f, before, 3).await;
        stop(&f, 7).await;
        assert_eq!(state(&f, before).await, DeliveryState::Suppressed);
        let (answer, alert) = (send(&f, 7, None).await, send(&f, 7, None).await);
        set_lane(&f, alert, 3).await;
        let claimed = all(&f).claim().await;
        assert_eq!(claimed.iter().map(|claimed| claimed.message).collect::<Vec<_>>(), [answer]);
        assert_eq!(state(&f, alert).await, DeliveryState::Suppressed);
    }

    #[rstest]
    #[tokio::test]
    async fn who_is_erased_has_no_number_left_in_the_deliveries_of_the_organisation(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let participant =
            f.store.create_participant(f.organisation, &draft(7), ACTOR, NOW).await.unwrap().unwrap().id;
        let sending = send(&f, 7, None).await;
        assert_eq!(all(&f).claim().await.len(), 1);
        let queued = send(&f, 7, None).await;
        let others = send(&f, 8, None).await;
        assert!(f.store.erase_participant(f.organisation, participant, ACTOR, NOW).await.unwrap());
        let states = [state(&f, sending).await, state(&f, queued).await, state(&f, others).await];
        assert_eq!(states, [DeliveryState::Sending, DeliveryState::Suppressed, DeliveryState::Queued]);
        assert_eq!(numbers(&f).await, 1);
    }
}
