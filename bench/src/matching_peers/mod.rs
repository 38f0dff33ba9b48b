//! Matching: the same shapes and the same places for everybody who can be asked.

mod contestants;
mod country;
mod postgis;
mod shapes;

use self::contestants::{Contestant, Registry};
use self::postgis::{PostGis, Processes};
use self::shapes::Shape;
use crate::installation::database::{Databases, Engine};
use crate::output;
use crate::plan::{Part, Plan};
use crate::processes::postgres_server::PostgresServer;
use crate::report::figures::{Matching, Report};
use anyhow::Result;

/// The questions that every contestant is asked, and the right answers.
struct Questions {
    shapes: Vec<Shape>,
    places: u32,
    /// For each shape and each place where it is drawn.
    expected: Vec<Vec<u64>>,
}

/// Asks everybody, in registries that grow.
pub async fn run(plan: &Plan, server: Option<&PostgresServer>, report: &mut Report) -> Result<()> {
    let sqlite = Databases::sqlite()?;
    let postgres = server.map(Databases::Postgres);
    let mut contestants = open_contestants(plan, &sqlite, postgres.as_ref(), report).await;
    let mut shapes = shapes::all(plan.geodata.as_deref())?;
    for places in &plan.places {
        let expected = contestants::expected(&shapes, *places)?;
        let questions = Questions { shapes, places: *places, expected };
        let mut still_in = Vec::new();
        for mut contestant in contestants {
            let name = contestant.name();
            output::note(format_args!("{name}: matching among {places} places"));
            let last = Some(places) == plan.places.last();
            match ask(&mut contestant, &questions, last, report).await {
                Ok(()) => still_in.push(contestant),
                Err(failure) => report.fail(format_args!("{name} among {places} places"), &failure),
            }
        }
        contestants = still_in;
        shapes = questions.shapes;
    }
    for contestant in contestants {
        match contestant {
            Contestant::Klaroen(registry) => registry.close().await?,
            Contestant::PostGis(postgis) => postgis.close().await?,
        }
    }
    Ok(())
}

/// Opens every contestant that can be asked who is inside.
async fn open_contestants<'a>(
    plan: &Plan,
    sqlite: &'a Databases<'a>,
    postgres: Option<&'a Databases<'a>>,
    report: &mut Report,
) -> Vec<Contestant<'a>> {
    let mut contestants = Vec::new();
    let engines = if plan.has(Part::Matching) { plan.engines.as_slice() } else { &[] };
    for engine in engines {
        let databases = match engine {
            Engine::Sqlite => Some(sqlite),
            Engine::Postgres => postgres,
        };
        let Some(databases) = databases else { continue };
        match Registry::open(databases).await {
            Ok(registry) => contestants.push(Contestant::Klaroen(Box::new(registry))),
            Err(failure) => report.fail(format_args!("matching on {}", engine.name()), &failure),
        }
    }
    if let (Some(server), true) = (postgres.and_then(Databases::server), plan.has(Part::Postgis)) {
        match peer(server).await {
            Ok(Some(postgis)) => contestants.push(Contestant::PostGis(postgis)),
            Ok(None) => report.leave_out(postgis::INSTALL),
            Err(failure) => report.fail("PostGIS", &failure),
        }
    }
    contestants
}

/// PostGIS, where the server has it.
async fn peer(server: &PostgresServer) -> Result<Option<PostGis<'_>>> {
    if postgis::is_available(server).await? { PostGis::open(server).await.map(Some) } else { Ok(None) }
}

/// Measures all shapes in one size of registry: PostGIS as it is set up usually and at its best, in the last one also in the
/// order of its index.
async fn ask(
    contestant: &mut Contestant<'_>,
    questions: &Questions,
    last: bool,
    report: &mut Report,
) -> Result<()> {
    contestant.grow(questions.places).await?;
    each_shape(contestant, questions, report).await;
    if !matches!(contestant, Contestant::PostGis(_)) {
        return Ok(());
    }
    in_one_process(contestant, questions, report).await?;
    if last {
        if let Contestant::PostGis(postgis) = contestant {
            postgis.cluster().await?;
        }
        each_shape(contestant, questions, report).await;
        in_one_process(contestant, questions, report).await?;
    }
    Ok(())
}

async fn in_one_process(
    contestant: &mut Contestant<'_>,
    questions: &Questions,
    report: &mut Report,
) -> Result<()> {
    if let Contestant::PostGis(postgis) = contestant {
        postgis.set_processes(Processes::One).await?;
    }
    each_shape(contestant, questions, report).await;
    if let Contestant::PostGis(postgis) = contestant {
        postgis.set_processes(Processes::Any).await?;
    }
    Ok(())
}

/// A wrong answer to one shape spoils that figure, not the others.
async fn each_shape(contestant: &Contestant<'_>, questions: &Questions, report: &mut Report) {
    let Questions { shapes, places, expected } = questions;
    for (shape, expected) in shapes.iter().zip(expected) {
        let figure = match contestant.measure(*places, shape, expected).await {
            Ok(figure) => figure,
            Err(failure) => {
                report.fail(format_args!("{} among {places} places", contestant.name()), &failure);
                Matching::failed(contestant.name(), *places, shape, expected)
            }
        };
        report.matching.push(figure);
    }
}
