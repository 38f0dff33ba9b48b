//! Which gateway may take which delivery: by country, priority of the alert, priority and weight of the gateway, and by how the
//! gateways stand now. A pure function, so that every process that sees the same comes to the same.

use klaroen_domain::alert::Priority;
use klaroen_domain::phone::Country;
use klaroen_store::claims::{Part, Role, Roles, SLOTS};

/// What the configuration says of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRoute {
    /// Its name.
    pub name: String,
    /// The lowest goes first.
    pub priority: u16,
    /// Its share among those of its priority; 0: only where the others of its priority cannot.
    pub weight: u16,
    /// The countries whose numbers it may get; empty: all.
    pub countries: Vec<Country>,
    /// The alerts that it may get; empty: all.
    pub priorities: Vec<Priority>,
}

impl GatewayRoute {
    /// `country`: `None` for a number of a country that no gateway names.
    fn serves(&self, priority: Priority, country: Option<Country>) -> bool {
        let priority = self.priorities.is_empty() || self.priorities.contains(&priority);
        priority && (self.countries.is_empty() || country.is_some_and(|c| self.countries.contains(&c)))
    }
}

/// How a gateway stands, as far as routing needs it. The best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    /// Takes what it can.
    Well,
    /// Takes less than half of what it could: the next ones may take beside it.
    Slowed,
    /// Only where no other is well.
    Suspect,
    /// One message is to find out whether it works again; only that where others work.
    Probing,
    /// Takes nothing.
    Out,
}

impl Standing {
    const fn is_well(self) -> bool {
        matches!(self, Self::Well | Self::Slowed)
    }
}

/// All configured gateways and how each stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routes<'a> {
    pub(crate) gateways: &'a [GatewayRoute],
    /// In the same order.
    pub(crate) standings: &'a [Standing],
}

impl Routes<'_> {
    /// What gateway number `of` may take; `own` is how it stands where it asks, which may differ from what all say of it.
    pub(crate) fn part(&self, of: usize, own: Standing) -> Part {
        let roles = |priority| {
            let countries = self.countries();
            let role = |country| self.role(of, own, priority, country);
            Roles {
                by_country: countries.into_iter().map(|country| (country, role(Some(country)))).collect(),
                others: role(None),
            }
        };
        Part {
            life_threatening: roles(Priority::LifeThreatening),
            urgent: roles(Priority::Urgent),
            normal: roles(Priority::Normal),
        }
    }

    /// Whether a gateway other than number `of` can take such a message now.
    pub(crate) fn has_alternative(&self, of: usize, priority: Priority, country: Option<Country>) -> bool {
        let country = country.filter(|country| self.countries().contains(country));
        // One that is on probation takes a single message; that is no place for a queue.
        self.best(priority, country)
            .iter()
            .any(|(index, standing)| *index != of && *standing < Standing::Probing)
    }

    /// What no usable gateway serves though some gateway is configured for it: a word for the operator; empty where all is well.
    pub(crate) fn unserved(&self) -> Vec<String> {
        let mut unserved = Vec::new();
        // There are others only where some are named.
        let others = if self.countries().is_empty() { "all countries" } else { "other countries" };
        for priority in Priority::ALL {
            let countries = self.countries().into_iter().map(Some).chain([None]);
            for country in countries {
                if self.serving(*priority, country).next().is_none() {
                    let numbers = country.map_or_else(|| others.to_owned(), |c| c.to_string());
                    unserved.push(format!("{priority}: {numbers}"));
                }
            }
        }
        unserved
    }

    /// Every country that some gateway names, each once.
    fn countries(&self) -> Vec<Country> {
        let mut countries: Vec<Country> = Vec::new();
        for country in self.gateways.iter().flat_map(|gateway| &gateway.countries) {
            if !countries.contains(country) {
                countries.push(*country);
            }
        }
        countries
    }

    /// The gateways that may take such a message now.
    fn serving(
        &self,
        priority: Priority,
        country: Option<Country>,
    ) -> impl Iterator<Item = (usize, Standing)> {
        let usable = self.standings.iter().copied().enumerate().filter(|(_, s)| *s != Standing::Out);
        usable.filter(move |(index, _)| self.gateways[*index].serves(priority, country))
    }

    /// Of those, the ones that are well; or, where none is, the ones that stand best.
    fn best(&self, priority: Priority, country: Option<Country>) -> Vec<(usize, Standing)> {
        let mut candidates: Vec<_> = self.serving(priority, country).collect();
        let best = candidates.iter().map(|(_, standing)| *standing).min();
        candidates.retain(|(_, standing)| match best {
            Some(best) if best.is_well() => standing.is_well(),
            best => Some(*standing) == best,
        });
        candidates
    }

    fn role(&self, of: usize, own: Standing, priority: Priority, country: Option<Country>) -> Role {
        if own == Standing::Out || !self.gateways[of].serves(priority, country) {
            return Role::Nothing;
        }
        let mut candidates = self.best(priority, country);
        if own == Standing::Probing && !candidates.iter().any(|(index, _)| *index == of) {
            // Others can take such a message. Where a life is in danger, seconds are not for an experiment.
            if priority == Priority::LifeThreatening {
                return Role::Nothing;
            }
            // It tries one message of those that it would have if it were well.
            candidates.push((of, Standing::Well));
            candidates.sort_unstable_by_key(|(index, _)| *index);
            return self.among(of, &candidates).on_trial();
        }
        self.among(of, &candidates)
    }

    /// The role of one among those that may take a message and are equally well.
    fn among(&self, of: usize, candidates: &[(usize, Standing)]) -> Role {
        let tier_of = |index: usize| self.gateways[index].priority;
        let Some(first) = candidates.iter().map(|(index, _)| tier_of(*index)).min() else {
            return Role::Nothing;
        };
        let tier: Vec<_> = candidates.iter().filter(|(index, _)| tier_of(*index) == first).collect();
        let weighted = tier.iter().any(|(index, _)| self.gateways[*index].weight > 0);
        // Where all of a tier are reserves, they share alike.
        let weight = |index: usize| if weighted { u32::from(self.gateways[index].weight) } else { 1 };
        let members = || tier.iter().filter(|(index, _)| weight(*index) > 0);
        if members().any(|(index, _)| *index == of) {
            let total: u32 = members().map(|(index, _)| weight(*index)).sum();
            let before: u32 =
                members().filter(|(index, _)| *index < of).map(|(index, _)| weight(*index)).sum();
            let slot = |weights: u32| {
                let slots = u64::from(weights) * u64::from(SLOTS) / u64::from(total);
                u16::try_from(slots).unwrap_or(SLOTS)
            };
            return Role::Own { lo: slot(before), hi: slot(before + weight(of)) };
        }
        if !candidates.iter().any(|(index, _)| *index == of) {
            return Role::Nothing;
        }
        // The tier is slowed down: who comes after it helps.
        let helps = members().all(|(_, standing)| *standing == Standing::Slowed);
        let reserve = tier.iter().any(|(index, _)| *index == of);
        let rest = candidates.iter().map(|(index, _)| tier_of(*index)).filter(|tier| *tier > first);
        let next = !tier.iter().any(|(index, _)| weight(*index) == 0) && rest.min() == Some(tier_of(of));
        if helps && (reserve || next) { Role::Beside } else { Role::Handed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gateway(name: &str, priority: u16, weight: u16) -> GatewayRoute {
        GatewayRoute { name: name.into(), priority, weight, countries: vec![], priorities: vec![] }
    }

    fn country(code: &str) -> Country {
        code.parse().unwrap()
    }

    /// The roles of all, for urgent messages to a number of `country`.
    fn roles(gateways: &[GatewayRoute], standings: &[Standing], of: Option<&str>) -> Vec<Role> {
        let routes = Routes { gateways, standings };
        let role = |(index, standing): (usize, &Standing)| {
            routes.role(index, *standing, Priority::Urgent, of.map(country))
        };
        standings.iter().enumerate().map(role).collect()
    }

    use Role::{Beside, Handed, Nothing, Trial};
    use Standing::{Out, Probing, Slowed, Suspect, Well};

    const WHOLE: Role = Role::WHOLE;
    const TRIAL: Role = Trial { lo: 0, hi: SLOTS, late: true };

    #[test]
    fn the_lowest_priority_that_is_well_takes_all_and_the_next_what_it_hands_over() {
        let two = [gateway("a", 1, 100), gateway("b", 2, 100)];
        for (standings, expected) in [
            ([Well, Well], [WHOLE, Handed]),
            ([Out, Well], [Nothing, WHOLE]),
            ([Well, Out], [WHOLE, Nothing]),
            ([Suspect, Well], [Nothing, WHOLE]),
            ([Suspect, Suspect], [WHOLE, Handed]),
            ([Suspect, Out], [WHOLE, Nothing]),
            ([Slowed, Well], [WHOLE, Beside]),
            ([Slowed, Slowed], [WHOLE, Beside]),
            ([Slowed, Suspect], [WHOLE, Nothing]),
            ([Probing, Well], [TRIAL, WHOLE]),
            ([Well, Probing], [WHOLE, Trial { lo: 0, hi: 0, late: false }]),
            ([Slowed, Probing], [WHOLE, Trial { lo: 0, hi: 0, late: true }]),
            ([Probing, Probing], [WHOLE, Handed]),
            ([Probing, Suspect], [TRIAL, WHOLE]),
            ([Out, Out], [Nothing, Nothing]),
        ] {
            assert_eq!(roles(&two, &standings, None), expected, "{standings:?}");
        }
    }

    #[test]
    fn where_a_life_is_in_danger_nobody_tries_while_another_can_take_it() {
        let two = [gateway("a", 1, 100), gateway("b", 2, 100)];
        for (standings, expected) in [
            ([Probing, Well], [Nothing, WHOLE]),
            ([Probing, Slowed], [Nothing, WHOLE]),
            ([Probing, Suspect], [Nothing, WHOLE]),
            ([Well, Probing], [WHOLE, Nothing]),
            ([Probing, Out], [WHOLE, Nothing]),
            ([Probing, Probing], [WHOLE, Handed]),
        ] {
            let routes = Routes { gateways: &two, standings: &standings };
            let role = |index| routes.role(index, standings[index], Priority::LifeThreatening, None);
            assert_eq!([role(0), role(1)], expected, "{standings:?}");
        }
    }

    #[test]
    fn weights_share_a_tier_and_a_weight_of_nothing_waits() {
        let three = [gateway("a", 1, 30), gateway("b", 1, 70), gateway("c", 1, 0)];
        let own = |lo, hi| Role::Own { lo, hi };
        for (standings, expected) in [
            ([Well, Well, Well], [own(0, 3_000), own(3_000, SLOTS), Handed]),
            ([Well, Out, Well], [WHOLE, Nothing, Handed]),
            ([Out, Out, Well], [Nothing, Nothing, WHOLE]),
            ([Slowed, Well, Well], [own(0, 3_000), own(3_000, SLOTS), Handed]),
            ([Slowed, Slowed, Well], [own(0, 3_000), own(3_000, SLOTS), Beside]),
        ] {
            assert_eq!(roles(&three, &standings, None), expected, "{standings:?}");
        }
    }

    #[test]
    fn countries_and_priorities_are_respected_whatever_else_is_down() {
        let mut abroad = gateway("abroad", 1, 100);
        abroad.countries = vec![country("BE"), country("DE")];
        let mut life = gateway("life", 0, 100);
        life.priorities = vec![Priority::LifeThreatening];
        let gateways = [abroad, life, gateway("home", 2, 100)];
        let all = [Well; 3];
        assert_eq!(roles(&gateways, &all, Some("BE")), [WHOLE, Nothing, Handed]);
        assert_eq!(roles(&gateways, &all, Some("NL")), [Nothing, Nothing, WHOLE]);
        assert_eq!(roles(&gateways, &[Well, Well, Out], Some("NL")), [Nothing; 3]);
        let routes = Routes { gateways: &gateways, standings: &all };
        assert_eq!(routes.role(1, Well, Priority::LifeThreatening, Some(country("BE"))), WHOLE);
        assert!(routes.has_alternative(2, Priority::Urgent, Some(country("BE"))));
        assert!(!routes.has_alternative(2, Priority::Urgent, Some(country("NL"))));
        let suspect = Routes { gateways: &gateways, standings: &[Suspect, Well, Well] };
        assert!(!suspect.has_alternative(2, Priority::Urgent, Some(country("BE"))));
        assert_eq!(routes.unserved(), Vec::<String>::new());
        let routes = Routes { gateways: &gateways, standings: &[Well, Out, Out] };
        assert!(routes.unserved().contains(&"normal: other countries".to_owned()));
        let home = [gateway("home", 2, 100)];
        let routes = Routes { gateways: &home, standings: &[Out] };
        assert!(routes.unserved().contains(&"normal: all countries".to_owned()));
    }

    /// As the claim computes it.
    fn slot(id: u64) -> u16 {
        let slots = i64::from(SLOTS);
        u16::try_from((i64::try_from(id).unwrap() % slots * 6181) % slots).unwrap()
    }

    fn falls_into(role: Role, id: u64) -> bool {
        matches!(role, Role::Own { lo, hi } if (lo..hi).contains(&slot(id)))
    }

    #[test]
    fn weights_hold_for_a_large_alert_and_for_a_small_one() {
        let two = [gateway("a", 1, 30), gateway("b", 1, 70)];
        let first = roles(&two, &[Well, Well], None)[0];
        for start in [1_u64, 777, 1_000_003, 4_000_000_000, 1_795_449_600_000_000] {
            let taken = |count| (start..start + count).filter(|id| falls_into(first, *id)).count();
            assert!((2_800..=3_200).contains(&taken(10_000)), "{}", taken(10_000));
            assert!((13..=17).contains(&taken(50)), "{} of 50", taken(50));
        }
    }

    fn any_gateway() -> impl Strategy<Value = GatewayRoute> {
        let codes = prop::sample::subsequence(vec!["NL", "BE", "DE"], 0..=3);
        let priorities = prop::sample::subsequence(Priority::ALL.to_vec(), 0..=3);
        (0..3_u16, 0..4_u16, codes, priorities).prop_map(|(priority, weight, codes, priorities)| {
            GatewayRoute {
                name: String::new(),
                priority,
                weight: weight * 33,
                countries: codes.into_iter().map(country).collect(),
                priorities,
            }
        })
    }

    proptest! {
        #[test]
        fn what_a_usable_gateway_serves_has_one_owner(
            all in prop::collection::vec(
                (any_gateway(), prop::sample::select(vec![Well, Slowed, Suspect, Out])), 1..6),
            id in 1..1_000_000_u64,
        ) {
            let (gateways, standings): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            let routes = Routes { gateways: &gateways, standings: &standings };
            for priority in Priority::ALL {
                for country in [None, Some(country("NL")), Some(country("BE"))] {
                    let role = |index| routes.role(index, standings[index], *priority, country);
                    let owners: Vec<usize> = (0..gateways.len()).filter(|i| falls_into(role(*i), id)).collect();
                    let served = routes.serving(*priority, country).next().is_some();
                    prop_assert_eq!(owners.len(), usize::from(served));
                    for owner in owners {
                        prop_assert!(gateways[owner].serves(*priority, country));
                    }
                }
            }
        }
    }
}
