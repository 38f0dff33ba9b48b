//! A polygon that was validated: its rings, and its edges indexed by latitude.
//!
//! `geo::IntervalTreeMultiPolygon` is not used: it needs holes wound against their exterior, leaves horizontal
//! edges out of its boundary test, and does not say which edges are near, which the cover needs.

use geo::{Coord, GeoNum, Kernel, Orientation};

/// The position of a point relative to an [`Outline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Inside,
    Boundary,
    Outside,
}

/// A box in degrees; its edges belong to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) min: Coord,
    pub(super) max: Coord,
}

impl Bounds {
    /// The smallest box around `coords`; inside out if there are none.
    pub(super) fn around(coords: impl Iterator<Item = Coord>) -> Self {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        let empty = Self { min: Coord { x: high, y: high }, max: Coord { x: low, y: low } };
        coords.fold(empty, |b, c| Self {
            min: Coord { x: b.min.x.min(c.x), y: b.min.y.min(c.y) },
            max: Coord { x: b.max.x.max(c.x), y: b.max.y.max(c.y) },
        })
    }

    /// Whether `c` lies in or on the box.
    pub(super) fn holds(&self, c: Coord) -> bool {
        self.min.x <= c.x && c.x <= self.max.x && self.min.y <= c.y && c.y <= self.max.y
    }

    /// Whether all of `other` lies in or on the box.
    pub(super) fn holds_all(&self, other: &Self) -> bool {
        self.holds(other.min) && self.holds(other.max)
    }

    /// Whether the boxes share a point.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.min.x <= other.max.x
            && other.min.x <= self.max.x
            && self.min.y <= other.max.y
            && other.min.y <= self.max.y
    }
}

/// One polygon: an exterior and holes, each ring closed (first position repeated at the end).
#[derive(Clone, Debug)]
pub(super) struct Outline {
    rings: Vec<Vec<Coord>>,
    edges: Vec<[Coord; 2]>,
    bounds: Bounds,
    /// Latitude is cut into bands of equal height; band `i` holds `entries[starts[i]..starts[i + 1]]`.
    bands_per_degree: f64,
    starts: Vec<u32>,
    entries: Vec<u32>,
}

impl Outline {
    /// Of closed rings; the exterior comes first.
    pub(super) fn new(rings: Vec<Vec<Coord>>) -> Self {
        let edges: Vec<[Coord; 2]> = rings.iter().flat_map(|r| r.windows(2).map(|w| [w[0], w[1]])).collect();
        let bounds = Bounds::around(edges.iter().flatten().copied());
        let mut outline =
            Self { rings, edges, bounds, bands_per_degree: 0.0, starts: Vec::new(), entries: Vec::new() };
        outline.index_by_latitude();
        outline
    }

    /// The rings, closed; the exterior comes first.
    pub(super) fn rings(&self) -> &[Vec<Coord>] {
        &self.rings
    }

    /// Every edge of every ring.
    pub(super) fn edges(&self) -> &[[Coord; 2]] {
        &self.edges
    }

    /// The smallest box around it.
    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Returns the position of `at`: even-odd over all rings, so their direction does not matter; exact predicates.
    pub(super) fn locate(&self, at: Coord) -> Position {
        if !self.bounds.holds(at) {
            return Position::Outside;
        }
        let band = self.band(at.y);
        let (Some(&from), Some(&to)) = (self.starts.get(band), self.starts.get(band + 1)) else {
            return Position::Outside;
        };
        let mut inside = false;
        for &edge in &self.entries[from as usize..to as usize] {
            let [a, b] = self.edges[edge as usize];
            if (a.x < at.x && b.x < at.x) || (a.y < at.y && b.y < at.y) || (a.y > at.y && b.y > at.y) {
                continue;
            }
            let side = orient(a, b, at);
            if side == Orientation::Collinear {
                // The box of the edge was tested above, but for its eastern side.
                if a.x <= at.x || b.x <= at.x {
                    return Position::Boundary;
                }
            } else if (a.y > at.y) != (b.y > at.y) {
                // The ray to the east meets the edge if the point is to its left (edge going north).
                inside ^= (side == Orientation::CounterClockwise) == (b.y > a.y);
            }
        }
        if inside { Position::Inside } else { Position::Outside }
    }

    /// Cuts latitude into enough bands that an edge stands in few of them, and at most 1,024: a saw-tooth of tall edges would
    /// else take edges × bands of memory.
    fn index_by_latitude(&mut self) {
        let height = self.bounds.max.y - self.bounds.min.y;
        let mut bands = (self.edges.len() / 4).clamp(1, 1024);
        loop {
            self.bands_per_degree =
                if height > 0.0 { f64::from(u32::try_from(bands).unwrap_or(1)) / height } else { 0.0 };
            let total: usize = self.edges.iter().map(|e| self.bands_of(e).count()).sum();
            if bands == 1 || total <= self.edges.len() * 8 {
                break;
            }
            bands /= 2;
        }
        let mut lists = vec![Vec::new(); bands + 1];
        for (i, edge) in (0_u32..).zip(&self.edges) {
            for band in self.bands_of(edge) {
                lists[band].push(i);
            }
        }
        self.starts = std::iter::once(0)
            .chain(lists.iter().scan(0_u32, |sum, list| {
                *sum += u32::try_from(list.len()).unwrap_or(u32::MAX);
                Some(*sum)
            }))
            .collect();
        self.entries = lists.concat();
    }

    fn bands_of(&self, edge: &[Coord; 2]) -> std::ops::RangeInclusive<usize> {
        self.band(edge[0].y.min(edge[1].y))..=self.band(edge[0].y.max(edge[1].y))
    }

    /// Never decreases with latitude, so a point and the edges at its latitude share a band.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and at most 1,024 bands fit the bounds"
    )]
    fn band(&self, latitude: f64) -> usize {
        ((latitude - self.bounds.min.y) * self.bands_per_degree) as usize
    }
}

/// Which way a-b-c turns; exact (adaptive precision), so that a point on an edge is on it for every caller.
pub(super) fn orient(a: Coord, b: Coord, c: Coord) -> Orientation {
    <f64 as GeoNum>::Ker::orient2d(a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(points: &[(f64, f64)]) -> Vec<Coord> {
        points.iter().chain(points.first()).map(|&(x, y)| Coord { x, y }).collect()
    }

    fn holed() -> Outline {
        // Both rings run the same way round on purpose.
        Outline::new(vec![
            ring(&[(0.0, 0.0), (8.0, 0.0), (8.0, 6.0), (0.0, 6.0)]),
            ring(&[(2.0, 2.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0)]),
        ])
    }

    #[test]
    fn every_edge_and_corner_is_boundary() {
        let outline = holed();
        for [a, b] in outline.edges() {
            assert_eq!(outline.locate(*a), Position::Boundary);
            let middle = Coord { x: f64::midpoint(a.x, b.x), y: f64::midpoint(a.y, b.y) };
            assert_eq!(outline.locate(middle), Position::Boundary);
        }
    }

    #[test]
    fn a_hole_is_outside_and_a_corner_at_the_same_latitude_is_counted_once() {
        let outline = holed();
        assert_eq!(outline.locate(Coord { x: 3.0, y: 3.0 }), Position::Outside);
        for y in [2.0, 4.0, 3.0] {
            assert_eq!(outline.locate(Coord { x: 1.0, y }), Position::Inside, "latitude {y}");
            assert_eq!(outline.locate(Coord { x: 6.0, y }), Position::Inside, "latitude {y}");
            assert_eq!(outline.locate(Coord { x: -1.0, y }), Position::Outside, "latitude {y}");
        }
        let spire = Outline::new(vec![ring(&[(0.0, 0.0), (4.0, 0.0), (2.0, 3.0)])]);
        assert_eq!(spire.locate(Coord { x: 0.0, y: 3.0 }), Position::Outside);
        assert_eq!(spire.locate(Coord { x: 2.0, y: 3.0 }), Position::Boundary);
    }

    #[test]
    fn a_saw_of_tall_teeth_takes_little_memory() {
        let teeth = (0..4000_u32).map(|i| (f64::from(i) * 1e-3, f64::from(i % 2)));
        let mut points: Vec<(f64, f64)> = teeth.collect();
        points.push((4.0, -1.0));
        let outline = Outline::new(vec![ring(&points)]);
        assert!(outline.entries.len() <= outline.edges.len() * 8);
    }
}
