//! Links and access as every route shows them.

use roster_domain::Timestamp;
use roster_domain::access::{
    Access, ChannelRow, GrantRow, GrantStatus, Link, Person, WILDCARD, channel_rows, channels,
};
use roster_domain::schema::Schema;
use roster_domain::value::profile_from_json;
use roster_http::{ApiError, App};
use roster_projections::customers::CustomerRow;
use roster_projections::{blocks, grants, identities};
use serde::Serialize;
use utoipa::ToSchema;

/// A connector identity of one customer.
#[derive(Serialize, ToSchema)]
#[schema(as = Identity)]
pub(crate) struct Identity {
    channel: String,
    /// The normalised external user id.
    external_user_id: String,
    /// `manual`, `admin`, `profile` or `auto`.
    linked_by: &'static str,
    #[schema(value_type = String, format = DateTime)]
    linked_at: Timestamp,
}

impl From<Link> for Identity {
    fn from(link: Link) -> Self {
        Self {
            channel: link.identity.channel,
            external_user_id: link.identity.external_user_id,
            linked_by: link.linked_by.as_str(),
            linked_at: link.linked_at,
        }
    }
}

/// What one customer may use on one channel.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelAccess)]
pub(crate) struct AccessRow {
    channel: String,
    /// Whether the channel is on for the customer.
    connector_enabled: bool,
    /// The profile field that holds the identity.
    profile_field: String,
    /// Its value.
    connector_value: Option<String>,
    /// Whether an identity on the channel is linked.
    linked: bool,
    /// That identity; `*` for the wildcard.
    external_user_id: Option<String>,
    /// `manual`, `admin`, `profile` or `auto`.
    linked_by: Option<&'static str>,
    #[schema(value_type = Option<String>, format = DateTime)]
    linked_at: Option<Timestamp>,
    /// The grant that decides.
    grant: Grant,
    /// Whether the customer may use any agent there now.
    effective_enabled: bool,
}

/// The grant that decides.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelGrant)]
pub(crate) struct Grant {
    /// `active`, `disabled`, `expired` or `none`.
    status: &'static str,
    /// The agents; `*` is every one.
    agents: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// `specific`, `bound` or `wildcard`.
    source: Option<&'static str>,
}

impl From<GrantRow> for Grant {
    fn from(row: GrantRow) -> Self {
        Self {
            status: row.status.map_or("none", GrantStatus::as_str),
            agents: row.agents,
            expires_at: row.expires_at,
            source: row.source.map(roster_domain::access::GrantSource::as_str),
        }
    }
}

impl From<ChannelRow> for AccessRow {
    fn from(row: ChannelRow) -> Self {
        let link = row.link.map(Identity::from);
        Self {
            channel: row.channel,
            connector_enabled: row.connector_enabled,
            profile_field: row.profile_field,
            connector_value: row.connector_value,
            linked: link.is_some(),
            linked_by: link.as_ref().map(|link| link.linked_by),
            linked_at: link.as_ref().map(|link| link.linked_at),
            external_user_id: link.map(|link| link.external_user_id),
            grant: row.grant.into(),
            effective_enabled: row.effective_enabled,
        }
    }
}

impl AccessRow {
    /// The row of everybody on a channel.
    pub(crate) fn of_everybody(row: ChannelRow) -> Self {
        Self {
            external_user_id: Some(WILDCARD.into()),
            ..row.into()
        }
    }
}

/// The links, grants and blocks of a customer, as reads show them.
pub(crate) async fn stored(app: &App, row: &CustomerRow) -> Result<Access, ApiError> {
    let (pool, customer) = (app.directory().cell().pool(), row.customer_ref);
    let (links, blocked) = tokio::try_join!(
        identities::of_customer(pool, customer),
        blocks::of_customer(pool, customer),
    )?;
    Ok(Access {
        // A grant is of a linked identity.
        grants: if links.is_empty() {
            Vec::new()
        } else {
            grants::of_customer(pool, customer).await?
        },
        links,
        blocked,
    })
}

/// Links, and what they come to under the wildcards of now.
pub(crate) async fn shown(
    app: &App,
    project_no: i32,
    row: &CustomerRow,
    access: Access,
    schema: &Schema,
) -> Result<(Vec<Identity>, Vec<AccessRow>), ApiError> {
    let names: Vec<&str> = channels(schema, &access).into_iter().collect();
    let pool = app.directory().cell().pool();
    let wildcards = grants::wildcards(pool, project_no, &names).await?;
    let profile = profile_from_json(&row.profile).unwrap_or_default();
    let person = Person {
        enabled: row.enabled,
        connector_enabled: &row.connector_enabled,
        profile: &profile,
        access: &access,
    };
    let rows = channel_rows(schema, &person, &wildcards, app.clock().now());
    let rows = rows.into_iter().map(AccessRow::from).collect();
    let links = access.links.into_iter().map(Identity::from).collect();
    Ok((links, rows))
}
