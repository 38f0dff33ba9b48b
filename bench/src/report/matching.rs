//! One line for each shape in each registry, one column for each who was asked.

use super::{FAILED, Table, count, head, number};
use crate::report::figures::Matching;

/// The table.
pub fn table(figures: &[Matching]) -> Table {
    let mut contestants: Vec<&str> = Vec::new();
    let mut lines: Vec<(&str, u32, u64)> = Vec::new();
    for figure in figures {
        let line = (figure.shape.as_str(), figure.places, figure.found);
        if !contestants.contains(&figure.contestant) {
            contestants.push(figure.contestant);
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let cell = |shape: &str, places: u32, contestant: &str| {
        let mut of = figures
            .iter()
            .filter(|f| (f.shape.as_str(), f.places, f.contestant) == (shape, places, contestant));
        of.next().map_or_else(|| "-".to_owned(), times)
    };
    // Those of one shape together, so that one sees what a larger registry costs.
    let mut shapes: Vec<&str> = lines.iter().map(|line| line.0).collect();
    shapes.dedup();
    lines.sort_by_key(|line| (shapes.iter().position(|shape| *shape == line.0), line.1));
    Table {
        title: title(figures),
        head: [head(&["shape", "places", "found"]), head(&contestants)].concat(),
        rows: lines
            .iter()
            .map(|(shape, places, found)| {
                let cells = contestants.iter().map(|contestant| cell(shape, *places, contestant));
                [(*shape).to_owned(), count(*places), count(*found)].into_iter().chain(cells).collect()
            })
            .collect(),
    }
}

fn times(figure: &Matching) -> String {
    if figure.failed {
        return FAILED.into();
    }
    format!("{} / {}", number(Some(figure.p50_ms)), number(Some(figure.p99_ms)))
}

/// Of fewer than a hundred samples p99 is the slowest.
fn title(figures: &[Matching]) -> String {
    let samples = || figures.iter().filter(|figure| !figure.failed).map(|figure| figure.samples);
    let (fewest, most) = (samples().min().unwrap_or_default(), samples().max().unwrap_or_default());
    let of = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    format!("Matching: all recipients inside, milliseconds, p50 / p99 of {of} samples each")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(contestant: &'static str, places: u32, shape: &str, p50_ms: f64) -> Matching {
        let shape = shape.to_owned();
        Matching { contestant, places, shape, found: 7, samples: 1, p50_ms, p99_ms: 9.0, failed: false }
    }

    #[test]
    fn there_is_a_column_for_each_contestant_and_shapes_stay_together() {
        let figures = [
            matched("SQLite", 10, "a", 1.0),
            matched("SQLite", 10, "b", 2.0),
            Matching { samples: 200, ..matched("SQLite", 20, "a", 3.0) },
            matched("PostGIS", 20, "a", 4.0),
            Matching { failed: true, samples: 0, ..matched("PostGIS", 10, "b", 4.0) },
        ];
        let table = table(&figures);
        assert_eq!(table.head, ["shape", "places", "found", "SQLite", "PostGIS"]);
        assert_eq!(table.rows[0], ["a", "10", "7", "1.00 / 9.00", "-"]);
        assert_eq!(table.rows[1], ["a", "20", "7", "3.00 / 9.00", "4.00 / 9.00"]);
        assert_eq!(table.rows[2], ["b", "10", "7", "2.00 / 9.00", "FAILED"]);
        assert!(table.title.ends_with("of 1 to 200 samples each"), "{}", table.title);
    }
}
