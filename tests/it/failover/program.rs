//! The real program with two message centres.
