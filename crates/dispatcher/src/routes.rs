//! Every route: one line each. Router, permissions, time-outs, `Allow`, the description of the API and the test of every role
//! come from this table.
//!
//! A line has who may call, how long it may take, and the handler. Method and path stand in the `utoipa::path` attribute of the
//! handler and nowhere else; callbacks are not described, so theirs stand here.

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;
use klaroen_domain::role::Permission::{
    ManageGateways, ManageKeys, ManageRegistry, ReadAlerts, ReadAudit, ReadGateways, ReadLibrary, RunAlerts,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::middleware::route_table::Access::{self, Open};
use crate::middleware::route_table::TimeOut::{self, Unlimited, Usual};
use crate::middleware::route_table::{RouteRules, RouteTable};
use crate::openapi::operations;
use crate::resources::{
    alerts, areas, audit, callbacks, gateways, groups, health, incidents, keys, participants, replies,
};
use crate::state::App;

/// The routes by what stands around them, and the rules of all.
#[derive(Default)]
pub struct Routes {
    /// The rules of all routes.
    pub table: RouteTable,
    /// Routes for holders of a key.
    pub keyed: OpenApiRouter<App>,
    /// Routes for everyone.
    pub open: OpenApiRouter<App>,
    /// Routes for providers.
    pub callbacks: Router<App>,
}

macro_rules! routes {
    (described { $($access:ident $time_out:ident $handler:path;)* } callbacks { $($callback_path:literal $callback:path;)* }) => {{
        let mut routes = Routes::default();
        $(routes.add($access.into(), $time_out, utoipa_axum::routes!($handler));)*
        $(routes.add_callback($callback_path, axum::routing::get($callback).post($callback));)*
        routes
    }};
}

/// All routes.
pub fn routes() -> Routes {
    routes! { described {
        RunAlerts       Usual      incidents::http::create;
        ReadAlerts      Usual      incidents::http::list;
        ReadAlerts      Usual      incidents::http::get;

        RunAlerts       Usual      alerts::http::create;
        RunAlerts       Usual      alerts::preview::preview;
        ReadAlerts      Usual      alerts::http::list;
        ReadAlerts      Usual      alerts::http::get;
        RunAlerts       Usual      alerts::change::update;
        RunAlerts       Usual      alerts::change::retract;
        RunAlerts       Usual      alerts::change::end;
        RunAlerts       Usual      alerts::change::extend;
        RunAlerts       Usual      alerts::change::cancel;
        ReadAlerts      Usual      alerts::deliveries::list;
        ReadAlerts      Unlimited  alerts::events::stream;

        ReadAlerts      Usual      replies::list;
        RunAlerts       Usual      replies::mark;

        ManageRegistry  Usual      participants::http::create;
        ManageRegistry  Usual      participants::http::list;
        ManageRegistry  Usual      participants::http::get;
        ManageRegistry  Usual      participants::http::change;
        ManageRegistry  Usual      participants::http::erase;
        ManageRegistry  Unlimited  participants::import::create;
        ManageRegistry  Unlimited  participants::export::export;

        ReadLibrary     Usual      groups::list;
        ManageRegistry  Usual      groups::create;
        ReadLibrary     Unlimited  areas::http::list;
        ManageRegistry  Unlimited  areas::http::put_all;
        ReadLibrary     Unlimited  areas::http::get;
        ManageRegistry  Unlimited  areas::http::put;

        ManageKeys      Usual      keys::list;
        ManageKeys      Usual      keys::create;
        ManageKeys      Usual      keys::revoke;

        ReadGateways    Usual      gateways::view::list;
        ReadGateways    Usual      gateways::view::get;
        ManageGateways  Usual      gateways::pause::pause;
        ManageGateways  Usual      gateways::pause::resume;
        ManageGateways  Usual      gateways::self_test::request;
        ReadGateways    Usual      gateways::self_test::list;
        ReadGateways    Usual      gateways::self_test::get;

        ReadAudit       Usual      audit::list;

        Open            Usual      health::livez;
        Open            Usual      health::readyz;
        Open            Usual      health::metrics;
    } callbacks {
        "/v1/gateways/{gateway}/{token}/receipts"  callbacks::receipts;
        "/v1/gateways/{gateway}/{token}/inbound"   callbacks::inbound;
    } }
}

impl Routes {
    /// Adds a described route: its method and path come from the description.
    fn add(&mut self, access: Access, time_out: TimeOut, described: UtoipaMethodRouter<App>) {
        for (path, item) in &described.1.paths {
            for (method, _) in operations(item) {
                self.table.add(RouteRules { method, path: path.clone(), access, time_out });
            }
        }
        let routes = if access == Open { &mut self.open } else { &mut self.keyed };
        *routes = std::mem::take(routes).routes(described);
    }

    fn add_callback(&mut self, path: &str, handler: MethodRouter<App>) {
        for method in [Method::GET, Method::POST] {
            let (access, time_out) = (Access::Callback, Usual);
            self.table.add(RouteRules { method, path: path.to_owned(), access, time_out });
        }
        self.callbacks = std::mem::take(&mut self.callbacks).route(path, handler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_outside_the_table_needs_a_permission_that_nobody_has() {
        let table = routes().table;
        assert_eq!(table.permission(&Method::POST, "/v1/incidents"), Some(RunAlerts));
        assert_eq!(table.permission(&Method::HEAD, "/v1/incidents"), Some(ReadAlerts));
        assert_eq!(table.permission(&Method::DELETE, "/v1/incidents"), None);
        assert_eq!(table.permission(&Method::GET, "/v1/else"), None);
        assert_eq!(table.allow("/v1/keys"), "GET, POST, HEAD");
        assert_eq!(table.allow("/livez"), "GET, HEAD");
        assert_eq!(table.allow("/v1/gateways/{gateway}/{token}/inbound"), "GET, POST");
    }
}
