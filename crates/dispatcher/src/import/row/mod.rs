//! One row of a CSV file to one registration with one place.

mod moment;
mod numbers;
#[cfg(test)]
mod tests;
pub mod words;

use klaroen_domain::hours::{WeeklyHours, Zone};
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::{Country, PhoneError, PhoneNumber};
use klaroen_domain::point::Point;
use klaroen_domain::territory;
use klaroen_domain::text::invisible::{self, visible};
use klaroen_domain::time::Timestamp;
use klaroen_store::participants::{Consent, ParticipantDraft, Place};

use self::numbers::{CUT, is_exponent, without_decimals};
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
    /// The mistake is in how the whole column was written: one error is enough for all rows that have it.
    pub of_column: bool,
}

impl CellProblem {
    /// Something wrong in one cell.
    pub fn new(column: &'static str, value: String, reason: impl Into<String>) -> Self {
        Self { column, value, reason: reason.into(), of_column: false }
    }

    /// Something wrong with a whole row.
    pub fn whole(reason: impl Into<String>) -> Self {
        Self::new("", String::new(), reason)
    }
}

/// How the cells are to be understood.
pub struct Reading<'a> {
    /// Whose mobile numbers are taken.
    pub country: Country,
    /// On whose wall clock a date is.
    pub zone: &'a Zone,
    /// The present moment.
    pub now: Timestamp,
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

    /// A cell that is no free text: without what people and spreadsheets put around a value, and without what does not show.
    fn typed(&self, column: &'static str) -> String {
        visible(&unescape(self.given(column))).trim().to_owned()
    }

    fn wrong<T>(&mut self, column: &'static str, reason: impl Into<String>) -> Option<T> {
        let value = self.given(column).to_owned();
        let reason = if words::is_spreadsheet_error(&value) {
            "is an error of the spreadsheet and no value: mend its formula, or empty the cell".to_owned()
        } else {
            reason.into()
        };
        self.problems.push(CellProblem::new(column, value, reason));
        None
    }

    /// Something that is likely to be wrong in every row.
    fn wrong_column<T>(&mut self, column: &'static str, reason: impl Into<String>) -> Option<T> {
        let nothing = self.wrong(column, reason);
        if let Some(problem) = self.problems.last_mut() {
            problem.of_column = true;
        }
        nothing
    }

    /// A text that may be missing: `Some(None)` if it is, `None` if it is wrong.
    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn text(&mut self, column: &'static str, max: usize) -> Option<Option<String>> {
        let given = unescape(self.given(column));
        if given.is_empty() {
            return Some(None);
        }
        if words::is_spreadsheet_error(&given) {
            return self.wrong(column, "");
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
    reading: &Reading<'_>,
) -> Result<ParticipantDraft, Vec<CellProblem>> {
    let whole = |reason: String| vec![CellProblem::whole(reason)];
    let width = columns.width();
    let filled = cells.iter().rposition(|cell| !invisible::trim(cell).is_empty()).map_or(0, |last| last + 1);
    if is_no_participant(cells, columns) {
        return Err(whole("is a sum or a note below the list and no participant: remove it".to_owned()));
    }
    if filled > width || cells.len() < width && !columns.may_end_at(cells.len()) {
        let reason = format!(
            "has {} cells, but the header has {width}: put a text with a separator or line end in it between quotes",
            if filled > width { filled } else { cells.len() }
        );
        return Err(vec![CellProblem { of_column: true, ..CellProblem::whole(reason) }]);
    }
    if columns.has_unnamed(cells) {
        return Err(vec![CellProblem {
            of_column: true,
            ..CellProblem::whole("has a cell in a column without a heading: write one, or empty the column")
        }]);
    }
    if cells.iter().any(|cell| cell.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(whole("contains bytes that are not text; save the file as UTF-8".to_owned()));
    }
    let mut row = Cells { given: cells, columns, problems: Vec::new() };
    let draft = read_draft(&mut row, reading);
    match draft {
        Some(draft) if row.problems.is_empty() => Ok(draft),
        _ => Err(row.problems),
    }
}

/// The sum below a list, and a row that says nothing that a participant needs.
fn is_no_participant(cells: &[String], columns: &Columns) -> bool {
    let given = |column| columns.cell(cells, column);
    let first =
        cells.iter().map(|cell| invisible::trim(cell)).find(|cell| !cell.is_empty()).unwrap_or_default();
    let is_empty = ["phone", "consent_at"].iter().all(|column| given(column).is_empty());
    is_empty
        && (words::is_total(first)
            || words::kind(given("kind")).is_none() && given("consent_method").is_empty())
}

fn read_draft(row: &mut Cells<'_>, reading: &Reading<'_>) -> Option<ParticipantDraft> {
    let kind: Option<ParticipantKind> = {
        let read = words::kind(&row.typed("kind"));
        let reason = format!("must be one of: {} (or bewoner, bedrijf)", PARTICIPANT_KINDS.join(", "));
        row.parsed("kind", read.ok_or(reason))
    };
    let name = row.text("name", NAME_MAX);
    let phone = match PhoneNumber::parse(&unescape(row.given("phone")), reading.country) {
        Ok(phone) => Some(phone),
        Err(error @ (PhoneError::Exponent | PhoneError::Decimal | PhoneError::Negative)) => {
            row.wrong_column("phone", error.to_string())
        }
        Err(error) => row.wrong("phone", error.to_string()),
    };
    let language = read_language(row);
    let place = read_place(row, kind, reading.country);
    let groups = read_groups(row);
    let external_id = read_external_id(row);
    let given_at = read_consent_at(row, reading);
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
    let given = row.typed("language");
    if given.is_empty() {
        return Some(Language::default());
    }
    match words::language(&given) {
        Some(language) => Some(language),
        None => row.wrong("language", format!("must be one of: {}", LANGUAGES.join(", "))),
    }
}

/// An id that a spreadsheet took for a number is another one: `1E5` becomes `1,00E+05`, and `12` becomes `12,00`.
#[expect(clippy::option_option, reason = "absent and wrong are two things")]
fn read_external_id(row: &mut Cells<'_>) -> Option<Option<String>> {
    let id = row.text("external_id", SHORT_MAX)?;
    match id.as_deref() {
        Some(id) if is_exponent(id) => row.wrong_column("external_id", CUT),
        Some(id) if without_decimals(id) != id => row.wrong_column(
            "external_id",
            "has decimals that a spreadsheet added: give the column the format Text",
        ),
        _ => Some(id),
    }
}

fn read_place(row: &mut Cells<'_>, kind: Option<ParticipantKind>, country: Country) -> Option<Place> {
    let label = row.text("label", SHORT_MAX);
    let postcode = row.text("postcode", 10);
    let house_number = row.text("house_number", 20);
    let location = read_location(row, country);
    let hours = match row.text("hours", HOURS_MAX) {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => {
            let parsed = text.parse::<WeeklyHours>();
            row.parsed("hours", parsed).map(Some)
        }
    };
    let address: Vec<String> =
        [postcode?, house_number?].iter().flatten().map(|part| without_decimals(part).to_owned()).collect();
    let label = label?.unwrap_or_else(|| match kind {
        _ if !address.is_empty() => address.join(" "),
        Some(ParticipantKind::Business) => "business".to_owned(),
        _ => "home".to_owned(),
    });
    Some(Place { label, location: location?, hours: hours? })
}

fn read_location(row: &mut Cells<'_>, country: Country) -> Option<Point> {
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
    let point =
        if first == "rd_x" { territory::rd_new(country, x?, y?) } else { territory::wgs84(country, x?, y?) };
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
    let given = row.typed(column);
    if given.is_empty() {
        return row.wrong(column, "is missing");
    }
    if is_exponent(&given) {
        return row.wrong_column(column, CUT);
    }
    // A Dutch spreadsheet writes a decimal comma.
    let text = if given.contains('.') { given } else { given.replacen(',', ".", 1) };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        Ok(number) if is_plain => Some(number),
        _ if is_plain && digits.matches('.').count() > 1 => row.wrong_column(
            column,
            "has more than one point, so a spreadsheet took it for thousands: write it as 52.0907",
        ),
        _ => row.wrong(column, "is not a number"),
    }
}

fn read_groups(row: &mut Cells<'_>) -> Option<Vec<String>> {
    let given = row.typed("groups");
    if words::is_spreadsheet_error(&given) {
        return row.wrong("groups", "");
    }
    let mut groups: Vec<String> = given
        .split([';', ',', '|', '\n', '\r'])
        .map(str::trim)
        .filter(|code| !code.is_empty())
        .map(str::to_owned)
        .collect();
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

/// A date, a time in RFC 3339, or one on the wall clock.
fn read_consent_at(row: &mut Cells<'_>, reading: &Reading<'_>) -> Option<Timestamp> {
    let given = row.typed("consent_at");
    if given.is_empty() {
        return row.wrong("consent_at", "is missing");
    }
    match moment::read(&given, reading.zone) {
        Ok(at) if at > reading.now.plus(CLOCK_SKEW) => row.wrong("consent_at", "is in the future"),
        Ok(at) => Some(at),
        Err(error @ moment::MomentError::WallClock(_)) => row.wrong("consent_at", error.to_string()),
        Err(error) => row.wrong_column("consent_at", error.to_string()),
    }
}
