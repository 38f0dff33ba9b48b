//! Blanks before a cell: `a, "b, c"` means the cell `b, c`, and a byte order mark stands wherever files were joined.

use std::borrow::Cow;

use klaroen_domain::text::invisible::is_invisible;

/// Takes the blanks away before the rows are split, since a quote opens a cell only at its beginning (RFC 4180).
pub struct Blanks {
    delimiter: char,
    at: At,
}

/// Where the last character stood.
#[derive(Clone, Copy)]
enum At {
    /// Before a cell.
    Start,
    /// In a cell without quotes, or behind the quotes of one.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that closes the cell, or begins a pair.
    Quote,
}

/// The end of a file under DOS.
const END_OF_FILE: char = '\u{1a}';

impl Blanks {
    /// With the delimiter of the file.
    pub const fn new(delimiter: u8) -> Self {
        Self { delimiter: delimiter as char, at: At::Start }
    }

    /// The text without blanks before a cell.
    pub fn without<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut kept: Option<String> = None;
        for (i, ch) in text.char_indices() {
            if self.is_blank(ch) {
                kept.get_or_insert_with(|| text[..i].to_owned());
                continue;
            }
            self.at = self.after(ch);
            if let Some(kept) = &mut kept {
                kept.push(ch);
            }
        }
        kept.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    fn is_blank(&self, ch: char) -> bool {
        matches!(self.at, At::Start)
            && ch != self.delimiter
            && !matches!(ch, '\r' | '\n')
            && (ch.is_whitespace() || ch == END_OF_FILE || is_invisible(ch))
    }

    const fn after(&self, ch: char) -> At {
        match (self.at, ch) {
            (At::Quoted, '"') => At::Quote,
            (At::Start | At::Quote, '"') | (At::Quoted, _) => At::Quoted,
            (_, '\r' | '\n') => At::Start,
            (_, ch) if ch == self.delimiter => At::Start,
            _ => At::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_before_a_cell_go_and_those_in_it_stay() {
        for (text, expected) in [
            ("a, \"b, c\" , d e\n \"f\"", "a,\"b, c\" ,d e\n\"f\""),
            ("\u{feff}\"a\",\u{a0}\u{200b}b\n\u{feff}c", "\"a\",b\nc"),
            ("\" a \"\" , b\", c", "\" a \"\" , b\",c"),
            ("a\u{1a}\n\u{1a}", "a\u{1a}\n"),
        ] {
            assert_eq!(Blanks::new(b',').without(text), expected);
            let mut by_characters = Blanks::new(b',');
            let cut: String =
                text.chars().map(|ch| by_characters.without(&ch.to_string()).into_owned()).collect();
            assert_eq!(cut, expected);
        }
        assert_eq!(Blanks::new(b'\t').without("a\t\tb"), "a\t\tb");
    }
}
