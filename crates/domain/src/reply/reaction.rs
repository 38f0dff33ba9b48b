//! Reactions: a phone that holds a thumb or a heart to a message sends an SMS in words of its own, such as
//! `Liked “Getuigen gezocht …”`. Nobody wrote it, and it reports nothing.
//!
//! [`is_reaction`] knows the texts by their frame: fixed words, a quotation, and nothing else. A person who quotes something says
//! something about it, and the text reaches the operator as a sighting. To miss a reaction costs an operator a glance; to see one
//! that is not there hides a witness.

mod frames;
mod quotation;

use self::frames::{AFTER_MARKS, FRAMES, NAMES, WHOLE};
use self::quotation::split;
use crate::text::invisible::is_invisible;

/// The place of one emoji, or of several, in a frame.
const EMOJI: char = '%';

/// The longest words around a quotation, in bytes: a frame has no more.
const WORDS_MAX: usize = 80;

/// Whether a text is the report of a phone that its owner reacted to a message, or took a reaction back.
#[must_use]
pub fn is_reaction(text: &str) -> bool {
    let marked = has_marks(text);
    let text: String = text.chars().filter(|ch| !is_invisible(*ch)).collect();
    let text = text.trim();
    let Some((before, after)) = split(text) else {
        return text.len() <= WORDS_MAX && WHOLE.iter().any(|whole| fits(whole, &words(text)));
    };
    if before.len() > WORDS_MAX || after.len() > WORDS_MAX {
        return false;
    }
    let (before, after) = (words(before), words(after));
    let frames = FRAMES.iter().chain(if marked { AFTER_MARKS } else { &[] });
    frames.into_iter().any(|(begin, ends)| ends.contains(&after.as_str()) && fits(begin, &before))
}

/// Whether an emoji stands between marks that nobody types: Google Messages puts hair spaces and zero-width spaces around it.
fn has_marks(text: &str) -> bool {
    let mut marks = false;
    for ch in text.chars() {
        if matches!(ch, '\u{200a}' | '\u{200b}') {
            marks = true;
        } else if !(is_emoji(ch) || is_invisible(ch) || ch.is_whitespace()) {
            break;
        }
    }
    marks
}

/// Lower case, one space between words, and [`EMOJI`] for each run of emoji.
fn words(text: &str) -> String {
    let mut words = String::new();
    for ch in text.chars() {
        if is_emoji(ch) {
            if words.chars().rev().find(|ch| *ch != ' ') != Some(EMOJI) {
                words.push(EMOJI);
            }
        } else if ch.is_whitespace() {
            if !words.is_empty() && !words.ends_with(' ') {
                words.push(' ');
            }
        } else if ch == '\u{2019}' {
            words.push('\'');
        } else {
            words.extend(ch.to_lowercase());
        }
    }
    words.truncate(words.trim_end().len());
    words
}

/// Whether the words are those of the frame, in which `@` stands for the name of a reaction.
fn fits(frame: &str, words: &str) -> bool {
    match frame.split_once('@') {
        None => frame == words,
        Some((begin, end)) => words
            .strip_prefix(begin)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|name| NAMES.contains(&name)),
    }
}

/// A character of an emoji (the blocks of Unicode that have any), or of a sequence of them: skin tones, flags, keycaps.
const fn is_emoji(ch: char) -> bool {
    matches!(ch,
        '\u{203c}' | '\u{2049}' | '\u{20e3}' | '\u{2139}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{27bf}'
        | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
        | '\u{1f000}'..='\u{1faff}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests;
