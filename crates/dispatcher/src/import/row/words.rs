//! The words of people for columns, kinds and languages.

use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::text::invisible::visible;

/// Column and the headings that people write for it: lower case, letters and digits only.
const HEADINGS: &[(&str, &[&str])] = &[
    ("kind", &["kind", "soort", "type", "soortdeelnemer", "typedeelnemer", "doelgroep"]),
    ("name", &["name", "naam", "volledigenaam", "naamdeelnemer", "fullname"]),
    (
        "phone",
        &[
            "phone",
            "telefoon",
            "telefoonnummer",
            "telefoonnr",
            "telnr",
            "tel",
            "mobiel",
            "mobielnummer",
            "mobielnr",
            "mobieltelefoonnummer",
            "mobieletelefoon",
            "mobieltje",
            "gsm",
            "gsmnummer",
            "06nummer",
            "06nr",
            "mobile",
            "mobilephone",
            "mobilenumber",
            "phonenumber",
            "telephone",
        ],
    ),
    ("language", &["language", "taal", "voorkeurstaal"]),
    ("label", &["label", "omschrijving", "plek"]),
    ("latitude", &["latitude", "lat", "breedtegraad", "breedte", "geografischebreedte"]),
    ("longitude", &["longitude", "lon", "lng", "long", "lengtegraad", "lengte", "geografischelengte"]),
    ("rd_x", &["rdx", "xrd", "xcoordinaat", "rdxcoordinaat", "xcoordinaatrd"]),
    ("rd_y", &["rdy", "yrd", "ycoordinaat", "rdycoordinaat", "ycoordinaatrd"]),
    ("postcode", &["postcode", "postalcode", "zipcode", "pc6"]),
    ("house_number", &["housenumber", "huisnummer", "huisnr", "huisnummerentoevoeging"]),
    ("groups", &["groups", "groep", "groepen", "group", "groepscodes"]),
    ("hours", &["hours", "uren", "tijden", "openingstijden", "openingsuren"]),
    (
        "external_id",
        &[
            "externalid",
            "externid",
            "externeid",
            "kenmerk",
            "klantnummer",
            "relatienummer",
            "deelnemernummer",
            "deelnemerid",
        ],
    ),
    (
        "consent_at",
        &[
            "consentat",
            "consentdate",
            "toestemmingop",
            "toestemmingsdatum",
            "datumtoestemming",
            "toestemmingdatum",
            "akkoordop",
            "datumakkoord",
            "toestemminggegevenop",
        ],
    ),
    (
        "consent_method",
        &[
            "consentmethod",
            "toestemmingvia",
            "toestemmingswijze",
            "wijzevantoestemming",
            "wijzetoestemming",
            "toestemmingmethode",
            "toestemmingsmethode",
            "maniervantoestemming",
            "akkoordvia",
            "toestemmingdoor",
        ],
    ),
];

/// The column that a heading names, whatever its case, accents, blanks, underscores and marks.
#[must_use]
pub fn column(heading: &str) -> Option<&'static str> {
    let plain = plain(heading);
    HEADINGS.iter().find(|(_, headings)| headings.contains(&plain.as_str())).map(|(column, _)| *column)
}

/// The kind of a participant.
#[must_use]
pub fn kind(text: &str) -> Option<ParticipantKind> {
    match plain(text).as_str() {
        "resident" | "bewoner" | "bewoners" | "inwoner" | "particulier" | "burger" => {
            Some(ParticipantKind::Resident)
        }
        "business" | "bedrijf" | "bedrijven" | "onderneming" | "ondernemer" | "winkel" | "winkelier"
        | "zakelijk" => Some(ParticipantKind::Business),
        _ => None,
    }
}

/// A language.
#[must_use]
pub fn language(text: &str) -> Option<Language> {
    match plain(text).as_str() {
        "nl" | "nlnl" | "nederlands" | "dutch" => Some(Language::Nl),
        "en" | "engb" | "enus" | "engels" | "english" => Some(Language::En),
        _ => None,
    }
}

/// Whether a row begins as the sum below a list does.
#[must_use]
pub fn is_total(text: &str) -> bool {
    let plain = plain(text);
    let word = plain.trim_end_matches(|ch: char| ch.is_ascii_digit());
    let word = word.strip_suffix("deelnemers").unwrap_or(word);
    ["totaal", "total", "totalen", "subtotaal", "eindtotaal", "aantal", "som"].contains(&word)
}

/// Lower case, without anything but letters and digits, and without the dots of `coördinaat`.
fn plain(text: &str) -> String {
    let letters = visible(text).to_lowercase();
    let letter = |ch: char| match ch {
        'ö' | 'ó' => 'o',
        'ë' | 'é' => 'e',
        _ => ch,
    };
    letters.chars().map(letter).filter(|ch| ch.is_alphanumeric()).collect()
}

/// What spreadsheets show for an error, in English and Dutch, behind `#`.
#[rustfmt::skip]
const ERRORS: [&str; 24] = [
    "N/A", "N/B", "NB", "WAARDE!", "VALUE!", "REF!", "VERW!", "VERWIJZING!",
    "NAME?", "NAAM?", "DIV/0!", "DEEL/0!", "NUM!", "GETAL!", "NULL!", "LEEG!",
    "SPILL!", "OVERLOOP!", "CALC!", "BEREKENEN!", "FIELD!", "VELD!", "ERROR!", "FOUT!",
];

/// Whether the text is what a spreadsheet shows instead of a value: `#N/B`, `#WAARDE!`, `Err:502`, `########`.
#[must_use]
pub fn is_spreadsheet_error(text: &str) -> bool {
    let upper = text.to_uppercase();
    if let Some(code) = upper.strip_prefix("ERR:").or_else(|| upper.strip_prefix("FOUT:")) {
        return !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    }
    let Some(rest) = upper.strip_prefix('#') else { return false };
    ERRORS.contains(&rest) || rest.len() >= 2 && rest.bytes().all(|byte| byte == b'#')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::columns::COLUMNS;

    #[test]
    fn every_column_has_its_own_name_and_no_heading_names_two() {
        for name in COLUMNS {
            assert_eq!(column(name), Some(name));
        }
        let all: Vec<&str> = HEADINGS.iter().flat_map(|(_, headings)| headings.iter().copied()).collect();
        for (i, heading) in all.iter().enumerate() {
            assert!(!all[..i].contains(heading), "{heading} twice");
            assert_eq!(plain(heading), *heading, "{heading} is never found");
        }
    }

    #[test]
    fn people_write_it_their_way() {
        assert_eq!(column("\u{feff}Telefoon nummer:"), Some("phone"));
        assert_eq!(column("X-Coördinaat (RD)"), Some("rd_x"));
        assert_eq!(column("CONSENT AT"), Some("consent_at"));
        assert_eq!(column("achternaam"), None);
        assert_eq!(kind("BEDRIJF\u{a0}"), Some(ParticipantKind::Business));
        assert_eq!(kind("Bewo\u{ad}ner"), Some(ParticipantKind::Resident));
        assert_eq!(kind("hond"), None);
        assert_eq!(language("nl-NL"), Some(Language::Nl));
        assert!(is_total("Totaal:") && is_total("Aantal deelnemers: 12") && !is_total("Totaalbouw BV"));
        assert!(is_spreadsheet_error("#N/B") && is_spreadsheet_error("#####") && !is_spreadsheet_error("#1"));
    }
}
