//! The registry of an alert: everybody inside one circle.

use std::io::{BufWriter, Write};
use std::path::Path;

use klaroen_simulator::SmscConfig;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::failure::{Because, Failure};
use crate::scratch;

const LATITUDE: f64 = 52.55;
const LONGITUDE: f64 = 5.20;
/// Degrees from the middle within which people live: some 2.2 km and 2.0 km. The circle of 5 km holds them all.
const SPREAD: (f64, f64) = (0.02, 0.03);
const RADIUS_M: u32 = 5_000;

/// Receipts that the message centre leaves unanswered at a time. Each is on the disk before it is acknowledged, so with 50 this
/// would measure the time that one flush of the disk takes, and nothing else; what a provider grants is a matter of contract.
pub const RECEIPT_WINDOW: usize = 1_000;

/// Without faults or delays: the machine is measured, not the provider.
pub fn smsc_config() -> SmscConfig {
    let (system_id, password) = scratch::ACCOUNT;
    SmscConfig {
        system_id: Some(system_id.into()),
        password: Some(password.into()),
        record_texts: false,
        deliver_window: RECEIPT_WINDOW,
        ..SmscConfig::default()
    }
}

/// An alert for all of them.
pub fn alert() -> Value {
    json!({
        "area": {"circle": {"center": {"latitude": LATITUDE, "longitude": LONGITUDE}, "radius_m": RADIUS_M}},
        "text": "Burgeralert: let op een grijze bestelbus met gebroken achterruit. Gezien? Antwoord op dit bericht of bel 112.",
        "priority": "life_threatening",
    })
}

/// The incident with that alert in it.
pub fn incident() -> Value {
    json!({
        "category": "burglary",
        "description": "Bench",
        "location": alert()["area"]["circle"]["center"],
        "alert": alert(),
    })
}

/// The number of one of them, as SMPP has it: digits without a plus sign.
pub fn phone(number: u32) -> String {
    format!("316{:08}", 11_000_000 + number)
}

/// Writes the registry as a file.
pub fn write_csv(path: &Path, people: u32) -> Result<(), Failure> {
    let file = std::fs::File::create(path).because(path.display())?;
    write_rows(BufWriter::new(file), people).because(path.display())
}

fn write_rows(mut csv: impl Write, people: u32) -> std::io::Result<()> {
    let mut random = StdRng::seed_from_u64(1);
    writeln!(csv, "kind,phone,label,latitude,longitude,external_id,consent_at,consent_method")?;
    for number in 0..people {
        let latitude = LATITUDE + SPREAD.0 * random.random_range(-1.0..1.0);
        let longitude = LONGITUDE + SPREAD.1 * random.random_range(-1.0..1.0);
        let phone = phone(number);
        writeln!(
            csv,
            "resident,+{phone},home,{latitude:.6},{longitude:.6},bench-{number},2026-01-01T12:00:00+01:00,web"
        )?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use klaroen_domain::geofence::Geofence;
    use klaroen_domain::point::Point;

    use super::*;

    #[test]
    fn everybody_lives_in_the_circle_and_has_a_number() {
        let mut csv = Vec::new();
        write_rows(&mut csv, 500).unwrap();
        let circle =
            Geofence::circle(Point::wgs84(LATITUDE, LONGITUDE).unwrap(), f64::from(RADIUS_M)).unwrap();
        let text = String::from_utf8(csv).unwrap();
        let mut phones = std::collections::HashSet::new();
        for row in text.lines().skip(1) {
            let cells: Vec<&str> = row.split(',').collect();
            let point = Point::wgs84(cells[3].parse().unwrap(), cells[4].parse().unwrap()).unwrap();
            assert!(circle.contains(&point), "{row}");
            assert_eq!(cells[1].len(), "+31611000000".len());
            assert!(phones.insert(cells[1].to_owned()));
        }
        assert_eq!(phones.len(), 500);
    }
}
