//! Which gateway may take which delivery, by country, priority of the alert, priority and weight of the gateway, and
//! the present states of the gateways. It is a pure function, so processes that see the same states decide the same.

use klaroen_domain::alert::Priority;
use klaroen_domain::gateway::GatewayState;
use klaroen_domain::phone::Country;
use klaroen_store::claims::{Part, Role, Roles, SLOTS};

/// When one gateway is used, by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRoute {
    /// The gateway's name.
    pub name: String,
    /// The gateway with the lowest number goes first.
    pub priority: u16,
    /// Its share among the gateways of the same priority. 0 means: only if the others of its priority cannot.
    pub weight: u16,
    /// The countries whose numbers it may get; empty means all.
    pub countries: Vec<Country>,
    /// The priorities of alerts that it may get; empty means all.
    pub priorities: Vec<Priority>,
}

impl GatewayRoute {
    /// `country` is `None` for a number of a country that no gateway names.
    fn serves(&self, priority: Priority, country: Option<Country>) -> bool {
        let priority = self.priorities.is_empty() || self.priorities.contains(&priority);
        priority && (self.countries.is_empty() || country.is_some_and(|c| self.countries.contains(&c)))
    }
}

/// Whether a gateway in this state is open to the whole queue. A gateway that is probing is not: it takes a single
/// message.
pub(crate) const fn is_usable(state: GatewayState) -> bool {
    matches!(state, GatewayState::Up | GatewayState::Throttled | GatewayState::Suspect)
}

/// Whether a gateway in this state takes any message at all.
const fn takes_any(state: GatewayState) -> bool {
    is_usable(state) || matches!(state, GatewayState::Probing)
}

const fn is_healthy(state: GatewayState) -> bool {
    matches!(state, GatewayState::Up | GatewayState::Throttled)
}

/// A share without any message.
pub(crate) fn no_share() -> Part {
    let nothing = || Roles { by_country: Vec::new(), others: Role::Nothing };
    Part { life_threatening: nothing(), urgent: nothing(), normal: nothing() }
}

/// Whether a share is everything that is due, so that a claim need not look at each delivery's slot.
pub(crate) fn is_everything(share: &Part) -> bool {
    Priority::ALL.iter().all(|priority| share.of(*priority).all().all(|role| role == Role::WHOLE))
}

/// All configured gateways and their states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routes<'a> {
    pub(crate) gateways: &'a [GatewayRoute],
    /// In the same order.
    pub(crate) states: &'a [GatewayState],
}

impl Routes<'_> {
    /// The share of gateway number `of`. `own` is its state in this process, which may differ from the best state that
    /// any process reports.
    pub(crate) fn share(&self, of: usize, own: GatewayState) -> Part {
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
        // A gateway that is probing takes a single message, so it is no alternative for a queue.
        self.best(priority, country).iter().any(|(index, state)| *index != of && is_usable(*state))
    }

    /// The kinds of message that no usable gateway serves, for the operator.
    pub(crate) fn unserved(&self) -> Vec<String> {
        let mut unserved = Vec::new();
        // There are "other" countries only if some gateway names countries.
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
    ) -> impl Iterator<Item = (usize, GatewayState)> {
        let usable = self.states.iter().copied().enumerate().filter(|(_, state)| takes_any(*state));
        usable.filter(move |(index, _)| self.gateways[*index].serves(priority, country))
    }

    /// The healthy ones of these gateways, or those in the best state if none is healthy.
    fn best(&self, priority: Priority, country: Option<Country>) -> Vec<(usize, GatewayState)> {
        let mut candidates: Vec<_> = self.serving(priority, country).collect();
        let best = candidates.iter().map(|(_, state)| *state).min_by_key(|state| state.rank());
        candidates.retain(|(_, state)| match best {
            Some(best) if is_healthy(best) => is_healthy(*state),
            best => Some(*state) == best,
        });
        candidates
    }

    fn role(&self, of: usize, own: GatewayState, priority: Priority, country: Option<Country>) -> Role {
        if !takes_any(own) || !self.gateways[of].serves(priority, country) {
            return Role::Nothing;
        }
        let mut candidates = self.best(priority, country);
        if own == GatewayState::Probing && !candidates.iter().any(|(index, _)| *index == of) {
            // Others can take such a message. If a life is in danger, there is no time for an experiment.
            if priority == Priority::LifeThreatening {
                return Role::Nothing;
            }
            // It tries one of the messages that it would have if it were up.
            candidates.push((of, GatewayState::Up));
            candidates.sort_unstable_by_key(|(index, _)| *index);
            return self.among(of, &candidates).on_trial();
        }
        self.among(of, &candidates)
    }

    /// The role of one gateway among those that may take a message and are in the same state.
    fn among(&self, of: usize, candidates: &[(usize, GatewayState)]) -> Role {
        let tier_of = |index: usize| self.gateways[index].priority;
        let Some(first) = candidates.iter().map(|(index, _)| tier_of(*index)).min() else {
            return Role::Nothing;
        };
        let tier: Vec<_> = candidates.iter().filter(|(index, _)| tier_of(*index) == first).collect();
        let weighted = tier.iter().any(|(index, _)| self.gateways[*index].weight > 0);
        // If all gateways of a tier have weight 0, they share equally.
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
        // The whole tier is slowed down, so the next tier helps.
        let helps = members().all(|(_, state)| *state == GatewayState::Throttled);
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

    /// The roles of all gateways for urgent messages to a number of country `of`.
    fn roles(gateways: &[GatewayRoute], states: &[GatewayState], of: Option<&str>) -> Vec<Role> {
        let routes = Routes { gateways, states };
        let role = |(index, state): (usize, &GatewayState)| {
            routes.role(index, *state, Priority::Urgent, of.map(country))
        };
        states.iter().enumerate().map(role).collect()
    }

    use GatewayState::{Down, Paused, Probing, Stopped, Suspect, Throttled, Up};
    use Role::{Beside, Handed, Nothing, Trial};

    const WHOLE: Role = Role::WHOLE;
    const TRIAL: Role = Trial { lo: 0, hi: SLOTS, late: true };

    #[test]
    fn the_lowest_priority_that_is_well_takes_all_and_the_next_what_it_hands_over() {
        let two = [gateway("a", 1, 100), gateway("b", 2, 100)];
        for (states, expected) in [
            ([Up, Up], [WHOLE, Handed]),
            ([Paused, Up], [Nothing, WHOLE]),
            ([Up, Paused], [WHOLE, Nothing]),
            ([Suspect, Up], [Nothing, WHOLE]),
            ([Suspect, Suspect], [WHOLE, Handed]),
            ([Suspect, Paused], [WHOLE, Nothing]),
            ([Throttled, Up], [WHOLE, Beside]),
            ([Throttled, Throttled], [WHOLE, Beside]),
            ([Throttled, Suspect], [WHOLE, Nothing]),
            ([Probing, Up], [TRIAL, WHOLE]),
            ([Up, Probing], [WHOLE, Trial { lo: 0, hi: 0, late: false }]),
            ([Throttled, Probing], [WHOLE, Trial { lo: 0, hi: 0, late: true }]),
            ([Probing, Probing], [WHOLE, Handed]),
            ([Probing, Suspect], [TRIAL, WHOLE]),
            ([Down, Stopped], [Nothing, Nothing]),
        ] {
            assert_eq!(roles(&two, &states, None), expected, "{states:?}");
        }
    }

    #[test]
    fn where_a_life_is_in_danger_nobody_tries_while_another_can_take_it() {
        let two = [gateway("a", 1, 100), gateway("b", 2, 100)];
        for (states, expected) in [
            ([Probing, Up], [Nothing, WHOLE]),
            ([Probing, Throttled], [Nothing, WHOLE]),
            ([Probing, Suspect], [Nothing, WHOLE]),
            ([Up, Probing], [WHOLE, Nothing]),
            ([Probing, Paused], [WHOLE, Nothing]),
            ([Probing, Probing], [WHOLE, Handed]),
        ] {
            let routes = Routes { gateways: &two, states: &states };
            let role = |index| routes.role(index, states[index], Priority::LifeThreatening, None);
            assert_eq!([role(0), role(1)], expected, "{states:?}");
        }
    }

    #[test]
    fn weights_share_a_tier_and_a_weight_of_nothing_waits() {
        let three = [gateway("a", 1, 30), gateway("b", 1, 70), gateway("c", 1, 0)];
        let own = |lo, hi| Role::Own { lo, hi };
        for (states, expected) in [
            ([Up, Up, Up], [own(0, 3_000), own(3_000, SLOTS), Handed]),
            ([Up, Paused, Up], [WHOLE, Nothing, Handed]),
            ([Paused, Paused, Up], [Nothing, Nothing, WHOLE]),
            ([Throttled, Up, Up], [own(0, 3_000), own(3_000, SLOTS), Handed]),
            ([Throttled, Throttled, Up], [own(0, 3_000), own(3_000, SLOTS), Beside]),
        ] {
            assert_eq!(roles(&three, &states, None), expected, "{states:?}");
        }
    }

    #[test]
    fn countries_and_priorities_are_respected_whatever_else_is_down() {
        let mut abroad = gateway("abroad", 1, 100);
        abroad.countries = vec![country("BE"), country("DE")];
        let mut life = gateway("life", 0, 100);
        life.priorities = vec![Priority::LifeThreatening];
        let gateways = [abroad, life, gateway("home", 2, 100)];
        let all = [Up; 3];
        assert_eq!(roles(&gateways, &all, Some("BE")), [WHOLE, Nothing, Handed]);
        assert_eq!(roles(&gateways, &all, Some("NL")), [Nothing, Nothing, WHOLE]);
        assert_eq!(roles(&gateways, &[Up, Up, Paused], Some("NL")), [Nothing; 3]);
        let routes = Routes { gateways: &gateways, states: &all };
        assert_eq!(routes.role(1, Up, Priority::LifeThreatening, Some(country("BE"))), WHOLE);
        assert!(routes.has_alternative(2, Priority::Urgent, Some(country("BE"))));
        assert!(!routes.has_alternative(2, Priority::Urgent, Some(country("NL"))));
        let suspect = Routes { gateways: &gateways, states: &[Suspect, Up, Up] };
        assert!(!suspect.has_alternative(2, Priority::Urgent, Some(country("BE"))));
        assert_eq!(routes.unserved(), Vec::<String>::new());
        let routes = Routes { gateways: &gateways, states: &[Up, Paused, Paused] };
        assert!(routes.unserved().contains(&"normal: other countries".to_owned()));
        let home = [gateway("home", 2, 100)];
        let routes = Routes { gateways: &home, states: &[Paused] };
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
        let first = roles(&two, &[Up, Up], None)[0];
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
                (any_gateway(), prop::sample::select(vec![Up, Throttled, Suspect, Paused, Down, Stopped])), 1..6),
            id in 1..1_000_000_u64,
        ) {
            let (gateways, states): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            let routes = Routes { gateways: &gateways, states: &states };
            for priority in Priority::ALL {
                for country in [None, Some(country("NL")), Some(country("BE"))] {
                    let role = |index| routes.role(index, states[index], *priority, country);
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
