//! Texts as operators paste them.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn parse(raw: &str) -> MessageText {
    MessageText::parse(raw, u8::MAX).expect("a text that can be sent")
}

#[test]
fn dutch_text_stays_gsm_and_says_what_was_replaced() {
    let message = parse(" Bent u geïnformeerd? Belgie\u{308}");
    assert_eq!(message.as_str(), "Bent u geinformeerd? Belgie");
    assert_eq!(message.encoding(), Encoding::Gsm7);
    assert_eq!(
        message.replaced(),
        [
            Replacement { position: 10, from: 'ï', to: "i".to_owned() },
            Replacement { position: 27, from: 'ë', to: "e".to_owned() },
        ]
    );
}

#[test]
fn what_gsm_has_is_left_alone() {
    let text = "Café, één Ç, à la carte: €5 [zie kaart] öäü";
    let message = parse(text);
    assert_eq!(message.as_str(), text);
    assert_eq!(message.replaced(), []);
    assert_eq!(message.characters(), text.chars().count() + 3);
}

#[test]
fn one_emoji_makes_it_ucs2_and_nothing_is_replaced() {
    let message = parse("België 👍 Привет 👍");
    assert_eq!(message.as_str(), "België 👍 Привет 👍");
    assert_eq!(message.encoding(), Encoding::Ucs2);
    assert_eq!(message.replaced(), []);
    assert_eq!(message.unreplaceable(), ['👍', 'П', 'р', 'и', 'в', 'е', 'т']);
    assert_eq!(message.characters(), 19);
}

#[rstest]
#[case::family("👨\u{200d}👩\u{200d}👧 gezocht")]
#[case::look("❤\u{fe0f} 👍")]
#[case::heart_on_fire("❤\u{fe0f}\u{200d}🔥")]
#[case::keycap("Bel 1\u{fe0f}\u{20e3}1\u{fe0f}\u{20e3}2")]
#[case::flag_of_tags("🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}!")]
#[case::direction("\u{202b}שלום\u{202c} 112")]
#[case::persian("می\u{200c}خواهم")]
fn an_invisible_character_stays_where_it_does_something(#[case] raw: &str) {
    let message = parse(raw);
    assert_eq!((message.as_str(), message.replaced()), (raw, [].as_slice()));
}

#[rstest]
#[case::soft_hyphen("zoek\u{ad}actie 👍", "zoekactie 👍")]
#[case::zero_width("man\u{200b} 👍\u{2060}", "man 👍")]
#[case::joiner_after_a_letter("ma\u{200d}n 👍", "man 👍")]
#[case::direction_of_nothing("\u{202a}+31 6\u{202c} 👍", "+31 6 👍")]
#[case::selector_of_nothing("\u{fe0f}a\u{fe0f} 👍", "a 👍")]
#[case::deprecated("a\u{206a}\u{fff0}\u{e0001}я", "aя")]
#[case::between_letter_and_accent("e\u{200b}\u{301} 👍", "é 👍")]
fn an_invisible_character_that_does_nothing_costs_no_room(#[case] raw: &str, #[case] expected: &str) {
    let message = parse(raw);
    assert_eq!(message.as_str(), expected);
    assert!(message.replaced().iter().all(|replaced| replaced.to.is_empty()));
    assert_eq!(message.replaced().len(), raw.chars().filter(|ch| invisible::is_invisible(*ch)).count());
}

#[test]
fn no_default_ignorable_character_costs_a_text_its_alphabet() {
    for ch in [
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{206f}',
        '\u{3164}',
        '\u{fff0}',
        '\u{e0fff}',
    ] {
        let message = parse(&format!("man{ch} met hond"));
        assert_eq!((message.as_str(), message.encoding()), ("man met hond", Encoding::Gsm7), "{ch:?}");
    }
}

#[test]
fn what_word_processors_write_is_made_plain() {
    let message = parse("“Let op”\u{a0}– man, ‘grijs haar’…\r\nBel\u{200b} 112");
    assert_eq!(message.as_str(), "\"Let op\" - man, 'grijs haar'...\nBel 112");
    assert_eq!(message.replaced().last().map(|r| (r.position, r.to.as_str())), Some((34, "")));
    assert!(message.unreplaceable().is_empty());
}

#[rstest]
#[case("")]
#[case(" \r\n\t\u{a0}")]
#[case::only_invisible("\u{200d}\u{2060}\u{feff}")]
#[case::space_between_invisible("\u{200e} \u{200e}")]
fn nothing_is_empty(#[case] raw: &str) {
    assert_eq!(MessageText::parse(raw, 3), Err(TextError::Empty));
}

#[test]
fn the_limit_is_exact_and_the_error_says_both() {
    let max = "a".repeat(306);
    assert_eq!(MessageText::parse(&max, 2).map(|m| m.segments()), Ok(2));
    let error = MessageText::parse(&format!("{max}a"), 2).expect_err("too long");
    assert_eq!(error, TextError::TooLong { segments: 3, max: 2 });
    assert_eq!(error.to_string(), "the text takes 3 segments; 2 are allowed");
}

#[test]
fn a_text_too_long_to_count_in_an_octet_is_refused() {
    let result = MessageText::parse(&"a".repeat(153 * 256), u8::MAX);
    assert_eq!(result, Err(TextError::TooLong { segments: 256, max: 255 }));
    assert_eq!(MessageText::from_stored("a".repeat(153 * 256)).segments(), 255);
}

#[test]
fn a_control_character_is_named() {
    let error = MessageText::parse("ab\u{7}", 3).expect_err("a bell");
    assert_eq!(error.to_string(), "the text has the control character U+0007 at position 2; remove it");
}

#[test]
fn a_replacement_may_add_a_segment() {
    let message = parse(&format!("{}…", "a".repeat(159)));
    assert_eq!((message.characters(), message.segments()), (162, 2));
}

#[test]
fn debug_shows_no_text() {
    let shown = format!("{:?}", parse("man met hond"));
    assert!(!shown.contains("hond"), "{shown}");
}

/// Texts of what is hard: escapes, surrogate pairs, combining marks, line ends, and anything at all.
fn hard_text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(
            prop_oneof![Just('€'), Just('a'), Just('ë'), Just(' '), Just('\r'), Just('\n')],
            0..500
        )
        .prop_map(String::from_iter),
        proptest::collection::vec(
            prop_oneof![Just('👍'), Just('я'), Just('\u{308}'), Just('e'), Just('\u{feff}'), Just('…')],
            0..300
        )
        .prop_map(String::from_iter),
        "\\PC{0,200}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn parts_are_the_text_and_each_fits(raw in hard_text()) {
        if let Ok(message) = MessageText::parse(&raw, u8::MAX) {
            let parts = message.parts();
            prop_assert_eq!(parts.concat(), message.as_str());
            prop_assert_eq!(parts.len(), usize::from(message.segments()));
            let sizes: Vec<usize> =
                parts.iter().map(|part| split::total_units(part, message.encoding())).collect();
            prop_assert_eq!(sizes.iter().sum::<usize>(), message.characters());
            if parts.len() > 1 {
                let max = split::part_max(message.encoding());
                prop_assert!(sizes.iter().all(|size| *size <= max), "{:?}", sizes);
                // Nothing is wasted but a unit if a pair would have been split.
                prop_assert!(sizes[..sizes.len() - 1].iter().all(|size| *size >= max - 1), "{:?}", sizes);
            }
        }
    }

    #[test]
    fn a_gsm_text_encodes_to_its_count(raw in hard_text()) {
        if let Ok(message) = MessageText::parse(&raw, u8::MAX) {
            let encoded = gsm7::encode(message.as_str()).map(|septets| septets.len());
            prop_assert_eq!(message.encoding() == Encoding::Gsm7, encoded.is_some());
            prop_assert_eq!(encoded.unwrap_or(message.characters()), message.characters());
            prop_assert_eq!(message.encoding() == Encoding::Gsm7, message.unreplaceable().is_empty());
        }
    }

    #[test]
    fn what_was_parsed_parses_to_itself(raw in hard_text()) {
        if let Ok(message) = MessageText::parse(&raw, u8::MAX) {
            let again = MessageText::parse(message.as_str(), u8::MAX).expect("parsed before");
            prop_assert_eq!(again.replaced(), []);
            prop_assert_eq!(again.as_str(), message.as_str());
            let stored = MessageText::from_stored(message.as_str().to_owned());
            prop_assert!(stored == again);
        }
    }
}
