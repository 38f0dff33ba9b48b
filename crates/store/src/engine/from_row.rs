//! Rows as structs.

/// Declares a struct that is made from a row of either engine: each field is the column of its name.
///
/// sqlx has a derive for this. Its macros depend on the drivers, so all of them, the C of SQLite included, would be compiled twice:
/// for the program, and for the compiler.
macro_rules! from_row {
    (@from $row:ty, $name:ident, $($column:ident),+) => {
        impl<'r> sqlx::FromRow<'r, $row> for $name {
            fn from_row(row: &'r $row) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok(Self { $($column: row.try_get(stringify!($column))?),+ })
            }
        }
    };
    (
        $(#[$about:meta])*
        $visible:vis struct $name:ident {
            $($(#[$about_column:meta])* $column_visible:vis $column:ident: $kind:ty),+ $(,)?
        }
    ) => {
        $(#[$about])*
        $visible struct $name {
            $($(#[$about_column])* $column_visible $column: $kind),+
        }
        $crate::engine::from_row::from_row!(@from sqlx::sqlite::SqliteRow, $name, $($column),+);
        $crate::engine::from_row::from_row!(@from sqlx::postgres::PgRow, $name, $($column),+);
    };
}
pub(crate) use from_row;
