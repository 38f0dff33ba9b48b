//! How the sealed columns of a participant are bound to their row and to their column.
//!
//! The phone number is sealed with the row's id, the name with the id and a suffix: neither opens in another row or in the
//! other column.

use klaroen_domain::id::ParticipantId;
use klaroen_domain::phone::PhoneNumber;

use crate::Result;
use crate::engine::seal::Keys;

/// Seals the phone number of `id`.
pub(crate) fn seal_phone(keys: &Keys, id: ParticipantId, phone: &PhoneNumber) -> Vec<u8> {
    keys.seal_phone(phone, id.0.as_bytes())
}

/// Opens what [`seal_phone`] made.
pub(crate) fn open_phone(keys: &Keys, id: ParticipantId, sealed: &[u8]) -> Result<PhoneNumber> {
    keys.open_phone(sealed, id.0.as_bytes())
}

/// Seals the name of `id`.
pub(crate) fn seal_name(keys: &Keys, id: ParticipantId, name: &str) -> Vec<u8> {
    keys.seal(name, &name_row(id))
}

/// Opens what [`seal_name`] made.
pub(crate) fn open_name(keys: &Keys, id: ParticipantId, sealed: &[u8]) -> Result<String> {
    keys.open(sealed, &name_row(id))
}

fn name_row(id: ParticipantId) -> Vec<u8> {
    [id.0.as_bytes().as_slice(), b"name"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::phone;

    #[test]
    fn a_column_opens_only_as_itself_and_in_its_row() {
        let keys = Keys::new(&[1; 32], &[2; 32]);
        let (id, other) = (ParticipantId::generate(), ParticipantId::generate());
        let number = seal_phone(&keys, id, &phone(1));
        let name = seal_name(&keys, id, "Somebody");
        assert_eq!(open_phone(&keys, id, &number).unwrap(), phone(1));
        assert_eq!(open_name(&keys, id, &name).unwrap(), "Somebody");
        assert!(open_phone(&keys, other, &number).is_err());
        assert!(open_name(&keys, other, &name).is_err());
        assert!(open_phone(&keys, id, &name).is_err());
        assert!(open_name(&keys, id, &number).is_err());
    }
}
