//! The source keeps to its own rules: sizes, layers, no dead files, nothing printed by the way.

mod files;
mod layers;
mod sizes;
mod source;
