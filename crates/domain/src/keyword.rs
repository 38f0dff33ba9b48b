//! The request in a participant's SMS: out, in, help, or something for the operator.
//!
//! A text is a keyword only if nothing else is in it but thanks and politeness, so that "Stop. Thank you" opts out and
//! "STOP die dief" reaches the operator. Missing a keyword costs an operator a glance; seeing one that is not there
//! silences a witness.

use unicode_normalization::UnicodeNormalization;

use crate::text::equivalents::is_invisible;

/// The meaning of an inbound text that is a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyword {
    /// STOP and its kin: opt out.
    Stop,
    /// START and its kin: opt in again.
    Start,
    /// HELP, INFO. A citizen may mean it literally: show it to the operator as well.
    Help,
}

/// The keywords, in lower case. The English ones for stopping are the ones at which providers block a sender by themselves:
/// were they not ours as well, we would go on sending to a number that the provider refuses.
const KEYWORDS: &[(&str, Keyword)] = &[
    ("stop", Keyword::Stop),
    ("stopall", Keyword::Stop),
    ("unsubscribe", Keyword::Stop),
    ("cancel", Keyword::Stop),
    ("end", Keyword::Stop),
    ("quit", Keyword::Stop),
    ("stoppen", Keyword::Stop),
    ("afmelden", Keyword::Stop),
    ("uit", Keyword::Stop),
    ("start", Keyword::Start),
    ("aanmelden", Keyword::Start),
    ("help", Keyword::Help),
    ("info", Keyword::Help),
];

/// Thanks and politeness, in lower case, word by word; of two that begin alike the longer comes first. Phrases and not
/// loose words, for "u" and "you" are polite only in company.
const POLITENESS: &[&[&str]] = &[
    &["alstublieft"],
    &["alsjeblieft"],
    &["aub"],
    &["a", "u", "b"],
    &["ajb"],
    &["a", "j", "b"],
    &["svp"],
    &["s", "v", "p"],
    &["graag"],
    &["please"],
    &["pls"],
    &["plz"],
    &["bij", "voorbaat", "dank"],
    &["alvast", "bedankt"],
    &["alvast", "dank"],
    &["hartelijk", "bedankt"],
    &["hartelijk", "dank"],
    &["veel", "dank"],
    &["dank", "u", "wel"],
    &["dank", "je", "wel"],
    &["dank", "jullie", "wel"],
    &["dank", "u"],
    &["dank", "je"],
    &["dank"],
    &["dankuwel"],
    &["dankjewel"],
    &["bedankt"],
    &["merci"],
    &["thank", "you", "very", "much"],
    &["thank", "you"],
    &["many", "thanks"],
    &["thanks"],
    &["thx"],
    &["tnx"],
    &["hallo"],
    &["hoi"],
    &["hello"],
    &["hi"],
    &["met", "vriendelijke", "groeten"],
    &["met", "vriendelijke", "groet"],
    &["vriendelijke", "groeten"],
    &["vriendelijke", "groet"],
    &["groeten"],
    &["groet"],
    &["mvg"],
];

/// More words than a keyword with greetings and thanks has: beyond it a text is not looked at.
const WORDS_MAX: usize = 12;

/// The keyword that a text consists of; `None` if it is a message for the operator.
///
/// Case, punctuation, emoji and the width of letters do not matter; a repeated keyword is one, two that contradict each
/// other are none.
#[must_use]
pub fn classify(text: &str) -> Option<Keyword> {
    let words = words(text)?;
    let mut rest = words.as_slice();
    let mut found = None;
    while let Some(first) = rest.first() {
        if let Some(keyword) = keyword(first) {
            if found.is_some_and(|earlier| earlier != keyword) {
                return None;
            }
            found = Some(keyword);
            rest = &rest[1..];
        } else {
            rest = &rest[politeness(rest)?..];
        }
    }
    found
}

/// The words in lower case, without anything between them; `None` if there are too many.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    // Compatibility forms turn full-width and other styled letters into plain ones.
    for ch in text.chars().filter(|ch| !is_invisible(*ch)).nfkc() {
        match words.last_mut() {
            Some(word) if ch.is_alphanumeric() => word.extend(ch.to_lowercase()),
            Some(word) if !word.is_empty() => {
                if words.len() == WORDS_MAX + 1 {
                    return None;
                }
                words.push(String::new());
            }
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    (words.len() <= WORDS_MAX).then_some(words)
}

fn keyword(word: &str) -> Option<Keyword> {
    KEYWORDS.iter().find(|(known, _)| *known == word).map(|(_, keyword)| *keyword)
}

/// How many words of politeness there are at the beginning.
fn politeness(words: &[String]) -> Option<usize> {
    POLITENESS
        .iter()
        .find(|phrase| words.len() >= phrase.len() && phrase.iter().zip(words).all(|(a, b)| a == b))
        .map(|phrase| phrase.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("STOP")]
    #[case("stop")]
    #[case(" Stop \n")]
    #[case("STOP!!")]
    #[case("\"stop\"")]
    #[case("‘Stop’.")]
    #[case("(stop)")]
    #[case("Stop. Thank you")]
    #[case("stop aub")]
    #[case("stop a.u.b.")]
    #[case("Stop s.v.p.!")]
    #[case("stop alstublieft")]
    #[case("Stop alsjeblieft, dank je wel")]
    #[case("graag stoppen")]
    #[case("afmelden dank u wel")]
    #[case("Hallo, afmelden graag. Met vriendelijke groet")]
    #[case("AFMELDEN")]
    #[case("Stoppen")]
    #[case("Uit")]
    #[case("UNSUBSCRIBE")]
    #[case("StopAll")]
    #[case("quit")]
    #[case("end")]
    #[case("Cancel")]
    #[case("stop stop stop")]
    #[case("please stop, many thanks")]
    #[case::full_width("ＳＴＯＰ")]
    #[case::no_break_space("\u{a0}STOP\u{a0}dank\u{a0}u")]
    #[case::zero_width("\u{feff}ST\u{200b}OP\u{200d}")]
    #[case::emoji("STOP 👍")]
    #[case::emoji_with_selector("🙏🏽 stop ❤️")]
    #[case::mathematical_letters("𝐒𝐓𝐎𝐏")]
    fn these_opt_out(#[case] text: &str) {
        assert_eq!(classify(text), Some(Keyword::Stop));
    }

    #[rstest]
    #[case("START")]
    #[case("start aub")]
    #[case("Aanmelden!")]
    #[case("Graag aanmelden, alvast bedankt")]
    fn these_opt_in(#[case] text: &str) {
        assert_eq!(classify(text), Some(Keyword::Start));
    }

    #[rstest]
    #[case("HELP")]
    #[case("info?")]
    #[case("Info graag")]
    fn these_ask_for_help(#[case] text: &str) {
        assert_eq!(classify(text), Some(Keyword::Help));
    }

    #[rstest]
    #[case("")]
    #[case("  \n")]
    #[case("!!!")]
    #[case("👍")]
    #[case("bedankt")]
    #[case("dank u wel")]
    #[case("we moeten dit stoppen")]
    #[case("Hij rijdt richting stop bord")]
    #[case("STOP die dief")]
    #[case("uit de auto gestapt")]
    #[case("We have got to STOP this bill")]
    #[case("STOP 12345")]
    #[case("stop1")]
    #[case("stop u")]
    #[case("stop you")]
    #[case("help je wel")]
    #[case("stop start")]
    #[case("stop of info")]
    #[case("Non-stop gereden")]
    #[case("stopbord")]
    #[case("gestopt")]
    #[case("aan")]
    #[case("ja")]
    #[case("start auto rood")]
    #[case("help hij is hier")]
    #[case("the end of the street")]
    #[case::other_script("ЅТОР")]
    #[case::too_many_words("stop stop stop stop stop stop stop stop stop stop stop stop stop")]
    fn these_are_for_the_operator(#[case] text: &str) {
        assert_eq!(classify(text), None);
    }

    #[test]
    fn no_politeness_hides_a_longer_one_behind_it() {
        for (i, phrase) in POLITENESS.iter().enumerate() {
            let hidden = POLITENESS[i + 1..].iter().find(|later| later.starts_with(phrase));
            assert_eq!(hidden, None, "never reached behind {phrase:?}");
        }
    }

    #[test]
    fn tables_hold_single_words_in_lower_case() {
        let words = KEYWORDS.iter().map(|(word, _)| word).chain(POLITENESS.iter().copied().flatten());
        for word in words {
            assert!(word.chars().all(|ch| ch.is_ascii_lowercase()), "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _keyword = classify(&text);
        }

        #[test]
        fn a_text_with_other_words_is_never_a_keyword(
            mut words in proptest::collection::vec("[a-z]{2,9}x[a-z]{0,3}", 1..20),
            at in any::<proptest::sample::Index>(),
            keyword in proptest::sample::select(KEYWORDS),
        ) {
            // No word of the tables but "thx" and "tnx" has an x, and these two are polite.
            prop_assume!(words.iter().any(|word| word != "thx" && word != "tnx"));
            words.insert(at.index(words.len() + 1), keyword.0.to_owned());
            prop_assert_eq!(classify(&words.join(" ")), None);
        }

        #[test]
        fn dress_does_not_matter(
            keyword in proptest::sample::select(KEYWORDS),
            before in "[ .,!?\"'()\u{a0}\n👍-]{0,6}",
            after in "[ .,!?\"'()\u{a0}\n👍-]{0,6}",
        ) {
            let text = format!("{before}{}{after}", keyword.0.to_uppercase());
            prop_assert_eq!(classify(&text), Some(keyword.1));
        }
    }
}
