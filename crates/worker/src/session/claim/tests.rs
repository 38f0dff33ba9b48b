use klaroen_domain::alert::Priority;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::ManualClock;
use klaroen_store::StoreOptions;
use klaroen_store::seal::Keys;
use klaroen_test_databases::Engine;
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

async fn claimer() -> (Claimer, mpsc::Receiver<Finished>, TempDir) {
    let directory = TempDir::new().unwrap();
    let url = Engine::Sqlite.database(directory.path()).await;
    let store = Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap();
    let (results, written) = mpsc::channel(10);
    let claimer = Claimer {
        store,
        clock: Arc::new(ManualClock::new(NOW)),
        messages: Arc::default(),
        results,
        channel: ChannelName { gateway: "main".into(), channel: 0 },
        known: Arc::default(),
        settle_after: SettleAfter::default(),
        abandoned: CancellationToken::new(),
    };
    (claimer, written, directory)
}

fn ready(id: i64) -> Ready {
    let expires_at = NOW.plus(Duration::from_hours(1));
    let text = Arc::new(MessageText::parse("Let op.", 1).unwrap());
    Ready {
        attempt: Attempt {
            id: DeliveryId(id),
            lease_token: 5,
            retries: 0,
            claims: 0,
            expires_at,
            priority: Priority::Urgent,
            settle_after: Duration::from_secs(30),
        },
        phone: PhoneNumber::from_sealed("+31612345678".into()),
        message: Arc::new(Outgoing { text, segments: 1, expires_at, priority: Priority::Urgent }),
        hand_over_by: Instant::now(),
        deadline: Instant::now(),
        together: 1,
    }
}

#[tokio::test]
async fn what_a_claim_brings_after_its_session_is_put_back_before_the_results_end() {
    let (claimer, mut written, _directory) = claimer().await;
    let batch = Batch { ready: vec![ready(1), ready(2)], queue_is_empty: false, next_due: None };
    tokio::spawn(claimer.put_back(async move { Some(batch) }));
    let mut back = Vec::new();
    while let Some(finished) = written.recv().await {
        back.push((finished.id.0, finished.lease_token, finished.decision));
    }
    let decision = Decision::PutBack { due_at: NOW, spent: false };
    assert_eq!(back, [(1, 5, decision.clone()), (2, 5, decision)]);
}

#[tokio::test]
async fn a_database_that_does_not_come_back_holds_up_nobody_once_the_process_ends() {
    let (claimer, _written, _directory) = claimer().await;
    claimer.store.close().await;
    let abandoned = claimer.abandoned.clone();
    let giving_back = tokio::spawn(async move { claimer.give_back(5).await });
    abandoned.cancel();
    giving_back.await.unwrap();
}
