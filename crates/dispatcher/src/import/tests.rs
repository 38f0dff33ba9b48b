//! Files whose rows lie in several windows. Each is imported dry first, which must tell the same.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_store::participants::Participant;
use klaroen_store::seal::Keys;
use klaroen_store::{Actor, PageRequest, Store, StoreOptions};
use klaroen_test_databases::{Engine, Server};
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::fixture::NOW;

const HEADER: &str = "external_id,phone,label,groups,kind,latitude,longitude,consent_at,consent_method\n";

struct Registry {
    store: Store,
    organisation: OrganisationId,
    _directory: TempDir,
}

/// `id,number,label,groups` with all that a row needs.
fn row(short: &str) -> String {
    let cells: Vec<&str> = short.split(',').collect();
    let [id, number, label, groups] = [0, 1, 2, 3].map(|i| cells.get(i).copied().unwrap_or_default());
    let kind = cells.get(4).copied().unwrap_or("resident");
    format!("{id},06110000{number:0>2},{label},{groups},{kind},52.09,5.12,2026-01-31,form\n")
}

fn lines(rows: &[&str]) -> Vec<io::Result<String>> {
    std::iter::once(HEADER.to_owned()).chain(rows.iter().map(|short| row(short))).map(Ok).collect()
}

fn counts(report: &ImportReport) -> [u64; 5] {
    [report.rows, report.created, report.updated, report.unchanged, report.rejected]
}

fn errors(report: &ImportReport) -> Vec<(u64, &str)> {
    report.errors.iter().map(|error| (error.row, error.column.as_str())).collect()
}

async fn store(url: &str) -> Store {
    Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap()
}

impl Registry {
    async fn new(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = engine.database(directory.path()).await;
        Self::at(url, directory).await
    }

    async fn at(url: String, directory: TempDir) -> Self {
        let store = store(&url).await;
        let organisation = store.create_organisation("utrecht", "Utrecht", NOW).await.unwrap().unwrap().id;
        Self { store, organisation, _directory: directory }
    }

    fn given(&self, dry_run: bool) -> CsvImport<'_> {
        CsvImport {
            store: &self.store,
            organisation: self.organisation,
            actor: Actor::System,
            country: Country::NL,
            dry_run,
            shares_writer: false,
            now: NOW,
        }
    }

    /// Imports in windows of one registration.
    async fn import(&self, rows: &[&str]) -> ImportReport {
        self.import_by(1, rows).await
    }

    async fn import_by(&self, window: usize, rows: &[&str]) -> ImportReport {
        let before = self.everybody().await;
        let dry = import_by(window, &self.given(true), stream::iter(lines(rows)), |_| ()).await.unwrap();
        assert_eq!(self.everybody().await, before, "a dry run writes nothing");
        let real = import_by(window, &self.given(false), stream::iter(lines(rows)), |_| ()).await.unwrap();
        assert_eq!(counts(&dry), counts(&real), "{rows:?}");
        assert_eq!(errors(&dry), errors(&real), "{rows:?}");
        real
    }

    async fn broken(&self, rows: impl Stream<Item = io::Result<String>> + Send) -> Box<Broken> {
        import_by(1, &self.given(false), rows, |_| ()).await.err().unwrap()
    }

    async fn everybody(&self) -> Vec<Participant> {
        let page = PageRequest { limit: 100, cursor: None };
        self.store.list_participants(self.organisation, None, &page).await.unwrap().items
    }

    /// `id,number: places`.
    async fn told(&self) -> Vec<String> {
        let told = |participant: &Participant| {
            let draft = &participant.draft;
            let labels: Vec<&str> = draft.places.iter().map(|place| place.label.as_str()).collect();
            let number = draft.phone.expose().trim_start_matches("+316110000").trim_start_matches('0');
            format!("{},{number}: {}", draft.external_id.as_deref().unwrap_or(""), labels.join(" "))
        };
        let mut everybody: Vec<String> = self.everybody().await.iter().map(told).collect();
        everybody.sort();
        everybody
    }

    async fn audited(&self) -> (u64, u64) {
        let page = PageRequest { limit: 1, cursor: None };
        let entry = self.store.list_audit(self.organisation, &page).await.unwrap().items.remove(0);
        assert_eq!(entry.action, "participants.imported");
        (entry.detail["rows"].as_u64().unwrap(), entry.detail["rejected"].as_u64().unwrap())
    }
}

#[rstest]
#[tokio::test]
async fn rows_by_number_of_who_has_an_id_lose_no_place(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let registry = Registry::new(engine).await;
    registry.import(&["a,1,old"]).await;
    let report = registry.import(&[",1,home", "b,2,home", ",1,work", "b,2,work", ",1,club"]).await;
    assert_eq!(counts(&report), [5, 1, 1, 0, 0]);
    assert_eq!(registry.told().await, ["a,1: home work club", "b,2: home work"]);
}

#[rstest]
#[case::number("a,9,work", "phone")]
#[case::kind("a,1,work,,business", "kind")]
#[tokio::test]
async fn what_contradicts_an_earlier_window_is_refused_as_within_one(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(1, 10)] window: usize,
    #[case] wrong: &str,
    #[case] column: &str,
) {
    let registry = Registry::new(engine).await;
    let report = registry.import_by(window, &["a,1,home", "b,2,home", wrong]).await;
    assert_eq!((counts(&report), errors(&report)), ([3, 2, 0, 0, 1], vec![(4, column)]));
    assert!(!report.errors[0].reason.contains("row 4"), "{}", report.errors[0].reason);
    assert_eq!(registry.told().await, ["a,1: home", "b,2: home"]);
}

#[rstest]
#[tokio::test]
async fn no_registration_is_named_by_its_id_and_by_its_number_alone(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(1, 10)] window: usize,
) {
    let registry = Registry::new(engine).await;
    for created in [1, 0] {
        let report = registry.import_by(window, &["a,1,home", ",1,work"]).await;
        assert_eq!(counts(&report), [2, created, 0, 1 - created, 1]);
        assert_eq!(errors(&report), [(3, "external_id")]);
    }
    // Where the number comes first, it is the id that comes too late.
    let report = registry.import_by(window, &[",1,home", "b,2,home", "a,1,work"]).await;
    assert_eq!((counts(&report), errors(&report)), ([3, 1, 0, 1, 1], vec![(4, "external_id")]));
    // Who moved to another number in this file has left the one before.
    let report = registry.import_by(window, &["a,3,home", ",1,shop", "b,2,home"]).await;
    assert_eq!(counts(&report), [3, 1, 1, 1, 0]);
    assert_eq!(registry.told().await, [",1: shop", "a,3: home", "b,2: home"]);
}

#[rstest]
#[tokio::test]
async fn two_who_share_a_number_stay_two_though_one_has_no_id(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(1, 10)] window: usize,
) {
    let registry = Registry::new(engine).await;
    registry.import(&["a,1,home"]).await;
    // Made at the desk, as an import could not: the number means "a".
    let mut second = registry.everybody().await.remove(0).draft;
    second.external_id = None;
    second.places[0].label = "work".into();
    registry
        .store
        .create_participant(registry.organisation, &second, Actor::System, NOW)
        .await
        .unwrap()
        .unwrap();
    for file in [["a,1,home", ",1,work"], [",1,work", "a,1,home"]] {
        assert_eq!(counts(&registry.import_by(window, &file).await), [2, 0, 0, 2, 0]);
    }
    assert_eq!(registry.told().await, [",1: work", "a,1: home"]);
}

const SCATTERED: [&str; 6] = ["a,1,home", "b,2,home", ",3,home", "a,1,work", ",3,work", "b,2,work"];

#[rstest]
#[tokio::test]
async fn a_scattered_file_again_changes_nothing_and_takes_nothing_away_meanwhile(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let registry = Registry::new(engine).await;
    assert_eq!(counts(&registry.import(&SCATTERED).await), [6, 3, 0, 0, 0]);
    let before = registry.everybody().await;
    let seen = stream::unfold(lines(&SCATTERED).into_iter(), |mut rows| async {
        assert_eq!(registry.everybody().await, before, "meanwhile");
        Some((rows.next()?, rows))
    });
    let report = import_by(1, &registry.given(false), seen, |_| ()).await.unwrap();
    assert_eq!(counts(&report), [6, 0, 0, 3, 0]);
    assert_eq!(registry.everybody().await, before);
    assert_eq!(counts(&registry.import(&SCATTERED).await), [6, 0, 0, 3, 0]);
}

#[rstest]
#[tokio::test]
async fn what_a_file_does_not_name_goes_at_its_end(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(1, 2, 10)] window: usize,
) {
    let registry = Registry::new(engine).await;
    for code in ["dogs", "shops"] {
        registry
            .store
            .create_group(registry.organisation, code, code, Actor::System, NOW)
            .await
            .unwrap()
            .unwrap();
    }
    registry.import(&["a,1,home,dogs", "a,1,work,shops", "b,2,home", "b,2,work", "c,3,home"]).await;
    let file = ["a,1,moved", "b,2,home", "c,3,home", "a,1,work,shops"];
    let report = registry.import_by(window, &file).await;
    assert_eq!(counts(&report), [4, 0, 2, 1, 0]);
    let everybody = registry.everybody().await;
    assert_eq!(everybody[0].draft.groups, ["shops"]);
    let mut told = registry.told().await;
    told[0] = told[0].replace("work moved", "moved work");
    assert_eq!(told, ["a,1: moved work", "b,2: home", "c,3: home"]);
    assert_eq!(counts(&registry.import_by(window, &file).await)[2..], [0, 3, 0]);
}

#[rstest]
#[tokio::test]
async fn a_file_that_breaks_off_takes_nothing_away_and_counts_what_was_written(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(false, true)] too_long: bool,
) {
    let registry = Registry::new(engine).await;
    registry.import(&["a,1,home", "a,1,work"]).await;
    let end = if too_long { Ok(format!("\"{}", "x".repeat(70_000))) } else { Err(io::Error::other("gone")) };
    let mut rows = lines(&["a,1,home", "b,2,home", ",x,home", "c,3,home"]);
    // A row that is not whole is none, though it could be read as one.
    rows.push(Ok(row("d,4,home").trim_end().to_owned()));
    if too_long {
        rows.push(Ok("\n".to_owned()));
    }
    rows.push(end);
    let broken = registry.broken(stream::iter(rows)).await;
    assert_eq!(matches!(broken.error, ImportError::RowTooLong { row: 7 }), too_long, "{:?}", broken.error);
    let fourth = u64::from(too_long);
    assert_eq!(counts(&broken.report), [4 + fourth, 2 + fourth, 0, 1, 1]);
    assert_eq!(errors(&broken.report), [(4, "phone")]);
    assert_eq!(registry.audited().await, (4 + fourth, 1));
    assert_eq!(registry.told().await[..3], ["a,1: home work", "b,2: home", "c,3: home"]);
}

#[rstest]
#[tokio::test]
async fn a_place_too_many_is_left_out_alone_wherever_it_stands(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(1, 10)] window: usize,
) {
    let registry = Registry::new(engine).await;
    let file =
        ["a,1,p1", "b,2,x", "a,1,p2", "b,2,x", "a,1,p3", "b,2,x", "a,1,p4", "b,2,x", "a,1,p5", "b,2,x"];
    let file = [&file[..], &["a,1,p6", "a,1,p2"]].concat();
    for created in [2, 0] {
        let report = registry.import_by(window, &file).await;
        assert_eq!(counts(&report), [12, created, 0, 2 - created, 1]);
        assert_eq!(errors(&report), [(12, "")]);
    }
    assert_eq!(registry.told().await, ["a,1: p1 p2 p3 p4 p5", "b,2: x"]);
}

#[rstest]
#[tokio::test]
async fn an_unknown_group_is_named_on_its_own_row_and_what_it_kept_out_was_not_said(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let registry = Registry::new(engine).await;
    registry.import(&["a,1,old"]).await;
    let report = registry.import_by(10, &["a,1,home", "a,1,work", "a,1,club,dgos"]).await;
    assert_eq!((counts(&report), errors(&report)), ([3, 0, 0, 0, 3], vec![(4, "groups")]));
    let report = registry.import(&["a,1,home,dgos", "b,2,home", "a,1,work"]).await;
    assert_eq!((counts(&report), errors(&report)), ([3, 1, 1, 0, 1], vec![(2, "groups")]));
    assert_eq!(registry.told().await, ["a,1: work", "b,2: home"]);
}

#[rstest]
#[tokio::test]
async fn a_database_that_goes_leaves_the_report_of_what_was_done(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let registry = Registry::new(engine).await;
    let written = async |rows: &mut std::vec::IntoIter<io::Result<String>>| {
        if rows.len() == 1 {
            while registry.everybody().await.is_empty() {
                tokio::task::yield_now().await;
            }
            registry.store.close().await;
            tokio::time::pause();
        }
    };
    let rows = lines(&["a,1,home", "x,x,x", "b,2,home", "c,3,home", "d,4,home"]).into_iter();
    let source = stream::unfold(rows, |mut rows| {
        let written = &written;
        async move {
            written(&mut rows).await;
            Some((rows.next()?, rows))
        }
    });
    let broken = import_by(1, &registry.given(false), Box::pin(source), |_| ()).await.err().unwrap();
    assert!(matches!(broken.error, ImportError::Store(StoreError::Unavailable(_))), "{:?}", broken.error);
    assert!(
        broken.report.created >= 1 && broken.report.rows == broken.report.created + 1,
        "{:?}",
        broken.report
    );
    assert_eq!(errors(&broken.report), [(3, "phone")]);
}

/// A sequence counts in transactions that are rolled back, too.
const TWO_DEADLOCKS: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') <= 2 THEN RAISE EXCEPTION USING ERRCODE = '40P01'; END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER deadlock AFTER INSERT ON places FOR EACH STATEMENT EXECUTE FUNCTION deadlock();";

#[tokio::test]
async fn an_import_outlives_what_passes() {
    let server = Server::start().await;
    let registry = Registry::at(server.url(), TempDir::new().unwrap()).await;
    server.execute(TWO_DEADLOCKS).await;
    let report = import_by(1, &registry.given(false), stream::iter(lines(&SCATTERED)), |_| ()).await.unwrap();
    assert_eq!(counts(&report), [6, 3, 0, 0, 0]);
    assert_eq!(registry.told().await, [",3: home work", "a,1: home work", "b,2: home work"]);
    assert_eq!(registry.audited().await, (6, 0));
}

/// Without a pause the importer takes the lock again before the other asks a second time, and that gives up after 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_at_the_same_file_gets_its_turn() {
    let directory = TempDir::new().unwrap();
    let url = Engine::Sqlite.database(directory.path()).await;
    let other = store(&url).await;
    let registry = Registry::at(url, directory).await;
    let is_over = AtomicBool::new(false);
    let import = CsvImport { shares_writer: true, ..registry.given(false) };
    let importing = async {
        for run in 0.. {
            let rows: Vec<String> = (0..2_000).map(|i| format!("{i},1,home {run}")).collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            import_by(500, &import, stream::iter(lines(&rows)), |_| ()).await.unwrap();
            if is_over.load(Ordering::Acquire) {
                return;
            }
        }
    };
    let writing = async {
        for _ in 0..10 {
            other.probe_write(NOW).await.unwrap();
        }
        is_over.store(true, Ordering::Release);
    };
    tokio::join!(importing, writing);
}
