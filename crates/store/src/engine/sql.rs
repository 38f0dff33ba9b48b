//! One text of a statement for both engines.

use crate::engine::db::Dialect;

/// A fragment: its name, how many arguments it takes, what SQLite reads in its place, and what PostgreSQL reads. `%1` and `%2`
/// stand for the arguments.
type Fragment = (&'static str, usize, &'static str, &'static str);

/// Everything that may stand in braces; [`sql!`] explains it.
const FRAGMENTS: &[Fragment] = &[
    // The elements of a JSON array, behind `IN`.
    (
        "texts",
        1,
        "(SELECT value FROM json_each(%1))",
        "(SELECT value FROM json_array_elements_text(%1::json))",
    ),
    (
        "ints",
        1,
        "(SELECT value FROM json_each(%1))",
        "(SELECT value::bigint FROM json_array_elements_text(%1::json))",
    ),
    (
        "uuids",
        1,
        "(SELECT unhex(value) FROM json_each(%1))",
        "(SELECT value::uuid FROM json_array_elements_text(%1::json))",
    ),
    (
        "blobs",
        1,
        "(SELECT unhex(value) FROM json_each(%1))",
        "(SELECT decode(value, 'hex') FROM json_array_elements_text(%1::json))",
    ),
    // JSON as a table, behind `FROM`.
    ("values", 1, "json_each(%1)", "json_array_elements_text(%1::json)"),
    ("rows", 1, "json_each(%1)", "json_array_elements(%1::json)"),
    ("pairs", 1, "json_each(%1)", "json_each_text(%1::json)"),
    // A text of JSON as what it stands for.
    ("int", 1, "%1", "(%1)::bigint"),
    ("int", 2, "%1.value ->> %2", "(%1.value ->> %2)::bigint"),
    ("real", 2, "%1.value ->> %2", "(%1.value ->> %2)::double precision"),
    ("bool", 2, "%1.value ->> %2", "(%1.value ->> %2)::boolean"),
    ("uuid", 1, "unhex(%1)", "(%1)::uuid"),
    ("uuid", 2, "unhex(%1.value ->> %2)", "(%1.value ->> %2)::uuid"),
    ("blob", 1, "unhex(%1)", "decode(%1, 'hex')"),
    // A JSON array of what a query finds. Without rows `json_agg` returns nothing, and SQLite's function an empty array.
    ("list", 1, "json_group_array(%1)", "COALESCE(json_agg(%1), '[]')::text"),
    // Locks of rows, at the end of a `SELECT`. SQLite has one writer, and nothing to lock.
    ("lock", 0, "", "FOR NO KEY UPDATE"),
    ("lock", 1, "", "FOR NO KEY UPDATE OF %1"),
    ("lock_skip", 0, "", "FOR NO KEY UPDATE SKIP LOCKED"),
    ("lock_skip", 1, "", "FOR NO KEY UPDATE OF %1 SKIP LOCKED"),
    // A few characters for one engine alone.
    ("sqlite", 1, "%1", ""),
    ("postgres", 1, "", "%1"),
];

/// A statement whose texts differ only in what has a name: a constant [`Sql`](crate::engine::db::Sql), put together by the
/// compiler.
///
/// ```ignore
/// const MEMBERS: Sql = sql!(
///     "SELECT m.participant_id FROM {values($1)} j CROSS JOIN groups g JOIN memberships m ON m.group_id = g.id
///      WHERE g.organisation_id = $2 AND g.code = j.value"
/// );
/// ```
///
/// The text is SQL that both engines understand, with fragments in braces: a name, and arguments in parentheses if it takes any.
/// An argument is SQL with balanced parentheses, without other commas and without braces. [`FRAGMENTS`] says what each engine reads
/// in the place of a fragment. A mistake in a fragment is an error of the compiler.
///
/// | fragment | stands for |
/// |---|---|
/// | `IN {texts($1)}`, `IN {ints($1)}`, `IN {uuids($1)}`, `IN {blobs($1)}` | the elements of the JSON array `$1`; UUIDs and blobs are hexadecimal digits there |
/// | `FROM {values($1)} j` | a row for each text or number in the JSON array `$1`: `j.value` |
/// | `FROM {rows($1)} j` | a row for each array in the JSON array `$1`: `j.value ->> 0` is its first column, as a text |
/// | `FROM {pairs($1)} j` | a row for each member of the JSON object `$1`, whose values are texts: `j.key` and `j.value` |
/// | `{int(j, 3)}`, `{real(j, 3)}`, `{bool(j, 3)}`, `{uuid(j, 3)}` | the column `j.value ->> 3` of a row, as what it stands for |
/// | `{int(x)}`, `{uuid(x)}`, `{blob(x)}` | the text `x`, such as `j.value`, as what it stands for |
/// | `{list(x)}` | a JSON array of the `x` of all rows |
/// | `{lock}`, `{lock(d)}` | at the end of a `SELECT`: the rows (of the table `d`) are locked until the transaction ends |
/// | `{lock_skip}`, `{lock_skip(d)}` | the same, and rows that another transaction has locked are left out |
/// | `{sqlite(x)}`, `{postgres(x)}` | `x` for this engine, nothing for the other; a comment says why |
///
/// SQLite wants a `WHERE` between a table of JSON and `ON CONFLICT`: write `WHERE true`. If SQLite must keep an order of loops, write
/// `CROSS JOIN` and put the conditions into `WHERE`; PostgreSQL plans that like any other join.
macro_rules! sql {
    ($template:expr) => {{
        use $crate::engine::db::{Dialect, Sql};
        use $crate::engine::sql::{length, text, write};
        const TEMPLATE: &str = $template;
        const SQLITE: [u8; length(TEMPLATE, Dialect::Sqlite)] = write(TEMPLATE, Dialect::Sqlite);
        const POSTGRES: [u8; length(TEMPLATE, Dialect::Postgres)] = write(TEMPLATE, Dialect::Postgres);
        Sql::each(text(&SQLITE), text(&POSTGRES))
    }};
}
pub(crate) use sql;

/// How long the text for one engine is, in bytes.
pub(crate) const fn length(template: &str, dialect: Dialect) -> usize {
    expand(template.as_bytes(), dialect, &mut [])
}

/// The text for one engine; `N` is its length.
pub(crate) const fn write<const N: usize>(template: &str, dialect: Dialect) -> [u8; N] {
    let mut bytes = [0; N];
    expand(template.as_bytes(), dialect, &mut bytes);
    bytes
}

/// The output of [`write`] as a text.
pub(crate) const fn text(bytes: &[u8]) -> &str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a brace in the middle of a character"),
    }
}

/// Writes into `out` as much as it holds, and returns how much there is to write.
const fn expand(template: &[u8], dialect: Dialect, out: &mut [u8]) -> usize {
    let (mut at, mut written) = (0, 0);
    while at < template.len() {
        if template[at] == b'{' {
            let end = find(template, at, b'}');
            written = fragment(slice(template, at + 1, end), dialect, out, written);
            at = end + 1;
        } else {
            assert!(template[at] != b'}', "a brace is closed that was not opened");
            written = push(slice(template, at, at + 1), out, written);
            at += 1;
        }
    }
    written
}

/// Writes the text of a fragment behind the first `written` bytes, and returns how many bytes there are then.
const fn fragment(fragment: &[u8], dialect: Dialect, out: &mut [u8], mut written: usize) -> usize {
    let mut name = fragment;
    let (mut arguments, mut count) = ([&[] as &[u8]; 2], 0);
    if let [.., b')'] = fragment {
        let open = find(fragment, 0, b'(');
        name = slice(fragment, 0, open);
        (arguments, count) = split(slice(fragment, open + 1, fragment.len() - 1));
    }
    let pattern = pattern(name, count, dialect);
    let mut at = 0;
    while at < pattern.len() {
        if pattern[at] == b'%' {
            written = push(arguments[(pattern[at + 1] - b'1') as usize], out, written);
            at += 2;
        } else {
            written = push(slice(pattern, at, at + 1), out, written);
            at += 1;
        }
    }
    written
}

/// The pattern of [`FRAGMENTS`] for a name with this number of arguments.
const fn pattern(name: &[u8], count: usize, dialect: Dialect) -> &'static [u8] {
    let mut at = 0;
    while at < FRAGMENTS.len() {
        let (known, arguments, sqlite, postgres) = FRAGMENTS[at];
        if arguments == count && equal(known.as_bytes(), name) {
            return match dialect {
                Dialect::Sqlite => sqlite.as_bytes(),
                Dialect::Postgres => postgres.as_bytes(),
            };
        }
        at += 1;
    }
    panic!("there is no fragment of this name with this number of arguments")
}

/// The arguments of a fragment, which commas outside of parentheses part, and how many they are.
const fn split(list: &[u8]) -> ([&[u8]; 2], usize) {
    let mut arguments: [&[u8]; 2] = [&[]; 2];
    let (mut count, mut begin, mut at, mut depth) = (0, 0, 0, 0);
    while at <= list.len() {
        if at == list.len() || (list[at] == b',' && depth == 0) {
            assert!(count < arguments.len() && depth == 0, "no fragment has three arguments");
            arguments[count] = slice(list, begin, at).trim_ascii();
            count += 1;
            begin = at + 1;
        } else if list[at] == b'(' {
            depth += 1;
        } else if list[at] == b')' {
            depth -= 1;
        }
        at += 1;
    }
    (arguments, count)
}

const fn push(text: &[u8], out: &mut [u8], written: usize) -> usize {
    let mut at = 0;
    while at < text.len() {
        if written + at < out.len() {
            out[written + at] = text[at];
        }
        at += 1;
    }
    written + text.len()
}

/// The first place of a byte, not before `at`.
const fn find(text: &[u8], mut at: usize, byte: u8) -> usize {
    while at < text.len() {
        if text[at] == byte {
            return at;
        }
        at += 1;
    }
    panic!("a brace or parenthesis is missing")
}

const fn slice(text: &[u8], begin: usize, end: usize) -> &[u8] {
    text.split_at(end).0.split_at(begin).1
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

/// The texts of a template that a test has read.
#[cfg(test)]
pub(crate) fn expanded(template: &str, dialect: Dialect) -> String {
    let mut bytes = vec![0; length(template, dialect)];
    expand(template.as_bytes(), dialect, &mut bytes);
    text(&bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::engine::db::Sql;

    #[test]
    fn a_text_without_fragments_is_the_same_for_both() {
        const PLAIN: Sql = sql!("SELECT 'é' WHERE $1 < (SELECT 2)");
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            assert_eq!(PLAIN.of(dialect), "SELECT 'é' WHERE $1 < (SELECT 2)");
        }
    }

    #[test]
    fn every_engine_reads_its_own_words_for_a_fragment() {
        const BOTH: Sql = sql!("SELECT {uuid(j, 1)}, {list(f(a, b))} FROM {rows($1)} j {lock(j)}");
        assert_eq!(
            BOTH.of(Dialect::Sqlite),
            "SELECT unhex(j.value ->> 1), json_group_array(f(a, b)) FROM json_each($1) j "
        );
        assert_eq!(
            BOTH.of(Dialect::Postgres),
            "SELECT (j.value ->> 1)::uuid, COALESCE(json_agg(f(a, b)), '[]')::text FROM json_array_elements($1::json) j \
             FOR NO KEY UPDATE OF j"
        );
    }

    #[rstest]
    #[case::unknown("{nothing}")]
    #[case::too_few("{int}")]
    #[case::too_many("{int(a, b, c)}")]
    #[case::not_closed("{lock")]
    #[case::not_opened("lock}")]
    #[case::not_balanced("{int((a)}")]
    fn a_mistake_is_no_statement(#[case] template: &str) {
        std::panic::catch_unwind(|| length(template, Dialect::Sqlite)).unwrap_err();
    }
}
