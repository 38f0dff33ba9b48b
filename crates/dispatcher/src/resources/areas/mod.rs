//! Areas: the library of named polygons. `http` speaks HTTP; the rest can be called without it.

pub mod collection;
mod features;
pub(crate) mod http;
pub mod library;
mod properties;
pub mod view;
