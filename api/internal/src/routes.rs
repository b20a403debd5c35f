//! The table of routes: the router, the documentation and the authorisation-coverage test all come from it.

use roster_commands::authority::{DIRECTORY_SYNC, Operation, RUNTIME_IDENTITY};
use roster_http::{App, Effect, Endpoint, RouteInfo, Surface};
use utoipa::openapi::path::Paths;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// Where the routes of the directory are.
pub const BASE: &str = "/directory-sync/internal/volt/project-users";
/// Where the routes of runtime identity are.
pub const RUNTIME_BASE: &str = "/volt-engine/internal/volt/project-users";

/// Where the routes of connections are.
pub const SYNC_BASE: &str = "/directory-sync/internal/volt/directory-sync";

/// Where an operation's route is.
pub fn base_of(operation: Operation) -> &'static str {
    match operation.permission().module {
        RUNTIME_IDENTITY => RUNTIME_BASE,
        DIRECTORY_SYNC => SYNC_BASE,
        _ => BASE,
    }
}

fn info<E: Endpoint>() -> RouteInfo {
    RouteInfo::of::<E>(base_of(E::OPERATION))
}

/// The same route below a base. A nested router would take each request through two more services.
fn below(
    base: &str,
    (schemas, paths, handlers): UtoipaMethodRouter<App>,
) -> UtoipaMethodRouter<App> {
    let mut whole = Paths::new();
    for (path, item) in paths.paths {
        whole.paths.insert(format!("{base}{path}"), item);
    }
    (schemas, whole, handlers)
}

macro_rules! endpoints {
    ($handlers:ident $table:ident in $base:ident: $($first:ident $(:: $rest:ident)*;)*) => {
        fn $handlers() -> OpenApiRouter<App> {
            OpenApiRouter::new()$(.routes(below($base, routes!(crate::$first $(::$rest)* ::handler))))*
        }

        fn $table() -> Vec<RouteInfo> {
            vec![$(info::<crate::$first $(::$rest)* ::Request>(),)*]
        }
    };
}

endpoints! { runtime_handlers runtime_table in RUNTIME_BASE:
    identities::link;
    identities::unlink;
    identities::list;
    identities::list_all;
    identities::resolve;
    identities::resolve_batch;
    unmatched::list;
    unmatched::dismiss;
    audit::list;
    dispatches;
}

endpoints! { sync_handlers sync_table in SYNC_BASE:
    sync::providers;
    sync::connections::list;
    sync::connections::get;
    sync::connections::upsert;
    sync::connections::delete;
    sync::connections::test;
    sync::connections::preview;
    sync::connections::sync;
    sync::runs::list;
    sync::runs::get;
    sync::runs::errors;
    sync::runs::cancel;
    sync::csv_mapped;
}

endpoints! { handlers table in BASE:
    schema::get;
    schema::upsert;
    schema::preparation;
    users::list;
    users::get;
    users::upsert;
    users::upsert_bulk;
    users::delete;
    users::delete_bulk;
    users::delete_preview;
    users::delete_by_filter;
    users::purge::get;
    users::purge::list;
    users::purge::cancel;
    users::suppressions::list;
    users::suppressions::remove;
    users::data_sources;
    users::import_csv;
    users::imports::get;
    users::imports::list;
    users::imports::errors;
    users::imports::cancel;
    users::export_csv;
    users::history;
    users::person_export;
    audit::events::list;
    users::attach_channel_grant;
    users::revoke_channel_grant;
    users::channel_access;
    users::set_connector_enabled;
    scim::enable;
    scim::disable;
    scim::status;
}

/// Every route, with what it needs and does.
pub fn all() -> Vec<RouteInfo> {
    let validate = RouteInfo {
        method: "POST",
        path: crate::keys::validate::PATH.to_owned(),
        operation: None,
        effect: Effect::Reads,
    };
    let guarded = table()
        .into_iter()
        .chain(runtime_table())
        .chain(sync_table());
    guarded.chain([validate]).collect()
}

/// The surface, ready for the router of `roster-http`.
pub fn surface() -> Surface {
    let router = handlers()
        .merge(runtime_handlers())
        .merge(sync_handlers())
        .routes(routes!(crate::keys::validate::handler));
    Surface {
        router,
        routes: all(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use roster_commands::authority::{Operation, TABLE};

    use roster_http::{Effect, openapi};

    use super::{all, base_of, surface};

    #[test]
    fn every_documented_path_is_in_the_table() {
        let documented: BTreeSet<String> = surface()
            .router
            .get_openapi()
            .paths
            .paths
            .keys()
            .cloned()
            .collect();
        let listed: BTreeSet<String> = all().into_iter().map(|route| route.path).collect();
        assert_eq!(documented, listed);
        assert_eq!(listed.len(), all().len());
    }

    #[test]
    fn each_module_has_its_own_base() {
        assert_eq!(
            base_of(Operation::LinkIdentity),
            "/volt-engine/internal/volt/project-users"
        );
        assert_eq!(
            base_of(Operation::AttachChannelGrant),
            "/directory-sync/internal/volt/project-users"
        );
    }

    #[test]
    fn every_operation_has_one_route() {
        for permission in TABLE {
            let routes = all()
                .iter()
                .filter(|route| route.operation == Some(permission.operation))
                .count();
            assert_eq!(routes, 1, "{}", permission.route);
        }
    }

    #[test]
    fn every_route_documents_scope_security_and_refusals() {
        let document = openapi(vec![surface()]);
        let mut ids = BTreeSet::new();
        for route in all() {
            let operation = &document["paths"][&route.path]["post"];
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{} is documented twice",
                route.path
            );
            let guarded: &[&str] = if route.operation.is_some() {
                &["401", "403", "429"]
            } else {
                &[]
            };
            let reads = matches!(route.effect, Effect::Reads | Effect::SetsByReads);
            let placed: &[&str] = if reads && route.operation.is_some() {
                &["409"]
            } else {
                &[]
            };
            let always = ["413", "415", "422", "503", "504"];
            for status in always.iter().chain(guarded).chain(placed) {
                assert!(
                    operation["responses"][status].is_object(),
                    "{} lacks {status}",
                    route.path
                );
            }
            let body =
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let body = body
                .unwrap_or_default()
                .replace("#/components/schemas/", "");
            let properties = &document["components"]["schemas"][&body]["properties"];
            assert_eq!(
                properties["project_id"].is_object(),
                route.operation.is_some(),
                "{}",
                route.path
            );
        }
        assert!(document["components"]["securitySchemes"]["bearer"].is_object());
    }

    #[test]
    fn only_key_validation_is_open() {
        let open: Vec<String> = all()
            .into_iter()
            .filter(|route| route.operation.is_none())
            .map(|route| route.path)
            .collect();
        assert_eq!(open, ["/auth/key/validate/api"]);
    }
}
