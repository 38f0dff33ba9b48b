//! The stage of the demo: a directory that goes away, an SMSC, a server, and a registry.

use std::time::Instant;

use klaroen_simulator::{Faults, Smsc, SmscConfig};

use super::api::Api;
use super::temporary_directory::TemporaryDirectory;
use super::{city, installation};
use crate::failure::{Because, Failure};
use crate::output;
use crate::service::Service;

/// Everything that runs.
pub struct Stage {
    pub smsc: Smsc,
    pub operator: Api,
    /// For the commands that are printed: these keys die with the demo.
    pub operator_key: String,
    pub admin_key: String,
    pub base: String,
    /// Numbers of the people in the alerted neighbourhood, digits only.
    pub alerted: Vec<String>,
    service: Service,
    /// Removed when it is dropped.
    _directory: TemporaryDirectory,
}

/// Two connections, as a provider would allow.
const BINDS: u16 = 2;

impl Stage {
    /// Sets everything up, telling what it does.
    pub async fn set(participants: u32, seed: u64, smsc: SmscConfig) -> Result<Self, Failure> {
        let directory = TemporaryDirectory::new().because("cannot make a temporary directory")?;
        installation::make_keys(directory.path())?;
        let smsc = Smsc::start(smsc).await.because("cannot start the built-in SMSC")?;
        let service =
            Service::start(installation::configuration(directory.path(), smsc.addr(), BINDS)?).await?;
        let base = format!("http://{}", service.address());
        output::note(format_args!(
            "Klaroen serves on {base}; a built-in SMSC on {} stands in for the provider. Nothing leaves this machine.",
            smsc.addr()
        ));
        let [operator_key, admin_key] =
            installation::organisation(service.store(), "klarendam", "Gemeente Klarendam").await?;
        let admin = installation::client(service.address(), &admin_key)?;
        let town = city::registry(participants, seed);
        admin.put("/v1/areas", &city::areas()).await?;
        enrol(&admin, town.csv).await?;
        Ok(Self {
            operator: installation::client(service.address(), &operator_key)?,
            alerted: town.alerted.iter().map(|number| number.trim_start_matches('+').to_owned()).collect(),
            smsc,
            operator_key,
            admin_key,
            base,
            service,
            _directory: directory,
        })
    }

    /// Stops everything and removes the directory.
    pub async fn strike(self) -> Result<(), Failure> {
        let stopped = self.service.stop().await;
        self.smsc.shutdown().await;
        stopped
    }
}

/// Answers like a provider on a fair day: 5 to 50 ms to each submit, and receipts with a realistic mix.
pub fn fair_provider(seed: u64) -> SmscConfig {
    let (system_id, password) = installation::ACCOUNT;
    SmscConfig {
        seed,
        system_id: Some(system_id.into()),
        password: Some(password.into()),
        faults: Faults {
            response_delay_ms: (5, 50),
            receipt_delay_ms: (300, 3_000),
            undelivered: 0.03,
            expired: 0.005,
            no_receipt: 0.005,
            ..Faults::default()
        },
        ..SmscConfig::default()
    }
}

async fn enrol(admin: &Api, csv: String) -> Result<(), Failure> {
    let began = Instant::now();
    let result = admin.post_csv("/v1/participants/imports", csv).await?;
    if result["rejected"].as_u64() != Some(0) {
        return Err(Failure::new(format!(
            "rows of the demo's own CSV were rejected: {}",
            result["errors"][0]
        )));
    }
    output::note(format_args!(
        "{} people of Klarendam, a town that does not exist, were enrolled from CSV in {} ms.",
        result["created"],
        began.elapsed().as_millis()
    ));
    Ok(())
}
