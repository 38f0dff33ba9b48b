//! The peer for matching: PostGIS, as it is usually set up for points in polygons, on the same private server.
//!
//! `geometry(Point, 4326)` with a GiST index and `ST_Covers` (boundary points are inside, as with Klaroen); edges are straight
//! in longitude and latitude, as with Klaroen. A `geography` or a distance in metres would be slower.

use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::country;
use super::postgres_server::PostgresServer;
use crate::failure::{Because, Failure};

const DATABASE: &str = "postgis";
const INSTALL: &str =
    "PostGIS: not installed; Debian: apt-get install postgresql-15-postgis-3 (as the version of the server)";
const TABLE: &str =
    "CREATE TABLE places (participant uuid NOT NULL, location geometry(Point, 4326) NOT NULL)";
const INSERT: &str = "INSERT INTO places SELECT gen_random_uuid(), ST_SetSRID(ST_MakePoint(x, y), 4326)
    FROM unnest($1::float8[], $2::float8[]) AS p (x, y)";
const INSIDE: &str = "SELECT participant FROM places WHERE ST_Covers(ST_GeomFromWKB($1, 4326), location)";
/// Rows of one insert.
const BATCH: u32 = 20_000;

/// The same points in PostGIS.
pub struct PostGis<'a> {
    server: &'a PostgresServer,
    pool: PgPool,
    places: u32,
    clustered: bool,
}

impl<'a> PostGis<'a> {
    /// An empty table.
    pub async fn open(server: &'a PostgresServer) -> Result<Self, Failure> {
        server.execute("postgres", format!("CREATE DATABASE {DATABASE} TEMPLATE template0")).await?;
        if let Err(failure) = server.execute(DATABASE, "CREATE EXTENSION postgis".into()).await {
            return Err(Failure::new(format!("{INSTALL} ({failure})")));
        }
        server.execute(DATABASE, TABLE.into()).await?;
        let pool = server.pool(DATABASE, 1).await?;
        Ok(Self { server, pool, places: 0, clustered: false })
    }

    /// As the table of results has it.
    pub const fn name(&self) -> &'static str {
        if self.clustered { "PostGIS, clustered" } else { "PostGIS" }
    }

    /// The index is built anew over all rows, which makes a better one than row by row.
    pub async fn grow(&mut self, places: u32) -> Result<(), Failure> {
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
                .because("PostGIS")?;
            self.places = end;
        }
        self.run("CREATE INDEX places_location ON places USING gist (location)").await?;
        self.run("VACUUM ANALYZE places").await
    }

    /// Puts the rows in the order of the index: the best case, which new rows undo.
    pub async fn cluster(&mut self) -> Result<(), Failure> {
        self.clustered = true;
        self.run("CLUSTER places USING places_location").await?;
        self.run("VACUUM ANALYZE places").await
    }

    /// Fetches the ids of all that are inside a polygon and counts them.
    pub async fn count(&self, polygon: &[u8]) -> Result<u64, Failure> {
        let found: Vec<Uuid> =
            sqlx::query_scalar(INSIDE).bind(polygon).fetch_all(&self.pool).await.because("PostGIS")?;
        Ok(found.len() as u64)
    }

    async fn run(&self, statement: &'static str) -> Result<(), Failure> {
        sqlx::raw_sql(statement).execute(&self.pool).await.map(drop).because("PostGIS")
    }

    /// Ends it.
    pub async fn close(self) -> Result<(), Failure> {
        self.pool.close().await;
        self.server.execute("postgres", format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await
    }
}
