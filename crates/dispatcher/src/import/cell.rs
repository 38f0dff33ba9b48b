//! Cells that a spreadsheet would run as a formula: an apostrophe in front on the way out, off on the way in.
//!
//! `escape` and `unescape` are exact inverses for every text, so that an export can be imported again; a name such as
//! `'t Hooft` stays as it is both ways.

use std::borrow::Cow;

/// The beginnings that make a spreadsheet calculate, with the full-width forms that some read the same way.
const FORMULA_STARTS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Whether `text` is a formula behind any number of apostrophes.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(FORMULA_STARTS)
}

/// A cell that no spreadsheet runs.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_formula(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Returns the text that [`escape`] was given.
#[must_use]
pub fn unescape(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if is_formula(rest) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_made_harmless_and_comes_back() {
        for text in ["=1+1", "+31", "-x", "@SUM(A1)", "'=x", "''@y", "＝1", "\tx", "'t Hooft", "", "a=b", "'"]
        {
            let escaped = escape(text);
            assert!(!escaped.starts_with(FORMULA_STARTS), "{text:?}");
            assert_eq!(unescape(&escaped), text, "{text:?}");
        }
        assert_eq!(escape("'t Hooft"), "'t Hooft");
        assert_eq!(escape("=1"), "'=1");
    }
}
