//! A registry of 100,000 against a count by brute force, with the outlines and postcodes of a real city. Needs a folder with
//! `postcodes4.csv` and `utrecht-areas.geojson` in the environment variable `KLAROEN_GEODATA`.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use klaroen_simulator::Faults;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, Setup, incident};

const PARTICIPANTS: u32 = 100_000;

#[expect(clippy::disallowed_methods, reason = "the tests have no configuration; this is where the data lie")]
fn data() -> Option<PathBuf> {
    std::env::var("KLAROEN_GEODATA").ok().map(PathBuf::from)
}

/// Longitude and latitude.
type Lonlat = (f64, f64);

/// The registry as a file and as the truth: the places of each number.
struct City {
    csv: String,
    places: BTreeMap<String, Vec<Lonlat>>,
}

/// Half of them live in the city, the others anywhere; every tenth works elsewhere.
fn city(folder: &Path) -> City {
    let text = std::fs::read_to_string(folder.join("postcodes4.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|row| row.split(',').collect()).collect();
    let point = |row: &Vec<&str>| -> Option<Lonlat> {
        let (latitude, longitude) =
            (row.get(row.len() - 3)?.parse().ok()?, row.get(row.len() - 2)?.parse().ok()?);
        (latitude != 0.0).then_some((longitude, latitude))
    };
    let everywhere: Vec<Lonlat> = rows.iter().filter_map(point).collect();
    let in_city: Vec<Lonlat> = rows.iter().filter(|r| r.contains(&"\"Utrecht\"")).filter_map(point).collect();
    assert!(everywhere.len() > 4_000 && in_city.len() > 20, "{} and {}", everywhere.len(), in_city.len());
    let mut random = StdRng::seed_from_u64(4711);
    let mut csv = "kind,phone,label,latitude,longitude,consent_at,consent_method\n".to_owned();
    let mut places: BTreeMap<String, Vec<Lonlat>> = BTreeMap::new();
    for n in 0..PARTICIPANTS {
        let kind = if n % 20 == 0 { "business" } else { "resident" };
        for label in if n % 10 == 0 { &["thuis", "werk"][..] } else { &["thuis"][..] } {
            let around = if n % 2 == 0 { &in_city } else { &everywhere };
            let (longitude, latitude) = around[random.random_range(0..around.len())];
            let moved = |random: &mut StdRng, degrees: f64| (random.random::<f64>() - 0.5) * degrees;
            let longitude = rounded(longitude + moved(&mut random, 0.04));
            let latitude = rounded(latitude + moved(&mut random, 0.025));
            writeln!(csv, "{kind},061{n:07},{label},{latitude},{longitude},2026-01-31,web").unwrap();
            places.entry(format!("3161{n:07}")).or_default().push((longitude, latitude));
        }
    }
    City { csv, places }
}

/// To the decimals of a file.
fn rounded(degrees: f64) -> f64 {
    (degrees * 1e7).round() / 1e7
}

impl City {
    fn within(&self, inside: impl Fn(Lonlat) -> bool) -> BTreeSet<String> {
        let there = self.places.iter().filter(|(_, places)| places.iter().any(|place| inside(*place)));
        there.map(|(number, _)| number.clone()).collect()
    }
}

/// Inside an odd number of rings: outside the holes. Even-odd rule, ray to the east.
fn in_rings(rings: &[Vec<Lonlat>], (x, y): Lonlat) -> bool {
    let crossings = |ring: &Vec<Lonlat>| {
        let edges = ring.iter().zip(ring.iter().skip(1));
        let crossed = |((x1, y1), (x2, y2)): &(&Lonlat, &Lonlat)| {
            (*y1 > y) != (*y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
        };
        edges.filter(crossed).count()
    };
    rings.iter().map(crossings).sum::<usize>() % 2 == 1
}

/// Metres on the ground by the radii of curvature of WGS84 at the middle latitude: within a centimetre over some kilometres.
fn metres((x1, y1): Lonlat, (x2, y2): Lonlat) -> f64 {
    let (a, e2) = (6_378_137.0_f64, 0.006_694_379_990_14_f64);
    let middle = f64::midpoint(y1, y2).to_radians();
    let w = 1.0 - e2 * middle.sin().powi(2);
    let north = (y2 - y1).to_radians() * a * (1.0 - e2) / w.powf(1.5);
    let east = (x2 - x1).to_radians() * a * middle.cos() / w.sqrt();
    north.hypot(east)
}

fn rings(geometry: &Value) -> Vec<Vec<Lonlat>> {
    assert_eq!(geometry["type"], "Polygon");
    let position = |p: &Value| (p[0].as_f64().unwrap(), p[1].as_f64().unwrap());
    let ring = |ring: &Value| ring.as_array().unwrap().iter().map(position).collect();
    geometry["coordinates"].as_array().unwrap().iter().map(ring).collect()
}

/// The neighbourhood with the most people, and who they are.
fn fullest(city: &City, areas: &Value) -> (String, BTreeSet<String>) {
    let features = areas["features"].as_array().unwrap().iter();
    let neighbourhoods =
        features.filter(|f| f["properties"]["kind"] == "neighbourhood" && f["geometry"]["type"] == "Polygon");
    let counted = neighbourhoods.map(|f| {
        let rings = rings(&f["geometry"]);
        (f["properties"]["code"].as_str().unwrap().to_owned(), city.within(|place| in_rings(&rings, place)))
    });
    counted.max_by_key(|(_, there)| there.len()).unwrap()
}

/// Everybody rings once with this text, and nobody else does.
fn rang(room: &ControlRoom, text: &str) -> BTreeSet<String> {
    let mut rang = BTreeSet::new();
    for number in room.smsc.ring_counts().into_keys() {
        match room.smsc.rings_of(&number).iter().filter(|ring| &*ring.text == text).count() {
            0 => {}
            1 => assert!(rang.insert(number)),
            many => panic!("{many} rings of one number: {text}"),
        }
    }
    rang
}

fn count(alert: &Value, message: usize, states: &[&str]) -> u64 {
    states.iter().map(|state| alert["messages"][message]["counts"][state].as_u64().unwrap_or(0)).sum()
}

/// From start to end, against the numbers that must ring.
#[expect(clippy::print_stdout, reason = "the result of a test that somebody runs by hand")]
async fn alert(room: &ControlRoom, name: &str, area: Value, wanted: &BTreeSet<String>) {
    let begun = Instant::now();
    let request = json!({"area": area, "text": format!("Let op: {name}")});
    let preview = room.operator().post("/v1/alerts/preview", &request).await.ok(200);
    assert_eq!(preview["recipients"], wanted.len(), "{name}: the preview");
    let taken = room.operator().post("/v1/incidents", &incident(&request)).await.ok(201);
    let accepted = begun.elapsed();
    let id = taken["alerts"][0]["id"].as_str().unwrap().to_owned();
    let everybody = wanted.len() as u64;
    let view = room.until(&id, |a| count(a, 0, &["delivered", "undelivered"]) == everybody).await;
    let delivered = count(&view, 0, &["delivered"]);
    let started = rang(room, &format!("Let op: {name}"));
    assert!(started.is_subset(wanted), "{name}: somebody outside rang");
    assert_eq!(started.len() as u64, delivered, "{name}: each that was delivered rang");
    assert!(delivered < everybody && delivered > everybody * 9 / 10, "{name}: {delivered} of {everybody}");
    let received = begun.elapsed();
    room.smsc.set_faults(Faults::default());
    let end = json!({"text": format!("Voorbij: {name}"), "outcome": "found"});
    room.operator().post(&format!("/v1/alerts/{id}/end"), &end).await.ok(200);
    room.until(&id, |a| {
        a["messages"][1]["recipients"] == delivered && count(a, 1, &["delivered"]) == delivered
    })
    .await;
    assert_eq!(
        rang(room, &format!("Voorbij: {name}")),
        started,
        "{name}: the end is for those who were reached"
    );
    room.smsc.set_faults(trouble());
    let (taken, all, ended) = (accepted.as_millis(), received.as_millis(), begun.elapsed().as_millis());
    println!(
        "{name}: {everybody} people, taken after {taken} ms, all receipts after {all} ms, ended after {ended} ms"
    );
}

fn trouble() -> Faults {
    Faults { undelivered: 0.05, ..Faults::default() }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn in_a_city_of_100_000_exactly_those_inside_ring(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let Some(folder) = data() else {
        println!("skipped: KLAROEN_GEODATA names no folder");
        return;
    };
    let city = city(&folder);
    let text = std::fs::read_to_string(folder.join("utrecht-areas.geojson")).unwrap();
    let areas: Value = serde_json::from_str(&text).unwrap();
    let room = ControlRoom::open_with(engine, Setup { faults: trouble(), ..Setup::default() }).await;
    let begun = Instant::now();
    let report = room.admin().import("", city.csv.clone()).await.ok(200);
    println!("{} rows imported in {} ms", report["rows"], begun.elapsed().as_millis());
    assert_eq!(
        (&report["created"], &report["rejected"]),
        (&json!(PARTICIPANTS), &json!(0)),
        "{}",
        report["errors"]
    );
    let begun = Instant::now();
    let put = room.admin().put("/v1/areas", &areas).await.ok(200);
    println!("{} areas put in {} ms", put["areas"], begun.elapsed().as_millis());

    let (code, wanted) = fullest(&city, &areas);
    assert!(wanted.len() > 500, "{} in {code}", wanted.len());
    alert(&room, "buurt", json!({"areas": [code]}), &wanted).await;

    let center = (5.1214, 52.0907);
    let wanted = city.within(|place| metres(center, place) <= 1_500.0);
    let circle =
        json!({"circle": {"center": {"latitude": center.1, "longitude": center.0}, "radius_m": 1_500}});
    alert(&room, "cirkel", circle, &wanted).await;

    let outer =
        vec![(5.05, 52.06), (5.15, 52.05), (5.17, 52.11), (5.10, 52.13), (5.04, 52.10), (5.05, 52.06)];
    let hole = vec![(5.10, 52.08), (5.10, 52.10), (5.13, 52.10), (5.13, 52.08), (5.10, 52.08)];
    let ring_road = vec![outer, hole];
    let wanted = city.within(|place| in_rings(&ring_road, place));
    assert!(wanted.len() > 10_000, "{}: more than is written at once", wanted.len());
    alert(&room, "ring", json!({"geometry": {"type": "Polygon", "coordinates": ring_road}}), &wanted).await;
    assert_eq!(room.world.store.broken_sums().await.unwrap(), 0);
    room.close().await;
}
