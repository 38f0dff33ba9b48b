//! The texts that Klaroen answers by itself, in the participant's language. Each text is one SMS in the GSM alphabet.

use klaroen_domain::participant::Language;
use klaroen_domain::text::{Encoding, MessageText};
use klaroen_store::replies::{AutoReply, AutoReplyTexts};

/// `{service}` is what the configuration calls the service.
const TEXTS: [(AutoReply, Language, &str); 8] = [
    (
        AutoReply::OptOutConfirmed,
        Language::Nl,
        "U krijgt geen berichten meer van {service}. Toch weer meedoen? Stuur START naar dit nummer.",
    ),
    (
        AutoReply::OptOutConfirmed,
        Language::En,
        "You will get no more messages from {service}. To take part again, send START to this number.",
    ),
    (
        AutoReply::OptInConfirmed,
        Language::Nl,
        "U krijgt weer berichten van {service}. Afmelden? Stuur STOP naar dit nummer. Bij spoed: bel 112.",
    ),
    (
        AutoReply::OptInConfirmed,
        Language::En,
        "You will get messages from {service} again. To leave, send STOP to this number. Emergency: call 112.",
    ),
    (
        AutoReply::Help,
        Language::Nl,
        "{service} vraagt u per SMS uit te kijken bij een melding in uw buurt. Afmelden: stuur STOP. Spoed: bel 112. Geen spoed: bel 0900-8844.",
    ),
    (
        AutoReply::Help,
        Language::En,
        "{service} asks you by SMS to look out after an incident near you. To leave: send STOP. Emergency: call 112. Otherwise: call 0900-8844.",
    ),
    (
        AutoReply::AlertOver,
        Language::Nl,
        "Deze actie van {service} is voorbij. Ziet u nu iets? Spoed: bel 112. Geen spoed: bel 0900-8844.",
    ),
    (
        AutoReply::AlertOver,
        Language::En,
        "This {service} alert is over. Do you see something now? Emergency: call 112. Otherwise: call 0900-8844.",
    ),
];

/// The texts with the service's name filled in.
#[derive(Clone, Debug)]
pub struct ServiceTexts(Vec<(AutoReply, Language, MessageText)>);

/// A service name with which a text is not one SMS in the GSM alphabet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("with this name an automatic answer takes more than one SMS: use a shorter one, of GSM letters only")]
pub struct NameTooLong;

impl ServiceTexts {
    /// The texts of a service called `service`.
    ///
    /// # Errors
    /// Returns [`NameTooLong`] if a text with this name in it is not one SMS in the GSM alphabet.
    pub fn new(service: &str) -> Result<Self, NameTooLong> {
        let fill = |(reply, language, text): &(AutoReply, Language, &str)| {
            let text = MessageText::parse(&text.replace("{service}", service), 1).map_err(|_| NameTooLong)?;
            if text.encoding() == Encoding::Gsm7 { Ok((*reply, *language, text)) } else { Err(NameTooLong) }
        };
        TEXTS.iter().map(fill).collect::<Result<_, _>>().map(Self)
    }
}

impl AutoReplyTexts for ServiceTexts {
    fn text(&self, reply: AutoReply, language: Language) -> MessageText {
        let found = self.0.iter().find(|(r, l, _)| *r == reply && *l == language);
        found.map_or_else(|| unreachable!("the table holds every answer"), |(_, _, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_one_sms_and_says_what_it_must() {
        let texts = ServiceTexts::new("Klaroen Utrecht").unwrap();
        for language in [Language::Nl, Language::En] {
            let says = |reply, words: &[&str]| {
                let text = texts.text(reply, language);
                assert_eq!(text.segments(), 1, "{}", text.as_str());
                assert!(text.replaced().is_empty(), "{}", text.as_str());
                for word in words {
                    assert!(text.as_str().contains(word), "{} lacks {word}", text.as_str());
                }
            };
            says(AutoReply::OptOutConfirmed, &["START", "Klaroen Utrecht"]);
            says(AutoReply::OptInConfirmed, &["STOP"]);
            says(AutoReply::Help, &["STOP", "112", "Klaroen Utrecht"]);
            says(AutoReply::AlertOver, &["112", "0900-8844"]);
        }
    }

    #[test]
    fn a_name_that_would_cost_a_second_sms_is_refused() {
        assert_eq!(ServiceTexts::new(&"a".repeat(60)).err(), Some(NameTooLong));
        assert_eq!(ServiceTexts::new("警報").err(), Some(NameTooLong));
    }
}
