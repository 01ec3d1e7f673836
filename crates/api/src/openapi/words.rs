//! Schemas of values whose Rust type says less than the contract does, or whose crate has no word for
//! schemars.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use crate::ProfileName;

impl JsonSchema for ProfileName {
    fn schema_name() -> Cow<'static, str> {
        "ProfileName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The name of a profile.",
            "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
        })
    }
}

/// A type that stands in the document where it is used, and has no other part in the program.
macro_rules! words {
    ($($(#[doc = $about:literal])* $word:ident: $schema:tt)*) => {$(
        $(#[doc = $about])*
        #[derive(Debug)]
        pub enum $word {}

        impl JsonSchema for $word {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($word).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

words! {
    /// A moment, in UTC.
    Moment: {"type": "string", "format": "date-time"}
    /// A path from the root.
    RootedPath: {"type": "string", "pattern": "^/"}
    /// A store in which credentials last.
    Lasting: {"type": "string", "enum": ["keychain", "file"]}
    /// What can be said of a thing that cannot be taken back.
    True: {"type": "boolean", "const": true}
}

/// Of an object whose fields are all optional, one at least is there, and is not null.
pub fn one_at_least(schema: &mut Schema) {
    let names: Vec<String> = schema
        .get("properties")
        .and_then(|all| all.as_object())
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let cases: Vec<_> = names
        .into_iter()
        .map(|name| json!({"required": [name.clone()], "properties": {name: {"not": {"type": "null"}}}}))
        .collect();
    schema.insert("anyOf".to_owned(), cases.into());
}
