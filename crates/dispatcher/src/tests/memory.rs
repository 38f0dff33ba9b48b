//! The memory that the worst bodies take, measured by the kernel in a process of its own: `VmHWM` of proc(5).

use std::fmt::Write;
use std::process::Command;

use klaroen_domain::phone::Country;
use rstest::rstest;

use super::fixture::NOW;
use crate::request::body::{AREAS_BYTES_MAX, JSON_BYTES_MAX};
use crate::request::json::{self, TREE_BYTES_MAX};
use crate::resources::areas::collection::read_areas;

/// Names the case to the process that measures it.
const CASE: &str = "KLAROEN_MEMORY_CASE";
/// The name of the test that is that process.
const MEASURED: &str = "tests::memory::measured";
/// The most that a request may cost, in KiB.
const REQUEST_KIB_MAX: u64 = 256 * 1024;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A text of nearly `max` bytes: `before`, then `item` again and again with its number in the place of `@`, then `after`.
fn filled(max: usize, before: &str, item: &str, after: &str) -> String {
    let mut text = String::with_capacity(max);
    text.push_str(before);
    let room = max - after.len() - item.len() - 16;
    for n in 0.. {
        if text.len() > room {
            break;
        }
        let separator = if n == 0 { "" } else { "," };
        write!(text, "{separator}{}", item.replace('@', &n.to_string())).unwrap();
    }
    text + after
}

/// A ring in RD New whose corners are written as short as they can be, and take most as degrees.
fn saw() -> String {
    let corner = |i: u32| format!("[{},{}]", 100_000 + i, 400_000 + i % 2 * 9);
    let corners: Vec<String> = (0..9_000).map(corner).collect();
    format!("[{},[104000,500000],{}]", corners.join(","), corners[0])
}

fn areas(case: &str) -> String {
    let collection =
        |item: &str| filled(AREAS_BYTES_MAX, r#"{"type":"FeatureCollection","features":["#, item, "]}");
    match case {
        "objects" => collection(r#"{"":0}"#),
        "lists" => collection("[]"),
        "numbers" => collection("0"),
        "properties" => filled(
            AREAS_BYTES_MAX,
            r#"{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null,"properties":{"more":["#,
            r#"{"":0}"#,
            "]}}]}",
        ),
        "corners" => filled(
            AREAS_BYTES_MAX,
            r#"{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"code":"a","name":"x"},"geometry":{"type":"Polygon","coordinates":[["#,
            "[5,52]",
            "]]}}]}",
        ),
        "names" => filled(
            AREAS_BYTES_MAX,
            r#"{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null,"properties":{"#,
            r#""@":0"#,
            "}}]}",
        ),
        _ => filled(
            AREAS_BYTES_MAX,
            r#"{"type":"FeatureCollection","crs":"EPSG:28992","features":["#,
            &format!(
                r#"{{"type":"Feature","properties":{{"code":"@","name":"x"}},"geometry":{{"type":"Polygon","coordinates":[{}]}}}}"#,
                saw()
            ),
            "]}",
        ),
    }
}

/// Does nothing unless it is started by the tests below.
#[test]
#[expect(clippy::disallowed_methods, reason = "the case comes from the test that starts this process")]
fn measured() {
    let Ok(case) = std::env::var(CASE) else { return };
    if let Some(item) = case.strip_prefix("tree ") {
        let text = filled(JSON_BYTES_MAX / 16, "[", item, "]");
        let before = peak_kib();
        let (mut trees, mut reckoned) = (Vec::new(), 0);
        for _ in 0..40 {
            let (value, bytes) = json::parse_reckoned(text.as_bytes()).unwrap();
            trees.push(value);
            reckoned += bytes as u64 / 1024;
        }
        println!("figures: {} {reckoned}", peak_kib() - before);
        return;
    }
    let text = areas(&case);
    let before = peak_kib() - text.len() as u64 / 1024;
    let read = read_areas(text.as_bytes(), Country::NL, NOW);
    let areas = read.map_or(0, |read| read.areas.len());
    println!("figures: {} {areas}", peak_kib() - before);
}

fn measure(case: &str) -> (u64, u64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", MEASURED, "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = said.split("figures: ").nth(1).unwrap_or_else(|| panic!("{output:?}"));
    let mut figures = figures.split_whitespace().map(|figure| figure.parse::<u64>().unwrap());
    (figures.next().unwrap(), figures.next().unwrap())
}

#[rstest]
fn no_library_costs_more_than_a_request_may(
    #[values("objects", "lists", "numbers", "properties", "corners", "names", "rd_new")] case: &str,
) {
    let (kib, areas) = measure(case);
    assert!(kib < REQUEST_KIB_MAX, "{case}: {kib} KiB");
    assert_eq!(areas > 0, case == "rd_new", "{case}: {areas} areas");
}

/// What is reckoned is what the kernel hands out, with at most a tenth more for the pages of the allocator itself.
#[rstest]
fn values_take_no_more_than_they_are_reckoned(
    #[values(
        r#"{"":0}"#,
        r#"{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0}"#,
        "[]",
        "[1]",
        "[5,52]",
        "[5,52,1]",
        "[1,2,3,4,5]",
        "0",
        r#""""#,
        r#""abcdefghijklmnopqrstuvwxyz""#,
        "{}",
        r#"{"a":[{"b":"c"}]}"#
    )]
    item: &str,
) {
    let (kib, reckoned) = measure(&format!("tree {item}"));
    assert!(kib <= reckoned + reckoned / 10, "{item}: {kib} KiB, reckoned at {reckoned}");
    assert!(reckoned <= 40 * TREE_BYTES_MAX as u64 / 1024, "{item}: {reckoned}");
}
