//! The request in a participant's SMS: out, in, help, or something for the operator.
//!
//! A text is a keyword only if nothing else is in it but thanks, politeness and a signature, so that "Stop. Thank you" opts out and
//! "STOP die dief" reaches the operator. Missing a keyword costs an operator a glance; seeing one that is not there
//! silences a witness.

mod tables;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use self::tables::{KEYWORDS, POLITENESS, SIGNATURES};
use crate::text::invisible::is_invisible;

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

/// The sign that says STOP without a word.
const STOP_SIGN: char = '\u{1F6D1}';

/// More words than a keyword with greetings and thanks has: beyond it a text is not looked at.
const WORDS_MAX: usize = 12;

/// The longest signature, in words.
const SIGNATURE_MAX: usize = 8;

/// The keyword that a text consists of; `None` if it is a message for the operator.
///
/// Case, accents, punctuation, emoji and the width of letters do not matter, nor do points between the letters; a repeated
/// keyword is one, two that contradict each other are none.
#[must_use]
pub fn classify(text: &str) -> Option<Keyword> {
    let words = words(text)?;
    let mut rest = words.as_slice();
    let mut found = None;
    while !rest.is_empty() {
        if let Some((keyword, length)) = keyword(rest) {
            if found.is_some_and(|earlier| earlier != keyword) {
                return None;
            }
            found = Some(keyword);
            rest = &rest[length..];
        } else if found.is_some() && is_signature(rest) {
            break;
        } else {
            rest = &rest[politeness(rest)?..];
        }
    }
    found
}

/// The words in lower case, without accents and anything between them; `None` if there are too many.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    // Compatibility forms turn full-width and other styled letters into plain ones, and part letters from their accents.
    let plain = text.chars().filter(|ch| !is_invisible(*ch)).nfkd().filter(|ch| !is_combining_mark(*ch));
    for ch in plain {
        let word = words.last_mut()?;
        if ch.is_alphanumeric() {
            word.extend(ch.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(String::new());
        }
        if ch == STOP_SIGN {
            words.last_mut()?.push_str("stop");
            words.push(String::new());
        }
        if words.len() > WORDS_MAX + 1 {
            return None;
        }
    }
    words.retain(|word| !word.is_empty());
    (words.len() <= WORDS_MAX).then_some(words)
}

/// The keyword at the beginning, and how many words it takes.
fn keyword(words: &[String]) -> Option<(Keyword, usize)> {
    let whole =
        |(phrase, keyword): &(&[&str], Keyword)| begins(words, phrase).then_some((*keyword, phrase.len()));
    KEYWORDS.iter().find_map(whole).or_else(|| spelled(words))
}

/// The same of a keyword of one word that stands there letter by letter: `S.T.O.P.`
fn spelled(words: &[String]) -> Option<(Keyword, usize)> {
    KEYWORDS.iter().find_map(|(phrase, keyword)| {
        let [word] = phrase else { return None };
        let letters = word.bytes().map(|letter| [letter]);
        let is_it =
            words.len() >= word.len() && letters.zip(words).all(|(letter, word)| word.as_bytes() == letter);
        is_it.then_some((*keyword, word.len()))
    })
}

fn is_signature(words: &[String]) -> bool {
    words.len() <= SIGNATURE_MAX && SIGNATURES.iter().any(|phrase| begins(words, phrase))
}

fn begins(words: &[String], phrase: &[&str]) -> bool {
    words.len() >= phrase.len() && phrase.iter().zip(words).all(|(known, word)| known == word)
}

/// How many words of politeness there are at the beginning.
fn politeness(words: &[String]) -> Option<usize> {
    POLITENESS.iter().find(|phrase| begins(words, phrase)).map(|phrase| phrase.len())
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
    #[case("S\u{34f}T\u{e0001}O\u{180e}P\u{fff0}")]
    #[case("\u{115f}STOP\u{3164}")]
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
    #[case("OPTOUT")]
    #[case("OPT-OUT")]
    #[case("Opt out")]
    #[case("opt_out please")]
    #[case("REVOKE")]
    #[case("STOP ALL")]
    #[case("STOPALL.")]
    #[case("stop alles aub")]
    #[case("REMOVE")]
    #[case("remove me")]
    #[case("Unsubscribe me, thanks")]
    #[case("uitschrijven")]
    #[case("Graag uitschrijven")]
    #[case("schrijf mij uit aub")]
    #[case("meld me af")]
    #[case("haal mij eraf")]
    #[case("Ik wil dit niet meer.")]
    #[case("stop sms")]
    #[case("STOP-SMS")]
    #[case("stop klaroen")]
    #[case("Klaroen: stop!")]
    #[case("hallo, stop klaroen, dank u")]
    #[case::accents("stóp")]
    #[case::accents_apart("sto\u{301}p")]
    #[case::points("S.T.O.P.")]
    #[case::letters("s t o p")]
    #[case::letters_and_thanks("S.T.O.P. a.u.b.")]
    #[case::sign("🛑")]
    #[case::signs("🛑🛑🛑")]
    #[case::sign_and_word("🛑 stop 🛑")]
    #[case::signature("STOP\n\nVerstuurd vanaf mijn iPhone")]
    #[case::signature("Stop aub\nVerzonden vanaf mijn Samsung Galaxy-smartphone.")]
    #[case::signature("STOP\n--\nSent from my iPad")]
    #[case::signature("afmelden, dank u. Outlook voor iOS downloaden")]
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
    #[case("Ik zag hem bij de bushalte stoppen")]
    #[case("stop niet, hij loopt nog")]
    #[case("niet stoppen")]
    #[case("ik stop de auto")]
    #[case("stop alle treinen")]
    #[case("hij wil dit niet meer")]
    #[case("ik wil dit niet meer zien gebeuren")]
    #[case("haal mij eraf op station centraal")]
    #[case("remove the car")]
    #[case("hij schrijft zich uit")]
    #[case("opt out of the left lane")]
    #[case("out")]
    #[case("opt")]
    #[case("all")]
    #[case("sms")]
    #[case("klaroen")]
    #[case("st op")]
    #[case("s t o")]
    #[case("s.t.o.p. die man")]
    #[case("sto p")]
    #[case("🛑 politie gezien")]
    #[case("hij staat bij het 🛑 bord")]
    #[case("Verstuurd vanaf mijn iPhone")]
    #[case("dank u\nVerstuurd vanaf mijn iPhone")]
    #[case("stop verstuurd")]
    #[case("stop\nVerstuurd vanaf mijn telefoon hij rent nu over de brug weg")]
    #[case::other_script("ЅТОР")]
    #[case::too_many_words("stop stop stop stop stop stop stop stop stop stop stop stop stop")]
    fn these_are_for_the_operator(#[case] text: &str) {
        assert_eq!(classify(text), None);
    }

    #[test]
    fn no_phrase_hides_a_longer_one_behind_it() {
        let keywords: Vec<_> = KEYWORDS.iter().map(|(phrase, _)| *phrase).collect();
        for phrases in [keywords.as_slice(), POLITENESS] {
            for (i, phrase) in phrases.iter().enumerate() {
                let hidden = phrases[i + 1..].iter().find(|later| later.starts_with(phrase));
                assert_eq!(hidden, None, "never reached behind {phrase:?}");
            }
        }
    }

    #[test]
    fn tables_hold_single_words_in_lower_case() {
        let keywords = KEYWORDS.iter().map(|(phrase, _)| *phrase);
        let phrases = keywords.chain(POLITENESS.iter().copied()).chain(SIGNATURES.iter().copied());
        for word in phrases.flatten() {
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
            words.insert(at.index(words.len() + 1), keyword.0.join(" "));
            prop_assert_eq!(classify(&words.join(" ")), None);
        }

        #[test]
        fn dress_does_not_matter(
            keyword in proptest::sample::select(KEYWORDS),
            before in "[ .,!?\"'()\u{a0}\n👍-]{0,6}",
            after in "[ .,!?\"'()\u{a0}\n👍-]{0,6}",
        ) {
            let text = format!("{before}{}{after}", keyword.0.join(" ").to_uppercase());
            prop_assert_eq!(classify(&text), Some(keyword.1));
        }
    }
}
