use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::keyword::classify;

#[rstest]
#[case("Vond “Getuigen gezocht: man met rode jas” leuk")]
#[case("Vond “…” leuk")]
#[case("vond \"Let op: man, rode jas\" leuk")]
#[case("Vond ‘Let op: man, rode jas’ leuk")]
#[case("Vond 'foto's gezocht' leuk")]
#[case("Vond „Let op” leuk")]
#[case("Vond “Let op” niet leuk")]
#[case("Vond “Let op” geweldig")]
#[case("Lachte om “Let op”")]
#[case("Moest lachen om “Let op”")]
#[case("Benadrukte “Let op: kind vermist”")]
#[case("Plaatste een vraagteken bij “Let op”")]
#[case("Heeft “Let op” leuk gevonden")]
#[case("Reageerde met 🔥 op “Let op”")]
#[case("Heeft met 👍🏽 gereageerd op “Let op”")]
#[case("Verwijderde een hartje van “Let op”")]
#[case("Verwijderde een vind-ik-leuk bij “Let op”")]
#[case("Heeft een duim omhoog verwijderd van “Let op”")]
#[case("Verwijderde 👍 van “Let op”")]
#[case("Liked “Let op: man, rode jas”")]
#[case("Liked “…”")]
#[case("Loved “Let op”")]
#[case("Laughed at “Let op”")]
#[case("Emphasized “Let op”")]
#[case("Emphasised “Let op”")]
#[case("Questioned “Let op”")]
#[case("Disliked “Let op”")]
#[case("LIKED \"LET OP\"")]
#[case("Removed a like from “Let op”")]
#[case("Removed a heart from “Let op”")]
#[case("Removed an exclamation from “Let op”")]
#[case("Removed a question mark from “Let op”")]
#[case("Reacted 😂 to “Let op”")]
#[case("Removed 😂 from “Let op”")]
#[case("Reacted with a sticker to “Let op”")]
#[case("Liked an image")]
#[case("Vond een afbeelding leuk")]
#[case::android("👍 to “Let op: man, rode jas”")]
#[case::android("👍 to “…”")]
#[case::android("❤️ to “Let op”")]
#[case::android("👨‍👩‍👧 to “Let op”")]
#[case::android("👍🏽 op “Let op”")]
#[case::android("🇳🇱 to \"Let op\"")]
#[case::android("👍 removed from “Let op”")]
#[case::marks("\u{200a}\u{200b}👍\u{200b} to “\u{200a}Let op\u{200a}”\u{200a}")]
#[case::marks("\u{200b}👍\u{200b} to “ … ”")]
#[case::marks(" \u{200b}👍\u{200b} to “ … ”")]
#[case::marks("\u{200a}\u{200b}👍\u{200b} bij “\u{200a}Let op\u{200a}”\u{200a}")]
#[case::marks("\u{200b}❤\u{fe0f}\u{200b} naar “Let op”")]
#[case::lines("Liked “Let op:\nman, rode jas\n\nBel 112”")]
#[case::spaces("  Liked\u{a0}“Let op”\n")]
#[case::a_quotation_within("Liked “Let op: auto met tekst “Bakker Jan” gezocht”")]
#[case::a_quotation_within("Liked \"Let op: auto met tekst \"Bakker Jan\"\"")]
#[case::a_quotation_within("Vond “Zoek ‘Jan’ bij 't Neude” leuk")]
#[case::cut("Liked “Let op: man met rode jas, ong…")]
#[case::cut("Liked \"Let op: man met rode jas, ong...")]
#[case::cut("Liked “Let op: man met rode jas, ong…”")]
#[case::german("Mag „Let op“")]
#[case::german("Mag „Let op“ nicht")]
#[case::french("A aimé « Let op »")]
#[case::french("N’a pas aimé «\u{a0}Let op\u{a0}»")]
#[case::spanish("Le encantó “Let op”")]
#[case::a_keyword_is_quoted("Liked “STOP”")]
fn these_are_reactions(#[case] text: &str) {
    assert!(is_reaction(text), "{text:?}");
    assert_eq!(classify(text), None, "{text:?} is no command");
}

#[rstest]
#[case("")]
#[case("…")]
#[case("“”")]
#[case("Liked “”")]
#[case("👍")]
#[case("leuk")]
#[case("Liked")]
#[case("Vond het leuk")]
#[case("“Let op: man, rode jas”")]
#[case("Ik zie het kind met de gele jas nu bij de ingang")]
#[case::says_more("Vond “de rode jas” op straat")]
#[case::says_more("Vond “de rode jas” leuk liggen in de struiken")]
#[case::says_more("Vond “de rode jas” leuk, maar ik zie hem nu bij de brug")]
#[case::says_more("Ik vond “de rode jas” bij de brug")]
#[case::says_more("Liked “Let op” but I see him at the station")]
#[case::says_more("“Man met rode jas” gezien bij de brug")]
#[case::says_more("Hij riep “stop” en rende weg")]
#[case::says_more("Auto met tekst “Bakker Jan” staat bij café “De Zon”")]
#[case::says_more("Zag hem bij “De Zon”")]
#[case::says_more("Man liked “De Zon”")]
#[case::says_more("Questioned him at “De Zon”")]
#[case::says_more("👍 gezien bij “De Zon”")]
#[case::says_more("🚗 bij “De Zon”")]
#[case::says_more("🚗 naar “De Zon”")]
#[case::says_more("👍 to “De Zon” he ran")]
#[case::says_more("Liked “Let op”. Hij loopt nu bij de brug.")]
#[case::two_quotations("Liked “him” he said and ran into “De Zon”")]
#[case::two_quotations("Liked \"him\" he said and ran into \"De Zon\"")]
#[case::two_quotations("Liked \"him\", \"her\"")]
#[case::not_closed("Liked “the man with the red coat")]
#[case::not_closed("Vond “de man")]
#[case::not_opened("Liked him”")]
#[case::apostrophe("Hij loopt bij 't Neude, zo'n man met foto's")]
#[case::no_emoji("x to “De Zon”")]
#[case::no_emoji("1 to “De Zon”")]
#[case::other_names("Removed a bicycle from “De Zon”")]
#[case::other_names("Verwijderde een fiets van “De Zon”")]
#[case::other_names("Reacted badly to “De Zon”")]
#[case::marks_elsewhere("Man\u{200b} bij “De Zon”")]
#[case::marks_elsewhere("🚗 bij\u{200b} “De Zon”")]
fn these_are_for_the_operator(#[case] text: &str) {
    assert!(!is_reaction(text), "{text:?}");
}

#[test]
fn frames_are_written_as_texts_are_read() {
    let begins = FRAMES.iter().chain(AFTER_MARKS).map(|(begin, _)| *begin);
    let ends = FRAMES.iter().chain(AFTER_MARKS).flat_map(|(_, ends)| ends.iter().copied());
    for part in begins.chain(ends).chain(NAMES.iter().copied()).chain(WHOLE.iter().copied()) {
        assert_eq!(words(&part.replace('%', "👍")), part);
        assert!(part.len() <= WORDS_MAX, "{part}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        let _reaction = is_reaction(&text);
    }

    #[test]
    fn any_text_with_quotation_marks_is_read(text in "(Liked |👍 to |[“”„\"'‘’«» a…]){0,12}") {
        let _reaction = is_reaction(&text);
    }

    #[test]
    fn whatever_is_quoted_does_not_matter_and_whatever_follows_does(
        quoted in "[a-zA-Z0-9 ,.:!?€éë'\n]{1,160}[a-z]",
        frame in proptest::sample::select(FRAMES),
        more in "[a-z]{3,8} [a-z]{3,8} [a-z]{3,8} [a-z]{3,8}",
    ) {
        let (begin, ends) = frame;
        let begin = begin.replace('%', "👍").replace('@', NAMES[0]);
        for end in ends {
            let text = format!("{begin} “{quoted}” {end}");
            prop_assert!(is_reaction(&text), "{text:?}");
            let says_more = format!("{text} {more}");
            prop_assert!(!is_reaction(&says_more), "{says_more:?}");
            let reported = format!("{more} {text}");
            prop_assert!(!is_reaction(&reported), "{reported:?}");
        }
    }
}
