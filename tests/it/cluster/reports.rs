//! A control room that reports incidents all the time, and does what a client has to do: without an answer, or told to come
//! back, it sends the same request again with the same key, to whichever dispatcher is there.

use std::sync::PoisonError;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stage::{Addresses, Cluster};
use crate::client::{Client, incident, text};
use crate::program::{Installation, PATIENCE};

const EVERY: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(100);
/// Shorter than the test's patience: a connection to a dispatcher that is gone must not hold the report up.
const REQUEST: Duration = Duration::from_secs(5);

/// Reports until it is told to stop.
pub struct Reporter {
    stop: CancellationToken,
    task: JoinHandle<Vec<Report>>,
}

/// An incident that was answered with 201.
#[derive(Clone, Debug)]
pub struct Report {
    pub reference: String,
    pub incident: String,
    pub alert: String,
}

impl Report {
    fn of(reference: &str, taken: &Value) -> Self {
        Self {
            reference: reference.into(),
            incident: text(&taken["id"]),
            alert: text(&taken["alerts"][0]["id"]),
        }
    }
}

/// Reports one incident until it is taken; `neighbourhood` is asked.
pub async fn report(cluster: &Cluster, reference: &str, neighbourhood: usize) -> Report {
    let keys = Keys::of(&cluster.installation);
    insist(&keys, &cluster.addresses, 0, reference, neighbourhood).await
}

/// The keys of an installation, for a task of its own.
#[derive(Clone)]
struct Keys {
    operator: String,
    admin: String,
}

impl Keys {
    fn of(installation: &Installation) -> Self {
        Self { operator: installation.operator.clone(), admin: installation.admin.clone() }
    }
}

impl Reporter {
    pub fn start(cluster: &Cluster) -> Self {
        let stop = CancellationToken::new();
        let (stopped, addresses) = (stop.clone(), cluster.addresses.clone());
        let keys = Keys::of(&cluster.installation);
        let task = tokio::spawn(async move {
            let mut reports = Vec::new();
            while !stopped.is_cancelled() {
                let n = reports.len();
                let reference = format!("klein-{n}");
                let report = insist(&keys, &addresses, n, &reference, 1).await;
                // Every now and then a client that had its answer does not know it.
                if n % 3 == 0 {
                    let again = insist(&keys, &addresses, n + 1, &reference, 1).await;
                    assert_eq!((&again.incident, &again.alert), (&report.incident, &report.alert));
                }
                reports.push(report);
                tokio::time::sleep(EVERY).await;
            }
            reports
        });
        Self { stop, task }
    }

    /// Returns the reports that were taken.
    pub async fn stop(self) -> Vec<Report> {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

async fn insist(
    keys: &Keys,
    addresses: &Addresses,
    first: usize,
    reference: &str,
    neighbourhood: usize,
) -> Report {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for n in first.. {
        let url = {
            let addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses[n % addresses.len()].clone()
        };
        let client = Client::with_keys(url, keys.operator.clone(), keys.admin.clone(), REQUEST);
        match client.post("/v1/incidents", reference, &incident(reference, neighbourhood, "urgent")).await {
            Ok((StatusCode::CREATED, taken)) => return Report::of(reference, &taken),
            // Away, or the same request is still under way at the dispatcher that did not answer.
            Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT, _)) | Err(_) => {}
            Ok((status, problem)) => panic!("{reference}: {status} {problem}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "{reference} is not taken");
        tokio::time::sleep(AGAIN).await;
    }
    unreachable!("the numbers do not end")
}
