//! The sender of a message: one sender, and another for the numbers of some countries.

use klaroen_domain::phone::{Country, PhoneNumber};

use super::routing::Routing;

/// The senders of a gateway, in the form that its provider wants.
#[derive(Clone, Debug)]
pub(crate) struct Senders<T = String> {
    usual: T,
    by_country: Vec<(Country, T)>,
}

impl<T> Senders<T> {
    /// `sender`, and those that `routing` has for countries, each written by `form`. What [`Routing::validate`] refuses is
    /// left out.
    pub(crate) fn new(sender: &str, routing: &Routing, form: impl Fn(&str) -> T) -> Self {
        let by_country = routing.each_sender().flatten();
        Self {
            usual: form(sender),
            by_country: by_country.map(|(country, sender)| (country, form(sender))).collect(),
        }
    }

    /// The same with another one for all that have none of their own.
    #[must_use]
    pub(crate) fn with_usual(self, usual: T) -> Self {
        Self { usual, ..self }
    }

    /// The sender of a message to `number`.
    pub(crate) fn of(&self, number: &PhoneNumber) -> &T {
        // Most gateways have one sender, and finding the country of a number takes longer than all else here.
        if self.by_country.is_empty() {
            return &self.usual;
        }
        let country = number.country();
        let own = self.by_country.iter().find(|(of, _)| Some(*of) == country);
        own.map_or(&self.usual, |(_, sender)| sender)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_of_a_country_has_the_sender_of_that_country() {
        let routing: Routing =
            serde_json::from_value(json!({"senders": {"be": "8850", "GB": "Klaroen"}})).unwrap();
        let senders = Senders::new("1000", &routing, str::to_owned);
        for (number, sender) in [
            ("+31612345678", "1000"),
            ("+32470123456", "8850"),
            ("+447400123456", "Klaroen"),
            ("+447781123456", "1000"),
            ("+999123456", "1000"),
        ] {
            assert_eq!(senders.of(&PhoneNumber::from_sealed(number.into())), sender, "{number}");
        }
    }
}
