//! What every line begins with, and what a reader asks for.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The name of a schema and its version, with which a line begins.
pub type Schema = Cow<'static, str>;

/// A line that programs read. Readers ask for a type and get lines of its schema.
pub trait Line: DeserializeOwned {
    /// The schema.
    const SCHEMA: &'static str;
}
