//! Cells that a spreadsheet would run as a formula: an apostrophe in front on the way out, off on the way in.
//!
//! A spreadsheet may cut a file at other characters than the commas that we write: a Dutch one does at `;`, so that
//! `Jan;=cmd` has a formula in its second half. So an apostrophe stands wherever a cell could begin.
//! [`escape`] and [`unescape`] are exact inverses for every text, so that an export can be imported again; a name such as
//! `'t Hooft` stays as it is both ways.

use std::borrow::Cow;

use klaroen_domain::text::invisible::is_invisible;

/// The beginnings that make a spreadsheet calculate, with the full-width forms that some read the same way.
const FORMULA_STARTS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// The characters after which a spreadsheet may begin a cell.
const SEPARATORS: [char; 6] = [';', ',', '\t', '|', '\n', '\r'];

/// The characters before a formula that a spreadsheet may leave out: white space, quotes, and our own apostrophe.
fn is_skipped(ch: char) -> bool {
    let is_separator = SEPARATORS.contains(&ch);
    !is_separator && (ch.is_whitespace() || is_invisible(ch) || matches!(ch, '\'' | '"'))
}

/// Whether a spreadsheet may take `text` for a formula, if a cell begins there.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches(is_skipped).starts_with(FORMULA_STARTS)
}

/// Whether the text at the beginning of a whole cell needs an apostrophe. Some spreadsheets drop a tab or line end there.
fn needs_first(text: &str) -> bool {
    is_formula(text) || text.trim_start_matches(is_skipped).starts_with(['\t', '\r', '\n']) || is_marked(text)
}

/// `'0612`: the apostrophe of a person who kept a zero. It is no part of the text, so one that is gets another.
fn is_marked(text: &str) -> bool {
    text.starts_with('\'') && is_number(text.trim_start_matches('\''))
}

/// Digits and what stands between them in numbers and dates; apostrophes too, since [`escape`] may put some there.
fn is_number(text: &str) -> bool {
    let is_part = |ch: char| ch.is_ascii_digit() || " .,-/:+()'".contains(ch);
    text.starts_with(|ch: char| ch.is_ascii_digit()) && text.chars().all(is_part)
}

/// The places at which a spreadsheet may begin a cell, as text and what follows.
fn starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    std::iter::once(0).chain(text.match_indices(SEPARATORS).map(|(at, separator)| at + separator.len()))
}

/// A cell that no spreadsheet runs, whatever it takes for a separator.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let needs = |at: usize| if at == 0 { needs_first(text) } else { is_formula(&text[at..]) };
    if !starts(text).any(needs) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    let mut from = 0;
    for at in starts(text).filter(|at| needs(*at)) {
        escaped.push_str(&text[from..at]);
        escaped.push('\'');
        from = at;
    }
    escaped.push_str(&text[from..]);
    Cow::Owned(escaped)
}

/// Returns the text that [`escape`] was given. `'0612…` and `="0612…"`, by which people keep a zero, are the text in them.
#[must_use]
pub fn unescape(cell: &str) -> Cow<'_, str> {
    if let Some(text) = constant(cell) {
        return Cow::Owned(text);
    }
    // The apostrophe at `at` is ours if what follows it needed one.
    let is_ours = |at: usize| {
        let Some(rest) = cell[at..].strip_prefix('\'') else { return false };
        if at == 0 { needs_first(rest) || is_number(rest.trim_start_matches('\'')) } else { is_formula(rest) }
    };
    if !starts(cell).any(is_ours) {
        return Cow::Borrowed(cell);
    }
    let mut text = String::with_capacity(cell.len());
    let mut from = 0;
    for at in starts(cell).filter(|at| is_ours(*at)) {
        text.push_str(&cell[from..at]);
        from = at + 1;
    }
    text.push_str(&cell[from..]);
    Cow::Owned(text)
}

/// The text of `="…"`, a formula that is nothing but a text.
fn constant(cell: &str) -> Option<String> {
    let inner = cell.strip_prefix("=\"")?.strip_suffix('"')?.replace("\"\"", "\u{0}");
    (!inner.contains('"')).then(|| inner.replace('\u{0}', "\""))
}

/// One row of a CSV file (RFC 4180). The only writer of CSV: all cells but numbers go through [`escape`] before.
pub fn write_row<'a>(cells: impl IntoIterator<Item = &'a str>, text: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new().from_writer(&mut *text);
    // Writing to memory does not fail.
    if let Err(error) = writer.write_record(cells).and_then(|()| writer.flush().map_err(Into::into)) {
        tracing::error!(%error, "could not write a row of CSV");
    }
}

/// The beginning of a CSV file: the mark by which a spreadsheet that is started by a double click reads UTF-8, and the header.
#[must_use]
pub fn begin(header: &[&str]) -> Vec<u8> {
    let mut text = "\u{feff}".as_bytes().to_vec();
    write_row(header.iter().copied(), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Cuts as a spreadsheet may, drops what it may drop, and looks for a formula.
    fn runs(cell: &str) -> bool {
        cell.split(SEPARATORS).any(|part| {
            let part =
                part.trim_start_matches(|ch: char| ch.is_whitespace() || is_invisible(ch) || ch == '"');
            part.starts_with(FORMULA_STARTS)
        })
    }

    #[test]
    fn a_formula_is_made_harmless_and_comes_back() {
        for text in ["=1+1", "+31", "-x", "@SUM(A1)", "'=x", "''@y", "＝1", "\tx", "'t Hooft", "", "a=b", "'"]
        {
            let escaped = escape(text);
            assert!(!runs(&escaped), "{text:?}");
            assert_eq!(unescape(&escaped), text, "{text:?}");
        }
        assert_eq!(escape("'t Hooft"), "'t Hooft");
        assert_eq!(escape("=1"), "'=1");
        assert_eq!(escape("Jansen-de Vries, J. (+2)"), "Jansen-de Vries, J. (+2)");
    }

    #[rstest]
    #[case("Jan;=cmd|'/C calc'!A0;")]
    #[case("Jan,=1")]
    #[case("Jan\t@x")]
    #[case("Jan\n+1")]
    #[case("Jan\r\n-1")]
    #[case("Jan|=1")]
    #[case("Jan; =1")]
    #[case("Jan;\u{a0}\u{200b}=1")]
    #[case("Jan;\"=1\"")]
    #[case("Jan\";=1")]
    #[case("a;=b;c;@d")]
    #[case(" =1")]
    #[case("\"=1")]
    #[case("a;-b;c")]
    #[case(";;＝1")]
    fn no_separator_begins_a_formula(#[case] text: &str) {
        let escaped = escape(text);
        assert!(runs(text), "{text:?} is no example");
        assert!(!runs(&escaped), "{escaped:?}");
        assert_eq!(unescape(&escaped), text);
    }

    /// All texts of up to five of the characters that matter.
    #[test]
    fn every_text_comes_back_unchanged_and_none_runs() {
        const HARD: [char; 9] = ['=', '\'', ',', '"', ' ', 'a', '0', '\t', '-'];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            let longer = texts.iter().flat_map(|text| HARD.map(|ch| format!("{text}{ch}")));
            texts = longer.chain(texts.iter().cloned()).collect();
            texts.sort_unstable();
            texts.dedup();
        }
        for text in &texts {
            let escaped = escape(text);
            assert!(!runs(&escaped), "{text:?} as {escaped:?}");
            assert_eq!(unescape(&escaped), *text, "as {escaped:?}");
        }
    }

    #[rstest]
    #[case("'0612345678", "0612345678")]
    #[case("=\"0612345678\"", "0612345678")]
    #[case("=\"zei \"\"ja\"\"\"", "zei \"ja\"")]
    #[case("'t Hooft", "'t Hooft")]
    #[case("'s-Gravenhage", "'s-Gravenhage")]
    #[case("=\"a\"&\"b\"", "=\"a\"&\"b\"")]
    #[case("=SUM(1)", "=SUM(1)")]
    fn what_people_do_to_keep_a_zero_is_undone(#[case] cell: &str, #[case] text: &str) {
        assert_eq!(unescape(cell), text);
        assert_eq!(unescape(&escape(text)), text);
    }

    #[test]
    fn a_file_begins_with_a_mark() {
        let mut text = begin(&["name", "label"]);
        write_row(["Zoë, B", "x\"y"], &mut text);
        assert_eq!(text, "\u{feff}name,label\n\"Zoë, B\",\"x\"\"y\"\n".as_bytes());
    }
}
