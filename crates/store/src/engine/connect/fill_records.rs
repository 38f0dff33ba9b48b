//! Fills in `places.record` in a SQLite file that is older than the column. Once: a row of `meta` says that it is done.

use klaroen_domain::participant::ParticipantKind;
use serde_json::json;
use sqlx::SqlitePool;
use uuid::Uuid;

use crate::engine::hex;
use crate::matching::match_record::Record;
use crate::{Result, StoreError};

const IS_DONE: &str = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'place_records')";
const DONE: &str =
    "INSERT INTO meta (name, value) VALUES ('place_records', x'01') ON CONFLICT (name) DO NOTHING";
const NEXT: &str = "SELECT l.participant_id, l.position, l.cell, l.latitude, l.longitude, l.hours, p.recipient, p.kind, p.paused_until
     FROM places l JOIN participants p ON p.id = l.participant_id
     WHERE (l.participant_id, l.position) > ($1, $2) ORDER BY l.participant_id, l.position LIMIT $3";
const SET: &str = "UPDATE places SET record = unhex(j.value ->> 2) FROM json_each($1) j
     WHERE places.participant_id = unhex(j.value ->> 0) AND places.position = j.value ->> 1";

/// Places that one transaction fills in.
const PAGE: i64 = 5_000;

#[derive(sqlx::FromRow)]
struct Row {
    participant_id: Uuid,
    position: i64,
    cell: i64,
    latitude: f64,
    longitude: f64,
    hours: Option<String>,
    recipient: Vec<u8>,
    kind: String,
    paused_until: Option<i64>,
}

impl Row {
    fn record(&self) -> Result<Vec<u8>> {
        let corrupt = |column| StoreError::Corrupt { table: "participants", column };
        let record = Record {
            cell: self.cell,
            latitude: self.latitude,
            longitude: self.longitude,
            participant: self.participant_id,
            recipient: self.recipient.as_slice().try_into().map_err(|_| corrupt("recipient"))?,
            kind: self.kind.parse::<ParticipantKind>().map_err(|_| corrupt("kind"))?,
            paused_until: self.paused_until,
            hours: self.hours.as_deref(),
        };
        Ok(record.to_bytes())
    }
}

pub(super) async fn fill_records(writer: &SqlitePool) -> Result<()> {
    if sqlx::query_scalar::<_, bool>(IS_DONE).fetch_one(writer).await? {
        return Ok(());
    }
    let mut last = (Uuid::nil(), -1);
    loop {
        let rows: Vec<Row> =
            sqlx::query_as(NEXT).bind(last.0).bind(last.1).bind(PAGE).fetch_all(writer).await?;
        let Some(newest) = rows.last() else { break };
        last = (newest.participant_id, newest.position);
        let mut values = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = row.participant_id.simple().to_string();
            values.push(json!([id, row.position, hex::encode(&row.record()?)]));
        }
        sqlx::query(SET).bind(json!(values).to_string()).execute(writer).await?;
    }
    sqlx::query(DONE).execute(writer).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use klaroen_test_databases::Engine;

    use super::*;
    use crate::engine::db::Db;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, draft};

    #[tokio::test]
    async fn a_file_without_records_gets_those_that_a_new_one_has() {
        let f = Fixture::new(Engine::Sqlite).await;
        let Db::Sqlite { writer, .. } = &f.store.db else { panic!("this is about SQLite") };
        for n in 0..3 {
            let mut draft = draft(n);
            draft.places[0].hours = (n == 1).then(|| "Mo-Fr 08:00-18:00".parse().unwrap());
            draft.paused_until = (n == 2).then_some(NOW);
            f.store.create_participant(f.organisation, &draft, ACTOR, NOW).await.unwrap().unwrap();
        }
        let all = || async {
            let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT record FROM places ORDER BY participant_id")
                .fetch_all(writer)
                .await
                .unwrap();
            rows
        };
        let written = all().await;
        sqlx::query("UPDATE places SET record = x''").execute(writer).await.unwrap();
        fill_records(writer).await.unwrap();
        assert_ne!(all().await, written, "a file that says that it has them is left alone");
        sqlx::query("DELETE FROM meta WHERE name = 'place_records'").execute(writer).await.unwrap();
        fill_records(writer).await.unwrap();
        assert_eq!(all().await, written);
    }
}
