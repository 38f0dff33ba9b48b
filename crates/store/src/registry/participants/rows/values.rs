//! Rows as values that are bound, many to a statement.

use std::borrow::Borrow;
use std::collections::HashSet;

use futures::future::join;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{common, hours_and_record};
use crate::Result;
use crate::engine::hex::Hex;
use crate::engine::seal::Keys;
use crate::registry::participants::Place;
use crate::registry::participants::sealed::{seal_name, seal_phone};
use crate::registry::participants::write::{Write, country, to_json};

// No other transaction writes meanwhile, so this is as good as asking in the insert, which would cost twice as much.
const OPTED_OUT: &str =
    "SELECT recipient FROM opt_outs WHERE recipient IN (SELECT unhex(value) FROM json_each($1))";

/// How many rows a statement may have: each number makes a text of its own, and the connection keeps the last hundred of its
/// statements prepared. Beyond 64 a row costs the same.
const ROWS_OF_A_STATEMENT: [usize; 3] = [64, 8, 1];

/// The values that are made for the rows of a registration. The rest is bound as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    name: Option<Vec<u8>>,
    phone: Vec<u8>,
    country: String,
    /// Hours and record of each place.
    places: Vec<(Option<String>, Vec<u8>)>,
}

/// A place with what was made for it.
struct PlaceRow<'a> {
    write: &'a Write<'a>,
    position: usize,
    place: &'a Place,
    hours: Option<&'a str>,
    record: &'a [u8],
}

impl Values {
    pub(super) fn new(keys: &Keys, write: &Write<'_>) -> Self {
        let draft = write.draft;
        Self {
            name: draft.name.as_ref().map(|name| seal_name(keys, write.id, name)),
            phone: seal_phone(keys, write.id, &draft.phone),
            country: country(&draft.phone),
            places: draft.places.iter().map(|place| hours_and_record(write, place)).collect(),
        }
    }

    fn places<'a>(&'a self, write: &'a Write<'a>) -> impl Iterator<Item = PlaceRow<'a>> {
        let rows = write.draft.places.iter().zip(&self.places).enumerate();
        rows.map(move |(position, (place, (hours, record)))| PlaceRow {
            write,
            position,
            place,
            hours: hours.as_deref(),
            record,
        })
    }
}

/// Inserts and updates them.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    organisation: OrganisationId,
    rows: &[(&Write<'_>, impl Borrow<Values> + Sync)],
    memberships: &[(Uuid, Uuid)],
    now: Timestamp,
) -> Result<()> {
    let organisation = organisation.0;
    write(conn, common!(participants), common!(participants_there), rows, |row, (write, values)| {
        let (draft, values) = (write.draft, values.borrow());
        row.push_bind(write.id.0)
            .push_bind(organisation)
            .push_bind(draft.kind.as_str())
            .push_bind(values.name.as_deref())
            .push_bind(values.phone.as_slice())
            .push_bind(write.recipient.0.as_slice())
            .push_bind(draft.language.as_str())
            .push_bind(write.external_id)
            .push_bind(write.paused_until.map(Timestamp::as_millis))
            .push_bind(draft.consent.given_at.as_millis())
            .push_bind(draft.consent.method.as_str())
            .push_bind(write.fingerprint.as_slice())
            .push_bind(values.country.as_str())
            .push_bind(now.as_millis())
            .push_bind(now.as_millis());
    })
    .await?;
    let opted_out = opted_out(conn, rows).await?;
    let places: Vec<PlaceRow<'_>> =
        rows.iter().flat_map(|(write, values)| values.borrow().places(write)).collect();
    write(conn, common!(places), "", &places, |row, place| {
        let PlaceRow { write, position, place, hours, record } = place;
        row.push_bind(write.id.0)
            .push_bind(i64::try_from(*position).unwrap_or(i64::MAX))
            .push_bind(organisation)
            .push_bind(place.label.as_str())
            .push_bind(place.location.latitude())
            .push_bind(place.location.longitude())
            .push_bind(place.location.cell())
            .push_bind(*hours)
            .push_bind(*record)
            .push_bind(opted_out.contains(write.recipient.0.as_slice()));
    })
    .await?;
    write(conn, common!(memberships), "", memberships, |row, (group, participant)| {
        row.push_bind(*group).push_bind(*participant).push_bind(organisation);
    })
    .await
}

/// Runs `INSERT ... VALUES (...), (...)` with all rows, some at a time: the next are bound while the database writes the last.
async fn write<T>(
    conn: &mut SqliteConnection,
    insert: &str,
    conflict: &str,
    rows: &[T],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &T),
) -> Result<()> {
    let mut statements = parts(rows).map(|rows| {
        let mut statement = QueryBuilder::new(insert);
        statement.push_values(rows, |mut values, row| bind(&mut values, row)).push(conflict);
        statement
    });
    let mut next = statements.next();
    while let Some(mut statement) = next {
        let (done, made) = join(statement.build().execute(&mut *conn), async { statements.next() }).await;
        done?;
        next = made;
    }
    Ok(())
}

/// The rows of each statement.
fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let count = ROWS_OF_A_STATEMENT.into_iter().find(|count| *count <= rows.len())?;
        let (part, later) = rows.split_at(count);
        rows = later;
        Some(part)
    })
}

/// Which of the numbers want no alerts.
async fn opted_out(
    conn: &mut SqliteConnection,
    rows: &[(&Write<'_>, impl Borrow<Values>)],
) -> Result<HashSet<Vec<u8>>> {
    let recipients: Vec<Hex<'_>> = rows.iter().map(|(write, _)| Hex(&write.recipient.0)).collect();
    let found = sqlx::query_scalar(OPTED_OUT).bind(to_json(&recipients)).fetch_all(conn).await?;
    Ok(found.into_iter().collect())
}
