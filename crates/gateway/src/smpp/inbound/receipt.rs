//! Delivery receipts: what the TLVs and the text of one say. Tolerant, because no two providers write them alike
//! (SMPP 3.4 appendix B is a suggestion).

use std::borrow::Cow;

use klaroen_domain::outcome::ReceiptStatus;

/// `stat` by prefix, in upper case: providers cut, pad and misspell the words.
const STATES: [(&str, ReceiptStatus); 14] = [
    ("DELIV", ReceiptStatus::Delivered),
    ("EXPIR", ReceiptStatus::Undelivered),
    ("DELET", ReceiptStatus::Undelivered),
    ("UNDEL", ReceiptStatus::Undelivered),
    ("REJEC", ReceiptStatus::Undelivered),
    ("FAIL", ReceiptStatus::Undelivered),
    ("SKIP", ReceiptStatus::Undelivered),
    // In some networks the message is "accepted on behalf of" the handset: not yet on it.
    ("ACCEP", ReceiptStatus::Underway),
    ("ACKED", ReceiptStatus::Underway),
    ("ENROU", ReceiptStatus::Underway),
    ("BUFF", ReceiptStatus::Underway),
    ("SCHED", ReceiptStatus::Underway),
    ("SENT", ReceiptStatus::Underway),
    ("UNKNO", ReceiptStatus::Unknown),
];

/// The keys that are kept, as they are written into `raw`. Others may hold addresses.
const KEYS: [&str; 7] = ["id", "sub", "dlvrd", "submit date", "done date", "stat", "err"];

/// What stands between a key and its value.
const ASSIGNS: [char; 2] = [':', '='];

/// Longer values are no ids, dates or codes.
const VALUE_LEN_MAX: usize = 65;

/// The meaning of `stat`; `Unknown` for a word that is not in the table, which changes nothing.
pub(crate) fn status_of_word(word: &str) -> ReceiptStatus {
    STATES
        .iter()
        .find(|(prefix, _)| starts_with(word, prefix))
        .map_or(ReceiptStatus::Unknown, |(_, status)| *status)
}

fn starts_with(word: &str, prefix: &str) -> bool {
    word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The meaning of the TLV `message_state` (SMPP 3.4 §5.2.28, 0 and 9 are of SMPP 5.0 §4.7.15).
pub(crate) const fn status_of_state(state: u8) -> ReceiptStatus {
    match state {
        0 | 1 | 6 => ReceiptStatus::Underway,
        2 => ReceiptStatus::Delivered,
        3 | 4 | 5 | 8 | 9 => ReceiptStatus::Undelivered,
        _ => ReceiptStatus::Unknown,
    }
}

/// The fields of a receipt text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields<'a>([Option<Cow<'a, str>>; KEYS.len()]);

impl<'a> Fields<'a> {
    /// Reads `key:value` and `key=value` pairs in any order, with any that are missing or strange, between white space, `;`,
    /// `,` or `|`. The first of two wins. What follows `text:` is our own message and is read only if there was no `id`
    /// before it.
    pub(crate) fn read(text: &'a str) -> Self {
        let mut fields = Self::default();
        let mut words = text.split(separates(text)).filter(|w| !w.is_empty());
        let mut before = "";
        let mut pending = words.next();
        while let Some(word) = pending {
            pending = words.next();
            let Some((key, value)) = word.split_once(ASSIGNS) else {
                before = word;
                continue;
            };
            if key.eq_ignore_ascii_case("text") && fields.get("id").is_some() {
                break;
            }
            let value = match pending {
                // `id: 17`: the value stands apart.
                Some(next) if value.is_empty() && !next.contains(ASSIGNS) && !is_date_prefix(next) => {
                    pending = words.next();
                    next
                }
                _ => value,
            };
            // `id = 77`: the key stands apart, too.
            let (prefix, key) = if key.is_empty() { ("", before) } else { (before, key) };
            if let Some(index) = index_of(prefix, key) {
                fields.set(index, value);
            }
            before = "";
        }
        fields
    }

    /// The value of a key, if it has one.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        KEYS.iter().position(|k| *k == key).and_then(|i| self.0[i].as_deref())
    }

    fn set(&mut self, index: usize, value: &'a str) {
        if self.0[index].is_none() && !value.is_empty() && value.len() <= VALUE_LEN_MAX {
            let graphic = value.bytes().all(|b| b.is_ascii_graphic());
            self.0[index] = Some(if graphic {
                Cow::Borrowed(value)
            } else {
                Cow::Owned(value.chars().filter(char::is_ascii_graphic).collect())
            });
        }
    }

    /// Whether it looks like a receipt: has an id and a state that is known.
    pub(crate) fn is_receipt(&self) -> bool {
        self.get("id").is_some()
            && self.get("stat").is_some_and(|word| STATES.iter().any(|(prefix, _)| starts_with(word, prefix)))
    }

    /// The error code, if there is one; `000` says that there is none.
    pub(crate) fn error(&self) -> Option<&str> {
        self.get("err").filter(|code| !code.bytes().all(|b| b == b'0'))
    }

    /// `key:value` again, without text and addresses.
    pub(crate) fn raw(&self) -> String {
        let present = || KEYS.into_iter().zip(&self.0).filter_map(|(k, v)| v.as_deref().map(|v| (k, v)));
        let mut raw = String::with_capacity(present().map(|(key, value)| key.len() + value.len() + 2).sum());
        for (key, value) in present() {
            if !raw.is_empty() {
                raw.push(' ');
            }
            raw.push_str(key);
            raw.push(':');
            raw.push_str(value);
        }
        raw
    }
}

/// Which of [`KEYS`] this is, in whatever case; the word before it tells one date from the other.
fn index_of(before: &str, key: &str) -> Option<usize> {
    let is_date = key.eq_ignore_ascii_case("date");
    KEYS.iter().position(|known| match known.strip_suffix(" date") {
        Some(which) => is_date && which.eq_ignore_ascii_case(before),
        None => known.eq_ignore_ascii_case(key),
    })
}

/// What stands between two fields. An id may hold a `,` or `|`, so these count only if every one of a kind before the text of
/// our message has a field after it.
fn separates(text: &str) -> impl Fn(char) -> bool {
    // Few have any, and a flood of receipts is no place for a copy.
    let lower = if text.contains([',', '|']) { text.to_ascii_lowercase() } else { String::new() };
    let head = lower.find("text:").or_else(|| lower.find("text=")).map_or(text, |at| &text[..at]);
    let between = |separator: char| {
        let mut fields = head.trim_end_matches([separator, ' ']).split(separator).skip(1).peekable();
        fields.peek().is_some() && fields.all(begins_with_key)
    };
    let (comma, bar) = (between(','), between('|'));
    move |c| c.is_whitespace() || c.is_control() || c == ';' || (comma && c == ',') || (bar && c == '|')
}

/// A key is of letters, with spaces between two words.
fn begins_with_key(field: &str) -> bool {
    field.split_once(ASSIGNS).is_some_and(|(key, _)| {
        let key = key.trim();
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b' ' | b'_'))
    })
}

fn is_date_prefix(word: &str) -> bool {
    word.eq_ignore_ascii_case("submit") || word.eq_ignore_ascii_case("done")
}

#[cfg(test)]
mod tests {
    use ReceiptStatus::{Delivered, Undelivered, Underway, Unknown};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TYPICAL: &str = "id:0123456789 sub:001 dlvrd:001 submit date:2611231559 done date:2611231600 stat:DELIVRD \
                           err:000 text:Vermist: man, 72";

    #[rstest]
    #[case::typical(TYPICAL, "0123456789", Delivered)]
    #[case::no_counts(
        "id:A1 submit date:20261123155900 done date:20261123160000 stat:UNDELIV err:11B",
        "A1",
        Undelivered
    )]
    #[case::commas(
        "id:77,sub:001,dlvrd:001,submit date:2611231559,done date:2611231600,stat:DELIVRD,err:000",
        "77",
        Delivered
    )]
    #[case::equals(
        "id=77 sub=001 dlvrd=001 submit date=2611231559 done date=2611231600 stat=UNDELIV err=001",
        "77",
        Undelivered
    )]
    #[case::bars("id:77|sub:001|stat:EXPIRED|err:0|text:x", "77", Undelivered)]
    #[case::an_id_that_ends_in_equals_signs("id:aGk== stat:DELIVRD", "aGk==", Delivered)]
    #[case::other_order("stat:EXPIRED id:77 done date:261123160000", "77", Undelivered)]
    #[case::upper_case_keys("ID:77 STAT:delivrd Text:x", "77", Delivered)]
    #[case::cut_word("id:77 stat:ACCEPTD", "77", Underway)]
    #[case::long_word("id:77 stat:DELIVERED", "77", Delivered)]
    #[case::buffered("id:77 stat:BUFFRED", "77", Underway)]
    #[case::values_apart("id: 77 stat: REJECTD err: 4", "77", Undelivered)]
    #[case::extra_fields("msisdn:31612345678 id:77 op:KPN stat:DELETED", "77", Undelivered)]
    #[case::text_first("text:hallo id:77 stat:ENROUTE", "77", Underway)]
    #[case::text_is_not_read("id:77 text:id:99 stat:DELIVRD", "77", Unknown)]
    #[case::unknown_word("id:77 stat:WHATEVER", "77", Unknown)]
    #[case::unknown_state("id:77 stat:UNKNOWN", "77", Unknown)]
    #[case::first_wins("id:77 id:78 stat:DELIVRD stat:UNDELIV", "77", Delivered)]
    #[case::terminated("id:77 stat:DELIVRD\0", "77", Delivered)]
    #[case::commas(
        "id:77,sub:001,submit date:2611231559,stat:DELIVRD,err:000,text:Vermist, man",
        "77",
        Delivered
    )]
    #[case::commas_and_spaces("id:77, sub:001, stat:UNDELIV, err:1", "77", Undelivered)]
    #[case::bars("id:77|sub:001|stat:DELIVRD|err:000|text:a|b", "77", Delivered)]
    #[case::bars_at_the_ends("|id:77|stat:EXPIRED|", "77", Undelivered)]
    #[case::equals_signs("id=77 sub=001 stat=DELIVRD err=000 text=x", "77", Delivered)]
    #[case::equals_signs_and_commas("id=77,submit date=2611231559,stat=REJECTD", "77", Undelivered)]
    #[case::equals_signs_and_spaces("id = 77 stat = DELIVRD", "77", Delivered)]
    #[case::an_id_with_a_comma("id:7,7 stat:DELIVRD", "7,7", Delivered)]
    #[case::an_id_with_a_bar("id:a|7 stat:DELIVRD", "a|7", Delivered)]
    #[case::an_id_that_ends_in_equals_signs("id:aGk== stat:DELIVRD", "aGk==", Delivered)]
    #[case::semicolons("id:77;stat:SKIPPED;err:1", "77", Undelivered)]
    fn texts_are_read(#[case] text: &str, #[case] id: &str, #[case] expected: ReceiptStatus) {
        let fields = Fields::read(text);
        assert_eq!(fields.get("id"), Some(id));
        assert_eq!(fields.get("stat").map_or(Unknown, status_of_word), expected);
    }

    #[test]
    fn raw_has_the_fields_without_text_and_addresses() {
        let raw = Fields::read(TYPICAL).raw();
        assert_eq!(
            raw,
            "id:0123456789 sub:001 dlvrd:001 submit date:2611231559 done date:2611231600 stat:DELIVRD err:000"
        );
        let raw =
            Fields::read("msisdn:31612345678 from:31612345678 id:77 stat:DELIVRD text:31612345678").raw();
        assert_eq!(raw, "id:77 stat:DELIVRD");
    }

    #[test]
    fn err_000_is_no_error() {
        assert_eq!(Fields::read("id:1 err:000").error(), None);
        assert_eq!(Fields::read("id:1 err:0B1").error(), Some("0B1"));
        assert_eq!(Fields::read("id:1 err: stat:DELIVRD").error(), None);
    }

    #[rstest]
    #[case(0, Underway)]
    #[case(1, Underway)]
    #[case(2, Delivered)]
    #[case(3, Undelivered)]
    #[case(4, Undelivered)]
    #[case(5, Undelivered)]
    #[case(6, Underway)]
    #[case(7, Unknown)]
    #[case(8, Undelivered)]
    #[case(9, Undelivered)]
    #[case(10, Unknown)]
    fn message_states_are_read(#[case] state: u8, #[case] expected: ReceiptStatus) {
        assert_eq!(status_of_state(state), expected);
    }

    #[test]
    fn only_an_id_and_a_known_state_look_like_a_receipt() {
        assert!(Fields::read("id:1 stat:DELIVRD").is_receipt());
        assert!(!Fields::read("id:1 stat:fine").is_receipt());
        assert!(!Fields::read("stat:DELIVRD").is_receipt());
        assert!(!Fields::read("ik zag hem bij de brug").is_receipt());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let fields = Fields::read(&text);
            prop_assert!(fields.raw().len() <= KEYS.len() * (VALUE_LEN_MAX + 14));
        }

        #[test]
        fn no_near_receipt_panics(text in "(id|stat|err|text|submit date|done date)?[: ;]{0,2}[a-zA-Z0-9:é\u{0} ]{0,40}") {
            Fields::read(&text);
        }
    }
}
