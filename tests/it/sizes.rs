//! How much the long tests do. What they assert holds for any of these numbers: they are as small as a run of the suite that
//! somebody waits for wants them, and `make soak` repeats the tests with other seeds.

/// How many times as much: 1, or what `KLAROEN_SOAK` says.
fn times() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "the tests' only setting: how long to go on")]
    let times = std::env::var("KLAROEN_SOAK");
    times.map_or(1, |times| times.parse().expect("KLAROEN_SOAK is a number"))
}

/// The seeds of a test that ends processes at random moments.
pub fn seeds(first: u64) -> impl Iterator<Item = u64> {
    (0..u64::from(times())).map(move |round| first + round * 100)
}

/// Random polygons, each of which is compared with everybody in a city.
pub fn polygons() -> u32 {
    20 * times()
}

/// Who is asked through a Kannel that sends some hundred a second.
pub const PEOPLE_BEHIND_KANNEL: u64 = 400;

/// Several processes on one PostgreSQL, which send 450 a second.
pub mod cluster {
    /// Who is asked while processes are killed: sending to them takes twice as long as the kills.
    pub const PEOPLE: usize = 6_000;
    pub const KILLS: u32 = 5;
    /// Each lets the sending go on for three seconds or so.
    pub const RESTARTS: usize = 3;
    pub const PEOPLE_OF_RESTARTS: usize = 5_000;
    /// Twice: before and after the demotion.
    pub const PEOPLE_OF_DEMOTION: usize = 2_000;
    /// Of three kills, before each of which some 200 are asked.
    pub const PEOPLE_OF_ONE_BIND: usize = 1_500;
    /// Three pages: the first is small.
    pub const PEOPLE_OF_PAGES: usize = 8_000;
}

/// One process on a SQLite file.
pub mod crash {
    /// Who is asked by each alert while the process is killed: four seconds of sending.
    pub const PEOPLE: usize = 1_500;
    /// More than are alerted until the last kill, however long a busy machine takes to start again: it sends meanwhile.
    pub const NEIGHBOURHOODS: usize = 8;
    pub const KILLS: u32 = 6;
    pub const KILLS_OF_LIVES: u32 = 4;
    pub const ALERTS_ENDED: usize = 4;
    pub const PEOPLE_OF_ENDED: usize = 1_500;
    /// Four pages of deliveries: the first is small.
    pub const PEOPLE_OF_INTAKE: usize = 12_000;
    /// In every other one it is killed between two pages, in the others at any moment of the intake.
    pub const ROUNDS: usize = 4;
}

/// Two gateways, of which the first fails.
pub mod failover {
    /// Who is asked.
    pub const PEOPLE: u32 = 1_200;
    /// It happens when the first gateway has taken so many.
    pub const BEFORE: u32 = 400;
}
