//! The header of a CSV file: any order, known names only (English or Dutch), each once.

use klaroen_domain::text::invisible;

use super::row::words;
use crate::problem::FieldError;

/// The columns, in the order of the export.
pub const COLUMNS: [&str; 16] = [
    "kind",
    "name",
    "phone",
    "language",
    "label",
    "latitude",
    "longitude",
    "rd_x",
    "rd_y",
    "postcode",
    "house_number",
    "groups",
    "hours",
    "external_id",
    "consent_at",
    "consent_method",
];

/// Columns without which no row can be read; with them one pair of [`PAIRS`].
const REQUIRED: [&str; 4] = ["kind", "phone", "consent_at", "consent_method"];
const PAIRS: [[&str; 2]; 2] = [["latitude", "longitude"], ["rd_x", "rd_y"]];

/// The columns in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Option<&'static str>>);

impl Columns {
    /// Reads the header. A column without a heading counts as none, if all of its cells are empty.
    ///
    /// # Errors
    /// Every column that is unknown, missing or there twice; one error if there is no header at all.
    pub fn read(header: &[String]) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut error = |name: &str, detail: &str| {
            errors.push(FieldError { pointer: format!("/{name}"), detail: detail.into() });
        };
        let mut columns: Vec<Option<&'static str>> = Vec::with_capacity(header.len());
        for given in header {
            let given = invisible::visible(given).trim().to_lowercase();
            match words::column(&given) {
                _ if given.is_empty() => columns.push(None),
                None => {
                    let shown: String = given.chars().take(40).collect();
                    error(&shown, &format!("is not a column; the columns are {}", COLUMNS.join(", ")));
                }
                Some(known) if columns.contains(&Some(known)) => {
                    error(
                        known,
                        &format!("is in the header twice, the second time as {given}: leave one out"),
                    );
                }
                Some(known) => columns.push(Some(known)),
            }
        }
        if columns.iter().all(Option::is_none) {
            let detail = format!(
                "is missing: the first line names no column; the columns are {}. kind, phone, consent_at, consent_method and a \
                 place are required",
                COLUMNS.join(", ")
            );
            return Err(vec![FieldError { pointer: "/header".into(), detail }]);
        }
        while columns.last() == Some(&None) {
            columns.pop();
        }
        for name in REQUIRED.iter().filter(|name| !columns.contains(&Some(**name))) {
            error(name, "is missing from the header");
        }
        let has_pair = PAIRS.iter().any(|pair| pair.iter().all(|name| columns.contains(&Some(*name))));
        if !has_pair {
            // Half a pair is named by its other half; nothing at all by the first pair.
            let half = PAIRS.iter().find(|pair| pair.iter().any(|name| columns.contains(&Some(*name))));
            for name in half.unwrap_or(&PAIRS[0]).iter().filter(|name| !columns.contains(&Some(**name))) {
                error(name, "is missing from the header: give latitude and longitude, or rd_x and rd_y");
            }
        }
        if errors.is_empty() { Ok(Self(columns)) } else { Err(errors) }
    }

    /// Number of cells in a row.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.0.len()
    }

    /// Whether a row may end after `cells` cells: spreadsheets leave empty ones out at its end.
    #[must_use]
    pub fn may_end_at(&self, cells: usize) -> bool {
        let left_out = self.0.get(cells..).unwrap_or_default();
        let is_needed =
            |name: &str| REQUIRED.contains(&name) || PAIRS.iter().flatten().any(|half| *half == name);
        !left_out.iter().flatten().any(|name| is_needed(name))
    }

    /// Whether a cell without a heading holds something.
    #[must_use]
    pub fn has_unnamed(&self, cells: &[String]) -> bool {
        let is_full = |cell: &String| !invisible::trim(cell).is_empty();
        cells.iter().enumerate().any(|(i, cell)| is_full(cell) && self.0.get(i).is_none_or(Option::is_none))
    }

    /// Whether a row is the header again.
    #[must_use]
    pub fn is_header(&self, cells: &[String]) -> bool {
        let mut named =
            self.0.iter().zip(cells).filter_map(|(column, cell)| column.map(|column| (column, cell)));
        cells.len() >= self.0.len() && named.all(|(column, cell)| words::column(cell) == Some(column))
    }

    /// The cell of a column. Empty if the file has no such column.
    #[must_use]
    pub fn cell<'a>(&self, cells: &'a [String], name: &str) -> &'a str {
        let place = self.0.iter().position(|column| *column == Some(name));
        place.and_then(|i| cells.get(i)).map_or("", |cell| invisible::trim(cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<Columns, Vec<String>> {
        let cells: Vec<String> = header.split(',').map(str::to_owned).collect();
        Columns::read(&cells).map_err(|errors| errors.into_iter().map(|e| e.pointer).collect())
    }

    #[test]
    fn any_order_and_case() {
        let columns = read(" Phone,KIND,consent_at,rd_y,rd_x,consent_method").unwrap();
        let cells: Vec<String> = ["06", " resident "].map(str::to_owned).to_vec();
        assert_eq!(columns.cell(&cells, "kind"), "resident");
        assert_eq!(columns.cell(&cells, "consent_at"), "", "a short row has empty cells");
        assert_eq!(columns.cell(&cells, "hours"), "");
    }

    #[test]
    fn every_wrong_column_is_named() {
        assert_eq!(
            read("kind,kind,phone,achternaam,latitude,consent_at").unwrap_err(),
            ["/kind", "/achternaam", "/consent_method", "/longitude"]
        );
        assert!(read("kind,phone,consent_at,consent_method").unwrap_err().contains(&"/latitude".to_owned()));
        assert!(read(&COLUMNS.join(",")).is_ok());
        assert_eq!(
            read("kind,phone,telefoon,latitude,longitude,consent_at,consent_method").unwrap_err(),
            ["/phone"]
        );
    }

    #[test]
    fn a_file_without_a_header_is_refused_once() {
        assert_eq!(read("resident,06-12345678,52.09,5.12,2026-01-31,form").unwrap_err(), ["/header"]);
    }

    #[test]
    fn dutch_headings_and_empty_columns() {
        let columns =
            read("Soort,Telefoonnummer,,Breedtegraad,Lengtegraad,Datum toestemming,Toestemming via,,")
                .unwrap();
        let cells = ["bewoner", "06", "", "52", "5", "nu", "web", "", ""].map(str::to_owned);
        assert_eq!(
            (columns.width(), columns.cell(&cells, "phone"), columns.cell(&cells, "consent_method")),
            (7, "06", "web")
        );
        assert!(!columns.has_unnamed(&cells) && columns.has_unnamed(&["a", "b", "c"].map(str::to_owned)));
        assert!(columns.is_header(
            &["KIND", "mobiel", "x", "lat", "lon", "consent_at", "consent_method"].map(str::to_owned)
        ));
        assert!(!columns.is_header(&cells));
    }
}
