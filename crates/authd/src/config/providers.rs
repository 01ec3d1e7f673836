//! The provider definitions of the configuration, and the built-in templates.

use std::{cell::LazyCell, sync::Arc};

use authd_broker::ProviderDefinitions;
use authd_oauth::definition::{InvalidDefinition, RawDefinition, check_provider_name};
use serde::Deserialize;

use super::{problem::InvalidValue, raw::RawProviders};

/// The built-in templates, in the format of the configuration.
const TEMPLATES: &str = include_str!("templates.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFile {
    providers: RawProviders,
}

/// The templates as they are written.
fn raw_templates() -> RawProviders {
    toml::from_str::<TemplateFile>(TEMPLATES).expect("a test parses the templates").providers
}

/// The built-in templates. Each lacks a client.
pub(crate) fn templates() -> ProviderDefinitions {
    let validated = |(name, template): (String, RawDefinition)| {
        (name, Arc::new(template.validate_template().expect("a test validates the templates")))
    };
    raw_templates().into_iter().map(validated).collect()
}

/// Validates the definitions of a user.
pub(super) fn validate(raw: RawProviders) -> Result<ProviderDefinitions, InvalidValue> {
    // Most configurations define no provider, and need no template at the start.
    let templates = LazyCell::new(raw_templates);
    let validated = |(name, definition): (String, RawDefinition)| {
        let path = format!("providers.{name}");
        if let Err(reason) = check_provider_name(&name) {
            return Err(InvalidValue { key: path, reason: reason.to_owned() });
        }
        let definition = definition.with_template(&templates).and_then(RawDefinition::validate);
        definition.map(|definition| (name, Arc::new(definition))).map_err(|error| at(&path, error))
    };
    raw.into_iter().map(validated).collect()
}

/// The error of a definition, at the path of its key.
fn at(path: &str, InvalidDefinition { key, reason }: InvalidDefinition) -> InvalidValue {
    let key = if key.is_empty() { path.to_owned() } else { format!("{path}.{key}") };
    InvalidValue { key, reason }
}

#[cfg(test)]
mod tests;
