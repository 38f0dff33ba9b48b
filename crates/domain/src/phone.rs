//! Phone numbers: E.164 mobile numbers of one country, masked wherever they are shown.

/// A country whose mobile numbers are accepted (ISO 3166-1 alpha-2), such as `NL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country(phonenumber::country::Id);

impl Country {
    /// The Netherlands.
    pub const NL: Self = Self(phonenumber::country::Id::NL);
}

impl std::str::FromStr for Country {
    type Err = PhoneError;
    fn from_str(_: &str) -> Result<Self, PhoneError> {
        unimplemented!()
    }
}

/// A mobile number in E.164. `Debug` and `Display` mask it; only [`PhoneNumber::expose`] gives the digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

/// Why a text is not a number that can get an SMS here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Placeholder.
    #[error("not a phone number")]
    NotANumber,
}

impl PhoneNumber {
    /// Reads a number as people write it (`06-12345678`, `0031 6 …`, `+31 6 …`).
    ///
    /// # Errors
    /// Where it is no mobile number of `country`.
    pub fn parse(_text: &str, _country: Country) -> Result<Self, PhoneError> {
        unimplemented!()
    }

    /// Reads the sender of an inbound SMS as providers write it (`31612345678`, `+31…`, `0031…`, `06…`), of any kind and
    /// country; `None` for a name, a short code or rubbish.
    #[must_use]
    pub fn parse_sender(_text: &str, _country: Country) -> Option<Self> {
        unimplemented!()
    }

    /// The number in E.164 with its plus sign. The only way to the digits: for the wire and the seal.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digits of E.164 without the plus sign.
    #[must_use]
    pub fn expose_digits(&self) -> &str {
        self.0.trim_start_matches('+')
    }

    /// A number that was parsed before and comes back from its seal.
    #[must_use]
    pub fn from_sealed(e164: String) -> Self {
        Self(e164)
    }
}

impl std::fmt::Debug for PhoneNumber {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}

impl std::fmt::Display for PhoneNumber {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}
