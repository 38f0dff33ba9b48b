//! The peer for matching: PostGIS, as it is usually set up for points in polygons, on the same private server.
//!
//! `geometry(Point, 4326)` with a GiST index and `ST_Covers` (boundary points are inside, as with Klaroen); edges are straight
//! in longitude and latitude, as with Klaroen. A `geography` or a distance in metres would be slower.
//!
//! Each statement is planned with its shape: PostgreSQL compares with a plan for any shape (`plan_cache_mode = auto`), finds it
//! dearer and does not take it.

use anyhow::{Context, Result};
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::country;
use crate::processes::postgres_server::PostgresServer;

const DATABASE: &str = "postgis";
pub const INSTALL: &str =
    "PostGIS: not installed; Debian: apt-get install postgresql-15-postgis-3 (as the version of the server)";
const IS_AVAILABLE: &str = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'postgis')";
const TABLE: &str =
    "CREATE TABLE places (participant uuid NOT NULL, location geometry(Point, 4326) NOT NULL)";
const INSERT: &str = "INSERT INTO places SELECT gen_random_uuid(), ST_SetSRID(ST_MakePoint(x, y), 4326)
    FROM unnest($1::float8[], $2::float8[]) AS p (x, y)";
const INSIDE: &str = "SELECT participant FROM places WHERE ST_Covers(ST_GeomFromWKB($1, 4326), location)";
/// Rows of one insert.
const BATCH: u32 = 20_000;

/// Whether several processes may share a query. Where a table is large PostgreSQL has them do so, and to start one takes
/// milliseconds, which a small answer does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processes {
    /// PostgreSQL decides, which is its default.
    Any,
    /// `max_parallel_workers_per_gather = 0`
    One,
}

/// The same points in PostGIS.
pub struct PostGis<'a> {
    server: &'a PostgresServer,
    /// Of one connection, which keeps its settings.
    pool: PgPool,
    places: u32,
    clustered: bool,
    processes: Processes,
}

/// Whether the server could have it.
pub async fn is_available(server: &PostgresServer) -> Result<bool> {
    let pool = server.pool("postgres", 1).await?;
    let available = sqlx::query_scalar(IS_AVAILABLE).fetch_one(&pool).await;
    pool.close().await;
    available.context("PostGIS")
}

impl<'a> PostGis<'a> {
    /// An empty table.
    pub async fn open(server: &'a PostgresServer) -> Result<Self> {
        server.execute("postgres", format!("CREATE DATABASE {DATABASE} TEMPLATE template0")).await?;
        server.execute(DATABASE, "CREATE EXTENSION postgis".into()).await?;
        server.execute(DATABASE, TABLE.into()).await?;
        let pool = server.pool(DATABASE, 1).await?;
        Ok(Self { server, pool, places: 0, clustered: false, processes: Processes::Any })
    }

    /// As the table of results has it.
    pub const fn name(&self) -> &'static str {
        match (self.clustered, self.processes) {
            (false, Processes::Any) => "PostGIS",
            (false, Processes::One) => "PostGIS, one process",
            (true, Processes::Any) => "PostGIS, clustered",
            (true, Processes::One) => "PostGIS, clustered, one process",
        }
    }

    /// Who may work at a query from now on.
    pub async fn set_processes(&mut self, processes: Processes) -> Result<()> {
        self.processes = processes;
        self.run(match processes {
            Processes::Any => "RESET max_parallel_workers_per_gather",
            Processes::One => "SET max_parallel_workers_per_gather = 0",
        })
        .await
    }

    /// The index is built anew over all rows, which makes a better one than row by row.
    pub async fn grow(&mut self, places: u32) -> Result<()> {
        self.run("DROP INDEX IF EXISTS places_location").await?;
        while self.places < places {
            let end = places.min(self.places + BATCH);
            let (latitudes, longitudes): (Vec<f64>, Vec<f64>) =
                (self.places..end).map(country::place).unzip();
            sqlx::query(INSERT)
                .bind(longitudes)
                .bind(latitudes)
                .execute(&self.pool)
                .await
                .context("PostGIS")?;
            self.places = end;
        }
        self.run("CREATE INDEX places_location ON places USING gist (location)").await?;
        self.run("VACUUM ANALYZE places").await
    }

    /// Puts the rows in the order of the index: the best case, which new rows undo.
    pub async fn cluster(&mut self) -> Result<()> {
        self.clustered = true;
        self.run("CLUSTER places USING places_location").await?;
        self.run("VACUUM ANALYZE places").await
    }

    /// Fetches the ids of all that are inside a polygon and counts them.
    pub async fn count(&self, polygon: &[u8]) -> Result<u64> {
        let found: Vec<Uuid> =
            sqlx::query_scalar(INSIDE).bind(polygon).fetch_all(&self.pool).await.context("PostGIS")?;
        Ok(found.len() as u64)
    }

    async fn run(&self, statement: &'static str) -> Result<()> {
        sqlx::raw_sql(statement).execute(&self.pool).await.map(drop).context("PostGIS")
    }

    /// Ends it.
    pub async fn close(self) -> Result<()> {
        self.pool.close().await;
        self.server.execute("postgres", format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await
    }
}
