//! What a schema refuses, reads and becomes.

mod aggregate;
mod change;
mod check;
mod values;
