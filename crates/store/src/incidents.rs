//! What was reported.

use klaroen_domain::alert::SubjectKind;
use klaroen_domain::id::{IncidentId, KeyId, OrganisationId};
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;

use crate::{Page, PageRequest, Result, Store};

/// What a report says.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentDraft {
    /// The control room's own number.
    pub reference: Option<String>,
    /// `burglary`, `missing_person`, …: the control room's own words.
    pub category: String,
    /// What happened.
    pub description: String,
    /// Whom or what to look out for.
    pub subject: Option<(SubjectKind, String)>,
    /// Where.
    pub location: Point,
    /// When.
    pub occurred_at: Option<Timestamp>,
}

/// A report that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// What it says.
    pub draft: IncidentDraft,
    /// When it was taken.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: KeyId,
}

impl Store {
    /// One incident.
    ///
    /// # Errors
    /// What the database says.
    pub async fn incident(&self, _organisation: OrganisationId, _id: IncidentId) -> Result<Option<Incident>> {
        unimplemented!()
    }

    /// The incidents of an organisation, newest first.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_incidents(
        &self,
        _organisation: OrganisationId,
        _page: &PageRequest,
    ) -> Result<Page<Incident>> {
        unimplemented!()
    }
}
