//! Which worker takes a free channel and which gives one back, so that the channels of a gateway spread over its
//! workers without a leader. Each worker decides by the last reports of the others. Only leases say who holds a
//! channel, so a decision on old reports costs a detour but never lets two workers hold a channel.

use klaroen_store::workers::Peer;
use uuid::Uuid;

/// Whether a worker that holds `own` channels takes a free one at once: only if no other worker holds fewer. A worker
/// without peers takes all.
pub(crate) fn may_acquire(own: u16, peers: &[Peer]) -> bool {
    peers.iter().all(|peer| own <= peer.held)
}

/// Whether a worker gives a channel back: if another worker holds at least two fewer and no worker holds more. If
/// several hold the same number, the one with the greatest id does.
pub(crate) fn should_release(id: Uuid, own: u16, peers: &[Peer]) -> bool {
    let fewest = peers.iter().map(|peer| peer.held).min();
    fewest.is_some_and(|fewest| own >= fewest.saturating_add(2))
        && peers.iter().all(|peer| (peer.held, peer.id) < (own, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(held: &[u16]) -> Vec<Peer> {
        (1_u128..).zip(held).map(|(id, &held)| Peer { id: Uuid::from_u128(id), held }).collect()
    }

    #[test]
    fn who_holds_fewest_takes() {
        for (own, others, takes) in [
            (0, &[][..], true),
            (7, &[], true),
            (0, &[0, 0], true),
            (1, &[0, 1], false),
            (1, &[1, 2], true),
            (2, &[1], false),
        ] {
            assert_eq!(may_acquire(own, &peers(others)), takes, "{own} {others:?}");
        }
    }

    #[test]
    fn one_gives_where_the_numbers_are_two_apart() {
        let greatest = Uuid::from_u128(u128::MAX);
        for (id, own, others, gives) in [
            (greatest, 3, &[][..], false),
            (greatest, 1, &[0], false),
            (greatest, 2, &[0], true),
            (greatest, 2, &[1, 2], false),
            (greatest, 2, &[0, 2], true),
            (Uuid::nil(), 2, &[0, 2], false),
            (greatest, 2, &[0, 3], false),
        ] {
            assert_eq!(should_release(id, own, &peers(others)), gives, "{own} {others:?}");
        }
    }

    /// Plays rounds in which every worker reports, one that should gives a channel back, and one that may takes a free
    /// one.
    fn settle(mut held: Vec<u16>, mut free: u16) -> (Vec<u16>, u32) {
        let mut moves = 0;
        loop {
            let view = |me: usize, held: &[u16]| -> (Uuid, u16, Vec<Peer>) {
                let id = |n: usize| Uuid::from_u128(n as u128 + 1);
                let others = (0..held.len()).filter(|&n| n != me);
                (id(me), held[me], others.map(|n| Peer { id: id(n), held: held[n] }).collect())
            };
            let taker = (0..held.len()).find(|&n| {
                let (_, own, peers) = view(n, &held);
                free > 0 && may_acquire(own, &peers)
            });
            let givers: Vec<usize> = (0..held.len())
                .filter(|&n| {
                    let (id, own, peers) = view(n, &held);
                    should_release(id, own, &peers)
                })
                .collect();
            assert!(givers.len() <= 1, "two give at once: {held:?}");
            match (taker, givers.first()) {
                (Some(n), _) => (held[n], free) = (held[n] + 1, free - 1),
                (None, Some(&n)) => (held[n], free) = (held[n] - 1, free + 1),
                (None, None) => return (held, moves),
            }
            moves += 1;
            assert!(moves < 1_000, "it does not settle: {held:?}");
        }
    }

    #[test]
    fn however_it_begins_all_channels_are_held_and_the_numbers_end_at_most_one_apart() {
        for workers in 1..6_usize {
            for channels in 0..12_u16 {
                for hoarder in [0, channels / 2, channels] {
                    let mut held = vec![0; workers];
                    held[0] = hoarder;
                    let (end, moves) = settle(held, channels - hoarder);
                    assert_eq!(end.iter().sum::<u16>(), channels);
                    let (most, fewest) = (end.iter().max().unwrap(), end.iter().min().unwrap());
                    assert!(most - fewest <= 1, "{workers} {channels}: {end:?}");
                    assert!(moves <= 2 * u32::from(channels), "{moves} moves");
                }
            }
        }
    }
}
