//! Batches on their way into the database: while one is written, the next is made ready and more rows are read.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use klaroen_store::import::{Answer, ImportBatch, Imported, Ledger};
use klaroen_store::{Store, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::CsvImport;
use super::contention::{Contention, WINDOW};
use super::grouping::{Gathered, GatheredRow};
use super::report::ImportReport;
use super::retry::Retry;
use crate::request::limits::PLACES_MAX;

/// Writes what is gathered, and tells what came of it.
pub struct Writer<'a> {
    import: &'a CsvImport<'a>,
    /// Not here while a batch is being written.
    ledger: Option<Ledger>,
    preparing: Option<Preparing>,
    writing: Option<Writing>,
    /// Whether most registrations of the last batch were new: the next batch is likely to be the same.
    mostly_new: bool,
    /// When others last had a turn.
    last_turn: Instant,
    /// The rows that were written or rejected.
    pub report: ImportReport,
}

/// The rows of each registration of a batch.
type Origins = Vec<Vec<GatheredRow>>;

/// Registrations that are made ready for the database.
struct Preparing {
    batch: JoinHandle<ImportBatch<'static>>,
    origins: Origins,
}

/// Registrations on their way into the database.
struct Writing {
    /// And when others last had a turn then.
    written: JoinHandle<(Written, Instant)>,
    origins: Origins,
}

/// The result of a batch.
struct Written {
    batch: ImportBatch<'static>,
    ledger: Ledger,
    answers: Result<Vec<Answer>, StoreError>,
}

/// A batch that was written, to be counted.
struct Answered {
    batch: ImportBatch<'static>,
    answers: Vec<Answer>,
    origins: Origins,
}

impl<'a> Writer<'a> {
    pub fn new(import: &'a CsvImport<'a>) -> Self {
        Self {
            import,
            ledger: Some(Ledger::new(PLACES_MAX, import.dry_run)),
            preparing: None,
            writing: None,
            mostly_new: false,
            last_turn: Instant::now(),
            report: ImportReport::default(),
        }
    }

    /// Registrations that the next transaction should write: few while it is not known whether they are sealed before it.
    pub fn window(&self) -> usize {
        if self.report.rows == 0 { WINDOW } else { self.import.contention.window() }
    }

    /// Makes ready what is gathered, and begins to write what was.
    pub async fn write(&mut self, gathered: Vec<Gathered>) -> Result<(), StoreError> {
        self.advance(false).await?;
        if gathered.is_empty() {
            return Ok(());
        }
        let (drafts, origins): (Vec<_>, Origins) =
            gathered.into_iter().map(|Gathered { draft, rows }| (draft, rows)).unzip();
        let (store, likely_new) = (self.import.store.clone(), self.mostly_new && !self.import.dry_run);
        let batch = tokio::task::spawn_blocking(move || store.prepare_import(drafts, likely_new));
        self.preparing = Some(Preparing { batch, origins });
        Ok(())
    }

    /// Waits until all is written. If the file `is_whole`, removes the places that it does not have.
    pub async fn finish(&mut self, is_whole: bool) -> Result<(), StoreError> {
        self.advance(is_whole).await?;
        let answered = self.settle().await?;
        self.count(answered);
        let Some(ledger) = self.ledger.as_mut().filter(|_| is_whole) else { return Ok(()) };
        let (import, mut retry) = (self.import, Retry::new());
        loop {
            let began = Instant::now();
            match import.store.finish_import(import.organisation, ledger, import.now).await {
                Ok(false) => break,
                Ok(true) => retry = Retry::new(),
                Err(error) => retry.wait(error).await?,
            }
            self.report.count(ledger.counts());
            self.last_turn = give_way(&import.contention, began, self.last_turn).await;
        }
        Ok(())
    }

    /// Begins to write what is ready, in one transaction, once the batch before is written, which is counted meanwhile.
    async fn advance(&mut self, is_last: bool) -> Result<(), StoreError> {
        let Some(Preparing { batch, origins }) = self.preparing.take() else { return Ok(()) };
        let batch = batch.await.map_err(|_| StoreError::Stopped)?;
        let answered = self.settle().await?;
        let ledger = self.ledger.take().ok_or(StoreError::Stopped)?;
        let ledger = if is_last { ledger.before_the_last_batch() } else { ledger };
        let CsvImport { store, organisation, now, contention, .. } = self.import.clone();
        let write = write(store.clone(), organisation, batch, ledger, now);
        let last_turn = self.last_turn;
        let write = async move {
            let began = Instant::now();
            let written = write.await;
            (written, give_way(&contention, began, last_turn).await)
        };
        let written = tokio::spawn(write.in_current_span());
        self.writing = Some(Writing { written, origins });
        self.count(answered);
        Ok(())
    }

    /// Waits until nothing is being written, and gives what was.
    async fn settle(&mut self) -> Result<Option<Answered>, StoreError> {
        let Some(Writing { written, origins }) = self.writing.take() else { return Ok(None) };
        let (written, last_turn) = written.await.map_err(|_| StoreError::Stopped)?;
        let Written { batch, ledger, answers } = written;
        self.report.count(ledger.counts());
        self.ledger = Some(ledger);
        self.last_turn = last_turn;
        Ok(Some(Answered { batch, answers: answers?, origins }))
    }

    fn count(&mut self, answered: Option<Answered>) {
        let Some(Answered { batch, answers, origins }) = answered else { return };
        let new = answers.iter().filter(|answer| answer.imported == Imported::Created).count();
        self.mostly_new = new * 2 > answers.len();
        for ((answer, draft), rows) in answers.iter().zip(batch.drafts()).zip(origins) {
            self.report.answered(answer, draft, rows);
        }
    }
}

/// Again and again while the database is away: a batch that was written already changes nothing.
async fn write(
    store: Store,
    organisation: OrganisationId,
    batch: ImportBatch<'static>,
    mut ledger: Ledger,
    now: Timestamp,
) -> Written {
    let mut retry = Retry::new();
    let answers = loop {
        match store.import_batch(organisation, &batch, &mut ledger, now).await {
            Ok(answers) => break Ok(answers),
            Err(error) => {
                if let Err(error) = retry.wait(error).await {
                    break Err(error);
                }
            }
        }
    };
    Written { batch, ledger, answers }
}

/// Lets other processes write that wait since a batch `began`, if they need it. Returns when they last had a turn.
async fn give_way(contention: &Contention, began: Instant, last_turn: Instant) -> Instant {
    let pause = contention.pause(began.elapsed(), last_turn.elapsed());
    if pause.is_zero() {
        return last_turn;
    }
    tokio::time::sleep(pause).await;
    Instant::now()
}
