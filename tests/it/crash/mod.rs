//! `kill -9` at random moments: no recipient is lost, and no phone rings twice unseen.
//!
//! The program runs as a child process with a database of its own; the message centre runs in the test, outlives it and
//! remembers every ring. The moments are drawn from a seed; what is under way then is up to the machine.

mod ending;
mod full_disk;
mod intake;
mod sending;
mod witness;

use std::time::Duration;

use klaroen_simulator::{Faults, Smsc, SmscConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::client::Client;
use crate::program::{Installation, Program};

/// The stage that a test begins with.
struct Stage {
    smsc: Smsc,
    installation: Installation,
    moments: StdRng,
}

impl Stage {
    /// `people` in each of some neighbourhoods, and a gateway with `gateway` in its configuration.
    async fn set(seed: u64, faults: Faults, gateway: &str, neighbourhoods: usize, people: usize) -> Self {
        let smsc = Smsc::start(SmscConfig { seed, faults, ..SmscConfig::default() }).await.unwrap();
        let installation = Installation::new(&smsc, gateway);
        installation.import(&crate::client::registry(neighbourhoods, people));
        Self { smsc, installation, moments: StdRng::seed_from_u64(seed) }
    }

    /// A moment between now and `ms` milliseconds later.
    async fn moment(&mut self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.moments.random_range(0..=ms))).await;
    }

    fn serve(&self) -> (Program, Client) {
        let program = self.installation.serve();
        let client = Client::new(&self.installation, &program);
        (program, client)
    }

    /// Every now and then a start is cut off, too; then it starts.
    async fn serve_again(&mut self) -> (Program, Client) {
        if self.moments.random_bool(0.25) {
            let program = self.installation.spawn();
            self.moment(400).await;
            program.kill();
        }
        self.serve()
    }
}
