//! The gateways that somebody took out of use by hand: an order, which holds until it is taken back.
//!
//! Gateways are the installation's, so an order stands in the audit log of every organisation.

use klaroen_domain::time::Timestamp;
use serde_json::json;

use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::tenancy::audit;
use crate::{Actor, Result, Store};

/// A gateway that somebody took out of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayPause {
    /// The gateway's name.
    pub gateway: String,
    /// Since when.
    pub paused_at: Timestamp,
    /// Who: `key:<id>`, `cli` or `system`.
    pub paused_by: String,
    /// Why, in the words of the one who did it. Every organisation sees it.
    pub reason: Option<String>,
}

const PAUSE: Sql = Sql::new(
    "INSERT INTO gateway_pauses (gateway, paused_at, paused_by, reason) VALUES ($1, $2, $3, $4)
     ON CONFLICT (gateway) DO NOTHING",
);
const RESUME: Sql = Sql::new("DELETE FROM gateway_pauses WHERE gateway = $1");
const PAUSES: Sql =
    Sql::new("SELECT gateway, paused_at, paused_by, reason FROM gateway_pauses ORDER BY gateway");

from_row! {
    struct Row {
        gateway: String,
        paused_at: i64,
        paused_by: String,
        reason: Option<String>,
    }
}

impl Store {
    /// Takes a gateway out of use until [`Store::resume_gateway`]; `false` if it is out of use already: then the first
    /// pause stands, with its reason. Whether there is such a gateway is for the caller to know. Call [`Store::announce`]
    /// afterwards, so that workers hear of it at once.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn pause_gateway(
        &self,
        actor: Actor,
        gateway: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let paused = on_tx!(&mut tx, conn, d => sqlx::query(PAUSE.of(d))
            .bind(gateway).bind(now.as_millis()).bind(actor.to_string()).bind(reason)
            .execute(conn).await?.rows_affected());
        if paused > 0 {
            // Without the reason: free text may name a person, and the log is for ever.
            let detail = json!({ "reason_given": reason.is_some() });
            audit::append_everywhere(&mut tx, actor, "gateway.paused", gateway, &detail, now).await?;
        }
        tx.commit().await?;
        Ok(paused > 0)
    }

    /// Puts a gateway back into use; `false` if nobody had taken it out. Call [`Store::announce`] afterwards.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn resume_gateway(&self, actor: Actor, gateway: &str, now: Timestamp) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let resumed = on_tx!(&mut tx, conn, d =>
            sqlx::query(RESUME.of(d)).bind(gateway).execute(conn).await?.rows_affected());
        if resumed > 0 {
            audit::append_everywhere(&mut tx, actor, "gateway.resumed", gateway, &json!({}), now).await?;
        }
        tx.commit().await?;
        Ok(resumed > 0)
    }

    /// The gateways that are out of use by hand.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn gateway_pauses(&self) -> Result<Vec<GatewayPause>> {
        let rows: Vec<Row> =
            on_db!(read self.db, pool, d => sqlx::query_as(PAUSES.of(d)).fetch_all(pool).await?);
        let pause = |Row { gateway, paused_at, paused_by, reason }| GatewayPause {
            gateway,
            paused_at: Timestamp::from_millis(paused_at),
            paused_by,
            reason,
        };
        Ok(rows.into_iter().map(pause).collect())
    }
}

#[cfg(test)]
mod tests {
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, first};

    #[rstest]
    #[tokio::test]
    async fn a_pause_by_hand_holds_until_it_is_taken_back_and_stands_in_every_log(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let pause = |reason| f.store.pause_gateway(ACTOR, "main", reason, NOW);
        assert!(pause(Some("maintenance")).await.unwrap());
        assert!(!pause(None).await.unwrap(), "it is paused already");
        let expected = GatewayPause {
            gateway: "main".into(),
            paused_at: NOW,
            paused_by: ACTOR.to_string(),
            reason: Some("maintenance".into()),
        };
        assert_eq!(f.store.gateway_pauses().await.unwrap(), [expected]);
        let resume = || f.store.resume_gateway(ACTOR, "main", NOW);
        assert!(resume().await.unwrap());
        assert!(!resume().await.unwrap());
        assert_eq!(f.store.gateway_pauses().await.unwrap(), []);
        for organisation in [f.organisation, f.stranger] {
            let page = f.store.list_audit(organisation, &first(10)).await.unwrap();
            let of_gateways = page.items.into_iter().filter(|entry| entry.subject == "main");
            let actions: Vec<_> = of_gateways.map(|entry| entry.action).collect();
            assert_eq!(actions, ["gateway.resumed", "gateway.paused"]);
        }
    }
}
