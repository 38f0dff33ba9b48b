//! Bytes to text, as they come: UTF-8 and UTF-16 by their mark, UTF-16 by its zeros, UTF-8 without a mark, else Windows-1252
//! (which Latin-1 is a part of: what spreadsheets in the Netherlands write), or the alphabet of the old Macintosh if the lines
//! end as they did there.

use encoding_rs::{CoderResult, Decoder, Encoding, MACINTOSH, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Turns chunks of bytes into text.
pub struct Decode {
    mode: Mode,
    /// The line ends so far, CR and LF.
    line_ends: (bool, bool),
    /// Bytes that wait for the ones after them: a mark or a character that a chunk cut in two.
    held: Vec<u8>,
}

enum Mode {
    /// Nothing read yet.
    Start,
    /// UTF-8 so far; `certain` once a character beyond ASCII was seen.
    Utf8 { certain: bool },
    /// One of the others.
    Other(Box<Decoder>),
}

impl Default for Decode {
    fn default() -> Self {
        Self { mode: Mode::Start, line_ends: (false, false), held: Vec::new() }
    }
}

/// The longest byte order mark has three bytes; two characters of UTF-16 have four.
const MARK_BYTES: usize = 4;

impl Decode {
    /// Appends the text of `bytes` to `text`; `last` at the end of the file. Bytes that are not a character become U+FFFD.
    pub fn feed(&mut self, bytes: &[u8], last: bool, text: &mut String) {
        self.held.extend_from_slice(bytes);
        if matches!(self.mode, Mode::Start) {
            if self.held.len() < MARK_BYTES && !last {
                return;
            }
            self.mode = match Encoding::for_bom(&self.held) {
                Some((encoding, _)) if encoding != UTF_8 => {
                    Mode::Other(Box::new(encoding.new_decoder_with_bom_removal()))
                }
                Some((_, mark)) => {
                    self.held.drain(..mark);
                    Mode::Utf8 { certain: true }
                }
                None => match self.held[..] {
                    [1..=0xff, 0, 1..=0xff, 0, ..] => {
                        Mode::Other(Box::new(UTF_16LE.new_decoder_without_bom_handling()))
                    }
                    [0, 1..=0xff, 0, 1..=0xff, ..] => {
                        Mode::Other(Box::new(UTF_16BE.new_decoder_without_bom_handling()))
                    }
                    _ => Mode::Utf8 { certain: false },
                },
            };
        }
        if matches!(self.mode, Mode::Utf8 { .. }) {
            self.feed_utf8(last, text);
        }
        if let Mode::Other(decoder) = &mut self.mode {
            decode(decoder, &self.held, last, text);
            self.held.clear();
        }
    }

    fn feed_utf8(&mut self, last: bool, text: &mut String) {
        let Mode::Utf8 { certain } = &mut self.mode else { return };
        loop {
            let error = match std::str::from_utf8(&self.held) {
                Ok(valid) => {
                    note_line_ends(&mut self.line_ends, valid);
                    *certain |= !valid.is_ascii();
                    text.push_str(valid);
                    self.held.clear();
                    return;
                }
                Err(error) => error,
            };
            let (valid, rest) = self.held.split_at(error.valid_up_to());
            let valid = std::str::from_utf8(valid).unwrap_or_default();
            note_line_ends(&mut self.line_ends, valid);
            *certain |= !valid.is_ascii();
            text.push_str(valid);
            let cut_in_two = error.error_len().is_none() && !last;
            let wrong = error.error_len().unwrap_or(rest.len());
            self.held.drain(..error.valid_up_to());
            if cut_in_two {
                return;
            }
            if !*certain {
                // All of it was ASCII so far, which reads the same either way.
                let encoding = if self.line_ends == (true, false) { MACINTOSH } else { WINDOWS_1252 };
                self.mode = Mode::Other(Box::new(encoding.new_decoder_without_bom_handling()));
                return;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            self.held.drain(..wrong);
        }
    }
}

fn note_line_ends((cr, lf): &mut (bool, bool), text: &str) {
    // Which they are shows in the first lines.
    if !*lf {
        *cr |= text.contains('\r');
        *lf = text.contains('\n');
    }
}

fn decode(decoder: &mut Decoder, mut bytes: &[u8], last: bool, text: &mut String) {
    loop {
        text.reserve(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len()).max(16));
        let (result, read, _) = decoder.decode_to_string(bytes, text, last);
        bytes = &bytes[read..];
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Decodes in chunks of every size, which must all give the same.
    fn decoded(bytes: &[u8]) -> String {
        let in_chunks = |size: usize| {
            let (mut decode, mut text) = (Decode::default(), String::new());
            for chunk in bytes.chunks(size) {
                decode.feed(chunk, false, &mut text);
            }
            decode.feed(b"", true, &mut text);
            text
        };
        let whole = in_chunks(bytes.len().max(1));
        for size in 1..bytes.len() {
            assert_eq!(in_chunks(size), whole, "chunks of {size}");
        }
        whole
    }

    #[rstest]
    #[case::utf8("naam;Zoë €".as_bytes(), "naam;Zoë €")]
    #[case::utf8_with_mark(b"\xef\xbb\xbfnaam", "naam")]
    #[case::latin1(b"naam;Zo\xeb van 't Hof", "naam;Zoë van 't Hof")]
    #[case::windows_1252(b"prijs;\x80 5", "prijs;€ 5")]
    #[case::latin1_at_the_end(b"Ren\xe9", "René")]
    #[case::utf16_little(b"\xff\xfea\0\xeb\0", "aë")]
    #[case::utf16_big(b"\xfe\xff\0a\0\xeb", "aë")]
    #[case::utf16_without_a_mark(b"a\0\xeb\0b\0", "aëb")]
    #[case::utf16_big_without_a_mark(b"\0a\0b\0\xeb", "abë")]
    #[case::macintosh(b"naam;x\rZo\x91;y\r", "naam;x\rZoë;y\r")]
    #[case::broken_utf8("Zoë ".as_bytes(), "Zoë ")]
    #[case::empty(b"", "")]
    #[case::short(b"a", "a")]
    fn encodings_are_told_apart(#[case] bytes: &[u8], #[case] text: &str) {
        assert_eq!(decoded(bytes), text);
    }

    #[test]
    fn a_broken_character_among_utf8_is_marked_rather_than_guessed() {
        assert_eq!(decoded(b"Zo\xc3\xab \xff x"), "Zoë \u{fffd} x");
        assert_eq!(decoded(b"Zo\xc3\xab \xc3"), "Zoë \u{fffd}");
    }
}
