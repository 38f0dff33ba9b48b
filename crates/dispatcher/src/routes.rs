//! All routes: one line each. The router, the permissions, the time-outs, `Allow`, the description of the API and the test of
//! every role come from this table.
//!
//! A line has the permission, the time-out, the handler, and in brackets what its problems depend on, if its description cannot
//! show that. The `utoipa::path` attribute of the handler has the method and the
//! path, which stand nowhere else. Callbacks are not described, so the table has their paths. To add a call, write its handler
//! in `http` of its resource, and a line here.

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;
use klaroen_domain::role::Permission::{
    ManageGateways, ManageKeys, ManageOptOuts, ManageRegistry, ReadAlerts, ReadAudit, ReadGateways,
    ReadLibrary, RunAlerts,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::middleware::route_table::Access::{self, Open};
use crate::middleware::route_table::RouteTrait::{
    self, ChangesAlert, EmptyBody, Makes, OneAtATime, StreamedBody,
};
use crate::middleware::route_table::TimeOut::{self, Unlimited, Usual};
use crate::middleware::route_table::{RouteRules, RouteTable};
use crate::openapi::operations;
use crate::resources::alerts::{events, http as alerts};
use crate::resources::areas::http as areas;
use crate::resources::audit::http as audit;
use crate::resources::callbacks::http as callbacks;
use crate::resources::gateways::http as gateways;
use crate::resources::groups::http as groups;
use crate::resources::health::http as health;
use crate::resources::incidents::http as incidents;
use crate::resources::keys::http as keys;
use crate::resources::opt_outs::http as opt_outs;
use crate::resources::participants::{http as participants, http_files as participant_files};
use crate::resources::replies::http as replies;
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
    (described { $($access:ident $time_out:ident $handler:path $([$($trait:ident)+])?;)* } callbacks { $($callback_path:literal $callback:path;)* }) => {{
        let mut routes = Routes::default();
        $(routes.add($access.into(), $time_out, &[$($($trait),+)?], utoipa_axum::routes!($handler));)*
        $(routes.add_callback($callback_path, axum::routing::get($callback).post($callback));)*
        routes
    }};
}

/// All routes.
pub fn routes() -> Routes {
    routes! { described {
        RunAlerts       Usual      incidents::create;
        ReadAlerts      Usual      incidents::list;
        ReadAlerts      Usual      incidents::get;

        RunAlerts       Usual      alerts::create;
        RunAlerts       Usual      alerts::preview;
        ReadAlerts      Usual      alerts::list;
        ReadAlerts      Usual      alerts::get;
        RunAlerts       Usual      alerts::update [ChangesAlert];
        RunAlerts       Usual      alerts::retract [ChangesAlert];
        RunAlerts       Usual      alerts::end [ChangesAlert];
        RunAlerts       Usual      alerts::extend [ChangesAlert];
        RunAlerts       Usual      alerts::cancel [EmptyBody ChangesAlert];
        ReadAlerts      Usual      alerts::list_deliveries;
        ReadAlerts      Unlimited  events::stream;

        ReadAlerts      Usual      replies::list;
        ReadAlerts      Usual      replies::list_all;
        RunAlerts       Usual      replies::mark;

        ManageOptOuts   Usual      opt_outs::record;
        ManageOptOuts   Usual      opt_outs::list;
        ManageOptOuts   Usual      opt_outs::get;
        ManageOptOuts   Usual      opt_outs::lift;

        ManageRegistry  Usual      participants::create;
        ManageRegistry  Usual      participants::list;
        ManageRegistry  Usual      participants::get;
        ManageRegistry  Usual      participants::change;
        ManageRegistry  Usual      participants::erase;
        ManageRegistry  Unlimited  participant_files::import [StreamedBody];
        ManageRegistry  Unlimited  participant_files::export;

        ReadLibrary     Usual      groups::list;
        ManageRegistry  Usual      groups::create;
        ReadLibrary     Unlimited  areas::list;
        ManageRegistry  Unlimited  areas::put_all;
        ReadLibrary     Unlimited  areas::get;
        ManageRegistry  Unlimited  areas::put [Makes];

        ManageKeys      Usual      keys::list;
        ManageKeys      Usual      keys::create;
        ManageKeys      Usual      keys::revoke;

        ReadGateways    Usual      gateways::list;
        ReadGateways    Usual      gateways::get;
        ManageGateways  Usual      gateways::pause;
        ManageGateways  Usual      gateways::resume [EmptyBody];
        ManageGateways  Usual      gateways::test [EmptyBody OneAtATime];
        ReadGateways    Usual      gateways::list_tests;
        ReadGateways    Usual      gateways::get_test;

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
    fn add(
        &mut self,
        access: Access,
        time_out: TimeOut,
        traits: &'static [RouteTrait],
        described: UtoipaMethodRouter<App>,
    ) {
        for (path, item) in &described.1.paths {
            for (method, _) in operations(item) {
                self.table.add(RouteRules { method, path: path.clone(), access, time_out, traits });
            }
        }
        let routes = if access == Open { &mut self.open } else { &mut self.keyed };
        *routes = std::mem::take(routes).routes(described);
    }

    fn add_callback(&mut self, path: &str, handler: MethodRouter<App>) {
        for method in [Method::GET, Method::POST] {
            let (access, time_out, traits) = (Access::Callback, Usual, &[]);
            self.table.add(RouteRules { method, path: path.to_owned(), access, time_out, traits });
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
