//! The registry of a bench: everybody inside one circle.

use std::fmt::Write as _;
use std::path::Path;

use klaroen_simulator::{Smsc, SmscConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::failure::{Because, Failure};
use crate::scratch;
use crate::service::Service;

const LATITUDE: f64 = 52.55;
const LONGITUDE: f64 = 5.20;
/// Degrees from the middle within which people live: some 2.2 km and 2.0 km. The circle of 5 km holds them all.
const SPREAD: (f64, f64) = (0.02, 0.03);
const RADIUS_M: u32 = 5_000;
/// Receipts that the SMSC leaves unanswered.
pub const RECEIPT_WINDOW: usize = 500;

/// A database with people in it, to be copied for each run.
pub struct Town {
    pub recipients: u32,
    pub import_rows_per_second: f64,
    pub operator_key: String,
    directory: TempDir,
}

impl Town {
    /// Enrols through the API, as one CSV.
    pub async fn enrol(recipients: u32) -> Result<Self, Failure> {
        let directory = tempfile::tempdir().because("cannot make a temporary directory")?;
        scratch::make_keys(directory.path())?;
        let smsc = Smsc::start(smsc_config()).await?;
        let service = Service::start(scratch::configuration(directory.path(), smsc.addr(), 1)?).await?;
        let [operator_key, admin_key] = scratch::organisation(service.store(), "bench", "Bench").await?;
        let admin = scratch::client(service.address(), &admin_key)?;
        let csv = registry(recipients);
        let began = Instant::now();
        let result = admin.post_csv("/v1/participants/imports", csv).await?;
        let seconds = began.elapsed().as_secs_f64();
        if result["created"].as_u64() != Some(u64::from(recipients)) {
            return Err(Failure::new(format!("the import of the bench went wrong: {result}")));
        }
        service.stop().await?;
        smsc.shutdown().await;
        Ok(Self {
            recipients,
            import_rows_per_second: f64::from(recipients) / seconds,
            operator_key,
            directory,
        })
    }

    /// Copies database and keys to `target`.
    pub fn copy_to(&self, target: &Path) -> Result<(), Failure> {
        let source = self.directory.path();
        for file in [scratch::database(source), source.join("scratch.key")] {
            let name = file.file_name().unwrap_or_default();
            std::fs::copy(&file, target.join(name)).because(file.display())?;
        }
        Ok(())
    }
}

/// Without faults or delays: the machine is measured, not the provider.
pub fn smsc_config() -> SmscConfig {
    let (system_id, password) = scratch::ACCOUNT;
    SmscConfig {
        system_id: Some(system_id.into()),
        password: Some(password.into()),
        record_texts: false,
        // Receipts are acknowledged when they are on the disk: with few open at a time, the disk's latency alone is measured.
        deliver_window: RECEIPT_WINDOW,
        ..SmscConfig::default()
    }
}

/// An alert for all of them.
pub fn alert() -> Value {
    json!({
        "area": {"circle": {"center": {"latitude": LATITUDE, "longitude": LONGITUDE}, "radius_m": RADIUS_M}},
        "text": "Burgeralert: let op een grijze bestelbus met gebroken achterruit. Gezien? Antwoord op dit bericht of bel 112.",
        "priority": "life_threatening",
    })
}

fn registry(recipients: u32) -> String {
    let mut random = StdRng::seed_from_u64(1);
    let mut csv = String::from("kind,phone,label,latitude,longitude,external_id,consent_at,consent_method\n");
    for number in 0..recipients {
        let latitude = LATITUDE + SPREAD.0 * random.random_range(-1.0..1.0);
        let longitude = LONGITUDE + SPREAD.1 * random.random_range(-1.0..1.0);
        let phone = 11_000_000 + number;
        writeln!(
            csv,
            "resident,+316{phone:08},home,{latitude:.6},{longitude:.6},bench-{number},2026-01-01T12:00:00+01:00,web"
        )
        .unwrap_or_else(|_| unreachable!("a String takes everything"));
    }
    csv
}
