//! The registry of an alert: everybody inside one circle, and in a hamlet some way off the few of a small alert.

use anyhow::{Context, Result};
use std::io::{BufWriter, Write};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const LATITUDE: f64 = 52.55;
const LONGITUDE: f64 = 5.20;
/// Degrees from the middle within which people live: some 2.2 km and 2.0 km. The circle of 5 km holds them all.
const SPREAD: (f64, f64) = (0.02, 0.03);
const RADIUS_M: u32 = 5_000;

/// The middle of the hamlet, 28 km north: its circle touches nobody of the town.
const HAMLET_LATITUDE: f64 = LATITUDE + 0.25;
/// Every so many people have hours, which hold at all times: they are read and looked at, and leave nobody out.
const HOURS_EVERY: u32 = 10;
const HOURS: &str = "Mo-Fr 00:00-24:00; Sa-Su 00:00-24:00";
const TEXT: &str = "Burgeralert: let op een grijze bestelbus met gebroken achterruit. Gezien? Antwoord op dit bericht of bel 112.";

/// The text that is sent, one segment.
pub const fn text() -> &'static str {
    TEXT
}

/// An alert as most are: hours count, and how many alerts somebody had today.
fn alert_at(latitude: f64) -> Value {
    json!({
        "area": {"circle": {"center": {"latitude": latitude, "longitude": LONGITUDE}, "radius_m": RADIUS_M}},
        "text": TEXT,
        "priority": "urgent",
    })
}

/// An alert for all people in the town.
pub fn alert() -> Value {
    alert_at(LATITUDE)
}

/// The incident with that alert in it.
pub fn incident() -> Value {
    incident_with(&alert())
}

/// The same for the hamlet.
pub fn hamlet_incident() -> Value {
    incident_with(&alert_at(HAMLET_LATITUDE))
}

fn incident_with(alert: &Value) -> Value {
    json!({
        "category": "burglary",
        "description": "Bench",
        "location": alert["area"]["circle"]["center"],
        "alert": alert,
    })
}

/// The number of one of them, as SMPP has it: digits without a plus sign.
pub fn phone(number: u32) -> String {
    format!("316{:08}", 11_000_000 + number)
}

/// Writes the registry as a file: so many people in the town, and after them those of the hamlet.
pub fn write_csv(path: &Path, people: u32, hamlet: u32) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    write_rows(BufWriter::new(file), people, hamlet).with_context(|| path.display().to_string())
}

fn write_rows(mut csv: impl Write, people: u32, hamlet: u32) -> std::io::Result<()> {
    let mut random = StdRng::seed_from_u64(1);
    writeln!(csv, "kind,phone,label,latitude,longitude,hours,external_id,consent_at,consent_method")?;
    for number in 0..people + hamlet {
        let middle = if number < people { LATITUDE } else { HAMLET_LATITUDE };
        let latitude = middle + SPREAD.0 * random.random_range(-1.0..1.0);
        let longitude = LONGITUDE + SPREAD.1 * random.random_range(-1.0..1.0);
        let phone = phone(number);
        let hours = hours(number).unwrap_or_default();
        writeln!(
            csv,
            "resident,+{phone},home,{latitude:.6},{longitude:.6},{hours},bench-{number},2026-01-01T12:00:00+01:00,web"
        )?;
    }
    csv.flush()
}

/// The hours of a place, for one in ten.
pub fn hours(number: u32) -> Option<&'static str> {
    number.is_multiple_of(HOURS_EVERY).then_some(HOURS)
}

#[cfg(test)]
mod tests {
    use klaroen_domain::geofence::Geofence;
    use klaroen_domain::hours::WeeklyHours;
    use klaroen_domain::point::Point;

    use super::*;

    fn circle_of(alert: &Value) -> Geofence {
        let circle = &alert["area"]["circle"];
        let degrees = |name: &str| circle["center"][name].as_f64().unwrap();
        let center = Point::wgs84(degrees("latitude"), degrees("longitude")).unwrap();
        Geofence::circle(center, circle["radius_m"].as_f64().unwrap()).unwrap()
    }

    #[test]
    fn everybody_lives_in_one_of_two_circles_and_has_a_number() {
        let mut csv = Vec::new();
        write_rows(&mut csv, 500, 20).unwrap();
        let (town, hamlet) = (circle_of(&alert()), circle_of(&hamlet_incident()["alert"]));
        let text = String::from_utf8(csv).unwrap();
        let mut phones = std::collections::HashSet::new();
        for (number, row) in text.lines().skip(1).enumerate() {
            let cells: Vec<&str> = row.split(',').collect();
            let point = Point::wgs84(cells[3].parse().unwrap(), cells[4].parse().unwrap()).unwrap();
            assert_eq!(
                (town.contains(&point), hamlet.contains(&point)),
                (number < 500, number >= 500),
                "{row}"
            );
            assert_eq!(cells[1].len(), "+31611000000".len());
            assert!(phones.insert(cells[1].to_owned()));
        }
        assert_eq!(phones.len(), 520);
    }

    #[test]
    fn hours_leave_nobody_out() {
        let hours: WeeklyHours = hours(0).unwrap().parse().unwrap();
        assert!((0..7 * 24 * 60).all(|minute| hours.contains_minute(minute)));
    }
}
