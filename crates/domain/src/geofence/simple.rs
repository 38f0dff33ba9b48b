//! Whether the rings of one polygon are simple: a sweep over their corners from west to east (Shamos and Hoey 1976).
//!
//! It takes n log n steps whatever the shape, while boxes or a grid degrade to n² on ten thousand slanted lines, and
//! it needs no tolerance: all predicates are exact.

use std::cmp::Ordering;

use geo::{Coord, Orientation};

use super::outline::orient;

/// An edge of a ring: from its position `start` to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) ring: usize,
    pub(super) start: usize,
}

/// Two edges that may not meet the way they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) first: Edge,
    pub(super) second: Edge,
}

/// The findings of the sweep over rings that are simple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Simple {
    /// Two rings touch in a point. That is allowed, but then one may pass into the other through a corner.
    pub(super) rings_touch: bool,
}

/// An edge with its ends in sweep order: by longitude, then latitude.
struct Segment {
    left: Coord,
    right: Coord,
    edge: Edge,
}

/// Looks for edges that cross or run along each other, and for a ring that touches itself.
///
/// Rings must be closed and without repeated positions. Different rings may touch in points.
///
/// # Errors
/// Returns the first clash from the west, if edges cross or run along each other, or a ring touches itself.
pub(super) fn check(rings: &[Vec<Coord>]) -> Result<Simple, Clash> {
    let segments = segments(rings);
    let mut events: Vec<(Coord, usize)> =
        segments.iter().enumerate().flat_map(|(i, s)| [(s.left, i), (s.right, i)]).collect();
    events.sort_by(|a, b| sweep_order(a.0, b.0).then(a.1.cmp(&b.1)));
    let mut sweep = Sweep { segments: &segments, status: Vec::new(), rings_touch: false };
    for corner in events.chunk_by(|a, b| a.0 == b.0) {
        sweep.pass(corner[0].0, corner)?;
    }
    Ok(Simple { rings_touch: sweep.rings_touch })
}

struct Sweep<'a> {
    segments: &'a [Segment],
    /// The segments that the sweep line meets, from south to north.
    status: Vec<usize>,
    rings_touch: bool,
}

impl Sweep<'_> {
    /// Passes one corner: `ends` are the segments that end or start at `at`.
    fn pass(&mut self, at: Coord, ends: &[(Coord, usize)]) -> Result<(), Clash> {
        let side = |i: &usize| orient(self.segments[*i].left, self.segments[*i].right, at);
        let low = self.status.partition_point(|i| side(i) == Orientation::CounterClockwise);
        let high = low + self.status[low..].partition_point(|i| side(i) == Orientation::Collinear);

        let through: Vec<usize> =
            self.status[low..high].iter().copied().filter(|&i| self.segments[i].right != at).collect();
        self.meet(ends, &through)?;

        let starting = ends.iter().map(|e| e.1).filter(|&i| self.segments[i].left == at);
        let mut leaving: Vec<usize> = through.iter().copied().chain(starting).collect();
        leaving.sort_by(|&a, &b| self.turn(at, a, b));
        for pair in leaving.windows(2) {
            if self.turn(at, pair[0], pair[1]) == Ordering::Equal {
                return Err(self.clash(pair[0], pair[1]));
            }
        }
        let after = low + leaving.len();
        self.status.splice(low..high, leaving);
        self.neighbours_keep_apart(low)?;
        self.neighbours_keep_apart(after)
    }

    /// Checks one corner. Two edges of a ring may come together in it, and other rings.
    fn meet(&mut self, ends: &[(Coord, usize)], through: &[usize]) -> Result<(), Clash> {
        let ring = |i: usize| self.segments[i].edge.ring;
        let mut by_ring: Vec<usize> = ends.iter().map(|e| e.1).collect();
        by_ring.sort_by_key(|&i| ring(i));
        for of_ring in by_ring.chunk_by(|&a, &b| ring(a) == ring(b)) {
            // Two edges of a ring end in each of its corners; a third means that it comes back.
            if let [first, _, third, ..] = of_ring {
                return Err(self.clash(*first, *third));
            }
            if let Some(&other) = through.iter().find(|&&i| ring(i) == ring(of_ring[0])) {
                return Err(self.clash(of_ring[0], other));
            }
        }
        let several = by_ring.first().zip(by_ring.last()).is_some_and(|(&a, &b)| ring(a) != ring(b));
        self.rings_touch |= several || !through.is_empty();
        Ok(())
    }

    /// South to north of two segments that leave `at` to the east.
    fn turn(&self, at: Coord, a: usize, b: usize) -> Ordering {
        match orient(at, self.segments[a].right, self.segments[b].right) {
            Orientation::CounterClockwise => Ordering::Less,
            Orientation::Clockwise => Ordering::Greater,
            Orientation::Collinear => Ordering::Equal,
        }
    }

    /// The segments on both sides of the gap below `above` do not cross.
    fn neighbours_keep_apart(&self, above: usize) -> Result<(), Clash> {
        let below = above.checked_sub(1).and_then(|i| self.status.get(i));
        let (Some(&below), Some(&above)) = (below, self.status.get(above)) else { return Ok(()) };
        let (s, t) = (&self.segments[below], &self.segments[above]);
        if parted(s, t) && parted(t, s) { Err(self.clash(below, above)) } else { Ok(()) }
    }

    fn clash(&self, a: usize, b: usize) -> Clash {
        let (a, b) = (self.segments[a].edge, self.segments[b].edge);
        let in_order = (a.ring, a.start) <= (b.ring, b.start);
        if in_order { Clash { first: a, second: b } } else { Clash { first: b, second: a } }
    }
}

/// Whether the ends of `t` lie on different sides of the line through `s`.
fn parted(s: &Segment, t: &Segment) -> bool {
    let (left, right) = (orient(s.left, s.right, t.left), orient(s.left, s.right, t.right));
    left != Orientation::Collinear && right != Orientation::Collinear && left != right
}

fn segments(rings: &[Vec<Coord>]) -> Vec<Segment> {
    let edges = rings.iter().enumerate().flat_map(|(ring, r)| {
        r.windows(2).enumerate().map(move |(start, w)| (w[0], w[1], Edge { ring, start }))
    });
    edges
        .map(|(a, b, edge)| {
            let (left, right) = if sweep_order(a, b).is_lt() { (a, b) } else { (b, a) };
            Segment { left, right, edge }
        })
        .collect()
}

fn sweep_order(a: Coord, b: Coord) -> Ordering {
    a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn ring(points: &[(i32, i32)]) -> Vec<Coord> {
        let coord = |&(x, y): &(i32, i32)| Coord { x: f64::from(x), y: f64::from(y) };
        points.iter().chain(points.first()).map(coord).collect()
    }

    #[rstest]
    #[case::bow_tie(&[(0, 0), (4, 4), (4, 0), (0, 4)])]
    #[case::spike(&[(0, 0), (4, 0), (4, 4), (8, 8), (4, 4), (0, 4)])]
    #[case::spike_along_an_edge(&[(0, 0), (6, 0), (4, 0), (4, 4)])]
    #[case::upright_spike(&[(0, 0), (4, 0), (4, 6), (4, 4), (0, 4)])]
    #[case::corner_on_own_edge(&[(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)])]
    #[case::figure_eight_in_a_corner(&[(0, 0), (2, 2), (4, 0), (4, 4), (2, 2), (0, 4)])]
    #[case::flat(&[(0, 0), (2, 0), (4, 0)])]
    fn a_ring_that_meets_itself_is_found(#[case] points: &[(i32, i32)]) {
        assert!(check(&[ring(points)]).is_err());
    }

    #[test]
    fn rings_may_touch_in_a_point_but_not_cross_or_share_an_edge() {
        let exterior = ring(&[(0, 0), (8, 0), (8, 8), (0, 8)]);
        let check = |hole: &[(i32, i32)]| check(&[exterior.clone(), ring(hole)]);
        assert_eq!(check(&[(2, 2), (4, 2), (4, 4)]), Ok(Simple { rings_touch: false }));
        assert_eq!(check(&[(0, 4), (4, 2), (4, 6)]), Ok(Simple { rings_touch: true }));
        assert_eq!(check(&[(8, 8), (4, 2), (4, 6)]), Ok(Simple { rings_touch: true }));
        assert!(check(&[(2, 2), (12, 2), (4, 4)]).is_err());
        assert!(check(&[(0, 2), (0, 4), (4, 4)]).is_err());
    }

    /// Every pair of edges, looked at one by one.
    fn brute_force(ring: &[Coord]) -> bool {
        let edges = ring.len() - 1;
        let on = |a: Coord, b: Coord, at: Coord| {
            let bounds = super::super::outline::Bounds::around([a, b].into_iter());
            orient(a, b, at) == Orientation::Collinear && bounds.holds(at)
        };
        (0..edges).all(|i| {
            (i + 1..edges).all(|j| {
                let (a, b, c, d) = (ring[i], ring[i + 1], ring[j], ring[j + 1]);
                if j == i + 1 || (i == 0 && j == edges - 1) {
                    // Neighbours share one corner; neither may reach back over the other.
                    let (far_i, far_j) = if j == i + 1 { (a, d) } else { (b, c) };
                    return !on(a, b, far_j) && !on(c, d, far_i);
                }
                let cross = orient(a, b, c) != orient(a, b, d) && orient(c, d, a) != orient(c, d, b);
                let apart = !on(a, b, c) && !on(a, b, d) && !on(c, d, a) && !on(c, d, b);
                apart && !cross
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// A coarse grid of corners makes touches, overlaps and upright edges common.
        #[test]
        fn the_sweep_agrees_with_looking_at_every_pair(
            points in prop::collection::vec((0..6_i32, 0..6_i32), 3..7)
        ) {
            let mut points = points;
            points.dedup();
            if points.first() == points.last() { points.pop(); }
            prop_assume!(points.len() >= 3);
            let ring = ring(&points);
            prop_assert_eq!(check(std::slice::from_ref(&ring)).is_ok(), brute_force(&ring), "{:?}", points);
        }
    }
}
