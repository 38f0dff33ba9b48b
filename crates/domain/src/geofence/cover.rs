//! Which H3 cells a shape touches, as ranges of `places.cell`.

/// The ranges to read for a shape, sorted, disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Sorted and disjoint.
    pub ranges: Vec<CellRange>,
}

/// Resolution-9 cells `first..=last`, as 64-bit integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRange {
    /// The first cell.
    pub first: i64,
    /// The last cell, included.
    pub last: i64,
    /// Every point of these cells is inside the shape: no need to check.
    pub inside: bool,
}
