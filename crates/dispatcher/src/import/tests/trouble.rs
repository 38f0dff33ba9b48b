//! Files that break off, databases that go, and others who want to write.

use std::sync::atomic::{AtomicBool, Ordering};

use klaroen_test_databases::Server;

use super::*;

impl Registry {
    async fn broken(&self, rows: impl Stream<Item = io::Result<String>> + Send) -> Box<Broken> {
        import_by(Some(1), &self.given(false), rows, |_| ()).await.err().unwrap()
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
    let broken = import_by(Some(1), &registry.given(false), Box::pin(source), |_| ()).await.err().unwrap();
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
    let report =
        import_by(Some(1), &registry.given(false), stream::iter(lines(&SCATTERED)), |_| ()).await.unwrap();
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
    let contention = Contention::SameFile { file: "klaroen.db".into(), is_served: |_| true };
    let import = CsvImport { contention, ..registry.given(false) };
    let importing = async {
        for run in 0.. {
            let rows: Vec<String> = (0..2_000).map(|i| format!("{i},1,home {run}")).collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            import_by(Some(500), &import, stream::iter(lines(&rows)), |_| ()).await.unwrap();
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
