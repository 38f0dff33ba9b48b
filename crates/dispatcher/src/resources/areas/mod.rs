//! Areas: the library of named polygons.

pub mod features;
pub mod http;
