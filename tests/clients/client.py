"""A control room in Python, with the client that openapi-python-client makes from the description of the API."""

import datetime
import io
import os
import uuid

from klaroen_client import AuthenticatedClient
from klaroen_client.api.alerts import end_alert, get_alert, list_alerts, list_deliveries, preview_alert
from klaroen_client.api.incidents import create_incident
from klaroen_client.api.registry import (
    change_participant,
    create_group,
    create_participant,
    import_participants,
    list_participants,
    put_area,
)
from klaroen_client.api.replies import list_replies
from klaroen_client.models import (
    Alert,
    AlertRequest,
    AlertState,
    AreaFeature,
    AreaFeatureRequest,
    AreaFeatureRequestType,
    AreaPropertiesRequest,
    AudienceRequest,
    ConsentPatch,
    ConsentRequest,
    EndRequest,
    GroupRequest,
    ImportReport,
    Incident,
    IncidentRequest,
    Language,
    LibraryArea,
    ListParticipant,
    Outcome,
    Participant,
    ParticipantKind,
    ParticipantPatch,
    ParticipantRequest,
    PlaceRequest,
    Polygon,
    PolygonType,
    Priority,
    Problem,
    Wgs84Request,
)
from klaroen_client.types import File


def caller(key):
    return AuthenticatedClient(base_url=os.environ["KLAROEN_URL"], token=os.environ[key])


def taken(answer, kind):
    assert isinstance(answer.parsed, kind), (answer.status_code, answer.content)
    return answer.parsed


admin, operator = caller("KLAROEN_ADMIN"), caller("KLAROEN_OPERATOR")
here = Wgs84Request(latitude=52.0907, longitude=5.1214)

ring = [[5.1, 52.08], [5.14, 52.08], [5.14, 52.1], [5.1, 52.1], [5.1, 52.08]]
feature = AreaFeatureRequest(
    type_=AreaFeatureRequestType.FEATURE,
    properties=AreaPropertiesRequest(name="Centrum"),
    geometry=Polygon(type_=PolygonType.POLYGON, coordinates=[ring]),
)
area = taken(put_area.sync_detailed("PY1", client=admin, body=feature), AreaFeature)
assert (area.id, area.properties.kind, area.geometry.coordinates) == ("PY1", "area", [ring]), area

create_group.sync_detailed(client=admin, body=GroupRequest(code="py", name="Python"))
ids = []
for last in range(1, 4):
    body = ParticipantRequest(
        kind=ParticipantKind.RESIDENT,
        phone=f"+3161000020{last}",
        places=[PlaceRequest(label="thuis", location=here)],
        groups=["py"],
        consent=ConsentRequest(given_at=datetime.datetime(2026, 1, 31, 10, tzinfo=datetime.UTC), method="web"),
        # What serialisers write for what is not there.
        name=None,
        paused_until=None,
    )
    ids.append(taken(create_participant.sync_detailed(client=admin, body=body), Participant).id)
patch = ParticipantPatch(language=Language.EN, paused_until=None, consent=ConsentPatch(method="letter"))
changed = taken(change_participant.sync_detailed(ids[0], client=admin, body=patch), Participant)
assert (changed.language, changed.consent.method) == (Language.EN, "letter"), changed

pages, cursor = [], {}
while len(pages) < 10:
    page = taken(list_participants.sync_detailed(client=admin, limit=2, **cursor), ListParticipant)
    pages.append([participant.id for participant in page.items])
    if not page.next_cursor:
        break
    cursor = {"cursor": page.next_cursor}
assert pages == [ids[:2], ids[2:]], pages

# `exercise`, `priority` and `expires_in_s` may be left out.
alert = AlertRequest(
    area=LibraryArea(areas=["PY1"]),
    text="Let op: vrouw, 80, rode jas. Gezien? Bel 112",
    audience=AudienceRequest(groups=["py"]),
)
assert preview_alert.sync(client=operator, body=alert).recipients == 3
refused = preview_alert.sync_detailed(client=operator, body=AlertRequest(area=LibraryArea(areas=["gone"]), text="x"))
assert taken(refused, Problem).errors[0].pointer == "/area/areas/0", refused

alert.priority, alert.expires_in_s, alert.exercise = Priority.LIFE_THREATENING, 1800, None
report = IncidentRequest(category="missing_person", description="Vrouw vermist", location=here, alert=alert)
answers = [create_incident.sync_detailed(client=operator, body=report, idempotency_key="python-1") for _ in range(2)]
made, again = [taken(answer, Incident) for answer in answers]
assert made.id == again.id
alert_id = made.alerts[0].id

shown = taken(get_alert.sync_detailed(alert_id, client=operator), Alert)
assert (shown.state, shown.priority, shown.exercise) == (AlertState.ACTIVE, Priority.LIFE_THREATENING, False), shown
assert isinstance(shown.area, LibraryArea) and shown.area.areas == ["PY1"], shown.area
assert shown.audience.groups == ["py"] and shown.recipients == 3, shown
active = list_alerts.sync(client=operator, state=AlertState.ACTIVE, limit=1)
assert [one.id for one in active.items] == [alert_id], active
assert len(list_deliveries.sync(alert_id, client=operator).items) == 3
assert list_replies.sync(alert_id, client=operator).items == []

end = EndRequest(text="Gevonden, dank u.", outcome=Outcome.FOUND)
ended = taken(end_alert.sync_detailed(alert_id, client=operator, body=end, idempotency_key=str(uuid.uuid4())), Alert)
assert (ended.state, ended.outcome) == (AlertState.ENDED, Outcome.FOUND), ended
twice = taken(end_alert.sync_detailed(alert_id, client=operator, body=end), Problem)
assert twice.status == 409, twice

csv = b"kind,phone,latitude,longitude,consent_at,consent_method\nresident,0610000209,52.09,5.12,2026-01-31,web\n"
imported = taken(import_participants.sync_detailed(client=admin, body=File(payload=io.BytesIO(csv))), ImportReport)
assert imported.created == 1, imported
print("done")
