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

/// One message to one phone.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// The id of the delivery.
    #[schema(value_type = i64)]
    pub id: DeliveryId,
    /// The message.
    #[schema(schema_with = schemas::id)]
    pub message_id: MessageId,
    /// The participant. `null` if the phone number was given by itself.
    #[schema(schema_with = schemas::id_or_null)]
    pub participant_id: Option<ParticipantId>,
    /// The phone number, masked. `null` if it was erased.
    pub phone: Option<String>,
    /// The state of the delivery.
    #[schema(schema_with = schemas::delivery_state)]
    pub state: DeliveryState,
    /// Number of times that a worker claimed the delivery. Not every claim leads to a submit.
    pub attempts: u32,
    /// Whether the delivery was sent again after its answer was lost. The phone may have rung twice.
    pub in_doubt: bool,
    /// The reason of the state, if there is more to say.
    pub reason: Option<String>,
    /// The way in which the result became known, if an answer was lost. `null` until then.
    #[schema(schema_with = schemas::resolution_or_null)]
    pub settled_by: Option<&'static str>,
    /// The gateway connection that handed it over.
    pub channel: Option<String>,
    /// When the delivery was handed over. `null` until then.
    #[schema(schema_with = schemas::time_or_null)]
    pub sent_at: Option<Timestamp>,
    /// When the delivery changed last.
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

/// The deliveries to list.
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
