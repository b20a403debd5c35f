//! Rows of `view_customers` as a rebuild copies them in.

use roster_domain::value::profile_json;
use uuid::Uuid;

use super::fold::Listed;
use super::write::storable;
use crate::rebuild::rows::Rows;

/// The columns in the order of [`write`].
pub(crate) const COLUMNS: &str = "created_at, updated_at, bucket, position, stream_id, project_no, version, source_kind, \
     enabled, customer_user_id, display_name, profile, connector_enabled, source_provider, source_connection, \
     source_external_id, source_synced_at";

/// Adds a row.
pub(crate) fn write(rows: &mut Rows, stream: Uuid, listed: &Listed) {
    let customer = &listed.customer;
    let source = &customer.source;
    let profile = customer.profile.known().map(profile_json);
    let connectors = if customer.connector_enabled.is_empty() {
        None
    } else {
        serde_json::to_string(&customer.connector_enabled).ok()
    };
    let external_id = source.external_id.known().cloned().flatten().map(storable);
    rows.row(17);
    rows.time(customer.created_at);
    rows.time(customer.updated_at);
    rows.int8(listed.bucket());
    rows.int8(listed.position);
    rows.uuid(stream);
    rows.int4(listed.project_no);
    rows.int4(customer.version);
    rows.int2(source.kind.number());
    rows.bool(customer.enabled);
    rows.text(listed.id());
    rows.text(&storable(customer.display_name()));
    rows.text(profile.as_deref().unwrap_or("{}"));
    rows.jsonb(connectors.as_deref().unwrap_or("{}"));
    rows.text(source.provider.as_deref().unwrap_or_default());
    rows.text(source.connection_id.as_deref().unwrap_or_default());
    rows.text_or_null(external_id.as_deref());
    rows.time_or_null(source.synced_at);
}
