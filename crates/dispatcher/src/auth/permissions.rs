//! Who may call what: a table. What is not in it is refused.

use axum::http::Method;
use klaroen_domain::role::{Permission, Role};

use Permission::{
    ManageGateways, ManageKeys, ManageRegistry, ReadAlerts, ReadAudit, ReadGateways, ReadLibrary, RunAlerts,
};

/// Every call under `/v1` with what it takes.
pub const CALLS: &[(Method, &str, Permission)] = &[
    (Method::POST, "/v1/incidents", RunAlerts),
    (Method::GET, "/v1/incidents", ReadAlerts),
    (Method::GET, "/v1/incidents/{id}", ReadAlerts),
    (Method::POST, "/v1/incidents/{id}/alerts", RunAlerts),
    (Method::POST, "/v1/alerts/preview", RunAlerts),
    (Method::GET, "/v1/alerts", ReadAlerts),
    (Method::GET, "/v1/alerts/{id}", ReadAlerts),
    (Method::POST, "/v1/alerts/{id}/update", RunAlerts),
    (Method::POST, "/v1/alerts/{id}/retract", RunAlerts),
    (Method::POST, "/v1/alerts/{id}/end", RunAlerts),
    (Method::POST, "/v1/alerts/{id}/extend", RunAlerts),
    (Method::POST, "/v1/alerts/{id}/cancel", RunAlerts),
    (Method::GET, "/v1/alerts/{id}/deliveries", ReadAlerts),
    (Method::GET, "/v1/alerts/{id}/replies", ReadAlerts),
    (Method::GET, "/v1/alerts/{id}/events", ReadAlerts),
    (Method::PATCH, "/v1/replies/{id}", RunAlerts),
    (Method::POST, "/v1/participants", ManageRegistry),
    (Method::GET, "/v1/participants", ManageRegistry),
    (Method::GET, "/v1/participants/{id}", ManageRegistry),
    (Method::PATCH, "/v1/participants/{id}", ManageRegistry),
    (Method::DELETE, "/v1/participants/{id}", ManageRegistry),
    (Method::POST, "/v1/participants/imports", ManageRegistry),
    (Method::GET, "/v1/participants/export", ManageRegistry),
    (Method::GET, "/v1/groups", ReadLibrary),
    (Method::POST, "/v1/groups", ManageRegistry),
    (Method::GET, "/v1/areas", ReadLibrary),
    (Method::PUT, "/v1/areas", ManageRegistry),
    (Method::GET, "/v1/areas/{code}", ReadLibrary),
    (Method::PUT, "/v1/areas/{code}", ManageRegistry),
    (Method::GET, "/v1/keys", ManageKeys),
    (Method::POST, "/v1/keys", ManageKeys),
    (Method::DELETE, "/v1/keys/{id}", ManageKeys),
    (Method::GET, "/v1/gateways", ReadGateways),
    (Method::GET, "/v1/gateways/{name}", ReadGateways),
    (Method::POST, "/v1/gateways/{name}/pause", ManageGateways),
    (Method::POST, "/v1/gateways/{name}/resume", ManageGateways),
    (Method::POST, "/v1/gateways/{name}/test", ManageGateways),
    (Method::GET, "/v1/gateways/{name}/tests", ReadGateways),
    (Method::GET, "/v1/gateways/{name}/tests/{id}", ReadGateways),
    (Method::GET, "/v1/audit", ReadAudit),
];

/// What a call takes; `None` where there is no such call.
#[must_use]
pub fn needed(method: &Method, route: &str) -> Option<Permission> {
    // A HEAD is a GET without its body (RFC 9110 §9.3.2).
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    CALLS.iter().find(|(m, r, _)| m == method && *r == route).map(|(_, _, permission)| *permission)
}

/// The methods that a path takes, for `Allow`; empty where there is no such path.
#[must_use]
pub fn allow(route: &str) -> String {
    let mut methods: Vec<&str> =
        CALLS.iter().filter(|(_, r, _)| *r == route).map(|(m, _, _)| m.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.join(", ")
}

/// The roles that hold a permission, for people: `operator or approver`.
#[must_use]
pub fn roles_with(permission: Permission) -> String {
    let roles: Vec<&str> =
        Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str).collect();
    roles.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        assert_eq!(needed(&Method::POST, "/v1/incidents"), Some(RunAlerts));
        assert_eq!(needed(&Method::HEAD, "/v1/incidents"), Some(ReadAlerts));
        assert_eq!(needed(&Method::DELETE, "/v1/incidents"), None);
        assert_eq!(needed(&Method::GET, "/v1/else"), None);
        assert_eq!(allow("/v1/keys"), "GET, POST, HEAD");
        assert_eq!(roles_with(ReadAlerts), "operator or approver");
    }
}
