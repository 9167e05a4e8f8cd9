//! YAML as a tree of nodes that know which bytes they were written with. `config` reads it to name the place of every
//! mistake, `manifest` to change exactly the bytes of a reference. Parsing is `granit-parser`'s; this room only builds the tree.

mod place;
mod tree;

pub use place::{Place, Position};
pub use tree::{Comment, Document, Entry, Node, ParseError, Style, Value, documents, parse};
