//! The registry, streamed out: see [`Store::list_participants`] for the pages it is made of.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use crate::tenancy::audit;
use crate::{Actor, Result, Store};

impl Store {
    /// Writes the audit entry of an export: who read the whole registry, and when.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn audit_export(
        &self,
        organisation: OrganisationId,
        actor: Actor,
        format: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let subject = organisation.to_string();
        let detail = serde_json::json!({ "format": format });
        audit::append(&mut tx, organisation, actor, "participants.exported", &subject, detail, now).await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::fixture::{ACTOR, Fixture, NOW, first};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    #[rstest]
    #[tokio::test]
    async fn an_export_is_written_down(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        f.store.audit_export(f.organisation, ACTOR, "csv", NOW).await.unwrap();
        let entry = f.store.list_audit(f.organisation, &first(1)).await.unwrap().items.remove(0);
        assert_eq!((entry.action.as_str(), entry.actor), ("participants.exported", ACTOR.to_string()));
        assert_eq!(entry.detail["format"], "csv");
    }
}
