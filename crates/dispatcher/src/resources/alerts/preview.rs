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
use crate::resources::schemas;
use crate::settings::DispatcherSettings;
use crate::state::App;

/// More people than this are a city: worth a second look.
const MANY_RECIPIENTS: usize = 10_000;

/// What an alert would do.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Preview {
    /// How many people would be asked.
    pub recipients: u64,
    /// Of these, residents.
    pub residents: u64,
    /// Of these, businesses.
    pub businesses: u64,
    /// Inside the area, and left out.
    pub excluded: Excluded,
    /// How the text would travel.
    pub text: TextPreview,
    /// Euro, for all of it.
    #[schema(minimum = 0)]
    pub cost: f64,
    /// Seconds until the last one is handed over; 0 where there is no limit.
    #[schema(minimum = 0)]
    pub seconds_to_send: f64,
    /// What is doubtful.
    pub warnings: Vec<Warning>,
}

/// Inside the area, and left out.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Excluded {
    /// Outside their hours, or quiet hours.
    pub off_hours: u64,
    /// Paused.
    pub paused: u64,
    /// Had enough alerts.
    pub frequency: u64,
}

/// How a text travels.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TextPreview {
    /// The alphabet.
    #[schema(schema_with = schemas::encoding)]
    pub encoding: Encoding,
    /// SMS each.
    pub segments: u8,
    /// Septets (GSM 7-bit) or 16-bit units (UCS-2).
    pub characters: usize,
    /// Characters that were replaced by ones that GSM 7-bit has.
    pub replaced: Vec<ReplacedCharacter>,
}

/// A character that was replaced.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplacedCharacter {
    /// Its place in the text as given, from 0.
    pub position: usize,
    /// The character as given.
    #[schema(value_type = String)]
    pub from: char,
    /// What stands there now.
    pub to: String,
}

/// Something doubtful.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Warning {
    /// `no_recipients`, `many_recipients`, `ucs2`, `several_segments`, `replaced_characters`, `quiet_hours`,
    /// `slower_than_expiry`.
    pub code: &'static str,
    /// What it means.
    pub detail: String,
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
    Ok(foresee(draft, &matches, &app.settings, now))
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
        (recipients == 0, "no_recipients", "nobody in this area would be asked".to_owned()),
        (recipients > MANY_RECIPIENTS, "many_recipients", format!("{recipients} people would be asked")),
        (
            text.encoding() == Encoding::Ucs2,
            "ucs2",
            format!(
                "these characters are not in GSM 7-bit, so an SMS holds 70 characters instead of 160: {}",
                text.unreplaceable().iter().collect::<String>()
            ),
        ),
        (text.segments() > 1, "several_segments", format!("the text takes {} SMS each", text.segments())),
        (replaced > 0, "replaced_characters", format!("{replaced} characters were replaced")),
        (quiet, "quiet_hours", "it is quiet hours: a normal alert reaches nobody now".to_owned()),
        (slow, "slower_than_expiry", "the alert is over before the last one is handed over".to_owned()),
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
