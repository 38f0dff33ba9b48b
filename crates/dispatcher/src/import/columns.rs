//! The header of a CSV file: any order, known names only, each once.

use klaroen_domain::text::invisible;

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
pub struct Columns(Vec<&'static str>);

impl Columns {
    /// Reads the header.
    ///
    /// # Errors
    /// Every column that is unknown, missing or there twice.
    pub fn read(header: &[String]) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut error = |name: &str, detail: &str| {
            errors.push(FieldError { pointer: format!("/{name}"), detail: detail.into() });
        };
        let mut columns: Vec<&'static str> = Vec::with_capacity(header.len());
        for given in header {
            let given = invisible::visible(given).trim().to_lowercase();
            match COLUMNS.iter().find(|known| **known == given) {
                None => {
                    let shown: String = given.chars().take(40).collect();
                    error(&shown, &format!("is not a column; the columns are {}", COLUMNS.join(", ")));
                }
                Some(known) if columns.contains(known) => error(known, "is in the header twice"),
                Some(known) => columns.push(known),
            }
        }
        for name in REQUIRED.iter().filter(|name| !columns.contains(name)) {
            error(name, "is missing from the header");
        }
        let has_pair = PAIRS.iter().any(|pair| pair.iter().all(|name| columns.contains(name)));
        if !has_pair {
            // Half a pair is named by its other half; nothing at all by the first pair.
            let half = PAIRS.iter().find(|pair| pair.iter().any(|name| columns.contains(name)));
            for name in half.unwrap_or(&PAIRS[0]).iter().filter(|name| !columns.contains(name)) {
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

    /// The cell of a column. Empty if the file has no such column.
    #[must_use]
    pub fn cell<'a>(&self, cells: &'a [String], name: &str) -> &'a str {
        let place = self.0.iter().position(|column| *column == name);
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
            read("kind,kind,phone,telefoon,latitude,consent_at").unwrap_err(),
            ["/kind", "/telefoon", "/consent_method", "/longitude"]
        );
        assert!(read("kind,phone,consent_at,consent_method").unwrap_err().contains(&"/latitude".to_owned()));
        assert!(read(&COLUMNS.join(",")).is_ok());
    }
}
