//! The code, the name and the kind of an area, as the files of statistics offices, mapping agencies and Esri call them.

use crate::request::fields::{Members, NO_CODE, Node, is_code};

/// The kind of an area if neither its file nor its code says one.
const DEFAULT_KIND: &str = "area";

/// One way to name an area: the members with its code and its name, in any case.
struct Level {
    code: &'static [&'static str],
    name: &'static [&'static str],
}

/// The smallest division first: the row of a neighbourhood names its district and its municipality too.
const LEVELS: [Level; 8] = [
    Level { code: &["code"], name: &["name", "naam"] },
    Level { code: &["buurtcode", "buurt_code", "bu_code"], name: &["buurtnaam", "buurt_naam", "bu_naam"] },
    Level { code: &["wijkcode", "wijk_code", "wk_code"], name: &["wijknaam", "wijk_naam", "wk_naam"] },
    Level {
        code: &["gemeentecode", "gemeente_code", "gm_code"],
        name: &["gemeentenaam", "gemeente_naam", "gm_naam"],
    },
    Level {
        code: &["provinciecode", "provincie_code", "pv_code"],
        name: &["provincienaam", "provincie_naam", "pv_naam"],
    },
    Level { code: &["statcode", "stat_code"], name: &["statnaam", "stat_naam"] },
    Level { code: &["postcode", "postcode4", "pc4", "pc4_code"], name: &["woonplaats", "plaats"] },
    Level { code: &["identificatie"], name: &["naam"] },
];

/// Whether a reader asks for a member of this name.
pub(super) fn is_asked_for(name: &str) -> bool {
    let mut names = LEVELS.iter().flat_map(|level| level.code.iter().chain(level.name));
    name.eq_ignore_ascii_case("kind") || names.any(|known| name.eq_ignore_ascii_case(known))
}

/// The code, name and kind of an area.
pub(super) struct Named {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) kind: String,
}

/// Reads the properties of `feature`. Its `id` stands in if there is no code among them: in a file of a map server it is the row of a
/// layer, such as `buurten.1`. The code must be `expected`, if there is one.
pub(super) fn read(
    feature: &Node<'_>,
    id: Option<Node<'_>>,
    properties: &mut Members<'_>,
    expected: Option<&str>,
) -> Option<Named> {
    let level = LEVELS.iter().find(|level| properties.spelled(level.code).is_some());
    let given = level.and_then(|level| properties.spelled(level.code));
    // The name of the same division, or the plain one; without a code, the first there is.
    let name = match level {
        Some(level) => properties.spelled(level.name).or_else(|| properties.spelled(LEVELS[0].name)),
        None => None,
    };
    let name = name.or_else(|| LEVELS.iter().find_map(|level| properties.spelled(level.name)));
    let name = if let Some(name) = name {
        name.text(200).map(str::to_owned)
    } else {
        let detail = "is missing; buurtnaam, wijknaam, gemeentenaam and statnaam are read too";
        feature.wrong_below("/properties/name", detail);
        None
    };
    let kind = properties.read_optional("kind", |n| n.text(64).map(str::to_owned));
    let code = read_code(feature, given.or(id), expected)?;
    let kind = kind?.unwrap_or_else(|| kind_of(&code).to_owned());
    Some(Named { code, name: name?, kind })
}

fn read_code(feature: &Node<'_>, given: Option<Node<'_>>, expected: Option<&str>) -> Option<String> {
    let Some(given) = given else {
        if expected.is_none() {
            let detail = "is missing (buurtcode, wijkcode, gemeentecode, statcode and BU_CODE are read too), and there is no id \
                          to use instead";
            feature.wrong_below("/properties/code", detail);
        }
        return expected.map(str::to_owned);
    };
    // An id may be a number (RFC 7946 §3.2), and so may a postcode.
    let code = if given.value().is_u64() { given.value().to_string() } else { given.text(64)?.to_owned() };
    if !is_code(&code) {
        return given.wrong(NO_CODE);
    }
    match expected {
        Some(expected) if expected != code => given.wrong(format!("must be {expected}, as in the path")),
        _ => Some(code),
    }
}

/// Statistics Netherlands says the kind by the first two letters of a code, which another four or more characters follow.
fn kind_of(code: &str) -> &'static str {
    let is_of = |letters: &str, length: usize| {
        code.len() == length && code.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(letters))
    };
    match () {
        () if is_of("BU", 10) => "neighbourhood",
        () if is_of("WK", 8) => "district",
        () if is_of("GM", 6) => "municipality",
        () if is_of("PV", 4) => "province",
        () => DEFAULT_KIND,
    }
}
