//! The program as a person at a terminal meets it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rstest::rstest;

fn klaroen(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klaroen"))
        .current_dir(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The commands that `help` lists for a path of commands.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?;
        if name.starts_with(' ') { None } else { name.split_whitespace().next() }
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_its_help_on_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = klaroen(directory.path(), &arguments);
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{path:?}");
        assert!(help.contains("Usage: klaroen") && output.stderr.is_empty(), "{path:?}: {help}");
        open.extend(subcommands(help).into_iter().map(|name| [path.clone(), vec![name]].concat()));
        seen.push(path.join(" "));
    }
    for command in [
        "secrets init",
        "check-config",
        "migrate",
        "organisation create",
        "key create",
        "participants import",
        "areas import",
        "serve",
        "dispatcher",
        "worker",
        "demo",
        "simulate smsc",
        "simulate http",
    ] {
        assert!(seen.iter().any(|path| path == command), "{command} is not among {seen:?}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "help writes nothing");
}

#[test]
fn a_command_that_is_not_understood_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["sing"][..], &["key", "create"], &[]] {
        let output = klaroen(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

const LOG_GATEWAY: &str = "[[gateways]]\nname = \"log\"\ntype = \"log\"\nsender = \"1000\"\n";

#[rstest]
#[case::values(
    "[http]\npublic_url = \"example.nl\"\n[sending]\ntime_zone = \"Mars/Olympus\"\nmax_segments = 0\n[secrets]\nkey_file = \"none.key\"\n",
    &["[http] public_url", "[sending] time_zone", "[sending] max_segments", "[secrets] key_file", "[[gateways]]"]
)]
#[case::form(
    "[http]\nlisten = \"here\"\n[sendign]\ncountry = \"NL\"\n[database]\nurl = 5\n[sending]\ncuontry = \"NL\"\n",
    &["[http]", "[sendign]", "[sending]", "cuontry"]
)]
fn a_wrong_configuration_is_told_whole(#[case] configuration: &str, #[case] faults: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("wrong.toml"), configuration).unwrap();
    let output = klaroen(directory.path(), &["--config", "wrong.toml", "check-config"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty());
    for fault in faults {
        assert!(told.contains(fault), "{fault} is not told: {told}");
    }
}

#[test]
fn a_right_configuration_is_told_with_what_its_gateways_can_do_and_what_will_be_missed() {
    let directory = tempfile::tempdir().unwrap();
    let gateways = r#"
[[gateways]]
name = "first"
type = "cm"
sender = "Klaroen"
product_token = "canary-product-token"
callback_token = "canary-0123456789-abcdef"
[[gateways]]
name = "second"
type = "smpp"
host = "smsc.example.nl"
system_id = "klaroen"
password = "canary08"
sender = "1000"
senders = { BE = "8850" }
priority = 200
weight = 0
"#;
    std::fs::write(directory.path().join("klaroen.toml"), gateways).unwrap();
    assert_eq!(klaroen(directory.path(), &["secrets", "init"]).status.code(), Some(0));
    let output = klaroen(directory.path(), &["check-config"]);
    let (table, warnings) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    for fact in ["first", "second", "no: a sender that is a name gets none", "1000, BE: 8850", "200, 0"] {
        assert!(table.contains(fact), "{fact} is not in {table}");
    }
    assert!(warnings.contains("warning: second: weight 0 does nothing"), "{warnings}");
    assert!(!table.contains("canary") && !warnings.contains("canary"));
}

#[test]
fn a_configuration_file_that_was_named_has_to_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let output = klaroen(directory.path(), &["--config", "nowhere.toml", "check-config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere.toml"));
}

#[test]
fn from_secrets_to_a_key_which_is_all_that_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| klaroen(directory.path(), arguments);
    std::fs::write(directory.path().join("klaroen.toml"), LOG_GATEWAY).unwrap();
    assert_eq!(run(&["secrets", "init"]).status.code(), Some(0));
    let again = run(&["secrets", "init"]);
    assert_eq!(again.status.code(), Some(1), "a key file is never overwritten");
    assert_eq!(run(&["check-config"]).status.code(), Some(0));

    let early = run(&["key", "create", "--organisation", "utrecht", "--role", "operator"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(text(&early.stderr).contains("there is no organisation utrecht") && early.stdout.is_empty());

    let create = ["organisation", "create", "utrecht", "--name", "Gemeente Utrecht"];
    assert_eq!(run(&create).status.code(), Some(0));
    assert_eq!(run(&create).status.code(), Some(1), "there is one already");

    let key =
        run(&["key", "create", "--organisation", "utrecht", "--role", "operator", "--expires-in", "90d"]);
    assert_eq!(key.status.code(), Some(0));
    let token = text(&key.stdout).strip_suffix('\n').unwrap();
    let visible = |c: char| c.is_ascii_graphic();
    assert!(token.starts_with("klr_") && token.chars().all(visible), "the key and nothing else");
    assert!(!text(&key.stderr).contains(token), "shown once");
}

#[test]
fn an_import_tells_counts_as_json_and_rejected_rows_beside_them() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| klaroen(directory.path(), arguments);
    std::fs::write(directory.path().join("klaroen.toml"), LOG_GATEWAY).unwrap();
    run(&["secrets", "init"]);
    run(&["organisation", "create", "utrecht", "--name", "Gemeente Utrecht"]);
    let csv = "kind,phone,label,latitude,longitude,consent_at,consent_method\n\
               resident,0612345678,thuis,52.09,5.12,2026-01-31T10:00:00+01:00,formulier\n\
               resident,0301234567x,thuis,52.09,5.12,2026-01-31T10:00:00+01:00,formulier\n";
    std::fs::write(directory.path().join("people.csv"), csv).unwrap();
    let output = run(&["participants", "import", "--organisation", "utrecht", "people.csv"]);
    assert_eq!(output.status.code(), Some(1), "a row was rejected");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["created"], &report["rejected"]), (&1.into(), &1.into()));
    assert!(text(&output.stderr).contains("line 3: phone"), "{}", text(&output.stderr));
}

#[test]
fn an_import_of_areas_leaves_out_wrong_features_and_tells_what_it_mended() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| klaroen(directory.path(), arguments);
    std::fs::write(directory.path().join("klaroen.toml"), LOG_GATEWAY).unwrap();
    run(&["secrets", "init"]);
    run(&["organisation", "create", "utrecht", "--name", "Gemeente Utrecht"]);
    let import = |file: &str, bytes: &[u8]| {
        std::fs::write(directory.path().join(file), bytes).unwrap();
        run(&["areas", "import", "--organisation", "utrecht", file])
    };
    let feature = |code: &str, ring: &str| {
        format!(
            r#"{{"type":"Feature","id":"buurten.1","properties":{{"buurtcode":"{code}","buurtnaam":"Wijk"}},"geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}"#
        )
    };
    let collection = |features: &[String]| {
        let features = features.join(",");
        format!(
            r#"{{"type":"FeatureCollection","crs":{{"type":"name","properties":{{"name":"urn:ogc:def:crs:EPSG::28992"}}}},"features":[{features}]}}"#
        )
    };
    let square = feature("BU0363AF01", "[[121000,487000],[122000,487000],[122000,488000],[121000,487000]]");
    let spike = feature(
        "BU0363AF02",
        "[[121000,487000],[122000,487000],[122000,488000],[122000,487000],[121000,488000],[121000,487000]]",
    );
    let bow_tie = feature(
        "BU0363AF03",
        "[[121000,487000],[122000,488000],[122000,487000],[121000,488000],[121000,487000]]",
    );

    let output = import("buurten.geojson", collection(&[square.clone(), spike, bow_tie]).as_bytes());
    assert_eq!(output.status.code(), Some(1), "a feature was rejected");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report,
        serde_json::json!({"areas": 2, "created": 2, "updated": 0, "mended": 1, "rejected": 1})
    );
    let told = text(&output.stderr);
    for part in [
        "/features/1/geometry/coordinates/0/",
        "cut off",
        "/features/2/geometry/coordinates/0/0: ",
        "/features/2/geometry/coordinates/0/2",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let again =
        import("een.geojson", format!("\u{feff}{}", collection(std::slice::from_ref(&square))).as_bytes());
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));

    let doubled =
        collection(&[square]).replace(r#""buurtnaam":"Wijk""#, r#""buurtnaam":"Wijk","buurtnaam":"Buurt""#);
    let refused = import("dubbel.geojson", doubled.as_bytes());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a member is given twice"), "{}", text(&refused.stderr));
    let utf16: Vec<u8> = doubled.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(text(&import("utf16.geojson", &utf16).stderr).contains("UTF-16"));
}

#[test]
fn a_dry_run_makes_no_database() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| klaroen(directory.path(), arguments);
    std::fs::write(directory.path().join("klaroen.toml"), LOG_GATEWAY).unwrap();
    run(&["secrets", "init"]);
    std::fs::write(directory.path().join("people.csv"), "kind\n").unwrap();
    let before = std::fs::read_dir(directory.path()).unwrap().count();
    let output = run(&["participants", "import", "--organisation", "utrecht", "--dry-run", "people.csv"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no database"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), before);
}

/// More than fits into a pipe, so that some of it was read when all is written.
#[cfg(unix)]
#[test]
fn an_import_that_is_interrupted_tells_what_it_did() {
    use std::io::Write;

    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| klaroen(directory.path(), arguments);
    std::fs::write(directory.path().join("klaroen.toml"), LOG_GATEWAY).unwrap();
    run(&["secrets", "init"]);
    run(&["organisation", "create", "utrecht", "--name", "Gemeente Utrecht"]);
    let path = directory.path().join("people.csv");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let child = Command::new(env!("CARGO_BIN_EXE_klaroen"))
        .current_dir(directory.path())
        .args(["participants", "import", "--organisation", "utrecht", "people.csv"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    pipe.write_all(b"kind,phone,label,latitude,longitude,consent_at,consent_method\n").unwrap();
    for number in 0..5_000 {
        let row = format!("resident,0611{number:06},home,52.09,5.12,2026-01-31T10:00:00+01:00,form\n");
        pipe.write_all(row.as_bytes()).unwrap();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    drop(pipe);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["rows"].as_u64() > Some(0), "{report}");
    assert!(text(&output.stderr).contains("run it again"), "{}", text(&output.stderr));
}
