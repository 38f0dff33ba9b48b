// A control room in TypeScript: the types are those that openapi-typescript makes from the description of the API.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];

declare const process: { env: Record<string, string | undefined> };

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

function caller(key: string) {
  const headers = { Authorization: `Bearer ${setting(key)}` };
  return createClient<paths>({ baseUrl: setting("KLAROEN_URL"), headers });
}

function same(got: unknown, wanted: unknown, what: string) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) {
    throw new Error(`${what}: ${JSON.stringify(got)} is not ${JSON.stringify(wanted)}`);
  }
}

/** The body of an answer that is no problem. */
function taken<T>(answer: { data?: T; error?: Schemas["Problem"] | undefined; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.url}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const admin = caller("KLAROEN_ADMIN");
const operator = caller("KLAROEN_OPERATOR");

const feature: Schemas["AreaFeatureRequest"] = {
  type: "Feature",
  properties: { name: "Centrum" },
  geometry: { type: "Polygon", coordinates: [[[5.1, 52.08], [5.14, 52.08], [5.14, 52.1], [5.1, 52.1], [5.1, 52.08]]] },
};
const area = taken(
  await admin.PUT("/v1/areas/{code}", {
    params: { path: { code: "TS1" } },
    body: feature,
    headers: { "Content-Type": "application/geo+json" },
  }),
);
same([area.id, area.properties.kind, area.geometry.type], ["TS1", "area", "Polygon"], "area");

taken(await admin.POST("/v1/groups", { body: { code: "ts", name: "TypeScript" } }));

const ids: string[] = [];
for (const last of [1, 2, 3]) {
  const participant: Schemas["ParticipantRequest"] = {
    kind: "resident",
    phone: `+3161000010${last}`,
    places: [{ label: "thuis", location: { latitude: 52.0907, longitude: 5.1214 } }],
    groups: ["ts"],
    consent: { given_at: "2026-01-31T10:00:00+01:00", method: "web" },
    // What serialisers write for what is not there.
    name: null,
    paused_until: null,
  };
  ids.push(taken(await admin.POST("/v1/participants", { body: participant })).id);
}
const changed = taken(
  await admin.PATCH("/v1/participants/{id}", {
    params: { path: { id: ids[0] ?? "" } },
    body: { language: "en", paused_until: null, consent: { method: "letter" } },
    headers: { "Content-Type": "application/merge-patch+json" },
  }),
);
same([changed.language, changed.consent.method], ["en", "letter"], "changed participant");

const pages: string[][] = [];
for (let cursor: string | undefined; pages.length < 10; ) {
  const query = cursor === undefined ? { limit: 2 } : { limit: 2, cursor };
  const page: Schemas["List_Participant"] = taken(await admin.GET("/v1/participants", { params: { query } }));
  pages.push(page.items.map((participant: Schemas["Participant"]) => participant.id));
  if (typeof page.next_cursor !== "string") break;
  cursor = page.next_cursor;
}
same(pages, [[ids[0], ids[1]], [ids[2]]], "pages of participants");

// `exercise`, `priority` and `expires_in_s` may be left out.
const request: Schemas["AlertRequest"] = {
  area: { areas: ["TS1"] },
  text: "Let op: vrouw, 80, rode jas. Gezien? Bel 112",
  audience: { groups: ["ts"] },
};
// @ts-expect-error A text is missing.
const textless: Schemas["AlertRequest"] = { area: { areas: ["TS1"] } };
// @ts-expect-error There is no such member.
const misspelt: Schemas["AlertRequest"] = { ...request, expiresInS: 60 };
for (const body of [textless, misspelt]) {
  const { error, response } = await operator.POST("/v1/alerts/preview", { body });
  same([response.status, error?.errors.length], [422, 1], "a request against the types");
}
same(taken(await operator.POST("/v1/alerts/preview", { body: request })).recipients, 3, "preview");

const incident: Schemas["IncidentRequest"] = {
  category: "missing_person",
  description: "Vrouw vermist",
  location: { latitude: 52.0907, longitude: 5.1214 },
  alert: { ...request, priority: "life_threatening", expires_in_s: 1800, exercise: null },
};
const header = { "Idempotency-Key": "typescript-1" };
const made = taken(await operator.POST("/v1/incidents", { params: { header }, body: incident }));
const again = taken(await operator.POST("/v1/incidents", { params: { header }, body: incident }));
same(again.id, made.id, "the same request once more");
const id = made.alerts[0]?.id ?? "";

const alert: Schemas["Alert"] = taken(await operator.GET("/v1/alerts/{id}", { params: { path: { id } } }));
const priority: Schemas["Priority"] = alert.priority;
same([alert.state, priority, alert.exercise, alert.recipients], ["active", "life_threatening", false, 3], "alert");
if (!("areas" in alert.area)) throw new Error("the area is another one than was asked for");
same([alert.area.areas, alert.audience.groups], [["TS1"], ["ts"]], "area and audience");

const active = taken(await operator.GET("/v1/alerts", { params: { query: { state: "active", limit: 1 } } }));
same(active.items.map((one) => one.id), [id], "active alerts");
const deliveries = taken(await operator.GET("/v1/alerts/{id}/deliveries", { params: { path: { id } } }));
same(deliveries.items.length, 3, "deliveries");
same(taken(await operator.GET("/v1/alerts/{id}/replies", { params: { path: { id } } })).items, [], "replies");

const ended = taken(
  await operator.POST("/v1/alerts/{id}/end", {
    params: { path: { id }, header: { "Idempotency-Key": "typescript-2" } },
    body: { text: "Gevonden, dank u.", outcome: "found" },
  }),
);
same([ended.state, ended.outcome], ["ended", "found"], "ended alert");
const twice = await operator.POST("/v1/alerts/{id}/end", {
  params: { path: { id } },
  body: { text: "Gevonden, dank u.", outcome: "found" },
});
same([twice.response.status, twice.error?.status], [409, 409], "the end of what has ended");
console.log("done");
