//! Claiming for a gateway that may take a part of what is due: some countries, some priorities, a share.
//!
//! Numbers alone say which gateway a delivery belongs to, so that several processes share without a word: a delivery lies in
//! one of [`SLOTS`] slots by its id. Deliveries of other gateways must neither hide a gateway's own nor be read again by each
//! claim, so a claim goes on from the place at which the one before it stopped, a bounded number of rows at a time.

use std::collections::HashMap;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Candidate, Candidates, ClaimRequest, DueMessage, RELUCTANCE, corrupt};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::{Result, Store};

/// Slots that deliveries fall into: [`Role::Own`] names a range of them.
pub const SLOTS: u16 = 10_000;
/// Other gateways of the tier may take a delivery that its gateway has not claimed this long after it was due.
const LATE: Duration = Duration::from_secs(1);
/// Rows of others are looked at again this often: they may have become late, and ids do not commit in their order.
const REVISIT: Duration = Duration::from_secs(1);
/// Rows that one statement looks at, at the least.
const WINDOW: usize = 1_000;
/// The same for each that is wanted, at the most: as many as it took lately. Late rows are all ours, and looking at more of them
/// than is wanted is most of the work of a claim.
const SPREAD: usize = 4;
/// Statements of one claim that find too little.
const WINDOWS: u32 = 4;

/// The deliveries of one kind that a gateway may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing.
    Nothing,
    /// Deliveries that another gateway could not take.
    Handed,
    /// That, and what its owner leaves lying.
    Beside,
    /// That, and what falls into slots `lo` to `hi` (exclusive) of [`SLOTS`].
    Own {
        /// The first slot.
        lo: u16,
        /// The one after the last slot.
        hi: u16,
    },
    /// For a gateway on trial while others work: what it would have if it were well, but nothing that is in doubt. A delivery
    /// whose answer was lost is sent once more and no third time, so it must not be lost to an experiment.
    Trial {
        /// The first slot.
        lo: u16,
        /// The one after the last slot.
        hi: u16,
        /// Whether also what its owner leaves lying.
        late: bool,
    },
}

impl Role {
    /// All of it.
    pub const WHOLE: Self = Self::Own { lo: 0, hi: SLOTS };

    /// The same for a gateway on trial.
    #[must_use]
    pub const fn on_trial(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Handed => Self::Trial { lo: 0, hi: 0, late: false },
            Self::Beside => Self::Trial { lo: 0, hi: 0, late: true },
            Self::Own { lo, hi } => Self::Trial { lo, hi, late: true },
            Self::Trial { .. } => self,
        }
    }

    /// Slots, whether what is late, whether what was handed over, whether what is in doubt.
    const fn numbers(self) -> [u16; 5] {
        match self {
            Self::Nothing => [0, 0, 0, 0, 0],
            Self::Handed => [0, 0, 0, 1, 1],
            Self::Beside => [0, 0, 1, 1, 1],
            Self::Own { lo, hi } => [lo, hi, 1, 1, 1],
            Self::Trial { lo, hi, late } => [lo, hi, late as u16, 1, 0],
        }
    }

    /// Whether it takes more than what others hand over.
    const fn takes_by_itself(self) -> bool {
        let [lo, hi, late, ..] = self.numbers();
        late == 1 || lo < hi
    }
}

/// The deliveries that a gateway may take of messages of one priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Of the numbers of these countries.
    pub by_country: Vec<(Country, Role)>,
    /// Of all other numbers.
    pub others: Role,
}

impl Roles {
    /// Every role that occurs.
    pub fn all(&self) -> impl Iterator<Item = Role> {
        self.by_country.iter().map(|(_, role)| *role).chain([self.others])
    }
}

/// The deliveries that a gateway may take, by the priority of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The roles for messages about a life in danger.
    pub life_threatening: Roles,
    /// The roles for urgent messages.
    pub urgent: Roles,
    /// The rest.
    pub normal: Roles,
}

impl Part {
    /// Of messages of one priority.
    #[must_use]
    pub const fn of(&self, priority: Priority) -> &Roles {
        match priority {
            Priority::LifeThreatening => &self.life_threatening,
            Priority::Urgent => &self.urgent,
            Priority::Normal => &self.normal,
        }
    }

    fn all(&self) -> impl Iterator<Item = Role> {
        Priority::ALL.iter().flat_map(|priority| self.of(*priority).all())
    }

    /// Whether there is nothing to it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.all().all(|role| role == Role::Nothing)
    }

    /// Whether it takes more than what others hand over.
    pub(super) fn takes_by_itself(&self) -> bool {
        self.all().any(Role::takes_by_itself)
    }
}

/// The place up to which one channel's claims have looked at each message.
#[derive(Clone, Debug, Default)]
pub struct Scan(HashMap<Uuid, Place>);

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Due time and id of the last row that was looked at.
    after: (i64, i64),
    /// When this pass began.
    began: Timestamp,
    /// Nothing was left.
    ended: bool,
    /// Rows to look at for each that is wanted, 1 to [`SPREAD`].
    spread: usize,
}

impl Scan {
    /// Whether everything that is due was looked at.
    pub(super) fn has_ended(&self) -> bool {
        self.0.values().all(|place| place.ended)
    }

    /// Forgets messages that have nothing due, and begins passes anew that have come to their end. A pass that is to be
    /// revisited later goes on meanwhile from its end: an alert that is still being written has more rows by now.
    pub(super) fn begin(&mut self, due: &[DueMessage], now: Timestamp) {
        let places = std::mem::take(&mut self.0);
        // Deliveries for this gateway alone are not looked for here.
        for (message, ..) in due.iter().filter(|(.., pinned)| !pinned) {
            let known = places.get(message);
            let going_on = known.filter(|place| !place.ended || now.since(place.began) < REVISIT);
            let spread = known.map_or(SPREAD, |place| place.spread);
            let anew = Place { after: (i64::MIN, i64::MIN), began: now, ended: false, spread };
            self.0.insert(*message, going_on.map_or(anew, |place| Place { ended: false, ..*place }));
        }
    }
}

// Two texts, because PostgreSQL locks what it chooses, and reads the index from `(due_at, id) > ($4, $5)` on.
//
// SQLite does not use the id in an index for that: it would read all that is due at the same moment, which is
// a whole alert. So there are two parts, one for that moment.
//
// The slot of a delivery is `id % 10000 * 6181 % 10000`: of neighbours each lies far from the last. The remainder comes first because
// an id has some 51 bits, and the product of a whole one has no room in 64.
//
// `w` is what is looked at and `f` what of it is ours. The answer is a JSON array: the candidates as in `CANDIDATES`, how many
// rows `w` has, due time and id of its last, the same for `f`. `$11` to `$14` are the role for other countries.
pub(crate) const SHARE: Sql = Sql::each(
    "WITH w AS (
         SELECT * FROM (
             SELECT * FROM (
                 SELECT id, due_at, retries, attempt, participant_id, recipient, phone, country, lane, handed_by, in_doubt FROM deliveries
                 WHERE message_id = $1 AND state = 'queued' AND due_at = $4 AND id > $5
                 ORDER BY id LIMIT $6)
             UNION ALL SELECT * FROM (
                 SELECT id, due_at, retries, attempt, participant_id, recipient, phone, country, lane, handed_by, in_doubt FROM deliveries
                 WHERE message_id = $1 AND state = 'queued' AND due_at > $4 AND due_at <= $2
                 ORDER BY due_at, id LIMIT $6))
         ORDER BY due_at, id LIMIT $6),
     f AS (
         SELECT w.*, COALESCE(w.phone, p.phone) AS sealed
         FROM w LEFT JOIN participants p ON p.id = w.participant_id AND p.recipient = w.recipient
             LEFT JOIN json_each($10) j ON j.key = COALESCE(w.country, p.country)
         WHERE (w.handed_by IS NULL OR w.handed_by <> $7 OR w.due_at <= $8)
             AND (COALESCE(j.value ->> 4, $14) = 1 OR NOT w.in_doubt)
             AND ((w.id % 10000 * 6181 % 10000 >= COALESCE(j.value ->> 0, $11) AND w.id % 10000 * 6181 % 10000 < COALESCE(j.value ->> 1, $12))
                 OR (COALESCE(j.value ->> 2, $13) = 1 AND w.due_at <= $9))
         ORDER BY w.due_at, w.id LIMIT $3)
     SELECT json_array(
         (SELECT json_group_array(json_array(f.id, f.retries, f.attempt, lower(hex(COALESCE(f.participant_id, f.recipient))),
             lower(hex(f.sealed)), f.lane > 0 AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = f.recipient))) FROM f),
         (SELECT COUNT(*) FROM w),
         (SELECT due_at FROM w ORDER BY due_at DESC, id DESC LIMIT 1), (SELECT id FROM w ORDER BY due_at DESC, id DESC LIMIT 1),
         (SELECT COUNT(*) FROM f),
         (SELECT due_at FROM f ORDER BY due_at DESC, id DESC LIMIT 1), (SELECT id FROM f ORDER BY due_at DESC, id DESC LIMIT 1))",
    "WITH w AS MATERIALIZED (
         SELECT id, due_at, participant_id, recipient, country, handed_by, in_doubt FROM deliveries
         WHERE message_id = $1 AND state = 'queued' AND due_at <= $2 AND (due_at, id) > ($4, $5)
         ORDER BY due_at, id LIMIT $6),
     f AS MATERIALIZED (
         SELECT c.id, c.due_at FROM (
             SELECT *, id % 10000 * 6181 % 10000 AS slot, CASE WHEN $10 <> '{}' THEN (
                 $10::json -> COALESCE(w.country, (
                     SELECT p.country FROM participants p WHERE p.id = w.participant_id AND p.recipient = w.recipient))
             ) END AS role FROM w OFFSET 0) c
         WHERE (c.handed_by IS NULL OR c.handed_by <> $7 OR c.due_at <= $8)
             AND (COALESCE((c.role ->> 4)::bigint, $14) = 1 OR NOT c.in_doubt)
             AND ((c.slot >= COALESCE((c.role ->> 0)::bigint, $11) AND c.slot < COALESCE((c.role ->> 1)::bigint, $12))
                 OR (COALESCE((c.role ->> 2)::bigint, $13) = 1 AND c.due_at <= $9))
         ORDER BY c.due_at, c.id LIMIT $3),
     d AS (
         SELECT id, retries, attempt, participant_id, recipient, phone, lane FROM deliveries
         WHERE id = ANY (ARRAY(SELECT id FROM f)) AND state || '' = 'queued' FOR UPDATE SKIP LOCKED)
     SELECT json_build_array(
         (SELECT COALESCE(json_agg(json_build_array(d.id, d.retries, d.attempt,
             COALESCE(d.participant_id::text, encode(d.recipient, 'hex')), COALESCE(encode(COALESCE(d.phone, p.phone), 'hex'), ''),
             (d.lane > 0 AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient))::int)), '[]')
          FROM d LEFT JOIN participants p ON p.id = d.participant_id AND p.recipient = d.recipient),
         (SELECT COUNT(*) FROM w),
         (SELECT due_at FROM w ORDER BY due_at DESC, id DESC LIMIT 1), (SELECT id FROM w ORDER BY due_at DESC, id DESC LIMIT 1),
         (SELECT COUNT(*) FROM f),
         (SELECT due_at FROM f ORDER BY due_at DESC, id DESC LIMIT 1), (SELECT id FROM f ORDER BY due_at DESC, id DESC LIMIT 1)
     )::text",
);
/// The deliveries that other gateways could not take, by an index of its own: few rows at most times. Two texts for the
/// reasons of `CANDIDATES`.
pub(crate) const HANDED: Sql = Sql::each(
    "SELECT json_group_array(json_array(d.id, d.retries, d.attempt, lower(hex(COALESCE(d.participant_id, d.recipient))),
         lower(hex(d.sealed)), d.lane > 0 AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient)))
     FROM (SELECT q.id, q.retries, q.attempt, q.participant_id, q.recipient, q.lane, COALESCE(q.phone, p.phone) AS sealed
           FROM deliveries q LEFT JOIN participants p ON p.id = q.participant_id AND p.recipient = q.recipient
               LEFT JOIN json_each($5) j ON j.key = COALESCE(q.country, p.country)
           WHERE q.message_id = $1 AND q.state = 'queued' AND q.handed_by IS NOT NULL AND q.due_at <= $2 AND q.handed_by <> $4
               AND COALESCE(j.value ->> 3, $6) = 1 AND (COALESCE(j.value ->> 4, $7) = 1 OR NOT q.in_doubt)
           ORDER BY q.due_at, q.id LIMIT $3) d",
    "WITH d AS (
         SELECT q.id, q.retries, q.attempt, q.participant_id, q.recipient, q.lane, COALESCE(q.phone, p.phone) AS sealed
         FROM deliveries q LEFT JOIN participants p ON p.id = q.participant_id AND p.recipient = q.recipient
             LEFT JOIN json_each($5::json) AS j(key, value) ON j.key = COALESCE(q.country, p.country)
         WHERE q.message_id = $1 AND q.state = 'queued' AND q.handed_by IS NOT NULL AND q.due_at <= $2 AND q.handed_by <> $4
             AND COALESCE((j.value ->> 3)::bigint, $6) = 1 AND (COALESCE((j.value ->> 4)::bigint, $7) = 1 OR NOT q.in_doubt)
         ORDER BY q.due_at, q.id LIMIT $3 FOR UPDATE OF q SKIP LOCKED)
     SELECT COALESCE(json_agg(json_build_array(d.id, d.retries, d.attempt,
         COALESCE(d.participant_id::text, encode(d.recipient, 'hex')), COALESCE(encode(d.sealed, 'hex'), ''),
         (d.lane > 0 AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient))::int)), '[]')::text
     FROM d",
);
/// The deliveries that some gateway handed over, and those that no other gateway than `$1` may take. Few messages are open.
const ANY_FOR: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'queued' AND handed_by IS NOT NULL)
         OR EXISTS (SELECT 1 FROM messages WHERE NOT settled AND gateway = $1)",
);
const NEXT_AFTER: Sql = Sql::new(
    "SELECT MIN((SELECT MIN(d.due_at) FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued' AND d.due_at > $1))
     FROM messages m WHERE NOT m.settled AND m.expires_at > $1",
);

/// A row of [`SHARE`].
#[derive(serde::Deserialize)]
struct Found<'a>(
    #[serde(borrow)] Vec<Candidate<'a>>,
    usize,
    Option<i64>,
    Option<i64>,
    usize,
    Option<i64>,
    Option<i64>,
);

impl Store {
    /// Whether there may be something for a gateway that takes nothing by itself.
    pub(super) async fn anything_for(&self, gateway: &str) -> Result<bool> {
        Ok(on_db!(read self.db, pool, d =>
            sqlx::query_scalar(ANY_FOR.of(d)).bind(gateway).fetch_one(pool).await?))
    }

    /// When the next delivery that is not due yet will be. A delivery that is due and was not taken is not ours.
    pub(super) async fn next_due_after(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let next: Option<i64> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(NEXT_AFTER.of(d)).bind(now.as_millis()).fetch_one(pool).await?);
        Ok(next.map(Timestamp::from_millis))
    }
}

/// At most `share` deliveries of a message that are due and ours, and whether there may be more.
pub(super) async fn candidates(
    tx: &mut Tx,
    request: &ClaimRequest<'_>,
    part: &Part,
    scan: &mut Scan,
    (message, priority): (Uuid, &str),
    share: usize,
) -> Result<(Candidates, bool)> {
    let roles = part.of(priority.parse().map_err(|_| corrupt("priority"))?);
    let by_country: Map<String, Value> = roles
        .by_country
        .iter()
        .map(|(country, role)| (country.code().to_owned(), json!(role.numbers())))
        .collect();
    let by_country = Value::Object(by_country).to_string();
    let [.., handed_over, in_doubt] = roles.others.numbers();
    let handed: String = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(HANDED.of(d))
        .bind(message).bind(request.now.as_millis()).bind(limit(share)).bind(&request.channel.gateway)
        .bind(&by_country).bind(i64::from(handed_over)).bind(i64::from(in_doubt))
        .fetch_one(conn).await?);
    let mut rows = serde_json::from_str::<Vec<Candidate<'_>>>(&handed).map_err(|_| corrupt("id"))?;
    let own = roles.all().any(Role::takes_by_itself);
    let Some(place) = scan.0.get_mut(&message).filter(|_| rows.len() < share) else {
        let more = rows.len() >= share;
        return Ok((Candidates::of(message, rows)?, more));
    };
    if !own {
        place.ended = true;
        return Ok((Candidates::of(message, rows)?, false));
    }
    let mut texts = Vec::new();
    let mut wanted = share - rows.len();
    for _ in 0..WINDOWS {
        let window = (place.spread * wanted).max(WINDOW);
        let text = share_of(tx, request, roles, &by_country, place, message, (wanted, window)).await?;
        let found: Found<'_> = serde_json::from_str(&text).map_err(|_| corrupt("id"))?;
        let Found(_, looked_at, due, id, ours, our_due, our_id) = found;
        let full = ours >= wanted;
        let last = if full { our_due.zip(our_id) } else { due.zip(id) };
        place.after = last.unwrap_or(place.after);
        place.ended = !full && looked_at < window;
        place.spread = if full { place.spread / 2 } else { place.spread * 2 }.clamp(1, SPREAD);
        wanted -= ours.min(wanted);
        texts.push(text);
        if wanted == 0 || place.ended {
            break;
        }
    }
    for text in &texts {
        rows.extend(serde_json::from_str::<Found<'_>>(text).map_err(|_| corrupt("id"))?.0);
    }
    // A row that both statements found is there once.
    rows.sort_unstable_by_key(|row| row.0);
    rows.dedup_by_key(|row| row.0);
    let more = wanted == 0;
    Ok((Candidates::of(message, rows)?, more))
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// The answer of [`SHARE`] after `place`.
async fn share_of(
    tx: &mut Tx,
    request: &ClaimRequest<'_>,
    roles: &Roles,
    by_country: &str,
    place: &Place,
    message: Uuid,
    (wanted, window): (usize, usize),
) -> Result<String> {
    let now = request.now;
    let [lo, hi, late, _, in_doubt] = roles.others.numbers().map(i64::from);
    Ok(on_tx!(tx, conn, d => sqlx::query_scalar(SHARE.of(d))
        .bind(message).bind(now.as_millis()).bind(limit(wanted))
        .bind(place.after.0).bind(place.after.1).bind(limit(window))
        .bind(&request.channel.gateway).bind(now.minus(RELUCTANCE).as_millis()).bind(now.minus(LATE).as_millis())
        .bind(by_country).bind(lo).bind(hi).bind(late).bind(in_doubt)
        .fetch_one(conn).await?))
}
