//! Many clients at once, in the time of the machine and on several threads.

use std::collections::HashMap;
use std::sync::Arc;

use klaroen_simulator::{Contract, HttpFaults};
use tokio::task::JoinSet;

use super::peer::{called, exchange, number, submit};

const CLIENTS: u32 = 8;
const SUBMITS: u32 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_clients_submit_rings_once_each_and_is_reported() {
    let faults = HttpFaults {
        throttled: 0.1,
        close_after_taking: 0.1,
        bare_error: 0.1,
        receipt_delay_ms: (0, 20),
        ..HttpFaults::default()
    };
    let (provider, service) = called(Contract::Http, faults).await;
    let provider = Arc::new(provider);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let provider = Arc::clone(&provider);
        clients.spawn(async move {
            let mut taken = Vec::new();
            for i in client * SUBMITS..(client + 1) * SUBMITS {
                let answer = exchange(&provider, &submit(&number(i), &i.to_string())).await;
                if answer.is_none_or(|answer| answer.status == 201) {
                    taken.push(i);
                }
            }
            taken
        });
    }
    let taken: Vec<u32> = clients.join_all().await.concat();
    // Each message is reported as sent and as delivered.
    let callbacks = service.callbacks(taken.len() * 2).await;
    let mut told: HashMap<String, Vec<String>> = HashMap::new();
    for callback in callbacks {
        let receipt = callback.json();
        let [reference, status] =
            ["reference", "status"].map(|name| receipt[name].as_str().unwrap().to_owned());
        told.entry(reference).or_default().push(status);
    }
    for i in &taken {
        assert_eq!(provider.rings_of(&number(*i)).len(), 1, "{i}");
        assert_eq!(told[&i.to_string()], ["sent", "delivered"], "{i}");
    }
    provider.shutdown().await;
    let stats = provider.stats();
    assert_eq!(stats.taken, u64::try_from(taken.len()).unwrap());
    assert_eq!((stats.rings, stats.submits), (stats.taken, u64::from(CLIENTS * SUBMITS)));
    assert!(stats.throttled > 0 && stats.errors > 0 && stats.connections_dropped > 0);
    assert_eq!((stats.callbacks, stats.callbacks_failed, stats.pending), (stats.taken * 2, 0, 0));
}
