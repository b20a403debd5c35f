//! Every integration test, as one binary: one link step, one process in plain `cargo test`.

#[path = "suite/http_access.rs"]
mod http_access;
#[path = "suite/http_bad_input.rs"]
mod http_bad_input;
#[path = "suite/http_replay.rs"]
mod http_replay;
#[path = "suite/import_crash.rs"]
mod import_crash;
#[path = "suite/import_csv.rs"]
mod import_csv;
#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/log_append.rs"]
mod log_append;
#[path = "suite/log_hammer.rs"]
mod log_hammer;
#[path = "suite/openapi.rs"]
mod openapi;
#[path = "suite/preparation_job.rs"]
mod preparation_job;
#[path = "suite/projections_fold.rs"]
mod projections_fold;
#[path = "suite/real_data.rs"]
mod real_data;
#[path = "suite/schema_routes.rs"]
mod schema_routes;
#[path = "suite/users_edit.rs"]
mod users_edit;
#[path = "suite/users_list.rs"]
mod users_list;
