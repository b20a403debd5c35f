//! The table and both kinds of credential, row by row.

use std::collections::BTreeSet;

use roster_domain::meta::Principal;
use roster_domain::{Personal, Scope};
use serde_json::{Value, json};

use super::{Denied, Grants, Operation, TABLE, Verb, authorise};
use crate::context::Actor;

fn scope(account: &str, org: &str, project: &str) -> Scope {
    Scope {
        account_id: account.into(),
        org_id: org.into(),
        project_id: project.into(),
    }
}

fn key(scopes: &[&str]) -> Grants {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Grants::of_key("acc", None, None, &scopes)
}

fn token(extra: &Value) -> Grants {
    let mut claims = json!({"sub": "s", "account_id": "acc", "org_id": "org", "project_id": "prj"});
    if let (Some(claims), Some(extra)) = (claims.as_object_mut(), extra.as_object()) {
        claims.extend(extra.clone());
    }
    Grants::of_claims(&claims).expect("the tenant is clear")
}

#[test]
fn every_operation_stands_at_its_own_row_with_its_own_route() {
    let mut routes = BTreeSet::new();
    for row in TABLE {
        assert_eq!(row.operation.permission(), row);
        assert!(routes.insert(row.route), "{} twice", row.route);
    }
    assert_eq!(TABLE.len(), 56);
}

#[test]
fn the_verbs_are_the_ones_the_seed_gives() {
    let verb = |route: &str| {
        TABLE
            .iter()
            .find(|row| row.route == route)
            .map(|row| row.verb)
    };
    for (route, expected) in [
        ("schema/get", Verb::View),
        ("schema/upsert", Verb::Update),
        ("users/list", Verb::View),
        ("users/get", Verb::View),
        ("users/upsert", Verb::Update),
        ("users/delete", Verb::Delete),
        ("users/attach-channel-grant", Verb::Update),
        ("users/revoke-channel-grant", Verb::Delete),
        ("users/channel-access/list", Verb::View),
        ("users/set-connector-enabled", Verb::Update),
        ("identities/link", Verb::Update),
        ("identities/unlink", Verb::Delete),
        ("identities/list", Verb::View),
        ("identities/list-all", Verb::View),
        ("identities/resolve", Verb::View),
        ("identities/resolve-batch", Verb::View),
        ("unmatched/list", Verb::View),
        ("unmatched/dismiss", Verb::Delete),
        ("audit/list", Verb::View),
        ("dispatches", Verb::Execute),
        ("users/delete-bulk", Verb::Delete),
        ("users/delete-preview", Verb::View),
        ("users/delete-by-filter", Verb::Delete),
        ("users/purge/get", Verb::View),
        ("users/purge/list", Verb::View),
        ("users/data-sources/list", Verb::View),
        ("users/import-csv", Verb::Execute),
        ("users/export-csv", Verb::View),
        ("users/attach-channel-grant", Verb::Update),
        ("users/channel-access/list", Verb::View),
        ("users/set-connector-enabled", Verb::Update),
        ("scim/enable", Verb::Update),
        ("scim/disable", Verb::Delete),
        ("scim/status", Verb::View),
    ] {
        assert_eq!(verb(route), Some(expected), "{route}");
    }
}

#[test]
fn key_scopes_allow_what_they_say() {
    for (scopes, view, delete) in [
        (&["*"][..], true, true),
        (&["project_users:*"], true, true),
        (&["project_users:view"], true, false),
        (&["project_users:delete"], false, true),
        (&["connectors:*"], false, false),
        (&["project_users"], false, false),
        (&["project_users:"], false, false),
        (&[":view"], false, false),
        (&["*:view"], false, false),
        (&["project_users:VIEW"], false, false),
        (&["project_users:view:delete"], false, false),
        (&[""], false, false),
        (&[], false, false),
    ] {
        let grants = key(scopes);
        assert_eq!(
            grants.allow(Operation::ListCustomers),
            view,
            "{scopes:?} view"
        );
        assert_eq!(
            grants.allow(Operation::EraseCustomer),
            delete,
            "{scopes:?} delete"
        );
    }
}

#[test]
fn claims_are_read_in_the_order_admin_deny_exact() {
    let view = json!([{"module": "project_users", "actions": ["view"]}]);
    for (claims, allowed) in [
        (json!({}), false),
        (json!({"is_admin": true}), true),
        (json!({"is_account_owner": true}), true),
        (json!({"is_admin": "true"}), false),
        (json!({"is_admin": 1}), false),
        (json!({"permissions": view}), true),
        (
            json!({"permissions": [{"module": "project_users", "actions": ["*"]}]}),
            false,
        ),
        (
            json!({"permissions": [{"module": "*", "actions": ["view"]}]}),
            false,
        ),
        (
            json!({"permissions": [{"module": "project_users", "actions": "view"}]}),
            false,
        ),
        (
            json!({"permissions": [{"module": "project_users", "actions": ["view", 1]}]}),
            false,
        ),
        (
            json!({"permissions": {"module": "project_users", "actions": ["view"]}}),
            false,
        ),
        (json!({"permissions": ["project_users:view"]}), false),
        (json!({"permissions": view, "denied": []}), true),
        (json!({"permissions": view, "denied": null}), true),
        (
            json!({"permissions": view, "denied": ["project_users:delete"]}),
            true,
        ),
        (
            json!({"permissions": view, "denied": ["project_users:view"]}),
            false,
        ),
        (
            json!({"permissions": view, "denied": ["project_users"]}),
            false,
        ),
        (json!({"permissions": view, "denied": ["*"]}), false),
        (
            json!({"permissions": view, "denied": ["project_users:*"]}),
            false,
        ),
        (
            json!({"permissions": view, "denied": [{"module": "*", "actions": ["view"]}]}),
            false,
        ),
        (
            json!({"permissions": view, "denied": [{"module": "other", "actions": ["*"]}]}),
            true,
        ),
        (json!({"permissions": view, "denied": [7]}), false),
        (
            json!({"permissions": view, "denied": {"module": "other"}}),
            false,
        ),
        (
            json!({"permissions": view, "denied": [{"module": "other"}]}),
            false,
        ),
        (json!({"is_admin": true, "denied": ["*"]}), true),
    ] {
        assert_eq!(
            token(&claims).allow(Operation::ListCustomers),
            allowed,
            "{claims}"
        );
    }
}

#[test]
fn claims_without_a_clear_tenant_grant_nothing() {
    for claims in [
        json!({"is_admin": true}),
        json!({"account_id": "", "is_admin": true}),
        json!({"account_id": 1}),
        json!({"account_id": "acc", "org_id": 7}),
        json!({"account_id": "acc", "project_id": ""}),
        json!([]),
        Value::Null,
    ] {
        assert_eq!(Grants::of_claims(&claims), None, "{claims}");
    }
}

#[test]
fn the_tenant_is_asked_before_the_permission() {
    let actor = |org: Option<&str>, project: Option<&str>, scopes: &[String]| Actor {
        principal: Principal::ApiKey("k".into()),
        subject: Personal::Erased,
        grants: Grants::of_key("acc", org, project, scopes),
    };
    let all = ["*".to_owned()];
    let operation = Operation::ListCustomers;
    for (org, project, wanted, expected) in [
        (None, None, scope("acc", "o", "p"), Ok(())),
        (None, None, scope("other", "o", "p"), Err(Denied::Tenant)),
        (Some("o"), None, scope("acc", "o", "p"), Ok(())),
        (Some("o"), None, scope("acc", "x", "p"), Err(Denied::Tenant)),
        (Some("o"), Some("p"), scope("acc", "o", "p"), Ok(())),
        (
            Some("o"),
            Some("p"),
            scope("acc", "o", "x"),
            Err(Denied::Tenant),
        ),
        (None, Some("p"), scope("acc", "any", "p"), Ok(())),
    ] {
        assert_eq!(
            authorise(&actor(org, project, &all), &wanted, operation),
            expected,
            "{wanted}"
        );
    }
    assert_eq!(
        authorise(
            &actor(Some("o"), None, &[]),
            &scope("acc", "x", "p"),
            operation
        ),
        Err(Denied::Tenant)
    );
    assert_eq!(
        authorise(&actor(None, None, &[]), &scope("acc", "x", "p"), operation),
        Err(Denied::Permission)
    );
}
