//! The rules of every route, for the middleware: access and time-out.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use klaroen_domain::role::Permission;

/// The callers that a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Keys whose role has this permission.
    Key(Permission),
    /// Everyone.
    Open,
    /// Providers, which the handler checks by the token in the path.
    Callback,
}

impl From<Permission> for Access {
    fn from(permission: Permission) -> Self {
        Self::Key(permission)
    }
}

/// The time that a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOut {
    /// As long as any request that answers at once.
    Usual,
    /// As long as it needs: the answer is a stream, or the body is large for a slow line.
    Unlimited,
}

/// What the description of a route cannot show by itself, and what its problems depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTrait {
    /// It takes no body, or an empty object.
    EmptyBody,
    /// It takes a body of any size, which it reads as a stream.
    StreamedBody,
    /// It makes the resource that its path names, so that no path is unknown.
    Makes,
    /// It changes an alert, whose state may not allow that.
    ChangesAlert,
    /// It starts what runs once at a time.
    OneAtATime,
}

/// The rules of one route.
#[derive(Clone, Debug)]
pub struct RouteRules {
    /// The method; `GET` stands for `HEAD` too (RFC 9110 §9.3.2).
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: String,
    /// The callers that it accepts.
    pub access: Access,
    /// The time that a request may take.
    pub time_out: TimeOut,
    /// What its problems depend on.
    pub traits: &'static [RouteTrait],
}

/// The rules of all routes. A request that has no entry is refused.
#[derive(Clone, Debug, Default)]
pub struct RouteTable(Vec<RouteRules>);

impl RouteTable {
    /// Adds a route.
    pub fn add(&mut self, rules: RouteRules) {
        self.0.push(rules);
    }

    /// The routes in the order of the table.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &RouteRules> {
        self.0.iter()
    }

    /// The rules for a method and a path with its parameters in braces.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<&RouteRules> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.0.iter().find(|rules| rules.method == *method && rules.path == path)
    }

    /// The permission that a request needs; `None` if no key may make it.
    #[must_use]
    pub fn permission(&self, method: &Method, path: &str) -> Option<Permission> {
        match self.find(method, path)?.access {
            Access::Key(permission) => Some(permission),
            Access::Open | Access::Callback => None,
        }
    }

    /// The value of `Allow` for a path. A path outside the table is a page of the documentation, which is only read.
    #[must_use]
    pub fn allow(&self, path: &str) -> String {
        let routes: Vec<&RouteRules> = self.0.iter().filter(|rules| rules.path == path).collect();
        let mut methods: Vec<&str> = routes.iter().map(|rules| rules.method.as_str()).collect();
        if methods.is_empty() {
            methods.push("GET");
        }
        // A HEAD of a callback would be a GET with an effect and without its answer.
        if methods.contains(&"GET") && !routes.iter().any(|rules| rules.access == Access::Callback) {
            methods.push("HEAD");
        }
        methods.join(", ")
    }
}

/// The path of the route that a request matched, with its parameters in braces.
pub(crate) fn matched_path(request: &Request) -> Option<&str> {
    request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)
}
