//! `/v1/alerts/preview`: whom an alert would reach, what it would cost and what is doubtful about it. Writes nothing.

use klaroen_domain::alert::Priority;
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::text::{Encoding, Replacement};
use klaroen_domain::time::Timestamp;
use klaroen_store::alerts::AlertDraft;
use klaroen_store::matching::{MatchQuery, Matches};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::resources::gateways::overview::Overview;
use crate::resources::schemas;
use crate::resources::warning::Warning;
use crate::settings::DispatcherSettings;
use crate::state::App;

/// More people than this are a city: worth a second look.
const MANY_RECIPIENTS: usize = 10_000;

/// The effect of an alert.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Preview {
    /// Number of people who would be asked.
    pub recipients: u64,
    /// Number of recipients who are residents.
    pub residents: u64,
    /// Number of recipients that are businesses.
    pub businesses: u64,
    /// Participants in the area who would not be asked.
    pub excluded: Excluded,
    /// The text as it would be sent.
    pub text: TextPreview,
    /// The cost of all SMS, in euro.
    #[schema(minimum = 0)]
    pub cost: f64,
    /// Seconds until the last SMS is handed over. 0 if the gateways have no limit.
    #[schema(minimum = 0)]
    pub seconds_to_send: f64,
    /// Warnings for the operator.
    pub warnings: Vec<Warning>,
}

/// Participants in the area who would not be asked.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Excluded {
    /// Participants outside their hours, or in quiet hours.
    pub off_hours: u64,
    /// Participants who paused their alerts.
    pub paused: u64,
    /// Participants who had as many alerts as they may get.
    pub frequency: u64,
}

/// A text as it would be sent.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TextPreview {
    /// The alphabet of the text.
    #[schema(schema_with = schemas::encoding)]
    pub encoding: Encoding,
    /// Number of SMS that each recipient gets.
    pub segments: u8,
    /// Length of the text, in septets (GSM 7-bit) or 16-bit units (UCS-2).
    pub characters: usize,
    /// Characters that were replaced by characters of GSM 7-bit.
    pub replaced: Vec<ReplacedCharacter>,
}

/// A character that was replaced.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplacedCharacter {
    /// The position in the text as given, from 0.
    pub position: usize,
    /// The character as given.
    #[schema(value_type = String)]
    pub from: char,
    /// The characters that replace it.
    pub to: String,
}

/// Matches an alert without writing anything.
///
/// # Errors
/// 503 if the database is not available.
pub async fn preview(app: &App, caller: &Caller, draft: &AlertDraft) -> Result<Preview, Problem> {
    let now = app.now();
    let query = MatchQuery {
        organisation: caller.organisation(),
        geofence: &draft.geofence,
        audience: &draft.audience,
        priority: draft.priority,
        as_of: now,
    };
    let matches = app.store.match_geofence(&query, &app.settings.rules).await?;
    let mut preview = foresee(draft, &matches, &app.settings, now);
    let gateways = Overview::read_standings(&app.settings.gateways, &app.store, now).await?;
    preview.warnings.extend(gateways.warnings(draft.priority));
    Ok(preview)
}

#[expect(clippy::cast_precision_loss, reason = "nobody is charged for 2^52 SMS")]
fn foresee(draft: &AlertDraft, matches: &Matches, settings: &DispatcherSettings, now: Timestamp) -> Preview {
    let recipients = matches.recipients.len();
    let businesses = matches.recipients.iter().filter(|m| m.kind == ParticipantKind::Business).count();
    let text = &draft.text;
    let segments = recipients as f64 * f64::from(text.segments());
    let pace = settings.segments_per_second;
    let seconds_to_send = if pace > 0.0 { segments / pace } else { 0.0 };
    // Cents, so that 0.07 × 3 does not read 0.21000000000000002.
    let cost = (segments * settings.price_per_segment * 100.0).round() / 100.0;
    let show = |r: &Replacement| ReplacedCharacter { position: r.position, from: r.from, to: r.to.clone() };
    Preview {
        recipients: recipients as u64,
        residents: (recipients - businesses) as u64,
        businesses: businesses as u64,
        excluded: Excluded {
            off_hours: matches.off_hours,
            paused: matches.paused,
            frequency: matches.frequency,
        },
        text: TextPreview {
            encoding: text.encoding(),
            segments: text.segments(),
            characters: text.characters(),
            replaced: text.replaced().iter().map(show).collect(),
        },
        cost,
        seconds_to_send,
        warnings: warnings(draft, recipients, seconds_to_send, settings, now),
    }
}

fn warnings(
    draft: &AlertDraft,
    recipients: usize,
    seconds_to_send: f64,
    settings: &DispatcherSettings,
    now: Timestamp,
) -> Vec<Warning> {
    let text = &draft.text;
    let rules = &settings.rules;
    let quiet = draft.priority == Priority::Normal
        && rules.quiet_hours.is_some_and(|quiet| quiet.contains(now, &rules.zone));
    let replaced = text.replaced().len();
    let slow = seconds_to_send > draft.expires_at.since(now).as_secs_f64();
    let possible = [
        (recipients == 0, "no_recipients", "no participant in this area would be asked".to_owned()),
        (recipients > MANY_RECIPIENTS, "many_recipients", format!("{recipients} people would be asked")),
        (
            text.encoding() == Encoding::Ucs2,
            "ucs2",
            format!(
                "these characters are not in GSM 7-bit, so an SMS holds 70 characters instead of 160: {}",
                text.unreplaceable().iter().collect::<String>()
            ),
        ),
        (text.segments() > 1, "several_segments", format!("each recipient gets {} SMS", text.segments())),
        (replaced > 0, "replaced_characters", format!("{replaced} characters were replaced")),
        (quiet, "quiet_hours", "these are quiet hours: a normal alert reaches no participant now".to_owned()),
        (slow, "slower_than_expiry", "the alert expires before the last SMS is handed over".to_owned()),
    ];
    let raised = possible.into_iter().filter(|(raised, ..)| *raised);
    raised.map(|(_, code, detail)| Warning { code, detail }).collect()
}

#[cfg(test)]
mod tests {
    use klaroen_domain::geofence::Geofence;
    use klaroen_domain::id::ParticipantId;
    use klaroen_domain::phone::Country;
    use klaroen_domain::point::Point;
    use klaroen_domain::text::MessageText;
    use klaroen_store::matching::{Audience, MatchRules, Matched};
    use klaroen_store::seal::Recipient;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_900_000_000);

    fn foreseen(text: &str, people: usize) -> Preview {
        let rules = MatchRules {
            zone: "Europe/Amsterdam".parse().unwrap(),
            quiet_hours: None,
            max_alerts_per_day: 0,
        };
        let mut settings = DispatcherSettings::new(Country::NL, rules);
        settings.price_per_segment = 0.07;
        settings.segments_per_second = 2.0;
        let draft = AlertDraft {
            geofence: Geofence::circle(Point::wgs84(52.09, 5.12).unwrap(), 100.0).unwrap(),
            area: serde_json::Value::Null,
            text: MessageText::parse(text, 3).unwrap(),
            audience: Audience::default(),
            priority: Priority::Urgent,
            expires_at: NOW.plus(std::time::Duration::from_hours(1)),
            exercise: false,
        };
        let person = |i: usize| Matched {
            participant: ParticipantId::generate(),
            recipient: Recipient([u8::try_from(i % 256).unwrap(); 16]),
            kind: if i == 0 { ParticipantKind::Business } else { ParticipantKind::Resident },
        };
        let matches =
            Matches { recipients: (0..people).map(person).collect(), off_hours: 4, paused: 5, frequency: 6 };
        foresee(&draft, &matches, &settings, NOW)
    }

    #[test]
    fn cost_and_time_count_segments() {
        let preview = foreseen("Zoek de man met de rode jas", 3);
        assert_eq!((preview.recipients, preview.residents, preview.businesses), (3, 2, 1));
        assert!((preview.cost - 0.21).abs() < f64::EPSILON);
        assert!((preview.seconds_to_send - 1.5).abs() < f64::EPSILON);
        assert_eq!(preview.excluded, Excluded { off_hours: 4, paused: 5, frequency: 6 });
        assert!(preview.warnings.is_empty(), "{:?}", preview.warnings);
    }

    #[test]
    fn what_is_doubtful_is_said() {
        let codes = |text: &str, people| -> Vec<&'static str> {
            foreseen(text, people).warnings.into_iter().map(|w| w.code).collect()
        };
        assert_eq!(codes("Zoek de man", 0), ["no_recipients"]);
        assert_eq!(
            codes(&"x".repeat(200), 10_001),
            ["many_recipients", "several_segments", "slower_than_expiry"]
        );
        assert_eq!(codes("Zoek de man 🚨", 1), ["ucs2"]);
    }
}
