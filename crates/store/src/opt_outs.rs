//! Numbers that stopped messages at their provider: it refuses all that comes later, so the stop becomes ours.

use std::collections::BTreeSet;

use klaroen_domain::time::Timestamp;
use serde_json::json;

use crate::db::{Sql, Tx, on_tx};
use crate::seal::Recipient;
use crate::{Result, StoreError, inbound};

const RECIPIENTS: Sql = Sql::each(
    "SELECT d.recipient FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value",
    "SELECT d.recipient FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
);

/// Opts the phones of these deliveries out, and `named` ones, as a STOP of theirs would; they are not told, because nothing
/// would arrive.
pub(crate) async fn stopped_at_provider(
    tx: &mut Tx,
    deliveries: &[i64],
    named: impl IntoIterator<Item = Recipient>,
    now: Timestamp,
) -> Result<()> {
    let mut recipients: BTreeSet<Recipient> = named.into_iter().collect();
    if !deliveries.is_empty() {
        let ids = json!(deliveries).to_string();
        let rows: Vec<Vec<u8>> = on_tx!(&mut *tx, conn, d =>
            sqlx::query_scalar(RECIPIENTS.of(d)).bind(ids).fetch_all(conn).await?);
        for row in rows {
            let corrupt = |_| StoreError::Corrupt { table: "deliveries", column: "recipient" };
            recipients.insert(Recipient(row.try_into().map_err(corrupt)?));
        }
    }
    for recipient in recipients {
        inbound::opt_out(tx, recipient, now).await?;
    }
    Ok(())
}
