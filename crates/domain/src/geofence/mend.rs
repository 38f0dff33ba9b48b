//! Mends a ring that meets itself although inside and outside are clear: a spike that rounding left, a ring that touches itself
//! in a point, a bridge that is walked twice.
//!
//! At each place where the ring meets itself it falls apart into two loops. A loop without width is dropped. What remains must
//! lie side by side and be wound alike (islands that touch), or one inside another and be wound against it (a hole that
//! touches its exterior). Everything else crosses, and inside and outside are not clear: it stays refused.

use geo::line_intersection::{LineIntersection, line_intersection};
use geo::{Area, Coord, Euclidean, Length, Line, LineString, Polygon};

use super::outline::{Outline, Position};
use super::simple::{self, Clash};

/// Width, in degrees, of a loop that is no more than a rounded line: some centimetres on the ground.
const WIDTH_MAX_DEG: f64 = 5e-7;
/// Places of one ring that are mended. Each costs a look at the whole ring.
const MENDS_MAX: usize = 100;

/// What was mended at a corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// A spike was cut off, or a loop without width.
    Spike,
    /// The ring was parted where it touched itself.
    Touch,
}

/// A ring, closed, and for each position its place in the ring that it comes from.
#[derive(Clone, Debug)]
struct Loop {
    coords: Vec<Coord>,
    places: Vec<usize>,
}

/// The rings of which a ring consists.
pub(super) struct Mended {
    /// For each island its exterior, then its holes.
    pub(super) islands: Vec<Vec<Vec<Coord>>>,
    /// What was mended, with the corner of the ring.
    pub(super) mends: Vec<(usize, Mend)>,
}

/// Mends a closed ring without repeated positions. Returns `None` if its inside is not clear.
pub(super) fn mend(ring: &[Coord]) -> Option<Mended> {
    let mut mends = Vec::new();
    let mut waiting = vec![Loop { coords: ring.to_vec(), places: (0..ring.len()).collect() }];
    let mut whole = Vec::new();
    while let Some(next) = waiting.pop() {
        let Err(clash) = simple::check(std::slice::from_ref(&next.coords)) else {
            whole.push(next);
            continue;
        };
        if mends.len() == MENDS_MAX {
            return None;
        }
        let parted = part(&next, clash)?;
        let place = parted.place;
        let with_width: Vec<Loop> = parted.loops.into_iter().filter(has_width).collect();
        // Two loops with width that cross: no corner of one lies on the other.
        if parted.crosses && with_width.len() > 1 {
            return None;
        }
        mends.push((place, if with_width.len() > 1 { Mend::Touch } else { Mend::Spike }));
        waiting.extend(with_width);
    }
    let whole: Vec<Vec<Coord>> = whole.into_iter().map(|of: Loop| of.coords).collect();
    let islands = islands(&whole, signed_area(ring))?;
    mends.sort_unstable_by_key(|mend| mend.0);
    Some(Mended { islands, mends })
}

/// A ring that fell apart.
struct Parted {
    loops: [Loop; 2],
    /// The corner of the first ring at which it did, or the one before it.
    place: usize,
    /// The edges cross, away from their ends.
    crosses: bool,
}

fn part(ring: &Loop, clash: Clash) -> Option<Parted> {
    let (i, j) = (clash.first.start, clash.second.start);
    let edge = |start: usize| Line::new(ring.coords[start], ring.coords[start + 1]);
    let (a, b) = (edge(i), edge(j));
    let last = ring.coords.len() - 2;
    let shared = if j == i + 1 {
        Some(a.end)
    } else if i == 0 && j == last {
        Some(a.start)
    } else {
        None
    };
    let (at, crosses) = match line_intersection(a, b)? {
        LineIntersection::SinglePoint { intersection, is_proper } => (intersection, is_proper),
        // Neighbours have one end in common anyway: the spike ends at the other one.
        LineIntersection::Collinear { intersection } => {
            let end = if Some(intersection.start) == shared { intersection.end } else { intersection.start };
            (end, false)
        }
    };
    if Some(at) == shared {
        return None;
    }
    // From the meeting along the ring to the meeting, either way.
    let first =
        close(at, i, ring.coords[i + 1..=j].iter().copied().zip(ring.places[i + 1..=j].iter().copied()));
    let rest = (j + 1..=last).chain(0..=i).map(|k| (ring.coords[k], ring.places[k]));
    let second = close(at, ring.places[i], rest);
    let loops = [first, second];
    Some(Parted { loops, place: ring.places[i], crosses })
}

/// A closed loop that begins and ends in `at`, without repeated positions.
fn close(at: Coord, place: usize, corners: impl Iterator<Item = (Coord, usize)>) -> Loop {
    let mut closed = Loop { coords: vec![at], places: vec![place] };
    for (coord, place) in corners.chain([(at, place)]) {
        if closed.coords.last() != Some(&coord) {
            closed.coords.push(coord);
            closed.places.push(place);
        }
    }
    closed
}

fn signed_area(ring: &[Coord]) -> f64 {
    Polygon::new(LineString::new(ring.to_vec()), Vec::new()).signed_area()
}

/// A loop of width w and length l around has an area of some w × l / 2.
fn has_width(of: &Loop) -> bool {
    if of.coords.len() < 4 {
        return false;
    }
    let around = Euclidean.length(&LineString::new(of.coords.clone()));
    signed_area(&of.coords).abs() * 2.0 > WIDTH_MAX_DEG * around
}

/// Sorts simple loops into islands and their holes. `None` if they cross, or are wound so that the ring crossed itself.
fn islands(loops: &[Vec<Coord>], area: f64) -> Option<Vec<Vec<Vec<Coord>>>> {
    simple::check(loops).ok()?;
    let outlines: Vec<Outline> = loops.iter().map(|of| Outline::new(vec![of.clone()])).collect();
    let around: Vec<Vec<usize>> = (0..loops.len())
        .map(|i| (0..loops.len()).filter(|&j| j != i && lies_in(&loops[i], &outlines[j])).collect())
        .collect();
    let is_hole = |i: usize| around[i].len() % 2 == 1;
    if (0..loops.len()).any(|i| (signed_area(&loops[i]) * area > 0.0) == is_hole(i)) {
        return None;
    }
    let mut islands = Vec::new();
    for island in (0..loops.len()).filter(|&i| !is_hole(i)) {
        let is_its_own = |hole: &usize| {
            is_hole(*hole)
                && around[*hole].len() == around[island].len() + 1
                && around[*hole].contains(&island)
        };
        let rings = std::iter::once(island).chain((0..loops.len()).filter(is_its_own));
        islands.push(rings.map(|i| loops[i].clone()).collect());
    }
    (!islands.is_empty()).then_some(islands)
}

/// Whether a loop lies in another that it may touch in points, but does not cross.
pub(super) fn lies_in(of: &[Coord], other: &Outline) -> bool {
    of.windows(2).any(|edge| {
        let middle = Coord { x: f64::midpoint(edge[0].x, edge[1].x), y: f64::midpoint(edge[0].y, edge[1].y) };
        [edge[0], middle].iter().any(|at| other.locate(*at) == Position::Inside)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ring(points: &[(f64, f64)]) -> Vec<Coord> {
        points.iter().chain(points.first()).map(|&(x, y)| Coord { x, y }).collect()
    }

    /// Number of rings of each island, the area of all, and the number of mends.
    fn mended(points: &[(f64, f64)]) -> Option<(Vec<usize>, f64, usize)> {
        let Mended { islands, mends } = mend(&ring(points))?;
        let area = |island: &Vec<Vec<Coord>>| {
            let mut areas = island.iter().map(|ring| signed_area(ring).abs());
            areas.next().unwrap() - areas.sum::<f64>()
        };
        let mut rings: Vec<usize> = islands.iter().map(Vec::len).collect();
        rings.sort_unstable();
        Some((rings, islands.iter().map(area).sum(), mends.len()))
    }

    #[rstest]
    #[case::spike(&[(0., 0.), (4., 0.), (4., 4.), (8., 8.), (4., 4.), (0., 4.)], &[1], 16.0)]
    #[case::spike_along_an_edge(&[(0., 0.), (6., 0.), (4., 0.), (4., 4.), (0., 4.)], &[1], 16.0)]
    #[case::spike_back_beyond_its_foot(&[(0., 0.), (4., 0.), (4., 6.), (4., 4.), (0., 4.)], &[1], 16.0)]
    #[case::spike_at_the_closing_corner(&[(-3., 0.), (0., 0.), (4., 0.), (4., 4.), (0., 4.), (0., 0.)], &[1], 16.0)]
    #[case::spike_inwards(&[(0., 0.), (2., 0.), (2., 2.), (2., 0.), (4., 0.), (4., 4.), (0., 4.)], &[1], 16.0)]
    #[case::spike_of_two_corners(&[(0., 0.), (4., 0.), (4., 4.), (5., 5.), (8., 6.), (5., 5.), (4., 4.), (0., 4.)], &[1], 16.0)]
    #[case::crossed_spike_from_rounding(&[(0., 0.), (4., 0.), (4., 2.), (9., 2.), (4., 1.999_999_95), (4., 4.), (0., 4.)], &[1], 16.0)]
    #[case::islands_that_touch(&[(0., 0.), (2., 2.), (4., 0.), (4., 4.), (2., 2.), (0., 4.)], &[1, 1], 8.0)]
    #[case::a_corner_on_an_edge(&[(0., 0.), (8., 0.), (8., 4.), (6., 0.), (4., 4.), (0., 4.)], &[1, 1], 24.0)]
    #[case::a_hole_at_a_corner(&[(0., 0.), (8., 0.), (8., 8.), (0., 8.), (0., 0.), (2., 4.), (4., 2.)], &[2], 58.0)]
    #[case::a_bridge_to_a_hole(&[(0., 0.), (8., 0.), (8., 8.), (0., 8.), (0., 0.), (2., 2.), (2., 4.), (4., 4.), (4., 2.), (2., 2.)], &[2], 60.0)]
    #[case::a_bridge_between_islands(&[(0., 0.), (2., 0.), (2., 2.), (6., 2.), (6., 0.), (8., 0.), (8., 4.), (6., 4.), (6., 2.), (2., 2.), (2., 4.), (0., 4.)], &[1, 1], 16.0)]
    fn what_is_clear_is_mended(#[case] points: &[(f64, f64)], #[case] rings: &[usize], #[case] area: f64) {
        for shift in 0..points.len() {
            let mut points = points.to_vec();
            points.rotate_left(shift);
            for _ in 0..2 {
                let (found, sum, mends) = mended(&points).unwrap_or_else(|| panic!("refused: {points:?}"));
                assert_eq!(found, rings, "{points:?}");
                assert!((sum - area).abs() < 1e-5 && mends > 0, "{sum} of {points:?}");
                points.reverse();
            }
        }
    }

    #[rstest]
    #[case::bow_tie(&[(0., 0.), (4., 4.), (4., 0.), (0., 4.)])]
    #[case::bow_tie_through_a_corner(&[(0., 0.), (2., 2.), (4., 4.), (4., 0.), (2., 2.), (0., 4.)])]
    #[case::lobes_of_different_size(&[(0., 0.), (8., 8.), (8., 0.), (0., 2.)])]
    #[case::wound_twice(&[(0., 0.), (8., 0.), (8., 8.), (0., 8.), (0., 0.), (4., 2.), (2., 4.)])]
    #[case::a_star(&[(0., 3.), (2., -3.), (-3., 1.), (3., 1.), (-2., -3.)])]
    #[case::flat(&[(0., 0.), (2., 0.), (4., 0.)])]
    #[case::there_and_back(&[(0., 0.), (2., 1.), (4., 0.), (2., 1.)])]
    fn what_crosses_is_refused(#[case] points: &[(f64, f64)]) {
        for shift in 0..points.len() {
            let mut points = points.to_vec();
            points.rotate_left(shift);
            assert_eq!(mended(&points), None, "{points:?}");
        }
    }

    #[test]
    fn a_ring_of_spikes_is_given_up_in_time() {
        let teeth = (0..3_000_u32).flat_map(|i| {
            let x = f64::from(i) * 1e-3;
            [(x, 0.0), (x, -1.0), (x, 0.0)]
        });
        let points: Vec<(f64, f64)> = teeth.chain([(3.0, 1.0), (0.0, 1.0)]).collect();
        assert_eq!(mended(&points), None);
    }
}
