//! A dispatcher that is killed while it writes the recipients of an alert.

use reqwest::StatusCode;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::reports::{Reporter, report};
use super::stage::Cluster;
use super::verdict;
use crate::client::incident;
use crate::program::PATIENCE;
use crate::sizes::cluster::PEOPLE_OF_PAGES as PEOPLE;

const REFERENCE: &str = "groot";
const DISPATCHER: usize = 0;
/// So that no page is written between the look and the kill: each begins with a lock of its alert.
const LOCK: &str = "SELECT a.id FROM alerts a JOIN incidents i ON i.id = a.incident_id WHERE i.reference = $1
     FOR NO KEY UPDATE OF a";
const WRITTEN: &str = "SELECT count(*) FROM deliveries WHERE alert_id = $1";

/// Kills the dispatcher that writes the alert, between two pages. Returns how many deliveries there were.
async fn kill_between_pages(cluster: &mut Cluster) -> usize {
    let mut connection = PgConnection::connect(&cluster.server.url()).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut transaction = connection.begin().await.unwrap();
        let alert: Option<Uuid> =
            sqlx::query_scalar(LOCK).bind(REFERENCE).fetch_optional(&mut *transaction).await.unwrap();
        let written: i64 =
            sqlx::query_scalar(WRITTEN).bind(alert).fetch_one(&mut *transaction).await.unwrap();
        let written = usize::try_from(written).unwrap();
        assert!(written < PEOPLE, "all of it was written before the first look");
        if written > 0 {
            cluster.kill(DISPATCHER);
            transaction.rollback().await.unwrap();
            return written;
        }
        transaction.rollback().await.unwrap();
        assert!(Instant::now() < deadline, "no page is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_whose_dispatcher_is_killed_between_two_pages_is_written_out_and_rings_everybody_once() {
    let mut cluster = Cluster::set(35, PEOPLE).await;
    let reporter = Reporter::start(&cluster);
    let client = cluster.client();
    let answer = tokio::spawn(async move {
        client.post("/v1/incidents", REFERENCE, &incident(REFERENCE, 0, "urgent")).await
    });
    let written = kill_between_pages(&mut cluster).await;
    let answer = answer.await.unwrap();
    assert!(answer.is_err(), "it was answered before it was written: {written} of {PEOPLE}, {answer:?}");

    // A client that got no answer does this. The others go on with what is there; nothing is begun anew.
    let large = report(&cluster, REFERENCE, 0).await;
    let (status, again) =
        cluster.client().post("/v1/incidents", REFERENCE, &incident(REFERENCE, 0, "urgent")).await.unwrap();
    assert_eq!((status, &again["id"]), (StatusCode::CREATED, &large.incident.as_str().into()));
    cluster
        .client()
        .until(&large.alert, "all of its recipients", |alert| alert["recipients"] == PEOPLE)
        .await;
    let small = reporter.stop().await;
    // A dispatcher has nothing in flight: its death leaves nothing in doubt.
    verdict::check(&mut cluster, &[(large, PEOPLE)], &small, 0).await;
    cluster.strike().await;
}
