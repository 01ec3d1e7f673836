use serde_json::json;

use super::*;

fn body(mcp: &str) -> ProviderBody {
    serde_json::from_value(json!({"mcp": mcp})).unwrap()
}

fn add(list: &AddedDefinitions, name: &str, body: &ProviderBody) -> Result<Option<AddedDefinitions>, String> {
    let definition = Arc::new(validate(name, body).map_err(|error| error.to_string())?);
    list.with(name, body, &definition).map_err(|error| error.to_string())
}

fn entries(text: &str) -> AddedDefinitions {
    AddedDefinitions::from_entries(serde_json::from_str(text).unwrap())
}

fn written(list: &AddedDefinitions) -> String {
    serde_json::to_string(&list.entries()).unwrap()
}

#[test]
fn added_definition_is_found_until_it_is_removed() {
    let empty = AddedDefinitions::default();
    let linear = body("https://mcp.linear.app/mcp");
    let list = add(&empty, "linear", &linear).unwrap().unwrap();
    let of_url = ProviderDefinition::of_mcp("https://mcp.linear.app/mcp");
    assert_eq!(*list.find("linear").unwrap(), of_url);
    assert!(add(&list, "linear", &linear).unwrap().is_none(), "the same definition is no change");
    let other = add(&list, "linear", &body("https://mcp.example/mcp")).unwrap_err();
    assert!(other.contains("its definition is another one"), "{other}");
    let list = list.without("linear").unwrap();
    assert!(matches!(list.find("linear"), Err(DefinitionError::Unknown)));
    assert!(list.without("linear").is_none());
}

#[test]
fn every_key_of_a_definition_is_read_again() {
    let full: ProviderBody = serde_json::from_value(json!({
        "mcp": "https://mcp.example/mcp", "client_id": "me", "client_secret_file": "/home/me/secret",
        "client_metadata_url": "https://me.example/client.json", "scopes": ["read", "write"],
        "redirect_uri": "http://127.0.0.1:{port}/back",
    }))
    .unwrap();
    let list = add(&AddedDefinitions::default(), "lab", &full).unwrap().unwrap();
    assert_eq!(entries(&written(&list)).find("lab").unwrap(), list.find("lab").unwrap());
    assert_eq!(list.find("lab").unwrap().scopes, ["read", "write"]);
}

#[test]
fn entry_that_cannot_be_used_says_why_and_is_written_again_as_it_was() {
    let text = r#"{"bad name":{"mcp":"https://a.example/mcp"},"good":{"mcp":"https://a.example/mcp"},"#
        .to_owned()
        + r#""insecure":{"mcp":"http://a.example/mcp"},"newer":{"mcp":"https://a.example/mcp","dpop":1e400},"#
        + r#""number":7,"typed":{"mcp":["a value"]}}"#;
    let list = entries(&text);
    let reason = |name: &str| list.find(name).unwrap_err().to_string();
    for (name, expected) in [
        ("bad name", "is not a name of a provider"),
        ("insecure", "mcp must be an https URL"),
        ("newer", "the key \"dpop\", which this version of authd does not know"),
        ("number", "it is not a definition"),
        ("typed", "it is not a definition"),
    ] {
        assert!(reason(name).contains(expected), "{name}: {}", reason(name));
    }
    assert_eq!(written(&list), text);
    let changed = add(&list, "more", &body("https://b.example/mcp")).unwrap().unwrap();
    assert!(changed.find("good").is_ok() && changed.find("more").is_ok());
    assert_eq!(written(&changed.without("more").unwrap()), text);
    // The user removes it before the name can have another definition.
    assert!(add(&list, "newer", &body("https://b.example/mcp")).unwrap_err().contains("dpop"));
    assert!(list.without("newer").unwrap().find("newer").is_err());
}

#[test]
fn names_and_values_are_checked() {
    let linear = body("https://mcp.linear.app/mcp");
    for name in ["openai", "", "Linear", "a/b", "-", "a b"] {
        assert!(
            add(&AddedDefinitions::default(), name, &linear).unwrap_err().starts_with("the name "),
            "{name}"
        );
    }
    // A template is not a definition.
    assert!(add(&AddedDefinitions::default(), "github", &linear).is_ok());
    let secret = ProviderBody { client_secret_file: Some("/secret".into()), ..linear };
    assert_eq!(
        add(&AddedDefinitions::default(), "linear", &secret).unwrap_err(),
        "client_secret_file needs client_id"
    );
}

#[test]
fn number_of_definitions_is_bounded() {
    let mut list = AddedDefinitions::default();
    let linear = body("https://mcp.linear.app/mcp");
    for n in 0..MOST {
        list = add(&list, &format!("p{n}"), &linear).unwrap().unwrap();
    }
    assert_eq!(add(&list, "more", &linear).unwrap_err(), "256 providers were added already");
}
