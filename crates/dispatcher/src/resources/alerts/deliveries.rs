//! `/v1/alerts/{id}/deliveries`: what became of each SMS. Phone numbers are masked.

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, DeliveryId, MessageId, OrganisationId, ParticipantId};
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::deliveries::DeliveryView;
use klaroen_store::doubts::Resolution;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::request::query::List;
use crate::resources::schemas;
use crate::state::App;

/// One message to one participant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: DeliveryId,
    /// The message.
    #[schema(schema_with = schemas::id)]
    pub message_id: MessageId,
    /// To whom.
    #[schema(schema_with = schemas::id)]
    pub participant_id: ParticipantId,
    /// The number, masked; `null` where the participant was erased.
    pub phone: Option<String>,
    /// Where it stands.
    #[schema(schema_with = schemas::delivery_state)]
    pub state: DeliveryState,
    /// How often a worker took it in hand; not each time it was handed to a gateway.
    pub attempts: u32,
    /// It was sent again after its answer was lost: the phone may have rung twice.
    pub in_doubt: bool,
    /// Why it stands there, where there is more to say.
    pub reason: Option<String>,
    /// How it came to be known what became of it, where its answer was lost; `null` while that is open.
    #[schema(schema_with = schemas::resolution_or_null)]
    pub settled_by: Option<&'static str>,
    /// Which gateway connection took it.
    pub channel: Option<String>,
    /// When it was handed over.
    #[schema(schema_with = schemas::time_or_null)]
    pub sent_at: Option<Timestamp>,
    /// When it last changed.
    #[schema(schema_with = schemas::time)]
    pub changed_at: Timestamp,
}

impl From<DeliveryView> for Delivery {
    fn from(view: DeliveryView) -> Self {
        Self {
            id: view.id,
            message_id: view.message,
            participant_id: view.participant,
            phone: view.phone.map(|phone| phone.to_string()),
            state: view.state,
            attempts: view.attempts,
            in_doubt: view.in_doubt,
            reason: view.reason,
            settled_by: view.settled_by.map(Resolution::as_str),
            channel: view.channel,
            sent_at: view.sent_at,
            changed_at: view.changed_at,
        }
    }
}

/// Which deliveries.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryFilter {
    /// Only deliveries in this state.
    #[param(schema_with = schemas::delivery_state)]
    pub state: Option<String>,
}

/// One page of the deliveries of an alert, oldest first.
///
/// # Errors
/// 404 if the organisation has no such alert, 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    alert: AlertId,
    state: Option<DeliveryState>,
    page: &PageRequest,
) -> Result<List<Delivery>, Problem> {
    let page = app.store.list_deliveries(organisation, alert, state, page).await?;
    let page = page.ok_or_else(|| Problem::not_found("alert"))?;
    Ok(List::from_page(page, Delivery::from))
}
