//! The quotation in a text: [`split`].

/// The two kinds of quotation marks: of one kind are the outer ones, and those of the other do not count within.
const DOUBLE: &str = "\"“”„‟«»″";
const SINGLE: &str = "'‘’‚‛‹›";

/// The words before the one quotation of a text, and those after it; `None` if there is no such quotation.
///
/// The quotation may have quotations in it, and it may be cut: then it ends with the text, in dots. A text with one quotation
/// beside another has more to say than a frame around one.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let (open, mark) = text.char_indices().find(|(at, ch)| {
        // An apostrophe within a word is no quotation mark.
        DOUBLE.contains(*ch) || SINGLE.contains(*ch) && !text[..*at].ends_with(char::is_alphanumeric)
    })?;
    let family = if DOUBLE.contains(mark) { DOUBLE } else { SINGLE };
    let inside = open + mark.len_utf8();
    let close = text.char_indices().rfind(|(at, ch)| *at >= inside && family.contains(*ch)).map(|(at, _)| at);
    let cut = text.ends_with('…') || text.ends_with("...");
    let (close, end) = match close {
        Some(close) if !opens(text, close) => (close, close + text[close..].chars().next()?.len_utf8()),
        _ if cut => (text.len(), text.len()),
        _ => return None,
    };
    let one = stays_open(&text[inside..close], family) && !text[inside..close].trim().is_empty();
    one.then_some((text[..open].trim(), text[end..].trim()))
}

/// Whether no quotation mark in the text closes the one that was opened before it.
fn stays_open(text: &str, family: &str) -> bool {
    let mut depth = 1_u32;
    for (at, ch) in text.char_indices().filter(|(_, ch)| family.contains(*ch)) {
        let after = text[at + ch.len_utf8()..].chars().next();
        let within_word =
            text[..at].ends_with(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric);
        if family == SINGLE && within_word {
            continue;
        }
        if opens(text, at) {
            depth += 1;
        } else {
            depth -= 1;
        }
        if depth == 0 {
            return false;
        }
    }
    true
}

/// Whether the quotation mark at `at` opens a quotation: by its shape, or by what stands before it.
fn opens(text: &str, at: usize) -> bool {
    let mark = text[at..].chars().next();
    let before = text[..at].chars().next_back();
    match mark {
        Some('“') => {
            // In German it closes what „ opens.
            !text.contains('„')
        }
        Some('„' | '‟' | '«' | '‘' | '‚' | '‛' | '‹') => true,
        Some('”' | '»' | '’' | '›') => false,
        _ => before.is_none_or(|ch| ch.is_whitespace() || "([{-–—/:".contains(ch)),
    }
}
