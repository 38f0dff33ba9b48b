//! Limits of members that more than one request has.

use std::time::Duration;

/// Difference that is allowed between the clock of a client and that of the service.
pub const CLOCK_SKEW: Duration = Duration::from_mins(5);
/// Places of one participant.
pub const PLACES_MAX: usize = 5;
/// Groups of one participant.
pub const GROUPS_MAX: usize = 50;
/// Characters of a name.
pub const NAME_MAX: usize = 200;
/// Characters of a label, an external id or a method of consent.
pub const SHORT_MAX: usize = 100;
/// Characters of the hours of a place.
pub const HOURS_MAX: usize = 200;
