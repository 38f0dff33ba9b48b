//! The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038 §6.2.1, §6.2.1.1).

/// One octet per septet, extension characters as 0x1B and their code; `None` where a character is in neither table.
#[must_use]
pub fn encode(_text: &str) -> Option<Vec<u8>> {
    unimplemented!()
}

/// Text of unpacked septets; an unknown extension code is read as a space (TS 23.038 §6.2.1.1), an octet above 0x7F as `?`.
#[must_use]
pub fn decode(_septets: &[u8]) -> String {
    unimplemented!()
}
