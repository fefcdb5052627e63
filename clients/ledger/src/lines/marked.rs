//! The schema at the beginning of each line.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The name and version of a schema.
pub type SchemaName = Cow<'static, str>;

/// A line for programs. Readers ask for a type and get the lines of its schema.
pub trait Line: DeserializeOwned {
    /// Name and version of the line's schema.
    const SCHEMA: &'static str;
}
