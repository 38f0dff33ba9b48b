//! The computations that run for every alert and every recipient: `cargo bench -p klaroen-domain`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use klaroen_domain::geofence::Geofence;
use klaroen_domain::point::Point;
use klaroen_domain::text::{MessageText, gsm7};
use serde_json::{Value, json};

const CENTER: (f64, f64) = (52.09, 5.12);
/// Points of one pass, from the middle to beyond the border.
const POINTS: u32 = 1_000;
const SEGMENT: &str = "Burgeralert: let op een grijze bestelbus met gebroken achterruit. Gezien? Antwoord op dit bericht of bel 112.";
const SEGMENTS_MAX: u8 = 10;

fn circle(radius_m: f64) -> Geofence {
    Geofence::circle(point(CENTER), radius_m).unwrap_or_else(|error| unreachable!("{error}"))
}

fn point((latitude, longitude): (f64, f64)) -> Point {
    Point::wgs84(latitude, longitude).unwrap_or_else(|error| unreachable!("{error}"))
}

/// A border with bays, 7 km from its middle; seen from there it never turns back.
fn polygon(corners: u32) -> Value {
    let mut ring: Vec<Value> = (0..corners)
        .map(|corner| {
            let angle = f64::from(corner) / f64::from(corners) * std::f64::consts::TAU;
            let degrees = 0.063 * (1.0 + 0.1 * (9.0 * angle).sin() + 0.02 * (61.0 * angle).sin());
            json!([CENTER.1 + degrees * 1.62 * angle.sin(), CENTER.0 + degrees * angle.cos()])
        })
        .collect();
    ring.push(ring[0].clone());
    json!({"type": "Polygon", "coordinates": [ring]})
}

fn shape(corners: u32) -> Geofence {
    Geofence::from_geojson(&polygon(corners)).unwrap_or_else(|errors| unreachable!("{errors:?}"))
}

/// A spiral outwards: half of the points inside the shapes, a tenth near the border.
fn points(reach_km: f64) -> Vec<Point> {
    let spiral = |n: u32| {
        let (part, angle) = (f64::from(n) / f64::from(POINTS), f64::from(n) * 2.4);
        let km = reach_km * part.sqrt();
        point((CENTER.0 + km / 111.25 * angle.cos(), CENTER.1 + km / 68.65 * angle.sin()))
    };
    (0..POINTS).map(spiral).collect()
}

/// The cells of a shape, once for each match.
fn cover(c: &mut Criterion) {
    let mut group = c.benchmark_group("cover");
    for radius_m in [500.0, 1_500.0, 5_000.0, 15_000.0, 50_000.0] {
        let shape = circle(radius_m);
        group.bench_with_input(BenchmarkId::new("circle_m", radius_m), &shape, |b, shape| {
            b.iter(|| shape.cover());
        });
    }
    for corners in [10, 200, 2_000, 10_000] {
        let shape = shape(corners);
        group.bench_with_input(BenchmarkId::new("corners", corners), &shape, |b, shape| {
            b.iter(|| shape.cover());
        });
    }
    group.finish();
}

/// The exact check, once for each place in a cell of the border.
fn contains(c: &mut Criterion) {
    let mut group = c.benchmark_group("contains");
    group.throughput(Throughput::Elements(u64::from(POINTS)));
    let count =
        |shape: &Geofence, points: &[Point]| points.iter().filter(|point| shape.contains(point)).count();
    let (shape_1500, near) = (circle(1_500.0), points(2.1));
    group.bench_function("circle", |b| b.iter(|| count(black_box(&shape_1500), &near)));
    let far = points(9.9);
    for corners in [10, 200, 2_000, 10_000] {
        let shape = shape(corners);
        group.bench_with_input(BenchmarkId::new("corners", corners), &shape, |b, shape| {
            b.iter(|| count(shape, &far));
        });
    }
    group.finish();
}

/// The cost of a polygon at the edge: read, looked at for every mistake, and read again from the library.
fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("polygon");
    for corners in [200, 10_000] {
        let geometry = polygon(corners);
        group.bench_with_input(BenchmarkId::new("validate", corners), &geometry, |b, geometry| {
            b.iter(|| Geofence::from_geojson(geometry));
        });
        group.bench_with_input(BenchmarkId::new("from_validated", corners), &geometry, |b, geometry| {
            b.iter(|| Geofence::from_validated(geometry));
        });
    }
    group.finish();
}

/// GSM-7 (3GPP TS 23.038) and segments.
fn text(c: &mut Criterion) {
    let long = SEGMENT.repeat(6);
    let mut group = c.benchmark_group("text");
    for (name, text) in [("one_segment", SEGMENT), ("five_segments", long.as_str())] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("gsm7_encode", name), text, |b, text| {
            b.iter(|| gsm7::encode(text));
        });
        group.bench_with_input(BenchmarkId::new("parse", name), text, |b, text| {
            b.iter(|| MessageText::parse(text, SEGMENTS_MAX));
        });
        let stored = MessageText::from_stored(text.to_owned());
        group.bench_with_input(BenchmarkId::new("parts", name), &stored, |b, stored| {
            b.iter(|| black_box(stored.parts()).len());
        });
    }
    group.finish();
}

criterion_group!(benches, cover, contains, parse, text);
criterion_main!(benches);
