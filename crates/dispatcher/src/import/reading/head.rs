//! The lines before the rows: where the header is, what separates its cells, and whether the file is CSV at all.

use klaroen_domain::text::invisible;

use super::rows::{Rows, delimiter_of};

/// Characters between cells, in the order in which they are preferred.
pub const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The reason why a file is no CSV, for an official who has another file at hand.
#[must_use]
pub fn foreign(head: &str) -> Option<&'static str> {
    let start = head.trim_start_matches(|ch: char| ch.is_whitespace() || ch == '\u{feff}');
    if start.starts_with("PK\u{3}\u{4}") || start.starts_with("ÐÏ\u{11}à") {
        return Some(
            "is the beginning of a workbook (.xlsx, .xls or .ods): save it as CSV UTF-8 and send that file",
        );
    }
    if start.starts_with('<') {
        return Some(
            "is the beginning of a web page or XML file: save the list as CSV UTF-8 and send that file",
        );
    }
    if start.starts_with("{\\rtf") || start.starts_with("%PDF") {
        return Some("is the beginning of a document: save the list as CSV UTF-8 and send that file");
    }
    if start.starts_with(['{', '[']) {
        return Some("is the beginning of a JSON file: save the list as CSV UTF-8 and send that file");
    }
    head.contains('\0').then_some("is not text: save the list as CSV UTF-8 and send that file")
}

/// What separates the cells, as soon as the line of the header is whole.
#[must_use]
pub fn delimiter(head: &str, is_all: bool) -> Option<u8> {
    let mut said = None;
    for line in head.split_inclusive(['\n', '\r']) {
        if !is_all && !line.ends_with(['\n', '\r']) {
            return None;
        }
        if let Some(separator) = separator(line) {
            said = Some(separator);
        } else if !is_type(line) && !is_blank(line) {
            return Some(said.unwrap_or_else(|| delimiter_of(line)));
        }
    }
    is_all.then_some(b',')
}

/// Whether a row is a line for programs, before the header: `sep=;` for Excel, `#TYPE …` of PowerShell.
#[must_use]
pub fn is_preamble(cells: &[String]) -> bool {
    cells.first().is_some_and(|cell| separator_of(cell).is_some() || is_type(cell))
}

/// `sep=;`, in quotes or not, with the empty cells that a spreadsheet adds.
fn separator(line: &str) -> Option<u8> {
    let said = separator_of(line)?.bytes().next().filter(|byte| DELIMITERS.contains(byte));
    Some(said.unwrap_or(b','))
}

/// The text after `sep=`.
fn separator_of(line: &str) -> Option<&str> {
    let line =
        line.trim_start_matches(|ch: char| ch.is_whitespace() || ch == '"' || invisible::is_invisible(ch));
    let (word, rest) = line.split_at_checked(4)?;
    let is_rest = rest.chars().all(|ch| ch.is_whitespace() || ";,|\"".contains(ch));
    (word.eq_ignore_ascii_case("sep=") && is_rest).then_some(rest)
}

fn is_type(line: &str) -> bool {
    invisible::trim(line).trim_start_matches('"').starts_with("#TYPE ")
}

fn is_blank(line: &str) -> bool {
    line.chars().all(|ch| ch.is_whitespace() || invisible::is_invisible(ch) || ";,|\"".contains(ch))
}

/// The cells of a row. A spreadsheet with another separator takes a whole line for one cell, and puts quotes around it.
#[must_use]
pub fn cells(cells: Vec<String>, delimiter: u8) -> Vec<String> {
    let [first, rest @ ..] = &cells[..] else { return cells };
    let alone = rest.iter().all(|cell| invisible::trim(cell).is_empty());
    // A semicolon after the quotes is such a cell as well: `"a,b";;`.
    let first = first.trim_end_matches([';', '\t', '|']);
    if !alone || !first.contains(char::from(delimiter)) {
        return cells;
    }
    let (mut reader, mut rows) = (Rows::new(delimiter), Vec::new());
    let whole = reader.feed(first, &mut rows).is_ok() && reader.finish(&mut rows);
    match (whole, rows.pop()) {
        (true, Some(row)) if rows.is_empty() => row.cells,
        _ => cells,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("sep=;\r\nkind,phone\r\n", Some(b';'))]
    #[case("\"sep=;\"\r\nkind;phone\r\n", Some(b';'))]
    #[case("\u{feff}SEP=,\nkind,phone\n", Some(b','))]
    #[case("sep=\t\nkind\tphone\n", Some(b'\t'))]
    #[case("sep=;;;;\nkind;phone\n", Some(b';'))]
    #[case("#TYPE System.Object\r\n\"kind\",\"phone\"\r\n", Some(b','))]
    #[case("\n;;;\nkind;phone\n", Some(b';'))]
    #[case("kind|phone\n", Some(b'|'))]
    #[case("sep=;\n", None)]
    #[case("kind;phone", None)]
    fn the_separator_is_known_once_the_header_is_whole(#[case] head: &str, #[case] expected: Option<u8>) {
        assert_eq!(delimiter(head, false), expected);
        assert!(delimiter(head, true).is_some());
    }

    #[test]
    fn a_line_that_became_one_cell_is_cut() {
        let line = |cell: &str| vec![cell.to_owned(), String::new()];
        assert_eq!(cells(line("resident,\"Jansen, J\",06"), b','), ["resident", "Jansen, J", "06"]);
        assert_eq!(cells(line("Jansen"), b','), ["Jansen", ""]);
    }
}
