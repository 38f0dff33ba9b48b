//! Which H3 cells a shape touches, as ranges of `places.cell`.
//!
//! The search goes down from H3's 122 base cells. Around each cell stands a disc that surely holds every point of
//! every resolution-9 cell below it; a disc that no edge of the shape comes near is wholly inside or outside, and only
//! the others are split. So a coarse cell in the answer is exact too, although an H3 cell does not cover its children.

use std::rc::Rc;

use geo::Coord;
use h3o::{CellIndex, LatLng, Resolution};

use super::Shape;
use super::circle::Circle;
use super::outline::{Bounds, Outline, Position};
use crate::point::CELL_RESOLUTION;

/// If more cells than this straddle the boundary, they are not split further: a country's outline would take
/// more look-ups than it saves rows.
const SPLIT_CELLS_MAX: usize = 4_000;
/// Nor are they split if the edges near each of them add up to more than this and eight times the shape's own: ten thousand
/// corners that all lie close together (a saw-tooth) would take a quarter of a second.
const SPLIT_EDGES_MAX: usize = 250_000;

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

impl Cover {
    /// The range that `cell` is in.
    #[must_use]
    pub fn find(&self, cell: i64) -> Option<&CellRange> {
        let after = self.ranges.partition_point(|r| r.first <= cell);
        self.ranges[..after].last().filter(|r| cell <= r.last)
    }

    /// How many resolution-9 cells the ranges hold.
    #[must_use]
    pub fn cell_count(&self) -> u64 {
        let bases: Vec<CellIndex> = CellIndex::base_cells().collect();
        let rank = |id: i64| -> u64 {
            let Ok(cell) = CellIndex::try_from(id.cast_unsigned()) else { return 0 };
            let before = bases.iter().filter(|b| b.base_cell() < cell.base_cell());
            let before: u64 = before.map(|b| b.children_count(CELL_RESOLUTION)).sum();
            before + cell.child_position(Resolution::Zero).unwrap_or(0)
        };
        self.ranges.iter().map(|r| rank(r.last) - rank(r.first) + 1).sum()
    }

    /// Sorts the ranges and joins neighbours of one kind.
    fn from_disjoint(mut ranges: Vec<CellRange>) -> Self {
        ranges.sort_unstable_by_key(|r| r.first);
        let mut joined: Vec<CellRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.inside == range.inside && follows(last.last, range.first) => {
                    last.last = range.last;
                }
                _ => joined.push(range),
            }
        }
        Self { ranges: joined }
    }
}

/// Whether no resolution-9 cell lies between the two. Ids have gaps: a digit of an id runs from 0 to 6 of 0 to 7.
fn follows(last: i64, first: i64) -> bool {
    let next = CellIndex::try_from(last.cast_unsigned()).ok().and_then(CellIndex::succ);
    next.is_some_and(|next| u64::from(next).cast_signed() == first)
}

/// The cover of all shapes together.
pub(super) fn cover(shapes: &[Shape]) -> Cover {
    let mut ranges = Vec::new();
    let near: Vec<Near> = shapes.iter().enumerate().map(|(i, shape)| Near::all(i, shape)).collect();
    let edges_max = SPLIT_EDGES_MAX + 8 * near.iter().map(|n| n.edges.len()).sum::<usize>();
    let mut level: Vec<Node> =
        CellIndex::base_cells().map(|cell| Node { cell, near: near.clone() }).collect();
    for resolution in Resolution::range(Resolution::Zero, CELL_RESOLUTION) {
        let mut straddling = Vec::new();
        for node in level {
            match node.look(resolution, shapes) {
                Found::Outside => {}
                Found::Inside => ranges.push(below(node.cell, true)),
                Found::Straddles(node) => straddling.push(node),
            }
        }
        let edges: usize = straddling.iter().map(Node::edge_count).sum();
        let too_much = straddling.len() > SPLIT_CELLS_MAX || edges > edges_max;
        if resolution == CELL_RESOLUTION || too_much {
            ranges.extend(straddling.iter().map(|node| below(node.cell, false)));
            break;
        }
        level = straddling.iter().flat_map(Node::split).collect();
    }
    Cover::from_disjoint(ranges)
}

/// The range of all resolution-9 cells below `cell`: they are neighbours in the order of ids.
fn below(cell: CellIndex, inside: bool) -> CellRange {
    let child = |position| cell.child_at(position, CELL_RESOLUTION).unwrap_or(cell);
    let last = cell.children_count(CELL_RESOLUTION).saturating_sub(1);
    CellRange { first: u64::from(child(0)).cast_signed(), last: u64::from(child(last)).cast_signed(), inside }
}

/// A cell to look at, and what of each shape may be near.
struct Node {
    cell: CellIndex,
    near: Vec<Near>,
}

/// A shape that may straddle the cell, and the edges of it that may be near (none for a circle).
#[derive(Clone)]
struct Near {
    shape: usize,
    edges: Rc<[u32]>,
}

impl Near {
    fn all(shape: usize, of: &Shape) -> Self {
        let edges = match of {
            Shape::Circle(_) => Rc::default(),
            Shape::Outline(outline) => (0_u32..).zip(outline.edges()).map(|(i, _)| i).collect(),
        };
        Self { shape, edges }
    }
}

enum Found {
    Outside,
    Inside,
    Straddles(Node),
}

impl Node {
    fn edge_count(&self) -> usize {
        self.near.iter().map(|near| near.edges.len()).sum()
    }

    fn split(&self) -> impl Iterator<Item = Self> {
        let finer = self.cell.resolution().succ();
        let children = finer.into_iter().flat_map(|finer| self.cell.children(finer));
        children.map(|cell| Self { cell, near: self.near.clone() })
    }

    fn look(&self, resolution: Resolution, shapes: &[Shape]) -> Found {
        let disc = Disc::around(self.cell, resolution);
        let mut near = Vec::new();
        for shape in &self.near {
            let relation = match &shapes[shape.shape] {
                Shape::Circle(circle) => disc.to_circle(circle),
                Shape::Outline(outline) => disc.to_outline(outline, &shape.edges),
            };
            match relation {
                Relation::Outside => {}
                Relation::Inside => return Found::Inside,
                Relation::Straddles(edges) => {
                    let edges = edges.unwrap_or_else(|| Rc::clone(&shape.edges));
                    near.push(Near { shape: shape.shape, edges });
                }
            }
        }
        if near.is_empty() { Found::Outside } else { Found::Straddles(Self { cell: self.cell, near }) }
    }
}

enum Relation {
    Outside,
    Inside,
    /// With the edges that are near, or `None` if all of them still are.
    Straddles(Option<Rc<[u32]>>),
}

/// A disc on H3's sphere that holds all resolution-9 cells below a cell.
struct Disc {
    center: LatLng,
    radius_rad: f64,
    /// A box around the disc, in degrees.
    bounds: Bounds,
}

impl Disc {
    /// Over all cells of resolutions 0 to 5 (finer ones are the same shapes, smaller) a corner is at most 1.0998
    /// average edge lengths from its cell's centre and a child's centre at most 0.7200. Down an endless line of
    /// children that adds up to 0.7201 / (1 - 1 / √7) = 1.158. Both are rounded up.
    fn around(cell: CellIndex, resolution: Resolution) -> Self {
        let edges = if resolution == CELL_RESOLUTION { 1.102 } else { 1.165 };
        let radius_rad = edges * resolution.edge_length_rads();
        let center = LatLng::from(cell);
        Self { center, radius_rad, bounds: bounds_of_disc(center, radius_rad) }
    }

    fn to_outline(&self, outline: &Outline, edges: &Rc<[u32]>) -> Relation {
        if !self.bounds.meets(outline.bounds()) {
            return Relation::Outside;
        }
        if self.bounds.holds_all(outline.bounds()) {
            return Relation::Straddles(None);
        }
        let all = outline.edges();
        let near: Vec<u32> =
            edges.iter().copied().filter(|&i| comes_near(all[i as usize], &self.bounds)).collect();
        if !near.is_empty() {
            let fewer = near.len() < edges.len();
            return Relation::Straddles(fewer.then(|| near.into()));
        }
        match outline.locate(Coord { x: self.center.lng(), y: self.center.lat() }) {
            Position::Outside => Relation::Outside,
            Position::Inside | Position::Boundary => Relation::Inside,
        }
    }

    /// Compares on the sphere. A line between two points is between `LEAST` and `MOST` metres on the WGS84 ellipsoid
    /// for each radian on the sphere of the same latitudes and longitudes.
    fn to_circle(&self, circle: &Circle) -> Relation {
        /// The smallest radius of curvature, north-south at the equator: a (1 - e²) = 6,335,439.3 m.
        const LEAST: f64 = 6_335_439.0;
        /// The largest, at the poles: a² / b = 6,399,593.6 m.
        const MOST: f64 = 6_399_594.0;
        let Ok(center) = LatLng::new(circle.center.latitude(), circle.center.longitude()) else {
            return Relation::Straddles(None);
        };
        let between = self.center.distance_rads(center);
        if (between - self.radius_rad) * LEAST > circle.radius_m {
            Relation::Outside
        } else if (between + self.radius_rad) * MOST < circle.radius_m {
            Relation::Inside
        } else {
            Relation::Straddles(None)
        }
    }
}

/// A box of degrees around a disc on a sphere. Around a pole or across the antimeridian it takes all longitudes.
fn bounds_of_disc(center: LatLng, radius_rad: f64) -> Bounds {
    /// 0.1 mm: the rounding errors of degrees and radians are a thousandth of it.
    const SLACK_DEG: f64 = 1e-9;
    let (lat, lon) = (center.lat(), center.lng());
    let high = radius_rad.to_degrees() + SLACK_DEG;
    // NaN if the disc holds a pole.
    let wide = (radius_rad.sin() / center.lat_radians().cos()).asin().to_degrees() + SLACK_DEG;
    let fits = lat.abs() + high < 90.0 && lon.abs() + wide <= 180.0;
    let (west, east) = if fits { (lon - wide, lon + wide) } else { (-180.0, 180.0) };
    Bounds { min: Coord { x: west, y: lat - high }, max: Coord { x: east, y: lat + high } }
}

/// Whether an edge (straight in degrees, RFC 7946 §3.1.1) meets the box: no axis and not the edge's own direction
/// separates them.
fn comes_near([a, b]: [Coord; 2], bounds: &Bounds) -> bool {
    let of_edge = Bounds {
        min: Coord { x: a.x.min(b.x), y: a.y.min(b.y) },
        max: Coord { x: a.x.max(b.x), y: a.y.max(b.y) },
    };
    if !of_edge.meets(bounds) {
        return false;
    }
    let along = b - a;
    let middle = (bounds.min + bounds.max) / 2.0;
    let half = (bounds.max - bounds.min) / 2.0;
    let off = along.x * (middle.y - a.y) - along.y * (middle.x - a.x);
    off.abs() <= along.x.abs() * half.y + along.y.abs() * half.x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geofence::Geofence;
    use crate::point::Point;

    fn circle(radius_m: f64) -> Geofence {
        Geofence::circle(Point::wgs84(52.0907, 5.1214).unwrap(), radius_m).unwrap()
    }

    #[test]
    fn the_cells_below_a_cell_are_one_range_of_ids() {
        let utrecht = LatLng::new(52.0907, 5.1214).unwrap().to_cell(Resolution::Six);
        let pentagon = Resolution::Six.pentagons().next().unwrap();
        for cell in [utrecht, pentagon] {
            let range = below(cell, true);
            let children: Vec<CellIndex> = cell.children(CELL_RESOLUTION).collect();
            assert!(children.windows(2).all(|w| w[0].succ() == Some(w[1])));
            assert_eq!(u64::from(children[0]).cast_signed(), range.first);
            assert_eq!(u64::from(*children.last().unwrap()).cast_signed(), range.last);
            assert_eq!(Cover { ranges: vec![range] }.cell_count(), u64::try_from(children.len()).unwrap());
        }
    }

    #[test]
    fn ranges_are_sorted_disjoint_and_joined() {
        for radius_m in [10.0, 1500.0, 20_000.0] {
            let cover = circle(radius_m).cover();
            for pair in cover.ranges.windows(2) {
                assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first);
                assert!(pair[0].inside != pair[1].inside || !follows(pair[0].last, pair[1].first));
            }
        }
    }

    #[test]
    fn a_cover_is_tight() {
        // Cells of 0.09 km² here: 7.07 km² is some 75 cells, and the rim adds its own.
        let cells = circle(1500.0).cover().cell_count();
        assert!((75..160).contains(&cells), "{cells}");
        let cover = circle(15_000.0).cover();
        assert!((7_500..9_000).contains(&cover.cell_count()), "{}", cover.cell_count());
        assert!(cover.ranges.len() < 1_000, "{}", cover.ranges.len());
        let inside = Cover { ranges: cover.ranges.into_iter().filter(|r| r.inside).collect() };
        assert!(inside.cell_count() > 6_500, "{}", inside.cell_count());
    }

    /// Two dozen areas of the library, each with thousands of corners, are still covered cell by cell.
    #[test]
    fn a_union_of_detailed_areas_is_covered_finely() {
        let area = |i: u32| {
            let corner = |k: u32| {
                let angle = std::f64::consts::TAU * f64::from(k % 3000) / 3000.0;
                [5.0 + 0.03 * f64::from(i) + 0.01 * angle.cos(), 52.0 + 0.01 * angle.sin()]
            };
            let ring: Vec<[f64; 2]> = (0..=3000).map(corner).collect();
            Geofence::from_geojson(&serde_json::json!({"type": "Polygon", "coordinates": [ring]})).unwrap()
        };
        let one = area(0).cover().cell_count();
        let cells = Geofence::union((0..24).map(area).collect()).cover().cell_count();
        assert!(cells < 30 * one, "{cells} for {one} each");
    }

    /// Measured once by brute force and relied on by [`Disc::around`].
    #[test]
    fn the_disc_holds_every_cell_below() {
        for (lat, lon) in [(52.09, 5.12), (0.0, 0.0), (-70.0, 100.0), (64.7, 10.5), (37.5, -122.3)] {
            let start = LatLng::new(lat, lon).unwrap();
            for resolution in Resolution::range(Resolution::Four, CELL_RESOLUTION) {
                let cell = start.to_cell(resolution);
                let disc = Disc::around(cell, resolution);
                for child in cell.children(CELL_RESOLUTION).step_by(3) {
                    for corner in child.boundary().iter() {
                        assert!(disc.center.distance_rads(*corner) < disc.radius_rad);
                    }
                }
            }
        }
    }
}
