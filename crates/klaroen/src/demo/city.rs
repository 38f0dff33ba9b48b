//! Klarendam: a town that does not exist, in the middle of the Markermeer, with made-up people.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// One neighbourhood: a rectangle of the map, in steps of [`STEP`] from the town's south-western corner.
struct Neighbourhood {
    code: &'static str,
    name: &'static str,
    column: u8,
    row: u8,
    /// Share of the people who live there.
    share: f64,
}

const NEIGHBOURHOODS: [Neighbourhood; 6] = [
    Neighbourhood { code: "KD01", name: "Havenkwartier", column: 0, row: 0, share: 0.30 },
    Neighbourhood { code: "KD02", name: "Oude Stad", column: 1, row: 0, share: 0.24 },
    Neighbourhood { code: "KD03", name: "Stationsbuurt", column: 2, row: 0, share: 0.16 },
    Neighbourhood { code: "KD04", name: "Molenwijk", column: 0, row: 1, share: 0.12 },
    Neighbourhood { code: "KD05", name: "Vogelbuurt", column: 1, row: 1, share: 0.10 },
    Neighbourhood { code: "KD06", name: "Bedrijvenpark", column: 2, row: 1, share: 0.08 },
];

/// The neighbourhood to which the alert of the demo goes.
pub const ALERTED: (&str, &str) = ("KD01", "Havenkwartier");

const SOUTH: f64 = 52.54;
const WEST: f64 = 5.18;
/// Degrees: each neighbourhood is some 1.0 km from south to north and 1.1 km from west to east.
const STEP: (f64, f64) = (0.009, 0.016);

impl Neighbourhood {
    fn south_west(&self) -> (f64, f64) {
        (SOUTH + STEP.0 * f64::from(self.row), WEST + STEP.1 * f64::from(self.column))
    }
}

/// The middle of the neighbourhood that is alerted: the place of the incident.
pub fn incident_location() -> Value {
    let (south, west) = NEIGHBOURHOODS[0].south_west();
    json!({"latitude": south + STEP.0 / 2.0, "longitude": west + STEP.1 / 2.0})
}

/// The neighbourhoods as a `FeatureCollection`.
pub fn areas() -> Value {
    let feature = |n: &Neighbourhood| {
        let (south, west) = n.south_west();
        let (north, east) = (south + STEP.0, west + STEP.1);
        json!({
            "type": "Feature",
            "properties": {"code": n.code, "name": n.name, "kind": "neighbourhood"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
            },
        })
    };
    json!({"type": "FeatureCollection", "features": NEIGHBOURHOODS.iter().map(feature).collect::<Vec<_>>()})
}

/// The people of the town.
pub struct Registry {
    /// For the import.
    pub csv: String,
    /// Numbers (E.164) of the people inside [`ALERTED`].
    pub alerted: Vec<String>,
}

/// All people of the city, the same for the same seed. No number leaves this machine: the only gateway is on 127.0.0.1.
pub fn registry(people: u32, seed: u64) -> Registry {
    let mut random = StdRng::seed_from_u64(seed);
    let mut csv =
        String::from("kind,phone,language,label,latitude,longitude,external_id,consent_at,consent_method\n");
    let mut alerted = Vec::new();
    for number in 0..people {
        let home = draw(&mut random);
        let (south, west) = home.south_west();
        // Not on the very border, so that rounding in the CSV moves no person to the neighbours.
        let latitude = south + STEP.0 * random.random_range(0.01..0.99);
        let longitude = west + STEP.1 * random.random_range(0.01..0.99);
        let business = home.code == "KD06" || random.random_bool(0.05);
        let (kind, label) = if business { ("business", "shop") } else { ("resident", "home") };
        let language = if random.random_bool(0.06) { "en" } else { "nl" };
        let phone = format!("+316{:08}", 11_000_000 + number);
        writeln!(
            csv,
            "{kind},{phone},{language},{label},{latitude:.6},{longitude:.6},klarendam-{number},2026-01-01T12:00:00+01:00,web"
        )
        .unwrap_or_else(|_| unreachable!("a String takes everything"));
        if home.code == ALERTED.0 {
            alerted.push(phone);
        }
    }
    Registry { csv, alerted }
}

fn draw(random: &mut StdRng) -> &'static Neighbourhood {
    let mut left: f64 = random.random_range(0.0..1.0);
    for neighbourhood in &NEIGHBOURHOODS {
        left -= neighbourhood.share;
        if left < 0.0 {
            return neighbourhood;
        }
    }
    &NEIGHBOURHOODS[0]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_town_is_the_same_each_time_and_everybody_has_a_number_of_their_own() {
        let town = registry(5_000, 1);
        assert_eq!(town.csv, registry(5_000, 1).csv);
        assert_ne!(town.csv, registry(5_000, 2).csv);
        let numbers: HashSet<&str> =
            town.csv.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
        assert_eq!(numbers.len(), 5_000);
        assert!((1_300..1_700).contains(&town.alerted.len()));
    }

    #[test]
    fn the_alerted_are_those_inside_the_polygon() {
        let town = registry(2_000, 1);
        let shape = areas()["features"][0]["geometry"].clone();
        let fence = klaroen_domain::geofence::Geofence::from_geojson(&shape).unwrap();
        let inside: Vec<String> = town
            .csv
            .lines()
            .skip(1)
            .map(|row| row.split(',').collect::<Vec<_>>())
            .filter(|row| {
                let point =
                    klaroen_domain::point::Point::wgs84(row[4].parse().unwrap(), row[5].parse().unwrap());
                fence.contains(&point.unwrap())
            })
            .map(|row| row[1].to_owned())
            .collect();
        assert_eq!(inside, town.alerted);
    }
}
