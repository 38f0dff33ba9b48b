//! Files as programs and people really write and rewrite them: each is imported, or refused with one sentence.

use encoding_rs::WINDOWS_1252;

use super::*;

/// What becomes of a file.
enum Outcome {
    /// Both people are there.
    Imported,
    /// One error, which says this. The number of people who are there all the same.
    Refused(&'static str, usize),
}
use Outcome::{Imported, Refused};

/// `;`, Dutch headings and dates, decimal commas: Excel in the Netherlands.
const DUTCH: &str = "Soort;Naam;Telefoonnummer;Breedtegraad;Lengtegraad;Groepen;Datum toestemming;Toestemming via\r\n\
    Bewoner;Zoë Jansen;06-12345678;52,0907;5,1214;;15-01-2026 10:00;web\r\n\
    Bedrijf;Bakkerij 't Hoekje;06-87654321;52,0920;5,1180;;15-01-2026 10:00;formulier\r\n";

/// `,`, our own headings, ISO dates.
const PLAIN: &str = "kind,name,phone,latitude,longitude,groups,consent_at,consent_method\n\
    resident,Zoë Jansen,0612345678,52.0907,5.1214,,2026-01-15 10:00,web\n\
    business,Bakkerij 't Hoekje,0687654321,52.0920,5.1180,,2026-01-15 10:00,formulier\n";

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn ansi(text: &str) -> Vec<u8> {
    WINDOWS_1252.encode(text).0.into_owned()
}

/// Every cell between quotes.
fn quoted(text: &str, delimiter: char) -> String {
    let line = |line: &str| {
        let cells: Vec<String> = line.split(delimiter).map(|cell| format!("\"{cell}\"")).collect();
        cells.join(&delimiter.to_string())
    };
    text.lines().map(line).collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// Every line as a spreadsheet writes it that took it for one cell.
fn one_cell_a_line(text: &str) -> String {
    let line = |line: &str| format!("\"{}\";;\r\n", line.replace('"', "\"\""));
    text.lines().map(line).collect::<Vec<_>>().concat()
}

fn spreadsheets() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let marked = |text: &str| format!("\u{feff}{text}").into_bytes();
    let tabs = DUTCH.replace(';', "\t");
    let exponents = DUTCH.replace("06-12345678", "3,16E+10").replace("06-87654321", "3,17E+10");
    let serials = DUTCH.replace("15-01-2026 10:00", "46037,4166666667");
    let two_digits = DUTCH.replace("15-01-2026", "15-01-26");
    let american = PLAIN.replace("2026-01-15 10:00", "1/15/2026 10:00");
    let padded = DUTCH.replace("\r\n", ";;;\r\n");
    let no_zero = DUTCH.replace("06-12345678", "612345678").replace("06-87654321", "687654321");
    let short = "Soort;Telefoon;Lat;Lon;Toestemming op;Toestemming via;Naam;Groepen\r\n\
        Bewoner;06-12345678;52,0907;5,1214;15-1-2026 10:00;web;Zoë Jansen\r\n\
        Bedrijf;06-87654321;52,0920;5,1180;15-1-2026 10:00;web;Bakkerij 't Hoekje\r\n";
    let lookups = DUTCH.replace("06-87654321", "#N/B");
    let hashes = DUTCH.replace("15-01-2026 10:00", "########");
    let sums = DUTCH.replace("06-12345678", "-612345647").replace("06-87654321", "-687654290");
    let texts = DUTCH.replace("06-12345678", "=\"0612345678\"").replace("06-87654321", "'0687654321");
    let with_quotes = PLAIN.replace("Zoë Jansen", "\"Zoë Jansen\"");
    let numbers = DUTCH.replace("\r\n", "\n");
    vec![
        ("Excel, CSV UTF-8", marked(DUTCH), Imported),
        ("Excel, CSV", ansi(DUTCH), Imported),
        ("Excel, sep=", format!("sep=;\r\n{DUTCH}").into_bytes(), Imported),
        (
            "Excel, sep= before a comma",
            marked(&format!("SEP=;\r\n{}", DUTCH.replace("Naam", "Naam, "))),
            Imported,
        ),
        ("Excel, Unicode text", utf16(&format!("\u{feff}{tabs}"), u16::to_le_bytes), Imported),
        ("Excel, text with tabs", ansi(&tabs), Imported),
        ("Excel for Mac, CSV (Macintosh)", macintosh(DUTCH), Imported),
        ("Excel, a comma file saved again", marked(&one_cell_a_line(PLAIN)), Imported),
        ("Excel, the same with quotes in it", marked(&one_cell_a_line(&with_quotes)), Imported),
        ("Excel, empty columns and rows", ansi(&format!("{padded};;;;;;;;;;\r\n;;;;;;;;;;\r\n")), Imported),
        ("Excel, empty cells left out at the end", ansi(short), Imported),
        ("Excel, zero lost", ansi(&no_zero), Imported),
        ("Excel, long numbers", ansi(&exponents), Refused("cut this number", 0)),
        ("Excel, dates as numbers", ansi(&serials), Refused("count of days", 0)),
        ("Excel, year of two digits", ansi(&two_digits), Refused("two digits", 0)),
        ("Excel in America", marked(&american), Refused("month first", 0)),
        ("Excel, lookup that failed", ansi(&lookups), Refused("error of the spreadsheet", 1)),
        ("Excel, column too narrow", ansi(&hashes), Refused("error of the spreadsheet", 0)),
        ("Excel, +31-6 taken for a sum", ansi(&sums), Refused("negative", 0)),
        ("Excel, numbers kept as text", ansi(&texts), Imported),
        (
            "Excel, workbook",
            b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\n\xff\xd8x\r\n".to_vec(),
            Refused("workbook", 0),
        ),
        (
            "Excel, workbook of 1997",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0\n".to_vec(),
            Refused("workbook", 0),
        ),
        ("LibreOffice, all text in quotes", quoted(PLAIN, ',').into_bytes(), Imported),
        ("LibreOffice, sep= kept as a row", format!("\"sep=;\";;;;;;;\n{numbers}").into_bytes(), Imported),
        ("LibreOffice, UTF-16", utf16(&numbers, u16::to_le_bytes), Imported),
        ("LibreOffice, bars", PLAIN.replace(',', "|").into_bytes(), Imported),
        ("Google Sheets", PLAIN.replace("2026-01-15 10:00", "15-1-2026 10:00:00").into_bytes(), Imported),
        ("Google Sheets, decimal commas", PLAIN.replace("52.0907", "\"52,0907\"").into_bytes(), Imported),
        ("Numbers", numbers.clone().into_bytes(), Imported),
        (
            "Numbers, title of the table",
            format!("Tabel 1\n{numbers}").into_bytes(),
            Refused("names no column", 0),
        ),
    ]
}

/// The old alphabet and line ends of the Macintosh.
fn macintosh(text: &str) -> Vec<u8> {
    let letter = |ch: char| if ch == 'ë' { 0x91 } else { u8::try_from(ch).unwrap() };
    text.replace("\r\n", "\r").chars().map(letter).collect()
}

fn programs_and_people() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let typed = format!("#TYPE System.Management.Automation.PSCustomObject\r\n{}", quoted(PLAIN, ','));
    let floats = PLAIN.replace("0612345678", "31612345678.0").replace("0687654321", "31687654321.0");
    let indexed: String = PLAIN
        .lines()
        .enumerate()
        .map(|(n, line)| match n {
            0 => format!(",{line}\n"),
            _ => format!("{n},{line}\n"),
        })
        .collect();
    let short_floats = PLAIN.replace("0612345678", "61234567.0").replace("0687654321", "68765432.0");
    let (header, rows) = DUTCH.split_once("\r\n").unwrap();
    let (first, second) = rows.split_once("\r\n").unwrap();
    let joined = format!("\u{feff}{header}\r\n{first}\r\n\u{feff}{}\r\n{second}", quoted(header, ';').trim());
    let blanks = PLAIN
        .replace(",Zoë Jansen", ", \"Zoë Jansen\"")
        .replace(",2026", ",  2026")
        .replace(",web", ", web ");
    let loose = PLAIN.replace("Zoë Jansen", "Jansen, Zoë").replace("Bakkerij", "Bakkerij, ");
    let shouted = DUTCH
        .replace("Bewoner", "\u{a0}BEWONER\u{a0}")
        .replace("Naam", "\"NAAM \"")
        .replace("06-", "\u{200e}06\u{a0}");
    let accents = DUTCH.replace("Breedtegraad", "Breedte\u{ad}graad").replace("Soort", "\u{feff}soort:");
    let access =
        DUTCH.replace("15-01-2026 10:00", "15-1-2026 10:00:00").replace("Zoë Jansen", "\"Zoë Jansen\"");
    vec![
        ("PowerShell 5, Export-Csv", typed.into_bytes(), Imported),
        ("PowerShell 7, Export-Csv -UseCulture", quoted(DUTCH, ';').into_bytes(), Imported),
        (
            "PowerShell 5, ConvertTo-Csv | Out-File",
            utf16(&format!("\u{feff}{}", quoted(PLAIN, ',')), u16::to_le_bytes),
            Imported,
        ),
        (
            "PowerShell, BigEndianUnicode",
            utf16(&format!("\u{feff}{}", quoted(PLAIN, ',')), u16::to_be_bytes),
            Imported,
        ),
        ("PowerShell, bytes without a mark", utf16(&quoted(PLAIN, ','), u16::to_be_bytes), Imported),
        ("Access", ansi(&access), Imported),
        ("pandas, numbers as floats", floats.into_bytes(), Imported),
        ("pandas, an index", indexed.into_bytes(), Refused("without a heading", 0)),
        ("pandas, digits missing", short_floats.into_bytes(), Refused("decimal number", 0)),
        ("DOS", [&ansi(DUTCH)[..], b"\x1a"].concat(), Imported),
        ("web page", b"<table><tr><td>kind</td></tr>\n</table>".to_vec(), Refused("web page", 0)),
        ("JSON", b"[{\"kind\":\"resident\"}]\n".to_vec(), Refused("JSON", 0)),
        ("two files joined", joined.into_bytes(), Imported),
        ("blanks before quotes", blanks.into_bytes(), Imported),
        ("commas without quotes", loose.into_bytes(), Refused("between quotes", 0)),
        ("sum at the end", ansi(&format!("{DUTCH}Totaal;2;;;;;;\r\n")), Refused("no participant", 2)),
        ("capitals, blanks that do not break", shouted.into_bytes(), Imported),
        ("characters that do not show", accents.into_bytes(), Imported),
        ("no header", rows.as_bytes().to_vec(), Refused("names no column", 0)),
        ("two numbers", DUTCH.replace("Naam", "Mobiel").into_bytes(), Refused("twice", 0)),
        ("another column", DUTCH.replace("Naam", "Achternaam").into_bytes(), Refused("is not a column", 0)),
        ("blank lines", format!("\r\n\r\n{}", DUTCH.replace("\r\n", "\r\n\r\n")).into_bytes(), Imported),
        ("three line ends", DUTCH.replace("\r\n", "\r\r\n").into_bytes(), Imported),
        ("nothing", b"\r\n;;\r\n".to_vec(), Refused("names no column", 0)),
    ]
}

#[tokio::test]
async fn files_as_people_have_them_are_imported_or_refused_once() {
    let all = Registry::new(Engine::Sqlite).await;
    let files: Vec<_> = spreadsheets().into_iter().chain(programs_and_people()).collect();
    let mut wrong = Vec::new();
    for (n, (name, bytes, outcome)) in files.into_iter().enumerate() {
        let registry = all.other(&format!("o{n}")).await;
        let mut told = Vec::new();
        // In one piece, and in pieces that cut marks, characters and quotes in two.
        for (size, dry_run) in [(bytes.len(), true), (1, true), (bytes.len(), false)] {
            let chunks: Vec<io::Result<Vec<u8>>> =
                bytes.chunks(size).map(|chunk| Ok(chunk.to_vec())).collect();
            told.push(match import_by(None, &registry.given(dry_run), stream::iter(chunks), |_| ()).await {
                Ok(report) => report.errors.into_iter().map(|error| error.reason).collect::<Vec<_>>(),
                Err(broken) => match broken.error {
                    ImportError::Header(errors) => errors
                        .into_iter()
                        .map(|error| format!("{} {}", error.pointer, error.detail))
                        .collect(),
                    other => vec![other.to_string()],
                },
            });
        }
        if told[0] != told[1] || told[0] != told[2] {
            wrong.push(format!("{name}: not the same in pieces, or not dry: {told:?}"));
        }
        let errors = &told[2];
        let people = registry.everybody().await;
        let (is_right, expected) = match outcome {
            Imported => (errors.is_empty(), 2),
            Refused(reason, there) => (matches!(&errors[..], [only] if only.contains(reason)), there),
        };
        if !is_right || people.len() != expected {
            wrong.push(format!("{name}: {} people, {errors:?}", people.len()));
        }
        for (person, (phone, who)) in
            people.iter().zip([("+31612345678", "Zoë Jansen"), ("+31687654321", "Bakkerij 't Hoekje")])
        {
            let draft = &person.draft;
            let seen = (draft.phone.expose(), draft.name.as_deref(), draft.consent.given_at.to_string());
            if seen != (phone, Some(who), "2026-01-15T09:00:00.000Z".to_owned()) {
                wrong.push(format!("{name}: {seen:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
