//! Programs in other languages, with the clients that generators make from the description of the API, against the real program.
//!
//! `tests/clients` has the programs, and `install` there the generators. Where these are missing, `tests/run` leaves the tests out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use klaroen_simulator::{Faults, Smsc};

use crate::program::{Installation, PATIENCE, Program};
use crate::service::smsc;
use klaroen_testkit::api::plain_http;

/// The programs that use the clients.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// The directory into which `tests/clients/install` was told to install: `target/clients`.
fn tools() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let tools = test.ancestors().nth(3).unwrap().join("clients");
    let installed = tools.join("installed").is_file();
    assert!(installed, "there is no {0}: run tests/clients/install {0}", tools.display());
    tools
}

/// A service to be used, and a directory with its description and the source of a client.
struct Workshop {
    _smsc: Smsc,
    installation: Installation,
    program: Program,
    directory: tempfile::TempDir,
    tools: PathBuf,
}

impl Workshop {
    async fn open() -> Self {
        let tools = tools();
        let smsc = smsc(Faults::default()).await;
        let installation = Installation::new(&smsc, "");
        let program = installation.serve();
        let document =
            plain_http(PATIENCE).get(format!("{}/openapi.json", program.url())).send().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("openapi.json"), document.bytes().await.unwrap()).unwrap();
        for source in fs::read_dir(SOURCES).unwrap() {
            let source = source.unwrap();
            fs::copy(source.path(), directory.path().join(source.file_name())).unwrap();
        }
        std::os::unix::fs::symlink(tools.join("node_modules"), directory.path().join("node_modules"))
            .unwrap();
        Self { _smsc: smsc, installation, program, directory, tools }
    }

    /// Runs one of the tools to its end, with the address of the service and its keys. Returns its standard output.
    fn run(&self, tool: impl AsRef<Path>, arguments: &[&str]) -> String {
        let output = Command::new(self.tools.join(&tool))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("KLAROEN_URL", self.program.url())
            .env("KLAROEN_ADMIN", &self.installation.admin)
            .env("KLAROEN_OPERATOR", &self.installation.operator)
            .output()
            .unwrap();
        let [said, wrong] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{} {arguments:?}: {said}{wrong}", tool.as_ref().display());
        said
    }

    /// Ends the program, whose log is looked through for phone numbers.
    fn close(self) {
        assert!(self.program.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_typescript_is_made_compiled_and_used() {
    let workshop = Workshop::open().await;
    workshop.run("node_modules/.bin/openapi-typescript", &["openapi.json", "--output", "api.d.ts"]);
    workshop.run("node_modules/.bin/tsc", &["--project", "."]);
    // Found in PATH, as by the two before.
    assert_eq!(workshop.run("/usr/bin/env", &["node", "client.js"]).trim(), "done");
    workshop.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_is_made_and_used() {
    let workshop = Workshop::open().await;
    let generate = "generate --path openapi.json --output-path klaroen_client --meta none --config python.yml --fail-on-warning";
    let arguments: Vec<&str> = generate.split(' ').collect();
    workshop.run("python/bin/openapi-python-client", &arguments);
    assert_eq!(workshop.run("python/bin/python", &["client.py"]).trim(), "done");
    workshop.close();
}
