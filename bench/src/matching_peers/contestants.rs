//! How long it takes to find who is inside: `Store::match_geofence`, which the dispatcher calls for a preview as for an alert.
//! The bench measures the whole list of recipients in the program, one for each number, hours and pauses looked at.

use anyhow::{Context, Result, anyhow};
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::point::Point;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::matching::{Audience, MatchQuery, MatchRules};
use klaroen_store::participants::{Consent, ParticipantDraft, Place};
use klaroen_store::seal::Keys;
use klaroen_store::{Store, StoreOptions};
use tokio::time::Instant;

use super::country;
use super::postgis::PostGis;
use super::shapes::{self, Shape};
use crate::dataset;
use crate::installation::database::{Database, Databases};
use crate::report::figures::{Matching, percentile};

/// Registrations in one transaction, as an import writes them.
const BATCH: u32 = 1_000;
const SAMPLES: usize = 200;
const SAMPLES_MIN: usize = 40;
/// After so long the samples that there are will do.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// One who is asked who is inside.
pub enum Contestant<'a> {
    Klaroen(Box<Registry<'a>>),
    PostGis(PostGis<'a>),
}

impl Contestant<'_> {
    /// As the table has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Klaroen(registry) => registry.databases.engine().name(),
            Self::PostGis(postgis) => postgis.name(),
        }
    }

    /// Adds the places from as many as there are to `places`.
    pub async fn grow(&mut self, places: u32) -> Result<()> {
        match self {
            Self::Klaroen(registry) => registry.grow(places).await,
            Self::PostGis(postgis) => postgis.grow(places).await,
        }
    }

    /// Measures one shape; `expected` holds how many are inside each of its variants.
    pub async fn measure(&self, places: u32, shape: &Shape, expected: &[u64]) -> Result<Matching> {
        let polygons: Vec<Vec<u8>> = shape.variants.iter().map(shapes::wkb).collect();
        let mut times = Vec::new();
        let mut began = Instant::now();
        // The first time round is for the caches; its answers are checked.
        for round in 0..=SAMPLES.div_ceil(shape.variants.len()) {
            for (variant, geofence) in shape.variants.iter().enumerate() {
                let asked = Instant::now();
                let found = match self {
                    Self::Klaroen(registry) => registry.count(geofence).await?,
                    Self::PostGis(postgis) => postgis.count(&polygons[variant]).await?,
                };
                let took = asked.elapsed().as_secs_f64() * 1_000.0;
                if round == 0 {
                    self.check(shape, found, expected[variant])?;
                } else {
                    times.push(took);
                }
            }
            if round == 0 {
                began = Instant::now();
            } else if times.len() >= SAMPLES_MIN && began.elapsed() > LONG_ENOUGH {
                break;
            }
        }
        Ok(Matching {
            samples: times.len(),
            p50_ms: percentile(&times, 50).unwrap_or_default(),
            p99_ms: percentile(&times, 99).unwrap_or_default(),
            failed: false,
            ..Matching::failed(self.name(), places, shape, expected)
        })
    }

    /// Right, or for PostGIS and a circle: right but for what lies between the circle and the 64 corners within it, 0.16 %.
    fn check(&self, shape: &Shape, found: u64, expected: u64) -> Result<()> {
        let fewer =
            if matches!(self, Self::PostGis(_)) && !shape.exact_as_polygon { expected / 100 + 8 } else { 0 };
        if (expected.saturating_sub(fewer)..=expected).contains(&found) {
            return Ok(());
        }
        let (name, shape) = (self.name(), &shape.name);
        Err(anyhow!("{name} finds {found} in a {shape}, and there are {expected}"))
    }
}

impl Matching {
    /// The figure of one who did not answer, or wrongly.
    pub fn failed(contestant: &'static str, places: u32, shape: &Shape, expected: &[u64]) -> Self {
        let found = expected.iter().sum::<u64>() / expected.len() as u64;
        let shape = shape.name.clone();
        Self { contestant, places, shape, found, samples: 0, p50_ms: 0.0, p99_ms: 0.0, failed: true }
    }
}

/// For each shape how many of the first `places` are inside each variant, counted one by one.
pub fn expected(shapes: &[Shape], places: u32) -> Result<Vec<Vec<u64>>> {
    let all: Vec<(f64, f64)> = (0..places).map(country::place).collect();
    let count = |geofence: &Geofence| {
        let (south_west, north_east) = shapes::bounds(geofence);
        let near = all.iter().filter(|(latitude, longitude)| {
            (south_west.0..=north_east.0).contains(latitude)
                && (south_west.1..=north_east.1).contains(longitude)
        });
        let mut count = 0;
        for (latitude, longitude) in near {
            count += u64::from(geofence.contains(&Point::wgs84(*latitude, *longitude)?));
        }
        Ok(count)
    };
    shapes.iter().map(|shape| shape.variants.iter().map(count).collect()).collect()
}

/// A registry in a database of Klaroen.
pub struct Registry<'a> {
    databases: &'a Databases<'a>,
    database: Database,
    store: Store,
    organisation: OrganisationId,
    rules: MatchRules,
    places: u32,
}

impl<'a> Registry<'a> {
    /// An empty one.
    pub async fn open(databases: &'a Databases<'a>) -> Result<Self> {
        let database = databases.fresh("country").await?;
        // Nothing sealed with these leaves this machine: the numbers are made up.
        let keys = Keys::new(&[1; 32], &[2; 32]);
        let store = Store::open(&StoreOptions::new(database.url.clone(), keys)).await?;
        let made = store.create_organisation("bench", "Bench", SystemClock.now()).await?;
        let organisation = made.map_err(|_| anyhow!("the database is not empty"))?.id;
        let zone = "Europe/Amsterdam".parse().context("time zone")?;
        let rules = MatchRules { zone, quiet_hours: None, max_alerts_per_day: 4 };
        Ok(Self { databases, database, store, organisation, rules, places: 0 })
    }

    async fn grow(&mut self, places: u32) -> Result<()> {
        while self.places < places {
            let end = places.min(self.places + BATCH);
            let batch: Result<Vec<_>, _> = (self.places..end).map(draft).collect();
            self.store.import_participants(self.organisation, &batch?, false, SystemClock.now()).await?;
            self.places = end;
        }
        self.databases.settle(&self.database).await
    }

    async fn count(&self, geofence: &Geofence) -> Result<u64> {
        let query = MatchQuery {
            organisation: self.organisation,
            geofence,
            audience: &Audience::default(),
            // As most alerts are: hours count, and how many alerts somebody had today.
            priority: Priority::Urgent,
            as_of: SystemClock.now(),
        };
        Ok(self.store.match_geofence(&query, &self.rules).await?.recipients.len() as u64)
    }

    /// Ends it.
    pub async fn close(self) -> Result<()> {
        self.store.close().await;
        self.databases.discard(&self.database.name).await
    }
}

fn draft(number: u32) -> Result<ParticipantDraft> {
    let hours = dataset::hours(number).map(str::parse).transpose()?;
    Ok(ParticipantDraft {
        kind: ParticipantKind::Resident,
        name: None,
        phone: PhoneNumber::from_sealed(format!("+{}", dataset::phone(number))),
        language: Language::Nl,
        places: vec![Place { label: "home".into(), location: country::point(number)?, hours }],
        groups: Vec::new(),
        external_id: Some(format!("bench-{number}")),
        paused_until: None,
        consent: Consent { given_at: SystemClock.now(), method: "web".into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_registry_answers_what_is_counted_one_by_one() {
        let databases = Databases::sqlite().unwrap();
        let mut contestant = Contestant::Klaroen(Box::new(Registry::open(&databases).await.unwrap()));
        contestant.grow(5_000).await.unwrap();
        let all = shapes::all(None).unwrap();
        let town = all.last().unwrap();
        assert_eq!(expected(&all, 5_000).unwrap().last().unwrap(), &[4_000; 12]);
        let Contestant::Klaroen(registry) = &contestant else { unreachable!() };
        assert_eq!(registry.count(&town.variants[3]).await.unwrap(), 4_000);
        let wrong = contestant.check(town, 3_999, 4_000).unwrap_err().to_string();
        assert!(wrong.contains("SQLite finds 3999"), "{wrong}");
    }
}
