//! Who may do what: one table from operation to permission, and the rules of both kinds of credential.
//!
//! Pure: checking a secret or a signature is done before, by `keys` and by the HTTP layer.

use std::collections::BTreeSet;

use roster_domain::Scope;
use serde_json::Value;

use crate::context::Actor;

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read.
    View,
    /// Create or change.
    Update,
    /// Take away.
    Delete,
    /// Start or stop a job.
    Execute,
}

impl Verb {
    /// The word in scopes and claims.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Execute => "execute",
        }
    }
}

/// The module of the customer directory.
pub const PROJECT_USERS: &str = "project_users";
/// The module of connections to outside sources.
pub const DIRECTORY_SYNC: &str = "directory_sync";
/// The module of links between connectors and customers.
pub const RUNTIME_IDENTITY: &str = "runtime_identity";

macro_rules! operations {
    ($($module:ident { $($name:ident $verb:ident $route:literal $doc:literal;)* })*) => {
        /// Everything that a caller may ask for; one for each route.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($(#[doc = $doc] $name,)*)*
        }

        /// The permission that each operation needs. There is no other list.
        pub const TABLE: &[Permission] = &[
            $($(Permission {
                operation: Operation::$name,
                route: $route,
                module: $module,
                verb: Verb::$verb,
            },)*)*
        ];
    };
}

/// A row of the [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What is asked for.
    pub operation: Operation,
    /// The route below the base of the module's surface.
    pub route: &'static str,
    /// The module that a credential must name.
    pub module: &'static str,
    /// The verb that a credential must name.
    pub verb: Verb,
}

operations! {
    PROJECT_USERS {
        GetSchema View "schema/get" "Read the schema.";
        UpsertSchema Update "schema/upsert" "Replace the schema.";
        GetPreparation View "schema/preparation/get" "Read the progress of a uniqueness check.";
        ListCustomers View "users/list" "List and search customers.";
        GetCustomer View "users/get" "Read one customer.";
        UpsertCustomer Update "users/upsert" "Create or change one customer.";
        UpsertCustomers Update "users/upsert-bulk" "Create or change many customers.";
        EraseCustomer Delete "users/delete" "Erase one customer.";
        RemoveSuppression Delete "users/suppressions/remove" "Let imports bring an id back.";
        ListSuppressions View "users/suppressions/list" "List suppressed ids.";
        PurgeCustomers Delete "users/delete-bulk" "Purge customers by id.";
        PreviewPurge View "users/delete-preview" "Count what a filter would purge.";
        PurgeByFilter Delete "users/delete-by-filter" "Purge customers by filter.";
        GetPurge View "users/purge/get" "Read the progress of a purge.";
        ListPurges View "users/purge/list" "List purges.";
        CancelPurge Delete "users/purge/cancel" "Stop a purge.";
        ListDataSources View "users/data-sources/list" "Count customers by data source.";
        ImportCsv Execute "users/import-csv" "Import a CSV file.";
        GetImport View "users/imports/get" "Read the progress of an import.";
        ListImports View "users/imports/list" "List imports.";
        GetImportErrors View "users/imports/errors" "Download the failed rows of an import.";
        CancelImport Execute "users/imports/cancel" "Stop an import.";
        ExportCsv View "users/export-csv" "Export customers as CSV.";
        AttachChannelGrant Update "users/attach-channel-grant" "Grant agents on a channel.";
        RevokeChannelGrant Delete "users/revoke-channel-grant" "Revoke a channel grant.";
        ListChannelAccess View "users/channel-access/list" "Read what a customer may use.";
        SetConnectorEnabled Update "users/set-connector-enabled" "Switch a channel of a customer.";
        GetHistory View "users/history" "Read what happened to a customer.";
        ExportPerson View "users/person-export" "Export everything about one customer.";
        ListAuditEvents View "audit/events/list" "Read who changed what.";
        EnableScim Update "scim/enable" "Switch the SCIM server on.";
        DisableScim Delete "scim/disable" "Switch the SCIM server off.";
        GetScimStatus View "scim/status" "Read the state of the SCIM server.";
    }
    DIRECTORY_SYNC {
        ListProviders View "providers/list" "Read which sources there are.";
        ListConnections View "connections/list" "List connections.";
        GetConnection View "connections/get" "Read one connection.";
        UpsertConnection Update "connections/upsert" "Create or change a connection.";
        DeleteConnection Delete "connections/delete" "Remove a connection.";
        TestConnection Execute "connections/test" "Try whether a connection works.";
        PreviewConnection View "connections/preview" "Read the first records of a source.";
        SyncConnection Execute "connections/sync" "Start a run of a connection.";
        ListRuns View "runs/list" "List runs.";
        GetRun View "runs/get" "Read how far a run is.";
        GetRunErrors View "runs/errors" "Download the failed records of a run.";
        CancelRun Execute "runs/cancel" "Stop a run.";
        ImportMappedCsv Execute "import/csv-mapped" "Import a CSV file whose columns the request names.";
    }
    RUNTIME_IDENTITY {
        LinkIdentity Update "identities/link" "Bind an identity to a customer.";
        UnlinkIdentity Delete "identities/unlink" "Unbind an identity.";
        ListIdentities View "identities/list" "Read the identities of a customer.";
        ListAllIdentities View "identities/list-all" "Read every identity of a project.";
        ResolveIdentity View "identities/resolve" "Find the customer behind an identity.";
        ResolveIdentities View "identities/resolve-batch" "Find the customers behind many identities.";
        ListUnmatched View "unmatched/list" "Read identities that are nobody's.";
        DismissUnmatched Delete "unmatched/dismiss" "Take an unmatched identity off the list.";
        ListDispatches View "audit/list" "Read which agents were dispatched for whom.";
        Dispatch Execute "dispatches" "Dispatch an agent.";
    }
}

impl Operation {
    /// The row of the table.
    pub fn permission(self) -> &'static Permission {
        // The macro writes enum and table from one list, so the discriminant is the index.
        &TABLE[self as usize]
    }
}

/// Why an actor may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The credential belongs to another account, organization or project.
    #[error("the credential belongs to another tenant")]
    Tenant,
    /// The credential does not carry the permission.
    #[error("the credential does not carry the permission")]
    Permission,
}

/// The tenant that a credential is bound to: `None` is every one of the level above.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Narrowing {
    account: String,
    org: Option<String>,
    project: Option<String>,
}

impl Narrowing {
    fn covers(&self, scope: &Scope) -> bool {
        self.account == scope.account_id
            && self.org.as_ref().is_none_or(|org| *org == scope.org_id)
            && self
                .project
                .as_ref()
                .is_none_or(|project| *project == scope.project_id)
    }
}

/// What a credential allows, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    narrowing: Option<Narrowing>,
    unrestricted: bool,
    denied: Rules,
    allowed: Rules,
}

/// A set of module and verb; `*` is any.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Rules(BTreeSet<(String, String)>);

impl Rules {
    fn insert(&mut self, module: &str, verb: &str) {
        self.0.insert((module.to_owned(), verb.to_owned()));
    }

    fn covers(&self, module: &str, verb: &str) -> bool {
        let any = |word: &str, wanted: &str| word == "*" || word == wanted;
        self.0.iter().any(|(m, v)| any(m, module) && any(v, verb))
    }
}

impl Grants {
    /// Every permission in every tenant: only Roster's own jobs and command line act with it.
    pub fn everything() -> Self {
        Self {
            narrowing: None,
            unrestricted: true,
            denied: Rules::default(),
            allowed: Rules::default(),
        }
    }

    /// The grants of an API key: `*`, `module:*` or `module:verb`. A scope of another form allows nothing.
    pub fn of_key(
        account_id: &str,
        org_id: Option<&str>,
        project_id: Option<&str>,
        scopes: &[String],
    ) -> Self {
        let mut allowed = Rules::default();
        for scope in scopes {
            match scope.split_once(':') {
                None if scope == "*" => allowed.insert("*", "*"),
                Some((module, verb)) if is_word(module) && (verb == "*" || is_word(verb)) => {
                    allowed.insert(module, verb);
                }
                _ => {}
            }
        }
        let narrowing = Narrowing {
            account: account_id.to_owned(),
            org: org_id.map(str::to_owned),
            project: project_id.map(str::to_owned),
        };
        Self {
            narrowing: Some(narrowing),
            unrestricted: false,
            denied: Rules::default(),
            allowed,
        }
    }

    /// The grants of a token. `None` where the claims do not say clearly which tenant they are for.
    ///
    /// Claims: `account_id`, `org_id?`, `project_id?`, `is_admin`, `is_account_owner`, `permissions[{module, actions[]}]`
    /// and `denied[]`, whose entries are `{module, actions[]}`, `module:verb` or `*`. A malformed permission allows
    /// nothing; a malformed denial denies everything.
    pub fn of_claims(claims: &Value) -> Option<Self> {
        let narrowing = Narrowing {
            account: claims
                .get("account_id")?
                .as_str()
                .filter(|id| !id.is_empty())?
                .to_owned(),
            org: optional_text(claims, "org_id").ok()?,
            project: optional_text(claims, "project_id").ok()?,
        };
        let unrestricted = ["is_admin", "is_account_owner"]
            .iter()
            .any(|name| claims.get(*name) == Some(&Value::Bool(true)));
        let mut allowed = Rules::default();
        let permissions = claims.get("permissions").and_then(Value::as_array);
        for (module, verb) in permissions
            .into_iter()
            .flatten()
            .filter_map(module_and_actions)
            .flatten()
        {
            if module != "*" && verb != "*" {
                allowed.insert(module, verb);
            }
        }
        Some(Self {
            narrowing: Some(narrowing),
            unrestricted,
            denied: denials(claims),
            allowed,
        })
    }

    /// Whether the operation's module and verb are allowed; the tenant is another question.
    pub fn allow(&self, operation: Operation) -> bool {
        let permission = operation.permission();
        let (module, verb) = (permission.module, permission.verb.as_str());
        self.unrestricted
            || (!self.denied.covers(module, verb) && self.allowed.covers(module, verb))
    }

    /// Whether the credential may name this tenant.
    pub fn cover(&self, scope: &Scope) -> bool {
        self.narrowing
            .as_ref()
            .is_none_or(|narrowing| narrowing.covers(scope))
    }
}

/// Refuses unless the actor may do this in this tenant: the tenant first, then the permission.
pub fn authorise(actor: &Actor, scope: &Scope, operation: Operation) -> Result<(), Denied> {
    if !actor.grants.cover(scope) {
        return Err(Denied::Tenant);
    }
    if !actor.grants.allow(operation) {
        return Err(Denied::Permission);
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A claim that is no text.
struct Malformed;

/// An optional claim, absent or null, or some text.
fn optional_text(claims: &Value, name: &str) -> Result<Option<String>, Malformed> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(Malformed),
    }
}

/// The pairs of `{module, actions[]}`; `None` where any part has another form.
fn module_and_actions(entry: &Value) -> Option<Vec<(&str, &str)>> {
    let module = entry.get("module")?.as_str()?;
    let actions = entry.get("actions")?.as_array()?;
    actions
        .iter()
        .map(|action| Some((module, action.as_str()?)))
        .collect()
}

fn denials(claims: &Value) -> Rules {
    let mut rules = Rules::default();
    let entries = match claims.get("denied") {
        None | Some(Value::Null) => return rules,
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(_) => &[Value::Null],
    };
    for entry in entries {
        let pairs = match entry {
            Value::String(text) if text == "*" => Some(vec![("*", "*")]),
            Value::String(text) => Some(vec![text.split_once(':').unwrap_or((text, "*"))]),
            other => module_and_actions(other),
        };
        match pairs {
            Some(pairs) => pairs
                .into_iter()
                .for_each(|(module, verb)| rules.insert(module, verb)),
            None => rules.insert("*", "*"),
        }
    }
    rules
}

#[cfg(test)]
mod tests;
