//! Files whose rows lie in several windows. Each is imported dry first, which must tell the same.

mod files;
mod trouble;

use std::io;

use futures::stream;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_store::participants::Participant;
use klaroen_store::seal::Keys;
use klaroen_store::{Actor, PageRequest, Store, StoreOptions};
use klaroen_test_databases::Engine;
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::tests::fixture::NOW;

const HEADER: &str = "external_id,phone,label,groups,kind,latitude,longitude,consent_at,consent_method\n";

struct Registry {
    store: Store,
    organisation: OrganisationId,
    _directory: Option<TempDir>,
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
        Self { store, organisation, _directory: Some(directory) }
    }

    /// Another organisation of the same database.
    async fn other(&self, code: &str) -> Self {
        let store = self.store.clone();
        let organisation = store.create_organisation(code, code, NOW).await.unwrap().unwrap().id;
        Self { store, organisation, _directory: None }
    }

    fn given(&self, dry_run: bool) -> CsvImport<'_> {
        CsvImport {
            store: &self.store,
            organisation: self.organisation,
            actor: Actor::System,
            country: Country::NL,
            zone: "Europe/Amsterdam".parse().unwrap(),
            dry_run,
            contention: Contention::SameQueue,
            now: NOW,
        }
    }

    /// Imports in windows of one registration.
    async fn import(&self, rows: &[&str]) -> ImportReport {
        self.import_by(1, rows).await
    }

    async fn import_by(&self, window: usize, rows: &[&str]) -> ImportReport {
        let before = self.everybody().await;
        let dry =
            import_by(Some(window), &self.given(true), stream::iter(lines(rows)), |_| ()).await.unwrap();
        assert_eq!(self.everybody().await, before, "a dry run writes nothing");
        let real =
            import_by(Some(window), &self.given(false), stream::iter(lines(rows)), |_| ()).await.unwrap();
        assert_eq!(counts(&dry), counts(&real), "{rows:?}");
        assert_eq!(errors(&dry), errors(&real), "{rows:?}");
        real
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
    // If the number comes first, the id comes too late.
    let report = registry.import_by(window, &[",1,home", "b,2,home", "a,1,work"]).await;
    assert_eq!((counts(&report), errors(&report)), ([3, 1, 0, 1, 1], vec![(4, "external_id")]));
    // A participant who moved to another number in this file has left the previous one.
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
    let report = import_by(Some(1), &registry.given(false), seen, |_| ()).await.unwrap();
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

/// Files of few ids, numbers and places, so that everything meets everything; the second changes what the first wrote.
#[rstest]
#[tokio::test]
async fn any_file_comes_to_the_same_dry_or_not_and_however_its_rows_lie_in_windows(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let registry = Registry::new(engine).await;
    let mut random = 7_u64;
    let mut pick = |of: &[&'static str]| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of[usize::try_from(random >> 33).unwrap() % of.len()]
    };
    for file in 0..25 {
        let mut rows = || -> Vec<String> {
            let row =
                |_| format!("{},{},{},", pick(&["a", "b", ""]), pick(&["1", "2"]), pick(&["p", "q", "r"]));
            (0..6).map(row).collect()
        };
        let files = [rows(), rows()];
        let mut seen = Vec::new();
        for window in [1, 2, 10] {
            let registry = registry.other(&format!("o{file}-{window}")).await;
            for rows in &files {
                let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
                registry.import_by(window, &rows).await;
            }
            let mut told = registry.told().await;
            for line in &mut told {
                let (who, places) = line.split_once(": ").unwrap();
                let mut places: Vec<&str> = places.split(' ').collect();
                places.sort_unstable();
                *line = format!("{who}: {}", places.join(" "));
            }
            seen.push(told);
        }
        assert!(seen.iter().all(|told| *told == seen[0]), "{files:?}: {seen:?}");
    }
}
