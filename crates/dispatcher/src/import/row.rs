//! One row of a CSV file to one registration with one place.

use std::time::Duration;

use klaroen_domain::hours::WeeklyHours;
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;
use klaroen_store::participants::{Consent, ParticipantDraft, Place};

use super::cell::unescape;
use super::columns::Columns;
use crate::request::fields::{is_code, plain_text};
use crate::request::limits::{CLOCK_SKEW, GROUPS_MAX, HOURS_MAX, NAME_MAX, SHORT_MAX};
use crate::request::words::{LANGUAGES, PARTICIPANT_KINDS};

/// Something wrong in one cell. It holds what the administrator sent: for the answer, never for a log.
pub struct CellProblem {
    /// The column, or empty for the row as a whole.
    pub column: &'static str,
    /// The content of the cell.
    pub value: String,
    /// The error in the cell.
    pub reason: String,
}

/// Reads the cells of one row and collects what is wrong.
struct Cells<'a> {
    given: &'a [String],
    columns: &'a Columns,
    problems: Vec<CellProblem>,
}

impl<'a> Cells<'a> {
    fn given(&self, column: &'static str) -> &'a str {
        self.columns.cell(self.given, column)
    }

    fn wrong<T>(&mut self, column: &'static str, reason: impl Into<String>) -> Option<T> {
        let value = self.given(column).to_owned();
        self.problems.push(CellProblem { column, value, reason: reason.into() });
        None
    }

    /// A text that may be missing: `Some(None)` if it is, `None` if it is wrong.
    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn text(&mut self, column: &'static str, max: usize) -> Option<Option<String>> {
        let given = unescape(self.given(column));
        if given.is_empty() {
            return Some(None);
        }
        match plain_text(&given, max) {
            Ok(text) => Some(Some(text.to_owned())),
            Err(problem) => self.wrong(column, problem.to_string()),
        }
    }

    fn required(&mut self, column: &'static str, max: usize) -> Option<String> {
        match self.text(column, max)? {
            Some(text) => Some(text),
            None => self.wrong(column, "is missing"),
        }
    }

    fn parsed<T, E: ToString>(&mut self, column: &'static str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_or_else(|error| self.wrong(column, error.to_string()), Some)
    }
}

/// Reads a row.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(
    cells: &[String],
    columns: &Columns,
    country: Country,
    now: Timestamp,
) -> Result<ParticipantDraft, Vec<CellProblem>> {
    let whole = |reason: String| vec![CellProblem { column: "", value: String::new(), reason }];
    if cells.len() != columns.width() {
        return Err(whole(format!("has {} cells, but the header has {}", cells.len(), columns.width())));
    }
    if cells.iter().any(|cell| cell.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(whole("contains bytes that are not text; save the file as UTF-8".to_owned()));
    }
    let mut row = Cells { given: cells, columns, problems: Vec::new() };
    let draft = read_draft(&mut row, country, now);
    match draft {
        Some(draft) if row.problems.is_empty() => Ok(draft),
        _ => Err(row.problems),
    }
}

fn read_draft(row: &mut Cells<'_>, country: Country, now: Timestamp) -> Option<ParticipantDraft> {
    let kind: Option<ParticipantKind> = {
        let parsed = row.given("kind").parse();
        let reason = format!("must be one of: {}", PARTICIPANT_KINDS.join(", "));
        row.parsed("kind", parsed.map_err(|_| reason))
    };
    let name = row.text("name", NAME_MAX);
    let phone = {
        let parsed = PhoneNumber::parse(&unescape(row.given("phone")), country);
        row.parsed("phone", parsed)
    };
    let language = read_language(row);
    let place = read_place(row, kind);
    let groups = read_groups(row);
    let external_id = row.text("external_id", SHORT_MAX);
    let given_at = read_consent_at(row, now);
    let method = row.required("consent_method", SHORT_MAX);
    Some(ParticipantDraft {
        kind: kind?,
        name: name?,
        phone: phone?,
        language: language?,
        places: vec![place?],
        groups: groups?,
        external_id: external_id?,
        paused_until: None,
        consent: Consent { given_at: given_at?, method: method? },
    })
}

fn read_language(row: &mut Cells<'_>) -> Option<Language> {
    let given = row.given("language");
    if given.is_empty() {
        return Some(Language::default());
    }
    match given.parse() {
        Ok(language) => Some(language),
        Err(_) => row.wrong("language", format!("must be one of: {}", LANGUAGES.join(", "))),
    }
}

fn read_place(row: &mut Cells<'_>, kind: Option<ParticipantKind>) -> Option<Place> {
    let label = row.text("label", SHORT_MAX);
    let postcode = row.text("postcode", 10);
    let house_number = row.text("house_number", 20);
    let location = read_location(row);
    let hours = match row.text("hours", HOURS_MAX) {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => {
            let parsed = text.parse::<WeeklyHours>();
            row.parsed("hours", parsed).map(Some)
        }
    };
    let address: Vec<String> = [postcode?, house_number?].into_iter().flatten().collect();
    let label = label?.unwrap_or_else(|| match kind {
        _ if !address.is_empty() => address.join(" "),
        Some(ParticipantKind::Business) => "business".to_owned(),
        _ => "home".to_owned(),
    });
    Some(Place { label, location: location?, hours: hours? })
}

fn read_location(row: &mut Cells<'_>) -> Option<Point> {
    let pairs = [["latitude", "longitude"], ["rd_x", "rd_y"]];
    let given = pairs.map(|pair| pair.iter().any(|column| !row.given(column).is_empty()));
    let [first, second] = match given {
        [true, false] => pairs[0],
        [false, true] => pairs[1],
        [true, true] => return row.wrong("rd_x", "give latitude and longitude, or rd_x and rd_y, not both"),
        [false, false] if row.given("postcode").is_empty() => return row.wrong("latitude", "is missing"),
        [false, false] => {
            let reason = "a postcode is not enough; give latitude and longitude, or rd_x and rd_y";
            return row.wrong("postcode", reason);
        }
    };
    let (x, y) = (read_number(row, first), read_number(row, second));
    let point = if first == "rd_x" { Point::rd_new(x?, y?) } else { Point::wgs84(x?, y?) };
    match point {
        Ok(point) => Some(point),
        Err(error) => {
            let column = error.member().unwrap_or(first);
            let column = pairs.into_iter().flatten().find(|c| *c == column).unwrap_or(first);
            row.wrong(column, error.to_string())
        }
    }
}

fn read_number(row: &mut Cells<'_>, column: &'static str) -> Option<f64> {
    let given = row.given(column);
    if given.is_empty() {
        return row.wrong(column, "is missing");
    }
    // A Dutch spreadsheet writes a decimal comma.
    let text = if given.contains('.') { given.to_owned() } else { given.replacen(',', ".", 1) };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.or_else(|| row.wrong(column, "is not a number"))
}

fn read_groups(row: &mut Cells<'_>) -> Option<Vec<String>> {
    let given = unescape(row.given("groups"));
    let mut groups: Vec<String> =
        given.split(';').map(str::trim).filter(|code| !code.is_empty()).map(str::to_owned).collect();
    if !groups.iter().all(|code| is_code(code)) {
        return row
            .wrong("groups", "must be codes of 1 to 64 of the characters A-Z a-z 0-9 _ . -, separated by ;");
    }
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > GROUPS_MAX {
        return row.wrong("groups", format!("must not name more than {GROUPS_MAX} groups"));
    }
    Some(groups)
}

/// A time in RFC 3339, or a date.
fn read_consent_at(row: &mut Cells<'_>, now: Timestamp) -> Option<Timestamp> {
    let given = row.given("consent_at");
    if given.is_empty() {
        return row.wrong("consent_at", "is missing");
    }
    // A date begins at midnight UTC; east of Greenwich it began a little earlier.
    let (parsed, ahead) = match Timestamp::parse(given) {
        Ok(at) => (Ok(at), CLOCK_SKEW),
        Err(_) => (Timestamp::parse(&format!("{given}T00:00:00Z")), Duration::from_hours(24)),
    };
    match parsed {
        Ok(at) if at > now.plus(ahead) => row.wrong("consent_at", "is in the future"),
        Ok(at) => Some(at),
        Err(_) => row.wrong("consent_at", "must be a date such as 2026-01-31 or a time in RFC 3339"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::columns::COLUMNS;
    use super::*;

    const GOOD: [(&str, &str); 6] = [
        ("kind", "resident"),
        ("phone", "06-12345678"),
        ("latitude", "52.09"),
        ("longitude", "5.12"),
        ("consent_at", "2026-01-31"),
        ("consent_method", "form"),
    ];

    fn parse(changes: &[(&str, &str)]) -> Result<ParticipantDraft, Vec<&'static str>> {
        let value = |name: &str| {
            let of =
                |list: &[(&str, &str)]| list.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            of(changes).or_else(|| of(&GOOD)).unwrap_or_default()
        };
        let header: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
        let cells: Vec<String> = COLUMNS.iter().map(|name| value(name)).collect();
        let columns = Columns::read(&header).unwrap();
        let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
        read(&cells, &columns, Country::NL, now)
            .map_err(|problems| problems.into_iter().map(|p| p.column).collect())
    }

    #[rstest]
    #[case(&[("kind", "dog"), ("phone", "0301234567")], &["kind", "phone"])]
    #[case(&[("latitude", "5.12"), ("longitude", "52.09")], &["latitude"])]
    #[case(&[("latitude", "152")], &["latitude"])]
    #[case(&[("latitude", "NaN")], &["latitude"])]
    #[case(&[("longitude", "")], &["longitude"])]
    #[case(&[("latitude", ""), ("longitude", ""), ("postcode", "3511AB")], &["postcode"])]
    #[case(&[("rd_x", "136500"), ("rd_y", "455900")], &["rd_x"])]
    #[case(&[("hours", "altijd"), ("groups", "a b"), ("language", "xx")], &["language", "hours", "groups"])]
    #[case(&[("consent_at", "31-01-2026"), ("consent_method", "")], &["consent_at", "consent_method"])]
    #[case(&[("consent_at", "2027-01-31")], &["consent_at"])]
    #[case(&[("name", "Zo\u{fffd}")], &[""])]
    fn every_wrong_cell_is_named(#[case] changes: &[(&str, &str)], #[case] columns: &[&str]) {
        assert_eq!(parse(changes).unwrap_err(), columns);
    }

    #[test]
    fn what_a_spreadsheet_writes_is_read() {
        let draft = parse(&[
            ("latitude", "52,09"),
            ("longitude", "5,12"),
            ("groups", " b ; a;;b"),
            ("name", "'=Jansen"),
            ("hours", "Mo-Fr 08:00-18:00"),
        ])
        .unwrap();
        assert!((draft.places[0].location.latitude() - 52.09).abs() < 1e-9);
        assert_eq!((draft.groups, draft.name.as_deref()), (vec!["a".into(), "b".into()], Some("=Jansen")));
        assert!(draft.places[0].hours.is_some());
        assert_eq!(draft.places[0].label, "home");
    }

    #[test]
    fn rd_new_and_an_address_for_a_label() {
        let changes = [
            ("latitude", ""),
            ("longitude", ""),
            ("rd_x", "136500"),
            ("rd_y", "455900"),
            ("postcode", "3511 AB"),
            ("house_number", "12a"),
        ];
        let draft = parse(&changes).unwrap();
        assert!((draft.places[0].location.latitude() - 52.09).abs() < 0.01);
        assert_eq!(draft.places[0].label, "3511 AB 12a");
    }
}
