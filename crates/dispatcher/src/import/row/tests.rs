//! Rows as spreadsheets and people write them.

use rstest::rstest;

use super::*;
use crate::import::columns::COLUMNS;

const GOOD: [(&str, &str); 6] = [
    ("kind", "resident"),
    ("phone", "06-12345678"),
    ("latitude", "52.09"),
    ("longitude", "5.12"),
    ("consent_at", "2026-01-31"),
    ("consent_method", "form"),
];

fn parse(changes: &[(&str, &str)]) -> Result<ParticipantDraft, Vec<&'static str>> {
    let value = |name: &str| {
        let of = |list: &[(&str, &str)]| list.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        of(changes).or_else(|| of(&GOOD)).unwrap_or_default()
    };
    let header: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
    let cells: Vec<String> = COLUMNS.iter().map(|name| value(name)).collect();
    let columns = Columns::read(&header).unwrap();
    let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
    let zone = "Europe/Amsterdam".parse().unwrap();
    read(&cells, &columns, &Reading { country: Country::NL, zone: &zone, now })
        .map_err(|problems| problems.into_iter().map(|p| p.column).collect())
}

#[rstest]
#[case(&[("kind", "dog"), ("phone", "0301234567")], &["kind", "phone"])]
#[case(&[("latitude", "5.12"), ("longitude", "52.09")], &["latitude"])]
#[case(&[("latitude", "0"), ("longitude", "0")], &["latitude"])]
#[case(&[("latitude", "48.85"), ("longitude", "2.35")], &["latitude"])]
#[case(&[("latitude", "136500"), ("longitude", "455900")], &["latitude"])]
#[case(&[("consent_at", "20260131T100000Z")], &["consent_at"])]
#[case(&[("consent_at", "2026-01-31T10:00:00+25:59")], &["consent_at"])]
#[case(&[("latitude", "152")], &["latitude"])]
#[case(&[("latitude", "NaN")], &["latitude"])]
#[case(&[("longitude", "")], &["longitude"])]
#[case(&[("latitude", ""), ("longitude", ""), ("postcode", "3511AB")], &["postcode"])]
#[case(&[("rd_x", "136500"), ("rd_y", "455900")], &["rd_x"])]
#[case(&[("hours", "altijd"), ("groups", "a b"), ("language", "xx")], &["language", "hours", "groups"])]
#[case(&[("consent_at", "31-01-26"), ("consent_method", "")], &["consent_at", "consent_method"])]
#[case(&[("consent_at", "2027-01-31")], &["consent_at"])]
#[case(&[("name", "Zo\u{fffd}")], &[""])]
#[case(&[("phone", "61234567.0")], &["phone"])]
#[case(&[("phone", "3,16E+10"), ("external_id", "1,00E+05")], &["phone", "external_id"])]
#[case(&[("external_id", "12345,00")], &["external_id"])]
#[case(&[("latitude", "5.2E+01"), ("longitude", "5.121.412")], &["latitude", "longitude"])]
#[case(&[("latitude", ""), ("longitude", ""), ("rd_x", "1,365E+05"), ("rd_y", "455.900")], &["rd_x"])]
#[case(&[("consent_at", "46037"), ("phone", "45678")], &["phone", "consent_at"])]
#[case(&[("kind", "WAAR"), ("name", "#N/B"), ("groups", "#VERW!")], &["kind", "name", "groups"])]
#[case(&[("phone", ""), ("consent_at", ""), ("kind", "Totaal: 12")], &[""])]
fn every_wrong_cell_is_named(#[case] changes: &[(&str, &str)], #[case] columns: &[&str]) {
    assert_eq!(parse(changes).unwrap_err(), columns);
}

#[test]
fn what_a_spreadsheet_writes_is_read() {
    let draft = parse(&[
        ("latitude", "52,09"),
        ("longitude", "5,12"),
        ("groups", " b ; a;;b"),
        ("name", "'=Jansen"),
        ("hours", "Mo-Fr 08:00-18:00"),
    ])
    .unwrap();
    assert!((draft.places[0].location.latitude() - 52.09).abs() < 1e-9);
    assert_eq!((draft.groups, draft.name.as_deref()), (vec!["a".into(), "b".into()], Some("=Jansen")));
    assert!(draft.places[0].hours.is_some());
    assert_eq!(draft.places[0].label, "home");
}

#[test]
fn what_people_do_to_keep_a_number_whole_is_undone() {
    let draft = parse(&[
        ("kind", "Bedrijf"),
        ("phone", "=\"0612345678\""),
        ("external_id", "'00123"),
        ("latitude", "'52.09"),
        ("language", "Engels"),
        ("groups", "a,\u{feff}b"),
        ("postcode", "3511AB"),
        ("house_number", "12,0"),
        ("consent_at", "31-01-2026 10:00"),
        ("name", "'t Hooft"),
    ])
    .unwrap();
    assert_eq!((draft.phone.expose(), draft.external_id.as_deref()), ("+31612345678", Some("00123")));
    assert_eq!((draft.kind, draft.language), (ParticipantKind::Business, Language::En));
    assert_eq!((draft.groups, draft.name.as_deref()), (vec!["a".into(), "b".into()], Some("'t Hooft")));
    assert_eq!(draft.places[0].label, "3511AB 12");
    assert_eq!(draft.consent.given_at.to_string(), "2026-01-31T09:00:00.000Z");
    assert_eq!(
        parse(&[("external_id", "1E5"), ("phone", "31612345678,00")]).unwrap().external_id.as_deref(),
        Some("1E5")
    );
}

#[test]
fn rd_new_and_an_address_for_a_label() {
    let changes = [
        ("latitude", ""),
        ("longitude", ""),
        ("rd_x", "136500"),
        ("rd_y", "455900"),
        ("postcode", "3511 AB"),
        ("house_number", "12a"),
    ];
    let draft = parse(&changes).unwrap();
    assert!((draft.places[0].location.latitude() - 52.09).abs() < 0.01);
    assert_eq!(draft.places[0].label, "3511 AB 12a");
}
