//! Areas: the library of named polygons. `http` speaks HTTP; the rest can be called without it.

pub mod features;
pub(crate) mod http;
pub mod library;
pub mod view;
