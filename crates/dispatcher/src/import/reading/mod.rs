//! Bytes to rows of text: alphabets, first lines, blanks, quotes and line ends.

pub mod blanks;
pub mod decode;
pub mod head;
pub mod rows;
