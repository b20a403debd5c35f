//! Every integration test, as one binary: one link step, one process in plain `cargo test`.

#[path = "suite/access_grants.rs"]
mod access_grants;
#[path = "suite/access_links.rs"]
mod access_links;
#[path = "suite/audit_copy.rs"]
mod audit_copy;
#[path = "suite/audit_events.rs"]
mod audit_events;
#[path = "suite/csv_bad_input.rs"]
mod csv_bad_input;
#[path = "suite/dispatch_crash.rs"]
mod dispatch_crash;
#[path = "suite/dispatches.rs"]
mod dispatches;
#[path = "suite/erasure.rs"]
mod erasure;
#[path = "suite/erasure_traces.rs"]
mod erasure_traces;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/http_access.rs"]
mod http_access;
#[path = "suite/http_answers.rs"]
mod http_answers;
#[path = "suite/http_bad_input.rs"]
mod http_bad_input;
#[path = "suite/http_credentials.rs"]
mod http_credentials;
#[path = "suite/http_replay.rs"]
mod http_replay;
#[path = "suite/identity_memory.rs"]
mod identity_memory;
#[path = "suite/identity_resolve.rs"]
mod identity_resolve;
#[path = "suite/identity_servers.rs"]
mod identity_servers;
#[path = "suite/import_crash.rs"]
mod import_crash;
#[path = "suite/import_csv.rs"]
mod import_csv;
#[path = "suite/import_files.rs"]
mod import_files;
#[path = "suite/import_known.rs"]
mod import_known;
#[path = "suite/key_rotation.rs"]
mod key_rotation;
#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/lists_paged.rs"]
mod lists_paged;
#[path = "suite/log_append.rs"]
mod log_append;
#[path = "suite/log_hammer.rs"]
mod log_hammer;
#[path = "suite/log_holders.rs"]
mod log_holders;
#[path = "suite/log_tamper.rs"]
mod log_tamper;
#[path = "suite/lost_commits.rs"]
mod lost_commits;
#[path = "suite/lost_connections.rs"]
mod lost_connections;
#[path = "suite/openapi.rs"]
mod openapi;
#[path = "suite/preparation_job.rs"]
mod preparation_job;
#[path = "suite/projections_fold.rs"]
mod projections_fold;
#[path = "suite/projections_parked.rs"]
mod projections_parked;
#[path = "suite/purge_crash.rs"]
mod purge_crash;
#[path = "suite/purge_erasure.rs"]
mod purge_erasure;
#[path = "suite/purge_jobs.rs"]
mod purge_jobs;
#[path = "suite/purge_routes.rs"]
mod purge_routes;
#[path = "suite/read_your_writes.rs"]
mod read_your_writes;
#[path = "suite/real_data.rs"]
mod real_data;
#[path = "suite/rebuild.rs"]
mod rebuild;
#[path = "suite/relay.rs"]
mod relay;
#[path = "suite/relay_sink.rs"]
mod relay_sink;
#[path = "suite/restore.rs"]
mod restore;
#[path = "suite/runtime_story.rs"]
mod runtime_story;
#[path = "suite/schema_routes.rs"]
mod schema_routes;
#[path = "suite/schema_uniqueness.rs"]
mod schema_uniqueness;
#[path = "suite/service_role.rs"]
mod service_role;
#[path = "suite/source_postgres.rs"]
mod source_postgres;
#[path = "suite/start_during_recovery.rs"]
mod start_during_recovery;
#[path = "suite/subscriber_examples.rs"]
mod subscriber_examples;
#[path = "suite/sync_crash.rs"]
mod sync_crash;
#[path = "suite/sync_deletions.rs"]
mod sync_deletions;
#[path = "suite/sync_kills.rs"]
mod sync_kills;
#[path = "suite/sync_known.rs"]
mod sync_known;
#[path = "suite/sync_openapi.rs"]
mod sync_openapi;
#[path = "suite/sync_runs.rs"]
mod sync_runs;
#[path = "suite/sync_scale.rs"]
mod sync_scale;
#[path = "suite/sync_schedule.rs"]
mod sync_schedule;
#[path = "suite/sync_secrets.rs"]
mod sync_secrets;
#[path = "suite/sync_vendors.rs"]
mod sync_vendors;
#[path = "suite/trace_export.rs"]
mod trace_export;
#[path = "suite/unmatched.rs"]
mod unmatched;
#[path = "suite/unmatched_flood.rs"]
mod unmatched_flood;
#[path = "suite/users_conflicts.rs"]
mod users_conflicts;
#[path = "suite/users_edit.rs"]
mod users_edit;
#[path = "suite/users_erase.rs"]
mod users_erase;
#[path = "suite/users_history.rs"]
mod users_history;
#[path = "suite/users_list.rs"]
mod users_list;
#[path = "suite/users_search.rs"]
mod users_search;
#[path = "suite/users_values.rs"]
mod users_values;
