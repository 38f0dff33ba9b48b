//! Which gateway may take which messages.

pub(crate) mod allocation;
pub(crate) mod router;
