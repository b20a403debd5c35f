//! Every integration test, as one binary: one link step, one process in plain `cargo test`.

#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/log_append.rs"]
mod log_append;
#[path = "suite/log_hammer.rs"]
mod log_hammer;
#[path = "suite/projections_fold.rs"]
mod projections_fold;
