//! Named circles of participants.

use klaroen_domain::id::{GroupId, OrganisationId};
use klaroen_domain::time::Timestamp;

use crate::{Actor, Page, PageRequest, Result, Store};

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The short name that requests and CSV files use: `hondenwandelaars`.
    pub code: String,
    /// The full name.
    pub name: String,
    /// How many participants are in it.
    pub participants: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Store {
    /// Makes a group; `None` where the code is taken.
    ///
    /// # Errors
    /// What the database says.
    pub async fn create_group(
        &self,
        _organisation: OrganisationId,
        _code: &str,
        _name: &str,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<Option<Group>> {
        unimplemented!()
    }

    /// The groups of an organisation, by code.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_groups(
        &self,
        _organisation: OrganisationId,
        _page: &PageRequest,
    ) -> Result<Page<Group>> {
        unimplemented!()
    }

    /// Which of these codes no group has, in the order given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unknown_groups(
        &self,
        _organisation: OrganisationId,
        _codes: &[String],
    ) -> Result<Vec<String>> {
        unimplemented!()
    }
}
