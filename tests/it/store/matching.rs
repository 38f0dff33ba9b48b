//! Matching against an independent check of every point.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::BTreeSet;

use klaroen_domain::alert::Priority;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::ParticipantId;
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;
use klaroen_store::matching::{Audience, MatchQuery, MatchRules, Matches};
use klaroen_store::participants::Place;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::sizes::polygons;
use crate::world::{DOM, World, at_metres_east, circle, draft, ids};

async fn matched(world: &World, geofence: &Geofence, audience: &Audience, priority: Priority) -> Matches {
    let query =
        MatchQuery { organisation: world.organisation, geofence, audience, priority, as_of: world.now() };
    world.store.match_geofence(&query, &world.rules).await.unwrap()
}

async fn who(world: &World, geofence: &Geofence) -> Vec<ParticipantId> {
    let matches = matched(world, geofence, &Audience::default(), Priority::Urgent).await;
    let mut ids: Vec<_> = matches.recipients.into_iter().map(|m| m.participant).collect();
    ids.sort();
    ids
}

/// Even-odd crossing count, in the plane of the coordinates: written apart from the code under test.
fn inside_ring(ring: &[(f64, f64)], (x, y): (f64, f64)) -> bool {
    let mut inside = false;
    for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
        if (a.1 > y) != (b.1 > y) && x < (b.0 - a.0) * (y - a.1) / (b.1 - a.1) + a.0 {
            inside = !inside;
        }
    }
    inside
}

fn haversine_m(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat1, lat2) = (a.0.to_radians(), b.0.to_radians());
    let h = ((lat2 - lat1) / 2.0).sin().powi(2)
        + lat1.cos() * lat2.cos() * ((b.1 - a.1).to_radians() / 2.0).sin().powi(2);
    2.0 * 6_371_008.8 * h.sqrt().asin()
}

/// A city of 20,000 places within 6 km of the Dom, the same for every case.
async fn city(world: &World) -> Vec<(ParticipantId, (f64, f64))> {
    let mut random = StdRng::seed_from_u64(4711);
    let spread = 0.06;
    let places: Vec<(f64, f64)> = (0..20_000)
        .map(|_| {
            (
                DOM.0 + random.random_range(-spread..spread),
                DOM.1 + random.random_range(-1.6 * spread..1.6 * spread),
            )
        })
        .collect();
    let drafts: Vec<_> = places
        .iter()
        .enumerate()
        .map(|(n, (latitude, longitude))| draft(n, Point::wgs84(*latitude, *longitude).unwrap()))
        .collect();
    for batch in drafts.chunks(2_000) {
        world.store.import_participants(world.organisation, batch, false, world.now()).await.unwrap();
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = klaroen_store::PageRequest { limit: 500, cursor };
        let list = world.store.list_participants(world.organisation, None, &page).await.unwrap();
        found.extend(list.items.into_iter().map(|p| {
            let at = p.draft.places[0].location;
            (p.id, (at.latitude(), at.longitude()))
        }));
        cursor = list.next_cursor;
        if cursor.is_none() {
            assert_eq!(found.len(), places.len());
            return found;
        }
    }
}

/// A star around a centre: simple by construction, rarely convex.
fn star(center: (f64, f64), radii: &[f64]) -> Vec<(f64, f64)> {
    radii
        .iter()
        .enumerate()
        .map(|(i, radius)| {
            let angle = std::f64::consts::TAU * i as f64 / radii.len() as f64;
            (center.0 + 1.6 * radius * angle.cos(), center.1 + radius * angle.sin())
        })
        .collect()
}

fn geojson_ring(ring: &[(f64, f64)]) -> serde_json::Value {
    let mut closed: Vec<_> = ring.iter().map(|(x, y)| vec![*x, *y]).collect();
    closed.push(closed[0].clone());
    serde_json::json!(closed)
}

#[rstest]
#[test]
fn random_polygons_with_a_hole_match_exactly_those_that_brute_force_finds(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new(engine));
    let city = runtime.block_on(city(&world));
    let shape = (
        prop::collection::vec(0.004..0.05f64, 3..40),
        prop::collection::vec(0.1..0.9f64, 3..9),
        -0.02..0.02f64,
        -0.02..0.02f64,
    );
    proptest!(ProptestConfig::with_cases(polygons()), |((radii, hole, dx, dy) in shape)| {
        let center = (DOM.1 + dx, DOM.0 + dy);
        let outer = star(center, &radii);
        // The hole lies within the innermost reach of any edge of a star, whose chords may cut in.
        let reach = radii.iter().copied().fold(f64::INFINITY, f64::min)
            * (std::f64::consts::PI / radii.len() as f64).cos() * 0.3;
        let inner = star(center, &hole.iter().map(|h| h * reach).collect::<Vec<_>>());
        let json = serde_json::json!({
            "type": "Polygon", "coordinates": [geojson_ring(&outer), geojson_ring(&inner)],
        });
        let Ok(geofence) = Geofence::from_geojson(&json) else { return Err(TestCaseError::reject("not simple")) };
        let expected: BTreeSet<_> = city
            .iter()
            .filter(|(_, at)| {
                let at = (at.1, at.0);
                inside_ring(&outer, at) && !inside_ring(&inner, at)
            })
            .map(|(id, _)| *id)
            .collect();
        let found: BTreeSet<_> = runtime.block_on(who(&world, &geofence)).into_iter().collect();
        prop_assert_eq!(found, expected);
    });
    runtime.block_on(circles_match_exactly(&world, &city));
}

async fn circles_match_exactly(world: &World, city: &[(ParticipantId, (f64, f64))]) {
    for radius in [50.0, 400.0, 1_500.0, 5_000.0, 40_000.0] {
        let found: BTreeSet<_> = who(world, &circle(radius)).await.into_iter().collect();
        for (id, at) in city {
            let distance = haversine_m(DOM, *at);
            // The sphere is off by up to half a per cent from the ellipsoid.
            if (distance - radius).abs() > radius * 0.006 {
                assert_eq!(found.contains(id), distance < radius, "{distance} m in {radius} m");
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_participant_with_several_places_gets_one_sms(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let mut several = draft(1, at_metres_east(10.0));
    several.places.push(Place { label: "werk".into(), location: at_metres_east(20.0), hours: None });
    several.places.push(Place { label: "ver".into(), location: at_metres_east(9_000.0), hours: None });
    world.enrol_one(&several).await;
    assert_eq!(who(&world, &circle(100.0)).await.len(), 1);
    assert_eq!(who(&world, &circle(15_000.0)).await.len(), 1);
    let taken = world.take(&world.alert_draft(100.0)).await;
    assert_eq!(taken.recipients, 1);
}

#[rstest]
#[tokio::test]
async fn hours_and_pauses_are_respected_unless_life_is_at_stake(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let mut nights = draft(1, at_metres_east(10.0));
    nights.places[0].hours = Some("22:00-06:00".parse().unwrap());
    let mut paused = draft(2, at_metres_east(10.0));
    paused.paused_until = Some(Timestamp::parse("2026-12-01T00:00:00+01:00").unwrap());
    let mut days = draft(3, at_metres_east(10.0));
    days.places[0].hours = Some("Mo-Fr 08:00-18:00".parse().unwrap());
    // Closed at home, open at work: one place that wants it is enough.
    let mut both = draft(4, at_metres_east(10.0));
    both.places[0].hours = Some("22:00-06:00".parse().unwrap());
    both.places.push(Place { label: "werk".into(), location: at_metres_east(20.0), hours: None });
    for draft in [&nights, &paused, &days, &both] {
        world.enrol_one(draft).await;
    }
    let everybody = Audience::default();
    let urgent = matched(&world, &circle(100.0), &everybody, Priority::Urgent).await;
    assert_eq!((urgent.recipients.len(), urgent.off_hours, urgent.paused), (2, 1, 1));
    let life = matched(&world, &circle(100.0), &everybody, Priority::LifeThreatening).await;
    assert_eq!((life.recipients.len(), life.off_hours, life.paused), (3, 0, 1));
}

#[rstest]
#[tokio::test]
async fn quiet_hours_hold_for_normal_alerts_only(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let mut world = World::new(engine).await;
    world.rules.quiet_hours = Some("11:00-13:00".parse().unwrap());
    world.enrol(2).await;
    let everybody = Audience::default();
    for (priority, recipients) in
        [(Priority::Normal, 0), (Priority::Urgent, 2), (Priority::LifeThreatening, 2)]
    {
        let matches = matched(&world, &circle(100.0), &everybody, priority).await;
        assert_eq!(matches.recipients.len(), recipients, "{priority}");
        assert_eq!(matches.off_hours, 2 - recipients as u64);
    }
}

#[rstest]
#[tokio::test]
async fn the_audience_narrows(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    let actor = klaroen_store::Actor::CommandLine;
    world
        .store
        .create_group(world.organisation, "honden", "Honden", actor, world.now())
        .await
        .unwrap()
        .unwrap();
    let mut walker = draft(1, at_metres_east(10.0));
    walker.groups = vec!["honden".into()];
    let mut shop = draft(2, at_metres_east(10.0));
    shop.kind = ParticipantKind::Business;
    let walker = world.enrol_one(&walker).await;
    let shop = world.enrol_one(&shop).await;
    world.enrol_one(&draft(3, at_metres_east(10.0))).await;
    let of = async |kinds: &[ParticipantKind], groups: &[&str]| {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let audience = Audience { kinds: kinds.to_vec(), groups };
        let found = matched(&world, &circle(100.0), &audience, Priority::Urgent).await;
        found.recipients.into_iter().map(|m| m.participant).collect::<Vec<_>>()
    };
    assert_eq!(of(&[ParticipantKind::Business], &[]).await, ids(&[shop]));
    assert_eq!(of(&[], &["honden"]).await, ids(&[walker]));
    assert!(of(&[ParticipantKind::Business], &["honden"]).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn nobody_gets_more_alerts_a_day_than_the_rule_says(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let mut world = World::new(engine).await;
    world.rules.max_alerts_per_day = 2;
    for n in 0..3 {
        world.enrol_one(&draft(n, at_metres_east(12.0 * n as f64))).await;
    }
    world.take(&world.alert_draft(30.0)).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    world.take(&world.alert_draft(15.0)).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    let everybody = Audience::default();
    let third = matched(&world, &circle(100.0), &everybody, Priority::Urgent).await;
    assert_eq!((third.recipients.len(), third.frequency), (1, 2));
    let life = matched(&world, &circle(100.0), &everybody, Priority::LifeThreatening).await;
    assert_eq!((life.recipients.len(), life.frequency), (3, 0));
    world.clock.advance(std::time::Duration::from_hours(24));
    let next_day = matched(&world, &circle(100.0), &everybody, Priority::Urgent).await;
    assert_eq!(next_day.recipients.len(), 3);
}

#[rstest]
#[tokio::test]
async fn another_organisations_people_are_not_matched(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let other = world.store.create_organisation("zeist", "Zeist", world.now()).await.unwrap().unwrap();
    let rules = MatchRules { max_alerts_per_day: 0, ..world.rules.clone() };
    let query = MatchQuery {
        organisation: other.id,
        geofence: &circle(1_000.0),
        audience: &Audience::default(),
        priority: Priority::Urgent,
        as_of: world.now(),
    };
    assert!(world.store.match_geofence(&query, &rules).await.unwrap().recipients.is_empty());
}
