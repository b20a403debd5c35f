//! Filling a directory from somewhere else.

pub mod source;
