//! The customers of a project.

pub(crate) mod attach_channel_grant;
pub(crate) mod channel_access;
pub(crate) mod data_sources;
pub(crate) mod delete;
pub(crate) mod delete_bulk;
pub(crate) mod delete_by_filter;
pub(crate) mod delete_preview;
pub(crate) mod export_csv;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod import_csv;
pub(crate) mod imports;
pub(crate) mod list;
pub(crate) mod person_export;
pub(crate) mod purge;
pub(crate) mod revoke_channel_grant;
pub(crate) mod set_connector_enabled;
pub(crate) mod suppressions;
pub(crate) mod upsert;
pub(crate) mod upsert_bulk;
